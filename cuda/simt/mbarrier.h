// Barriers in shared memory, for queues between producers and consumers of a block. A phase completes when `count`
// threads have arrived and all announced bytes are there; then the next phase begins. Phases have parity 0, 1, 0, 1 ...
#ifndef ESPALIER_SIMT_MBARRIER_H
#define ESPALIER_SIMT_MBARRIER_H

#include "simt/target.h"

namespace simt {

/** Lives in shared memory. One thread calls init, then sync_block comes before any other use. */
struct Mbarrier {
  uint64_t state;

#ifdef __CUDACC__

  /** Arrivals that complete a phase. */
  SIMT_DEVICE void init(int count) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(this)), "r"(count)
                 : "memory");
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
  }

  /** Arrives; the thread's writes before are seen by those who wait for the phase. */
  SIMT_DEVICE void arrive() {
    asm volatile("{ .reg .b64 s; mbarrier.arrive.shared.b64 s, [%0]; }" ::"r"(shared_address(this))
                 : "memory");
  }

  /** Arrives when the copies that the thread started with copy_async are done; does not wait. */
  SIMT_DEVICE void arrive_async() {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(this))
                 : "memory");
  }

  /** Waits until the phase of this parity is complete. */
  SIMT_DEVICE void wait(int parity) {
    uint32_t done = 0;
    while (done == 0) {
#if __CUDA_ARCH__ >= 900
      asm volatile(
          "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, "
          "0, p; }"
          : "=r"(done)
          : "r"(shared_address(this)), "r"(parity)
          : "memory");
#else
      asm volatile(
          "{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; "
          "}"
          : "=r"(done)
          : "r"(shared_address(this)), "r"(parity)
          : "memory");
#endif
    }
  }

  /** Arrives and announces bytes that copy_bulk will bring. sm_90 and later, a trap before. */
  SIMT_DEVICE void arrive_expecting(uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
    asm volatile("{ .reg .b64 s; mbarrier.arrive.expect_tx.shared::cta.b64 s, [%0], %1; }" ::"r"(
                     shared_address(this)),
                 "r"(bytes)
                 : "memory");
#else
    __trap();
#endif
  }

#else
  SIMT_DEVICE void init(int count) { emulated::mbarrier_init(this, count); }
  SIMT_DEVICE void arrive() { emulated::mbarrier_arrive(this, 0); }
  SIMT_DEVICE void arrive_async() { emulated::mbarrier_arrive_async(this); }
  SIMT_DEVICE void wait(int parity) { emulated::mbarrier_wait(this, parity); }
  SIMT_DEVICE void arrive_expecting(uint32_t bytes) { emulated::mbarrier_arrive(this, bytes); }
#endif
};

/** Starts a copy from global to shared memory that reports to a barrier: a multiple of 16 bytes, aligned to 16. sm_90,
 *  a trap before. */
#ifdef __CUDACC__
SIMT_DEVICE void copy_bulk(
    void* to_shared, const void* from_global, uint32_t bytes, Mbarrier* barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to_shared)),
      "l"(from_global), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
#else
  __trap();
#endif
}
#else
SIMT_DEVICE void copy_bulk(
    void* to_shared, const void* from_global, uint32_t bytes, Mbarrier* barrier) {
  emulated::copy_bulk(to_shared, from_global, bytes, barrier);
}
#endif

}  // namespace simt

#endif
