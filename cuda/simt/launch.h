// Launches, from the host: SIMT_LAUNCH(verify_kernel, (simt::Launch{.grid = {batch}, .threads = 32}), a, b, ...).
#ifndef ESPALIER_SIMT_LAUNCH_H
#define ESPALIER_SIMT_LAUNCH_H

#include <stdexcept>
#include <string>
#include <tuple>

#include "simt/target.h"

struct CUstream_st;

namespace simt {

/** A CUDA stream. The emulator runs a launch without one at once. */
using Stream = CUstream_st*;

constexpr int kMostBlocks = 65535;  // along the second and the third axis of a grid

/** The shape of a launch. A grid with a 0 launches nothing. */
struct Launch {
  struct Grid {
    int x, y = 1, z = 1;
  } grid;
  int threads;              // of a block: a multiple of 32, at most 1024
  size_t shared_bytes = 0;  // of dynamic shared memory
  Stream stream = nullptr;
  bool cooperative = false;  // all blocks at once, for sync_grid
  bool overlap = false;      // may start while the kernel before it ends; see wait_for_previous
};

/** A launch that the driver refused. */
class LaunchError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

#ifdef __CUDACC__

/** In a kernel launched with overlap: waits until the writes of the kernel before it are there. */
SIMT_DEVICE void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/** The next kernel may start once all blocks have called this or ended. Results need not be written yet. */
SIMT_DEVICE void allow_next() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/** Compute capability of the calling thread's device, as 10 * major + minor; 0 when it is not known. */
inline int device_capability() {
  thread_local int known_device = -1, capability = 0;
  int device = 0, major = 0, minor = 0;
  if (cudaGetDevice(&device) == cudaSuccess && device != known_device &&
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess) {
    known_device = device;
    capability = 10 * major + minor;
  }
  return capability;
}

template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), const Launch& shape, A&&... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  cudaError_t error = cudaSuccess;
  if (shape.shared_bytes > 48 * 1024) {
    error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shape.shared_bytes));
  }
  if (error == cudaSuccess) {
    cudaLaunchAttribute attribute[2] = {};
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(shape.grid.x, shape.grid.y, shape.grid.z);
    config.blockDim = dim3(shape.threads);
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = shape.stream;
    config.attrs = attribute;
    if (shape.cooperative) {
      attribute[config.numAttrs].id = cudaLaunchAttributeCooperative;
      attribute[config.numAttrs++].val.cooperative = 1;
    }
    if (shape.overlap && device_capability() >= 90) {
      attribute[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
      attribute[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
    }
    error = cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...);
  }
  if (error != cudaSuccess) {
    throw LaunchError(std::string(name) + " not launched: " + cudaGetErrorString(error));
  }
}

#else

inline int device_capability() { return 90; }

SIMT_DEVICE void wait_for_previous() { emulated::wait_for_previous(); }
SIMT_DEVICE void allow_next() {}

template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), const Launch& shape, A&&... args) {
  struct Params {
    void (*kernel)(P...);
    std::tuple<P...> args;
  };
  const Params params{kernel, std::tuple<P...>(static_cast<P>(args)...)};
  emulated::LaunchCall call{};
  call.kernel = name;
  call.grid[0] = shape.grid.x;
  call.grid[1] = shape.grid.y;
  call.grid[2] = shape.grid.z;
  call.threads = shape.threads;
  call.shared_bytes = shape.shared_bytes;
  call.cooperative = shape.cooperative;
  call.overlap = shape.overlap;
  call.call = [](const void* p) {
    const Params& params = *static_cast<const Params*>(p);
    std::apply(params.kernel, params.args);
  };
  call.params = &params;
  call.params_bytes = sizeof(Params);
  emulated::launch(call, shape.stream);
}

#endif

#define SIMT_LAUNCH(kernel, shape, ...) \
  simt::launch(#kernel, kernel, shape __VA_OPT__(, ) __VA_ARGS__)

}  // namespace simt

#endif
