// Arithmetic that rounds once, to nearest, whatever the compiler's options. Products and sums in a kernel are written with
// operators where two roundings are wanted: kernels are compiled with -fmad=false, as the host is with -ffp-contract=off.
#ifndef ESPALIER_SIMT_MATH_H
#define ESPALIER_SIMT_MATH_H

#include <cmath>

#include "simt/target.h"

namespace simt {

#ifdef __CUDACC__
SIMT_DEVICE float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }  // a * b + c
SIMT_DEVICE float divide(float a, float b) { return __fdiv_rn(a, b); }           // a / b
SIMT_DEVICE float sqrt(float x) { return __fsqrt_rn(x); }                        // square root
#else
SIMT_DEVICE float fma(float a, float b, float c) { return std::fma(a, b, c); }
SIMT_DEVICE float divide(float a, float b) { return a / b; }
SIMT_DEVICE float sqrt(float x) { return std::sqrt(x); }
#endif

}  // namespace simt

#endif
