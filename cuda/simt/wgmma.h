// Products of a warpgroup (wgmma, sm_90a): operands in shared memory, the left one also in registers, sums in registers.
// They run beside the threads.
//
// A warpgroup is 4 warps, the first a multiple of 4. Its 128 threads call every function here together, with the same
// matrices. Operands lie in chunks of 8 x 8 elements, row major, 128 bytes, at a multiple of 16 bytes, or as copy_box left them.
// With w = warp % 4, g = lane / 4, t = lane % 4, value 4 j + 2 h + i of a thread is row 16 w + g + 8 h, column 8 j + 2 t + i.
// What copy_bulk and copy_box brought can be multiplied once its barrier says so. Other writes, copy_async's too, need publish_shared
// between them and the product: by the writer in front of the barrier, or by each thread that multiplies behind it.
// The emulator sums as mma.h says, when the thread waits, and reports operands that are not shared, not there or not
// published, other matrices than a neighbour's, sums touched before the wait, and a product without begin_products since.
#ifndef ESPALIER_SIMT_WGMMA_H
#define ESPALIER_SIMT_WGMMA_H

#include <type_traits>

#include "simt/mma.h"

namespace simt {

constexpr int kWarpgroup = 128;

/** 16 elements along k of each row, as an operand. Its rows are the product's rows on the left and its columns on the right. */
class OperandMatrix {
 public:
  /** Two chunks along k for each 8 rows: where the first is, and the bytes from one to the next. */
#ifdef __CUDACC__
  SIMT_DEVICE OperandMatrix(const void* first, int bytes_along_k, int bytes_along_rows)
      : OperandMatrix(first, bytes_along_k, bytes_along_rows, 0) {}
#else
  OperandMatrix(const void* first, int bytes_along_k, int bytes_along_rows)
      : operand_{emulated::Operand::kChunks, first, bytes_along_k, bytes_along_rows} {}
#endif

  /** As copy_box left rows of 64 elements along k: where 16 of them begin in the first row, at a multiple of 32 bytes, and the bytes
   *  from 8 rows to the next 8. */
  static SIMT_DEVICE OperandMatrix swizzled_rows(const void* first, int bytes_along_rows) {
#ifdef __CUDACC__
    // The other distance is not used: the two chunks along k are neighbours.
    return OperandMatrix(first, 16, bytes_along_rows, kSwizzle128);
#else
    return OperandMatrix({emulated::Operand::kSwizzledRows, first, 1024, bytes_along_rows});
#endif
  }

  /** The same turned, 64 rows of the operand next to each other for each k: where the first k is, and the bytes from 8 k to the next 8
   *  and from 64 rows to the next 64. */
  static SIMT_DEVICE OperandMatrix
  swizzled_columns(const void* first, int bytes_along_k, int bytes_along_rows) {
#ifdef __CUDACC__
    return OperandMatrix(first, bytes_along_rows, bytes_along_k, kSwizzle128);
#else
    return OperandMatrix(
        {emulated::Operand::kSwizzledColumns, first, bytes_along_k, bytes_along_rows});
#endif
  }

#ifdef __CUDACC__
  SIMT_DEVICE uint64_t descriptor() const { return descriptor_; }

 private:
  static constexpr uint64_t kSwizzle128 = 1;

  // PTX ISA, "Matrix Descriptor Format": addresses and distances in units of 16 bytes. "Strides" there says which distance is which:
  // the leading one goes along k between chunks, along rows in what is swizzled and turned. The pattern of the swizzle begins
  // at multiples of 1024 bytes, so its base offset is 0.
  SIMT_DEVICE OperandMatrix(
      const void* first, int leading_bytes, int stride_bytes, uint64_t swizzle)
      : descriptor_(
            static_cast<uint64_t>((shared_address(first) & 0x3ffff) >> 4) |
            static_cast<uint64_t>(leading_bytes >> 4) << 16 |
            static_cast<uint64_t>(stride_bytes >> 4) << 32 | swizzle << 62) {}

  uint64_t descriptor_;
#else
  const emulated::Operand& operand() const { return operand_; }

 private:
  explicit OperandMatrix(const emulated::Operand& operand) : operand_(operand) {}

  emulated::Operand operand_;
#endif
};

#ifdef __CUDACC__

/** What the thread wrote to shared memory, or saw written behind a barrier, is seen by its products and by those behind its next
 *  barrier. */
SIMT_DEVICE void publish_shared() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/** All threads of the warpgroup: from here on each has kNum registers, at most as many as before. A multiple of 8. */
template <int kNum>
SIMT_DEVICE void give_registers() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kNum));
#endif
}

/** The same, at least as many; waits until other warpgroups have given them. */
template <int kNum>
SIMT_DEVICE void take_registers() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kNum));
#endif
}

/** Keeps the compiler from moving what is done with the registers across. */
template <int kNum>
SIMT_DEVICE void pin(float (&c)[kNum]) {
  SIMT_UNROLL
  for (int i = 0; i < kNum; ++i) asm volatile("" : "+f"(c[i])::"memory");
}

template <int kNum>
SIMT_DEVICE void pin(FragmentA (&a)[kNum]) {
  SIMT_UNROLL
  for (int i = 0; i < kNum; ++i) {
    asm volatile("" : "+r"(a[i].r[0]), "+r"(a[i].r[1]), "+r"(a[i].r[2]), "+r"(a[i].r[3])::"memory");
  }
}

/** Before the first product, and whenever shared memory or registers of products were touched; names the registers that were. */
template <class... Registers>
SIMT_DEVICE void begin_products(Registers&... registers) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  (pin(registers), ...);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

/** Closes a group of products. */
SIMT_DEVICE void commit_products() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

