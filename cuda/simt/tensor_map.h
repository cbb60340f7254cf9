// Copies of boxes of a tensor in global memory (TMA, sm_90): one thread starts one, a barrier says when it is there.
//
// A map tells the copies where the tensor lies. The host makes it; a kernel takes it as `const SIMT_GRID_CONSTANT simt::TensorMap`.
// Elements have 16 bits, a box is 64 of them wide: 128 bytes, in shared memory row behind row, the second dimension before the third.
// In the row whose address is 128 r, the 16 bytes of number c lie where those of number c ^ (r % 8) would: no two rows of eight
// have a column in the same banks. What lies outside of the tensor is zeros, and its bytes are announced as the others are.
// The emulator reports what the driver or the hardware would refuse, and what it checks of every copy to shared memory.
#ifndef ESPALIER_SIMT_TENSOR_MAP_H
#define ESPALIER_SIMT_TENSOR_MAP_H

#include "simt/launch.h"
#include "simt/mbarrier.h"

#ifdef __CUDACC__
#include <cuda.h>
#endif

namespace simt {

constexpr int kBoxColumns = 64;
constexpr int kBoxAlignment = 1024;  // of a box in shared memory, in bytes

/** A tensor of elements of 16 bits, and the boxes that are copied of it. The innermost dimension comes first. */
struct Tensor {
  const void* first;  // at a multiple of 16 bytes
  int64_t len[3];     // elements, 1 to 2^32
  // From one to the next along the second and the third dimension: multiples of 16, below 2^40.
  int64_t stride_bytes[2];
  int box[3];  // elements: kBoxColumns, and 1 to 256
};

#ifdef __CUDACC__

#define SIMT_GRID_CONSTANT __grid_constant__

struct TensorMap {
  CUtensorMap map;
};

/** The driver's function that makes maps; null where it has none. Nothing is linked against the driver. */
inline auto tensor_map_encoder() {
  static const auto encoder = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    const cudaError_t error = cudaGetDriverEntryPointByVersion(
        "cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
    if (error != cudaSuccess || found != cudaDriverEntryPointSuccess) function = nullptr;
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  return encoder;
}

inline bool makes_tensor_maps() { return tensor_map_encoder() != nullptr; }

/** Arithmetic of the host alone: nothing is launched or allocated, so a stream may be captured meanwhile. */
inline TensorMap tensor_map_of(const Tensor& of) {
  TensorMap made;
  cuuint64_t len[3], stride_bytes[2];
  cuuint32_t box[3];
  const cuuint32_t each[3] = {1, 1, 1};
  for (int i = 0; i < 3; ++i) len[i] = of.len[i], box[i] = of.box[i];
  for (int i = 0; i < 2; ++i) stride_bytes[i] = of.stride_bytes[i];
  const auto encode = tensor_map_encoder();
  if (encode == nullptr) throw LaunchError("tensor map: the driver has no cuTensorMapEncodeTiled");
  const CUresult result = encode(
      &made.map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 3, const_cast<void*>(of.first), len, stride_bytes,
      box, each, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw LaunchError("tensor map: cuTensorMapEncodeTiled = " + std::to_string(result));
  return made;
}

/** The box that begins at element x of row y of matrix z, to a multiple of kBoxAlignment; x is a multiple of 8. A trap before sm_90. */
SIMT_DEVICE void copy_box(
    void* to_shared, const TensorMap& map, int x, int y, int z, Mbarrier* barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3, %4}], [%5];" ::"r"(shared_address(to_shared)),
      "l"(&map), "r"(x), "r"(y), "r"(z), "r"(shared_address(barrier))
      : "memory");
#else
  __trap();
#endif
}

#else

#define SIMT_GRID_CONSTANT

struct TensorMap {
  Tensor tensor;
};

inline bool makes_tensor_maps() { return emulated::makes_tensor_maps(); }

inline TensorMap tensor_map_of(const Tensor& of) {
  emulated::check_tensor(of);
  return {of};
}

SIMT_DEVICE void copy_box(
    void* to_shared, const TensorMap& map, int x, int y, int z, Mbarrier* barrier) {
  emulated::copy_box(to_shared, map.tensor, {x, y, z}, barrier);
}

#endif

}  // namespace simt

#endif
