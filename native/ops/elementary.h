// exp and log in fp32 that have the same bits on every backend: products, sums and quotients that round once each, in
// a given order, and no function of a library. Compilers contract nothing (-ffp-contract=off, -fmad=false).
#ifndef ESPALIER_OPS_ELEMENTARY_H
#define ESPALIER_OPS_ELEMENTARY_H

#include <cstdint>
#include <cstring>

// A function that kernels and the host share.
#ifdef __CUDACC__
#define ESPALIER_SHARED __host__ __device__ inline
#else
#define ESPALIER_SHARED inline
#endif

namespace espalier {

ESPALIER_SHARED uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

ESPALIER_SHARED float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// ln 2 in two parts; n * kLn2High is exact for |n| < 2^14.
constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;

/** e^x for -87 <= x <= 0, within 2^-22 of itself; 1 for 0. */
ESPALIER_SHARED float exp_fp32(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: a sum with it is rounded to a whole number
  const float n = (x * 1.44269504f + kRound) - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;  // |r| <= 0.35
  float p = 1.0f / 5040;  // Taylor's series to r^7; what is left out is below 6e-9
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  return float_of(bits_of(p) + (static_cast<uint32_t>(static_cast<int32_t>(n)) << 23));
}

/** log(1 + f) for -0.3 <= f <= 0.42, within 2^-22 of itself. */
ESPALIER_SHARED float log1p_fp32(float f) {
  // With s = f / (2 + f): log(1 + f) = 2 s + 2/3 s^3 + 2/5 s^5 + ..., and 2 s = f - s f.
  const float s = f / (2.0f + f);
  const float t = s * s;
  float rest = 2.0f / 11;
  rest = rest * t + 2.0f / 9;
  rest = rest * t + 2.0f / 7;
  rest = rest * t + 2.0f / 5;
  rest = rest * t + 2.0f / 3;
  rest = rest * t;
  const float half_square = 0.5f * f * f;  // s f = half_square - s half_square
  return f - (half_square - s * (half_square + rest));
}

/** log(x) of a positive normal number, within 2^-22 of itself, or of 2^-24 near 1. */
ESPALIER_SHARED float log_fp32(float x) {
  constexpr uint32_t kSqrtHalf = 0x3f3504f3;
  const uint32_t above = bits_of(x) - kSqrtHalf;
  const int32_t n = static_cast<int32_t>(above) >> 23;  // x = 2^n m, m from sqrt(1/2) to sqrt(2)
  const float m = float_of(bits_of(x) - (static_cast<uint32_t>(n) << 23));
  const auto whole = static_cast<float>(n);
  return whole * kLn2High + (log1p_fp32(m - 1.0f) + whole * kLn2Low);
}

}  // namespace espalier

#endif