/** Waits until at most kPending of the newest groups are under way; then the registers of the others, named here, may be used. */
template <int kPending, class... Registers>
SIMT_DEVICE void wait_products(Registers&... registers) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
  (pin(registers), ...);
#endif
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define SIMT_SUM_8(i)                                                                         \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), \
      "+f"(c[i + 6]), "+f"(c[i + 7])
#define SIMT_SUMS_32 SIMT_SUM_8(0), SIMT_SUM_8(8), SIMT_SUM_8(16), SIMT_SUM_8(24)
#define SIMT_SUMS_64 SIMT_SUMS_32, SIMT_SUM_8(32), SIMT_SUM_8(40), SIMT_SUM_8(48), SIMT_SUM_8(56)
#define SIMT_NAMES_32                                                                          \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, " \
  "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SIMT_NAMES_64                                                                            \
  SIMT_NAMES_32                                                                                  \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, " \
  "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
// operands: the operands' names, whether to add, two signs, which of them lie with their rows next to each other.
#define SIMT_PRODUCT(shape, type, names, operands, sums, ...)                            \
  asm volatile("wgmma.mma_async.sync.aligned." shape "k16.f32." type "." type " {" names \
               "}, " operands ";"                                                        \
               : sums                                                                    \
               : __VA_ARGS__                                                             \
               : "memory")
#else
#define SIMT_PRODUCT(...) __trap()
#endif

/** c [64, 2 kNum] += a [64, 16] b [2 kNum, 16]^T, = without kAdd; T is Bf16 or Fp16, kNum 32 or 64. */
template <class T, bool kAdd = true, int kNum>
SIMT_DEVICE void warpgroup_product(
    float (&c)[kNum], const OperandMatrix& a, const OperandMatrix& b) {
  static_assert(kNum == 32 || kNum == 64);
#define SIMT_OF_TYPE(type)                                                         \
  if constexpr (kNum == 32) {                                                      \
    SIMT_PRODUCT(                                                                  \
        "m64n64", type, SIMT_NAMES_32, "%32, %33, %34, 1, 1, 0, 0", SIMT_SUMS_32,  \
        "l"(a.descriptor()), "l"(b.descriptor()), "n"(static_cast<int>(kAdd)));    \
  } else {                                                                         \
    SIMT_PRODUCT(                                                                  \
        "m64n128", type, SIMT_NAMES_64, "%64, %65, %66, 1, 1, 0, 0", SIMT_SUMS_64, \
        "l"(a.descriptor()), "l"(b.descriptor()), "n"(static_cast<int>(kAdd)));    \
  }
  if constexpr (std::is_same_v<T, Bf16>) {
    SIMT_OF_TYPE("bf16");
  } else {
    SIMT_OF_TYPE("f16");
  }
#undef SIMT_OF_TYPE
}

/**
 * The same with a in registers and b turned: chunks of 8 columns of k x 8 rows, or swizzled_columns. Warp w has rows 16 w .. 16 w + 15 of a as mma.h lays
 * them out; they stay as they are until the wait.
 */
template <class T, bool kAdd = true, int kNum>
SIMT_DEVICE void warpgroup_product(float (&c)[kNum], const FragmentA& a, const OperandMatrix& b) {
  static_assert(kNum == 32 || kNum == 64);
#define SIMT_OF_TYPE(type)                                                                       \
  if constexpr (kNum == 32) {                                                                    \
    SIMT_PRODUCT(                                                                                \
        "m64n64", type, SIMT_NAMES_32, "{%32, %33, %34, %35}, %36, %37, 1, 1, 1", SIMT_SUMS_32,  \
        "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "l"(b.descriptor()),                 \
        "n"(static_cast<int>(kAdd)));                                                            \
  } else {                                                                                       \
    SIMT_PRODUCT(                                                                                \
        "m64n128", type, SIMT_NAMES_64, "{%64, %65, %66, %67}, %68, %69, 1, 1, 1", SIMT_SUMS_64, \
        "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "l"(b.descriptor()),                 \
        "n"(static_cast<int>(kAdd)));                                                            \
  }
  if constexpr (std::is_same_v<T, Bf16>) {
    SIMT_OF_TYPE("bf16");
  } else {
    SIMT_OF_TYPE("f16");
  }
#undef SIMT_OF_TYPE
}
#undef SIMT_PRODUCT
#undef SIMT_SUM_8
#undef SIMT_SUMS_32
#undef SIMT_SUMS_64
#undef SIMT_NAMES_32
#undef SIMT_NAMES_64

#else

template <int kNum>
SIMT_DEVICE void give_registers() {}
template <int kNum>
SIMT_DEVICE void take_registers() {}

SIMT_DEVICE void publish_shared() { emulated::publish_shared(); }
SIMT_DEVICE void commit_products() { emulated::commit_products(); }

template <class... Registers>
SIMT_DEVICE void begin_products(Registers&...) {
  emulated::begin_products();
}

template <int kPending, class... Registers>
SIMT_DEVICE void wait_products(Registers&...) {
  emulated::wait_products(kPending);
}

template <class T, bool kAdd = true, int kNum>
SIMT_DEVICE void warpgroup_product(
    float (&c)[kNum], const OperandMatrix& a, const OperandMatrix& b) {
  emulated::product({c, 2 * kNum, kAdd, std::is_same_v<T, Bf16>}, a.operand(), b.operand());
}

template <class T, bool kAdd = true, int kNum>
SIMT_DEVICE void warpgroup_product(float (&c)[kNum], const FragmentA& a, const OperandMatrix& b) {
  emulated::product({c, 2 * kNum, kAdd, std::is_same_v<T, Bf16>}, a.r, b.operand());
}

#endif

}  // namespace simt

#endif
