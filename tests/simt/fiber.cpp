#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>
#include <vector>

#if !defined(__x86_64__)
#error "fibers are written for x86-64"
#endif

asm(R"(
.text
.globl simt_switch_stack
.type simt_switch_stack, @function
simt_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size simt_switch_stack, .-simt_switch_stack
)");

namespace simt::emulated {

void* begin_stack(char* stack, void (*entry)()) {
  auto* top = reinterpret_cast<uint64_t*>(stack + kStackBytes);
  *--top = 0;  // the caller of entry: none; what a call leaves on an aligned stack
  *--top = reinterpret_cast<uint64_t>(entry);
  for (int i = 0; i < 6; ++i) *--top = 0;
  return top;
}

char* stack_at(size_t i) {
  constexpr size_t kGuard = 4096, kChunk = 64;
  static std::vector<char*> chunks;
  while (chunks.size() <= i / kChunk) {
    void* chunk = mmap(
        nullptr, kChunk * (kGuard + kStackBytes), PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (chunk == MAP_FAILED) throw std::bad_alloc();
    for (size_t k = 0; k < kChunk; ++k) {
      mprotect(static_cast<char*>(chunk) + k * (kGuard + kStackBytes), kGuard, PROT_NONE);
    }
    chunks.push_back(static_cast<char*>(chunk));
  }
  return chunks[i / kChunk] + i % kChunk * (kGuard + kStackBytes) + kGuard;
}

}  // namespace simt::emulated
