// Arithmetic that rounds once, to nearest, whatever the compiler's options; exp2 and reciprocal apart. Products and sums in
// a kernel are written with operators where two roundings are wanted: kernels are compiled with -fmad=false, as the host
// is with -ffp-contract=off.
#ifndef ESPALIER_SIMT_MATH_H
#define ESPALIER_SIMT_MATH_H

#include <cmath>

#include "simt/target.h"

namespace simt {

#ifdef __CUDACC__
SIMT_DEVICE float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }  // a * b + c
SIMT_DEVICE float divide(float a, float b) { return __fdiv_rn(a, b); }           // a / b
SIMT_DEVICE float sqrt(float x) { return __fsqrt_rn(x); }                        // square root

/** 2^x within 2^-22 of itself; results below 2^-126 are 0. The bits are the device's own. */
SIMT_DEVICE float exp2(float x) {
  float value;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
  return value;
}

/** 1 / x within 2^-22 of itself; of what is below 2^-126 it is infinite. The bits are the device's own. */
SIMT_DEVICE float reciprocal(float x) {
  float value;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
  return value;
}
#else
SIMT_DEVICE float fma(float a, float b, float c) { return std::fma(a, b, c); }
SIMT_DEVICE float divide(float a, float b) { return a / b; }
SIMT_DEVICE float sqrt(float x) { return std::sqrt(x); }
SIMT_DEVICE float exp2(float x) {
  const float value = std::exp2(x);
  return value < 0x1p-126f ? 0.0f : value;
}
SIMT_DEVICE float reciprocal(float x) { return 1.0f / x; }
#endif

}  // namespace simt

#endif
