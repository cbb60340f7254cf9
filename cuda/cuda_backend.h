// The CUDA backend: every op of ops.h by its launcher, and steps as CUDA graphs.
#ifndef ESPALIER_CUDA_CUDA_BACKEND_H
#define ESPALIER_CUDA_CUDA_BACKEND_H

#include <memory>

#include "gemm/cublaslt.h"
#include "ops/ops.h"

struct CUstream_st;  // a cudaStream_t points to one

namespace espalier {

/**
 * The backend of a device. Of its own methods none throws: a failure is kept for take_failure, because the caller may
 * have another C++ runtime. This function throws, so the library's entry point catches.
 * `stream`, where given, becomes the stream that the ops run on; `cublaslt` says when a prompt is cuBLASLt's.
 */
std::unique_ptr<Backend> make_cuda_backend(
    int device, CUstream_st** stream = nullptr, const CublasLtOptions& cublaslt = {});

}  // namespace espalier

#endif
