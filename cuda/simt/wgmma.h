// Products of a warpgroup (wgmma, sm_90a): both operands in shared memory, sums in registers. They run beside the threads.
//
// A warpgroup is 4 warps, the first a multiple of 4. Its 128 threads call every function here together, with the same
// matrices. Operands lie in chunks of 8 rows x 8 columns, row major, 128 bytes, at a multiple of 16 bytes; columns are k.
// With w = warp % 4, g = lane / 4, t = lane % 4, value 4 j + 2 h + i of a thread is row 16 w + g + 8 h, column 8 j + 2 t + i.
// What copy_bulk brought can be multiplied once its barrier says so; plain stores need publish_shared and a barrier between.
// The emulator sums as mma.h says, when the thread waits, and reports operands that are not shared or not there, other
// matrices than a neighbour's, and a product without begin_products since the last wait.
#ifndef ESPALIER_SIMT_WGMMA_H
#define ESPALIER_SIMT_WGMMA_H

#include "simt/convert.h"

namespace simt {

constexpr int kWarpgroup = 128;

/** Two chunks along k for each 8 rows, as an operand: where the first is, and the bytes from one to the next. */
class OperandMatrix {
 public:
  SIMT_DEVICE OperandMatrix(const void* first, int bytes_along_k, int bytes_along_rows)
#ifdef __CUDACC__
      // PTX ISA, "Matrix Descriptor Format", without swizzle: addresses and distances in units of 16 bytes.
      : descriptor_(
            static_cast<uint64_t>((shared_address(first) & 0x3ffff) >> 4) |
            static_cast<uint64_t>(bytes_along_k >> 4) << 16 |
            static_cast<uint64_t>(bytes_along_rows >> 4) << 32) {
  }
  SIMT_DEVICE uint64_t descriptor() const { return descriptor_; }

 private:
  uint64_t descriptor_;
#else
      : operand_{first, bytes_along_k, bytes_along_rows} {
  }
  const emulated::Operand& operand() const { return operand_; }

 private:
  emulated::Operand operand_;
#endif
};

#ifdef __CUDACC__

/** The calling thread's plain stores to shared memory before are seen by products behind the next barrier. */
SIMT_DEVICE void publish_shared() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/** Before the first product, and whenever the sums or shared memory were touched by other instructions. */
SIMT_DEVICE void begin_products() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

/** Closes a group of products. */
SIMT_DEVICE void commit_products() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

/** Waits until at most kPending of the newest groups are under way; then the sums of the others may be read. */
template <int kPending>
SIMT_DEVICE void wait_products() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#endif
}

/** c [64, 128] += a [64, 16] b [128, 16]^T, T is Bf16 or Fp16. */
template <class T>
SIMT_DEVICE void product_64x128x16(float (&c)[64], const OperandMatrix& a, const OperandMatrix& b);

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define SIMT_SUM_8(i)                                                                         \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), \
      "+f"(c[i + 6]), "+f"(c[i + 7])
#define SIMT_PRODUCT(type)                                                                         \
  asm volatile(                                                                                    \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type                                 \
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "    \
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, " \
      "%37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, " \
      "%55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, 1, 1, 1, 0, 0;"                     \
      : SIMT_SUM_8(0), SIMT_SUM_8(8), SIMT_SUM_8(16), SIMT_SUM_8(24), SIMT_SUM_8(32),              \
        SIMT_SUM_8(40), SIMT_SUM_8(48), SIMT_SUM_8(56)                                             \
      : "l"(a.descriptor()), "l"(b.descriptor())                                                   \
      : "memory")
#else
#define SIMT_PRODUCT(type) __trap()
#endif
template <>
SIMT_DEVICE void product_64x128x16<Bf16>(
    float (&c)[64], const OperandMatrix& a, const OperandMatrix& b) {
  SIMT_PRODUCT("bf16");
}
template <>
SIMT_DEVICE void product_64x128x16<Fp16>(
    float (&c)[64], const OperandMatrix& a, const OperandMatrix& b) {
  SIMT_PRODUCT("f16");
}
#undef SIMT_PRODUCT
#undef SIMT_SUM_8

#else

SIMT_DEVICE void publish_shared() {}
SIMT_DEVICE void begin_products() { emulated::begin_products(); }
SIMT_DEVICE void commit_products() { emulated::commit_products(); }

template <int kPending>
SIMT_DEVICE void wait_products() {
  emulated::wait_products(kPending);
}

template <class T>
SIMT_DEVICE void product_64x128x16(float (&c)[64], const OperandMatrix& a, const OperandMatrix& b) {
  emulated::product(c, 128, a.operand(), b.operand(), std::is_same_v<T, Bf16>);
}

#endif

}  // namespace simt

#endif
