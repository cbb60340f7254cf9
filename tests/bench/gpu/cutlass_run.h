#ifndef ESPALIER_TESTS_BENCH_GPU_CUTLASS_RUN_H
#define ESPALIER_TESTS_BENCH_GPU_CUTLASS_RUN_H

#include <string>

#include "cutlass/cutlass.h"

namespace espalier_bench {

/** Runs one kernel of CUTLASS with its arguments. */
template <class Gemm>
std::string cutlass_run(
    const typename Gemm::Arguments& arguments, void* workspace, size_t workspace_bytes,
    cudaStream_t stream) {
  if (Gemm::get_workspace_size(arguments) > workspace_bytes) return "wants more workspace";
  if (Gemm::can_implement(arguments) != cutlass::Status::kSuccess)
    return "no kernel for this shape";
  Gemm gemm;
  const cutlass::Status status = gemm(arguments, workspace, stream);
  return status == cutlass::Status::kSuccess ? "" : cutlassGetStatusString(status);
}

}  // namespace espalier_bench

#endif
