// Barriers. Each makes the writes of the threads before it visible to the threads behind it.
#ifndef ESPALIER_SIMT_BARRIER_H
#define ESPALIER_SIMT_BARRIER_H

#ifdef __CUDACC__
#include <cooperative_groups.h>
#endif

#include "simt/target.h"

namespace simt {

#ifdef __CUDACC__

/** All threads of the block; none may have returned. */
SIMT_DEVICE void sync_block() { __syncthreads(); }

/** The lanes of the mask. */
SIMT_DEVICE void sync_warp(uint32_t mask = kAllLanes) { __syncwarp(mask); }

/** Barrier 1 to 15 of the block: waits for `num_threads` threads in all, whole warps. */
SIMT_DEVICE void sync_named(int id, int num_threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(num_threads) : "memory");
}

/** As sync_named, but without waiting: for the side that only announces its writes. */
SIMT_DEVICE void arrive_named(int id, int num_threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(num_threads) : "memory");
}

/** All threads of all blocks; needs a cooperative launch. */
SIMT_DEVICE void sync_grid() { cooperative_groups::this_grid().sync(); }

#else
SIMT_DEVICE void sync_block() { emulated::sync_block(); }
SIMT_DEVICE void sync_warp(uint32_t mask = kAllLanes) { emulated::sync_warp(mask); }
SIMT_DEVICE void sync_named(int id, int num_threads) { emulated::sync_named(id, num_threads); }
SIMT_DEVICE void arrive_named(int id, int num_threads) { emulated::arrive_named(id, num_threads); }
SIMT_DEVICE void sync_grid() { emulated::sync_grid(); }
#endif

}  // namespace simt

#endif
