// What the two compilers call things.
#ifndef ESPALIER_SIMT_TARGET_H
#define ESPALIER_SIMT_TARGET_H

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__

#include <cuda_runtime.h>

#define SIMT_DEVICE __device__ __forceinline__       // a primitive, or a helper of a kernel
#define SIMT_HOST_DEVICE __host__ __device__ inline  // for use on both sides
#define SIMT_UNROLL _Pragma("unroll")
#define SIMT_NO_UNROLL _Pragma("unroll 1")  // for loops whose copies would cost registers

#else

#define __global__
#define __device__
#define __launch_bounds__(...)
#define SIMT_DEVICE inline
#define SIMT_HOST_DEVICE inline
#define SIMT_UNROLL
#define SIMT_NO_UNROLL

#include "simt/emulated.h"

#endif

namespace simt {

constexpr int kWarp = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

/** N elements that move as one: 4, 8 or 16 bytes, aligned to their size. */
template <class T, int N>
struct alignas(sizeof(T) * N) Vec {
  T v[N];
  SIMT_HOST_DEVICE T& operator[](int i) { return v[i]; }
  SIMT_HOST_DEVICE const T& operator[](int i) const { return v[i]; }
};

#ifdef __CUDACC__
/** Address of shared memory as PTX takes it. */
SIMT_DEVICE uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
#endif

}  // namespace simt

#endif
