// The one function that libespalier_cuda.so exports: its devices and its backend in the table of backend_library.h.
#include <cuda_runtime.h>

#include <string>

#include "architectures.h"
#include "cuda_backend.h"
#include "gemm/cublaslt.h"
#include "ops/backend_library.h"

namespace espalier {
namespace {

std::string version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

/** Why the runtime sees no device. */
std::string why_none(cudaError_t error) {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (driver == 0) return "no NVIDIA driver found";
  if (error == cudaErrorInsufficientDriver) {
    return "NVIDIA driver for CUDA " + version(driver) + " found, expected one for CUDA " +
           version(CUDART_VERSION) + " or later; update the driver";
  }
  if (error == cudaErrorNoDevice || error == cudaSuccess) return "no NVIDIA GPU found";
  return std::string("NVIDIA GPU not usable: ") + cudaGetErrorString(error);
}

void raise_unless_ok(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

int32_t device_count(Failure* failure) noexcept {
  return caught(failure, []() -> int32_t {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count == 0) throw std::runtime_error(why_none(error));
    return count;
  });
}

void describe(int32_t idx, espalier_device_info* info, Failure* failure) noexcept {
  caught(failure, [&] {
    cudaDeviceProp card;
    raise_unless_ok(cudaGetDeviceProperties(&card, idx));
    info->memory_bytes = static_cast<int64_t>(card.totalGlobalMem);
    std::snprintf(info->name, sizeof info->name, "%.127s", card.name);
    std::snprintf(info->instructions, sizeof info->instructions, "sm_%d%d", card.major, card.minor);
    info->available = runs_on(ESPALIER_CUDA_ARCHITECTURES, card.major, card.minor);
    if (info->available != 0) {
      const std::string state =
          cublaslt_state(idx, 10 * card.major + card.minor, cublaslt_folders());
      std::snprintf(info->prompt_gemm, sizeof info->prompt_gemm, "%s", state.c_str());
    } else {
      std::snprintf(
          info->reason, sizeof info->reason,
          "compute capability = %d.%d, expected one that this build is for: %s", card.major,
          card.minor, ESPALIER_CUDA_ARCHITECTURES);
    }
  });
}

Backend* create(int32_t idx, Failure* failure) noexcept {
  return caught(failure, [&] {
    cudaDeviceProp card;
    raise_unless_ok(cudaGetDeviceProperties(&card, idx));
    CublasLtOptions cublaslt;
    if (cublaslt_switched_on()) cublaslt.folders = cublaslt_folders();
    cublaslt.rule = cublaslt_rule(10 * card.major + card.minor);
    return make_cuda_backend(idx, nullptr, cublaslt).release();
  });
}

constexpr BackendLibrary kLibrary = {
    .device_count = device_count, .describe = describe, .create = create};

}  // namespace
}  // namespace espalier

extern "C" ESPALIER_API const espalier::BackendLibrary* espalier_backend_library() {
  return &espalier::kLibrary;
}
