#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "runtime/status.h"

namespace espalier {
namespace {

// Steps are rounded to fp32 where transformers rounds them, so that both have the same frequencies
// up to the last bit of pow; an angle is the product of a position and a frequency, so a
// frequency's error grows with the position.

float unscaled_inv_freq(int32_t head_dim, float theta, int32_t i) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
  return 1.0f / std::pow(theta, exponent);
}

float llama3_inv_freq(const RopeConfig& rope, float inv_freq) {
  const double original = rope.original_max_positions;
  const float wavelength = (1.0f / inv_freq) * static_cast<float>(2 * std::numbers::pi);
  if (wavelength > static_cast<float>(original / rope.low_freq_factor)) {
    return inv_freq / static_cast<float>(rope.factor);
  }
  if (wavelength < static_cast<float>(original / rope.high_freq_factor)) return inv_freq;
  const float low = static_cast<float>(rope.low_freq_factor);
  const float width = static_cast<float>(rope.high_freq_factor - rope.low_freq_factor);
  const float smooth = ((1.0f / wavelength) * static_cast<float>(original) - low) / width;
  return (1.0f - smooth) * inv_freq / static_cast<float>(rope.factor) + smooth * inv_freq;
}

/** The dimension, as a real number, that turns so many times within the original context. */
double yarn_dimension(const RopeConfig& rope, double num_rotations) {
  const double turns = rope.original_max_positions / (num_rotations * 2 * std::numbers::pi);
  return rope.head_dim * std::log(turns) / (2 * std::log(rope.theta));
}

void yarn_inv_freq(RopeConfig* rope) {
  double low = yarn_dimension(*rope, rope->beta_fast);
  double high = yarn_dimension(*rope, rope->beta_slow);
  if (rope->truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, rope->head_dim - 1.0);
  if (low == high) high += 0.001;
  for (int32_t i = 0; i < rope->head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope->head_dim);
    const float frequency = std::pow(static_cast<float>(rope->theta), exponent);
    const float ramp =
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1.0f - std::clamp(ramp, 0.0f, 1.0f);
    const float interpolated = 1.0f / (static_cast<float>(rope->factor) * frequency);
    const float extrapolated = 1.0f / frequency;
    rope->inv_freq[i] = interpolated * (1.0f - kept) + extrapolated * kept;
  }
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double yarn_scale(const RopeConfig& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  const double mscale = rope.mscale.value_or(0), mscale_all_dim = rope.mscale_all_dim.value_or(0);
  if (mscale != 0 && mscale_all_dim != 0) {
    return yarn_mscale(rope.factor, mscale) / yarn_mscale(rope.factor, mscale_all_dim);
  }
  return yarn_mscale(rope.factor, 1);
}

/** The base of a context longer than the original one. */
float dynamic_theta(const RopeConfig& rope, int32_t context_len) {
  const float ratio = static_cast<float>(rope.factor) * static_cast<float>(context_len) /
                      static_cast<float>(rope.original_max_positions);
  const float stretch = ratio - static_cast<float>(rope.factor - 1);
  const float power = static_cast<float>(rope.head_dim / (rope.head_dim - 2.0));
  return static_cast<float>(rope.theta) * std::pow(stretch, power);
}

}  // namespace

const char* rope_kind_name(RopeKind kind) {
  switch (kind) {
    case RopeKind::kDefault:
      return "default";
    case RopeKind::kLinear:
      return "linear";
    case RopeKind::kDynamic:
      return "dynamic";
    case RopeKind::kLlama3:
      return "llama3";
    case RopeKind::kYarn:
      return "yarn";
  }
  return "";
}

void prepare_rope(RopeConfig* rope) {
  rope->inv_freq.assign(static_cast<size_t>(rope->head_dim / 2), 0.0f);
  rope->scale = 1;
  if (rope->kind == RopeKind::kYarn) {
    yarn_inv_freq(rope);
    rope->scale = static_cast<float>(yarn_scale(*rope));
  } else {
    for (int32_t i = 0; i < rope->head_dim / 2; ++i) {
      float inv_freq = unscaled_inv_freq(rope->head_dim, static_cast<float>(rope->theta), i);
      if (rope->kind == RopeKind::kLinear) inv_freq /= static_cast<float>(rope->factor);
      if (rope->kind == RopeKind::kLlama3) inv_freq = llama3_inv_freq(*rope, inv_freq);
      rope->inv_freq[i] = inv_freq;
    }
  }
  const bool finite = std::all_of(rope->inv_freq.begin(), rope->inv_freq.end(), [](float inv_freq) {
    return std::isfinite(inv_freq);
  });
  if (!finite || !std::isfinite(rope->scale)) {
    fail(
        ESPALIER_BAD_MODEL,
        "rope of type %s: frequencies = infinite or NaN, expected finite; check theta = %g, factor "
        "= %g",
        rope_kind_name(rope->kind), rope->theta, rope->factor);
  }
}

void rope_angles(const RopeConfig& rope, int32_t position, float* cos, float* sin) {
  const bool stretched = rope.kind == RopeKind::kDynamic && position >= rope.original_max_positions;
  const float theta = stretched ? dynamic_theta(rope, position + 1) : 0.0f;
  for (int32_t i = 0; i < rope.head_dim / 2; ++i) {
    const float inv_freq =
        stretched ? unscaled_inv_freq(rope.head_dim, theta, i) : rope.inv_freq[i];
    const float angle = static_cast<float>(position) * inv_freq;
    cos[i] = std::cos(angle) * rope.scale;
    sin[i] = std::sin(angle) * rope.scale;
  }
}

}  // namespace espalier
