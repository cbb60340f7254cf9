// bf16 and fp16. Conversions round to nearest, ties to even.
#ifndef ESPALIER_SIMT_CONVERT_H
#define ESPALIER_SIMT_CONVERT_H

#include <bit>
#include <type_traits>

#include "simt/target.h"

namespace simt {

struct Bf16 {
  uint16_t bits;
};

struct Fp16 {
  uint16_t bits;
};

SIMT_DEVICE float to_float(float x) { return x; }

SIMT_DEVICE float to_float(Bf16 x) {
#ifdef __CUDACC__
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
#else
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
#endif
}

SIMT_DEVICE float to_float(Fp16 x) {
#ifdef __CUDACC__
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x.bits));
  return value;
#else
  return static_cast<float>(std::bit_cast<_Float16>(x.bits));
#endif
}

/** from_float<T>(x): x as float, Bf16 or Fp16. */
template <class T>
SIMT_DEVICE T from_float(float x);

template <>
SIMT_DEVICE float from_float<float>(float x) {
  return x;
}

template <>
SIMT_DEVICE Bf16 from_float<Bf16>(float x) {
#ifdef __CUDACC__
  Bf16 value;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(value.bits) : "f"(x));
  return value;
#else
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (x != x) return {0x7fff};  // the one NaN of the instruction
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
#endif
}

template <>
SIMT_DEVICE Fp16 from_float<Fp16>(float x) {
#ifdef __CUDACC__
  Fp16 value;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(value.bits) : "f"(x));
  return value;
#else
  if (x != x) return {0x7fff};
  return {std::bit_cast<uint16_t>(static_cast<_Float16>(x))};
#endif
}

/** Two elements in one register, `low` in the low half: a part of a matrix fragment. */
template <class T>
SIMT_DEVICE uint32_t pack(T low, T high) {
  return low.bits | static_cast<uint32_t>(high.bits) << 16;
}

/** The same of two floats. */
template <class T>
SIMT_DEVICE uint32_t pack_rounded(float low, float high) {
#ifdef __CUDACC__
  uint32_t bits;
  if constexpr (std::is_same_v<T, Bf16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  }
  return bits;
#else
  return pack(from_float<T>(low), from_float<T>(high));
#endif
}

}  // namespace simt

#endif
