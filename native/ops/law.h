// The law of a row's next token, as every backend computes it, bit for bit.
//
// A token's weight is exp(z), z = (l - max l) / temperature. Masses are sums of weights in whole units, so that they
// have no order: the same in any number of threads and blocks. The tokens of a law are the first ones by larger z, then
// lower id; where they end is found by different means on different backends, with the same result.
#ifndef ESPALIER_OPS_LAW_H
#define ESPALIER_OPS_LAW_H

#include <cmath>

#include "espalier.h"
#include "ops/elementary.h"

namespace espalier {

/** A token below is not kept, so that weights and probabilities of kept tokens are above 0 in fp32. */
constexpr float kLeastZ = -87.0f;

/** Whether the context of a row changes its logits. */
ESPALIER_SHARED bool has_penalties(const espalier_sampling& s) {
  return s.repetition_penalty != 1 || s.presence_penalty != 0 || s.frequency_penalty != 0;
}

ESPALIER_SHARED bool is_greedy(const espalier_sampling& s) {
  return s.temperature <= 1e-5f || s.top_k == 1;
}

/** Whether the tokens of the law are not known from each token's weight alone. */
ESPALIER_SHARED bool has_filters(const espalier_sampling& s) {
  return !is_greedy(s) && (s.top_k > 0 || s.top_p < 1);
}

/** The logit of a token that the context holds `count` > 0 times. */
ESPALIER_SHARED float penalized(float l, int32_t count, const espalier_sampling& s) {
  constexpr float kLargest = 3.40282347e38f;
  if (l < -kLargest) return l;  // masked
  l = l > 0 ? l / s.repetition_penalty : l * s.repetition_penalty;
  l = l - (s.presence_penalty + s.frequency_penalty * static_cast<float>(count));
  return l < -kLargest ? -kLargest : l > kLargest ? kLargest : l;
}

/** z of a logit; greedy laws, whose log-probabilities are of the softmax, have the temperature 1. */
ESPALIER_SHARED float z_of(float l, float max, const espalier_sampling& s) {
  return is_greedy(s) ? l - max : (l - max) / s.temperature;
}

/** Weight of a token; 0 where it is not kept. */
ESPALIER_SHARED float weight_of(float z) { return z >= kLeastZ ? exp_fp32(z) : 0.0f; }

/**
 * Units of a weight of 1, a power of two: `vocab` of them are at most 2^62. Each weight loses less
 * than a unit, which is 2^-45 in a vocabulary of 2^17, and all of them 2^-28 of the mass at most.
 */
inline float mass_unit(int32_t vocab) {
  int32_t bits = 62;
  for (int64_t reach = 1; reach < vocab; reach *= 2) --bits;
  return static_cast<float>(int64_t{1} << bits);
}

ESPALIER_SHARED int64_t units_of(float weight, float unit) {
  return static_cast<int64_t>(weight * unit);
}

/** Units that top_p asks for: the fewest tokens that have as many are kept. */
ESPALIER_SHARED int64_t wanted_units(int64_t mass, float top_p) {
  return static_cast<int64_t>(static_cast<double>(mass) * static_cast<double>(top_p));
}

/** What a token of a law adds to its mass: a value that is no probability makes it NaN. */
ESPALIER_SHARED double law_term(float p) { return p >= 0 && p <= 2 ? static_cast<double>(p) : NAN; }

/** Whether numbers with that mass are a law, up to rounding. */
ESPALIER_SHARED bool is_law(double mass) { return mass >= 1 - 1e-3 && mass <= 1 + 1e-3; }

/** A mass in weights, to divide by. */
ESPALIER_SHARED float mass_of(int64_t units, float unit) {
  return static_cast<float>(units) / unit;
}

}  // namespace espalier

#endif
