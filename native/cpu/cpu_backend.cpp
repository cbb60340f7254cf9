#include "cpu/cpu_backend.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace espalier {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

void* CpuBackend::allocate(size_t bytes) {
  if (bytes > SIZE_MAX - 2 * kAlignment) throw std::bad_alloc();
  // calloc rather than aligned_alloc and memset: the system's zero pages are not touched before they are used.
  void* whole = std::calloc(bytes + 2 * kAlignment, 1);
  if (whole == nullptr) throw std::bad_alloc();
  const uintptr_t data = (reinterpret_cast<uintptr_t>(whole) + 2 * kAlignment - 1) / kAlignment * kAlignment;
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

Weight CpuBackend::prepare_weight(const void* host, Type type, int64_t n, int64_t k) { return {host, type, n, k}; }

std::unique_ptr<Backend> make_cpu_backend(int num_threads) { return std::make_unique<CpuBackend>(num_threads); }

}  // namespace espalier
