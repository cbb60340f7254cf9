// Element types and their conversion, rounding to nearest, ties to even.
#ifndef ESPALIER_CPU_CONVERT_H
#define ESPALIER_CPU_CONVERT_H

#include <bit>
#include <cstdint>

#include "ops/ops.h"

namespace espalier {

struct Bf16 {
  uint16_t bits;
};

struct Fp16 {
  uint16_t bits;
};

inline float to_float(float x) { return x; }

inline float to_float(Bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

inline float to_float(Fp16 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000) << 16;
  const uint32_t magnitude = x.bits & 0x7fff;
  if (magnitude >= 0x7c00) {  // infinity or NaN
    const uint32_t quiet = magnitude > 0x7c00 ? 0x400000 : 0;
    return std::bit_cast<float>(sign | 0x7f800000 | quiet | (magnitude & 0x3ff) << 13);
  }
  const float scaled =
      std::bit_cast<float>(magnitude << 13) * 0x1p112f;  // also right for subnormal numbers
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(scaled));
}

inline void from_float(float x, float* out) { *out = x; }

inline void from_float(float x, Bf16* out) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffff) > 0x7f800000) {
    out->bits = static_cast<uint16_t>(bits >> 16 | 0x40);
  } else {
    out->bits = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
}

inline void from_float(float x, Fp16* out) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  uint32_t half;
  if (magnitude > 0x7f800000) {
    half = 0x7e00 | (magnitude >> 13 & 0x3ff);
  } else if (magnitude >= 0x477ff000) {  // 65520 and above round to infinity
    half = 0x7c00;
  } else if (magnitude < 0x38800000) {  // subnormal: the sum with 1/2 has the step 2^-24
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) -
           std::bit_cast<uint32_t>(0.5f);
  } else {
    half = (magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
  }
  out->bits = static_cast<uint16_t>(sign | half);
}

/** Calls f with a null pointer to the element type of a float type. */
template <class F>
void with_type(Type type, F&& f) {
  switch (type) {
    case Type::kBf16:
      return f(static_cast<const Bf16*>(nullptr));
    case Type::kFp16:
      return f(static_cast<const Fp16*>(nullptr));
    default:
      return f(static_cast<const float*>(nullptr));
  }
}

}  // namespace espalier

#endif
