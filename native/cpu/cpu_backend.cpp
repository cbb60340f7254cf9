#include "cpu/cpu_backend.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdlib>
#include <cstring>
#include <new>

namespace espalier {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kSmallPage = 4096, kLargePage = size_t{2} << 20;

/**
 * Asks for large pages: a head's keys lie a row apart, so a long context meets thousands of small
 * ones. Only a wish.
 */
void prefer_large_pages(uintptr_t data, size_t bytes) {
#if defined(__linux__)
  if (bytes < 2 * kLargePage) return;
  const uintptr_t begin = (data + kSmallPage - 1) / kSmallPage * kSmallPage;
  madvise(
      reinterpret_cast<void*>(begin), (data + bytes - begin) / kSmallPage * kSmallPage,
      MADV_HUGEPAGE);
#endif
}

}  // namespace

void* CpuBackend::allocate(size_t bytes) {
  if (bytes > SIZE_MAX - 2 * kAlignment) throw std::bad_alloc();
  // calloc rather than aligned_alloc and memset: the system's zero pages are not touched before
  // they are used.
  void* whole = std::calloc(bytes + 2 * kAlignment, 1);
  if (whole == nullptr) throw std::bad_alloc();
  const uintptr_t data =
      (reinterpret_cast<uintptr_t>(whole) + 2 * kAlignment - 1) / kAlignment * kAlignment;
  prefer_large_pages(data, bytes);
  std::memcpy(reinterpret_cast<void*>(data - sizeof whole), &whole, sizeof whole);
  return reinterpret_cast<void*>(data);
}

void CpuBackend::release(void* data) {
  if (data == nullptr) return;
  void* whole;
  std::memcpy(&whole, static_cast<char*>(data) - sizeof whole, sizeof whole);
  std::free(whole);
}

void CpuBackend::upload(void* to, const void* from, size_t bytes) {
  if (bytes != 0) std::memcpy(to, from, bytes);
}

void CpuBackend::download(void* to, const void* from, size_t bytes) {
  if (bytes != 0) std::memcpy(to, from, bytes);
}

void CpuBackend::copy(void* to, const void* from, size_t bytes) {
  if (bytes != 0) std::memmove(to, from, bytes);
}

Weight CpuBackend::prepare_weight(const void* host, Type type, int64_t n, int64_t k) {
  return {host, type, n, k};
}

std::unique_ptr<Backend> make_cpu_backend(int num_threads) {
  return std::make_unique<CpuBackend>(num_threads);
}

}  // namespace espalier
