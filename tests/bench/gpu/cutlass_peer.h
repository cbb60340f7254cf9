// CUTLASS as a peer: its own products for the shapes of the benchmark, with no tuning but the choice of a tile.
#ifndef ESPALIER_TESTS_BENCH_GPU_CUTLASS_PEER_H
#define ESPALIER_TESTS_BENCH_GPU_CUTLASS_PEER_H

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

namespace espalier_bench {

/**
 * Enqueues y [m, n] = x [m, k] w [n, k]^T, bf16 and row major, sums in fp32; empty, or why not. By the kernels for mma.sync,
 * on every card.
 */
std::string cutlass_sm80_multiply(
    const void* x, const void* w, void* y, int64_t m, int64_t n, int64_t k, void* workspace,
    size_t workspace_bytes, cudaStream_t stream);

/** The same by the kernels for TMA and wgmma, on cards of sm_90a. */
std::string cutlass_sm90_multiply(
    const void* x, const void* w, void* y, int64_t m, int64_t n, int64_t k, void* workspace,
    size_t workspace_bytes, cudaStream_t stream);

}  // namespace espalier_bench

#endif
