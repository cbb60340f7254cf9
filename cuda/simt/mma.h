// 16x8x16 products on the matrix units: fragments as PTX ISA, "Matrix Fragments for mma.m16n8k16", lays them out.
//
// With g = lane / 4 and t = lane % 4, register r of a lane holds, the lower column (A) or row (B) in its low half:
//   A [16, 16]  r0 (g, 2t..2t+1)   r1 (g+8, 2t..2t+1)   r2 (g, 2t+8..2t+9)   r3 (g+8, 2t+8..2t+9)
//   B [16, 8]   r0 (2t..2t+1, g)   r1 (2t+8..2t+9, g)
//   C [16, 8]   v0 (g, 2t)   v1 (g, 2t+1)   v2 (g+8, 2t)   v3 (g+8, 2t+1)
// The hardware's order of the 16 products is not published; the emulator adds them to c one by one, k ascending, each
// sum rounded to fp32. Only differences within fp32 rounding may be expected between the two.
#ifndef ESPALIER_SIMT_MMA_H
#define ESPALIER_SIMT_MMA_H

#include "simt/convert.h"

namespace simt {

struct FragmentA {
  uint32_t r[4];
};

struct FragmentB {
  uint32_t r[2];
};

struct FragmentC {
  float v[4];
};

#ifdef __CUDACC__

/** c += a b, T is Bf16 or Fp16; all lanes. */
template <class T>
SIMT_DEVICE void mma_16x8x16(FragmentC& c, const FragmentA& a, const FragmentB& b);

#define SIMT_MMA(T, type)                                                                  \
  template <>                                                                              \
  SIMT_DEVICE void mma_16x8x16<T>(FragmentC & c, const FragmentA& a, const FragmentB& b) { \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                             \
        ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"             \
        : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])                           \
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]));   \
  }
SIMT_MMA(Bf16, "bf16")
SIMT_MMA(Fp16, "f16")
#undef SIMT_MMA

/** ldmatrix: kNum 8x8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8 (16 bytes,
 *  aligned). Register m of a lane gets elements (g, 2t..2t+1) of matrix m, or (2t..2t+1, g) when transposed. Lanes from
 *  8 * kNum give any valid address. */
template <int kNum, bool kTransposed = false>
SIMT_DEVICE void load_matrix(uint32_t (&r)[kNum], const void* row) {
  static_assert(kNum == 1 || kNum == 2 || kNum == 4);
  const uint32_t address = shared_address(row);
#define SIMT_LDMATRIX(trans)                                                                 \
  if constexpr (kNum == 1) {                                                                 \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" trans ".shared.b16 {%0}, [%1];"             \
                 : "=r"(r[0])                                                                \
                 : "r"(address)                                                              \
                 : "memory");                                                                \
  } else if constexpr (kNum == 2) {                                                          \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" trans ".shared.b16 {%0, %1}, [%2];"         \
                 : "=r"(r[0]), "=r"(r[1])                                                    \
                 : "r"(address)                                                              \
                 : "memory");                                                                \
  } else {                                                                                   \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" trans ".shared.b16 {%0, %1, %2, %3}, [%4];" \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                            \
                 : "r"(address)                                                              \
                 : "memory");                                                                \
  }
  if constexpr (kTransposed) {
    SIMT_LDMATRIX(".trans")
  } else {
    SIMT_LDMATRIX("")
  }
#undef SIMT_LDMATRIX
}

#else

template <class T>
SIMT_DEVICE void mma_16x8x16(FragmentC& c, const FragmentA& a, const FragmentB& b);

template <>
SIMT_DEVICE void mma_16x8x16<Bf16>(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  emulated::mma_bf16(c.v, a.r, b.r);
}

template <>
SIMT_DEVICE void mma_16x8x16<Fp16>(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  emulated::mma_fp16(c.v, a.r, b.r);
}

template <int kNum, bool kTransposed = false>
SIMT_DEVICE void load_matrix(uint32_t (&r)[kNum], const void* row) {
  static_assert(kNum == 1 || kNum == 2 || kNum == 4);
  emulated::load_matrix(r, row, kNum, kTransposed);
}

#endif

}  // namespace simt

#endif
