// No test includes this file, and it includes no header of a test: those define main.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace simt::emulated {
namespace {

constexpr int kSkipped = 77;

void ok(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
  }
}

// Before main: launches are waited for, because tests read results through plain pointers; and no GPU, no tests.
[[maybe_unused]] const bool ready = [] {
  setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    std::printf("skipped: no GPU (%s)\n", cudaGetErrorString(error));
    std::exit(kSkipped);
  }
  return true;
}();

}  // namespace

void* allocate_managed(const char* name, size_t bytes, int fill) {
  size_t available = 0, total = 0;
  ok(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
  if (bytes > available) return nullptr;
  void* data = nullptr;
  ok(cudaMallocManaged(&data, bytes), name);
  ok(cudaMemset(data, fill, bytes), name);
  ok(cudaDeviceSynchronize(), name);
  return data;
}

void release_managed(void* data) { cudaFree(data); }

const char* why_device_failed() {
  const cudaError_t error = cudaDeviceSynchronize();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace simt::emulated
