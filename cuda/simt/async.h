// Copies from global to shared memory that run beside the thread (cp.async). A thread waits for its own copies; other
// threads see them behind a barrier that follows the wait.
#ifndef ESPALIER_SIMT_ASYNC_H
#define ESPALIER_SIMT_ASYNC_H

#include "simt/target.h"

namespace simt {

#ifdef __CUDACC__

/** Starts a copy of 4, 8 or 16 bytes, aligned to their number; zeros instead when not valid, `from` is not read then. */
template <int kBytes>
SIMT_DEVICE void copy_async(void* to_shared, const void* from_global, bool valid = true) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  const int valid_bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to_shared)),
                 "l"(from_global), "r"(valid_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to_shared)),
                 "l"(from_global), "n"(kBytes), "r"(valid_bytes)
                 : "memory");
  }
}

/** Closes a group of copies: those that the thread started since the last call. */
SIMT_DEVICE void commit_async() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/** Waits until at most kPending of the thread's newest groups are under way. */
template <int kPending>
SIMT_DEVICE void wait_async() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

#else

template <int kBytes>
SIMT_DEVICE void copy_async(void* to_shared, const void* from_global, bool valid = true) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  emulated::copy_async(to_shared, from_global, kBytes, valid ? kBytes : 0);
}

SIMT_DEVICE void commit_async() { emulated::commit_async(); }

template <int kPending>
SIMT_DEVICE void wait_async() {
  emulated::wait_async(kPending);
}

#endif

}  // namespace simt

#endif
