// Rotary position embeddings: the angles of a position, for every kind of scaling that a config can
// ask for.
#ifndef ESPALIER_MODEL_ROPE_H
#define ESPALIER_MODEL_ROPE_H

#include <cstdint>
#include <optional>
#include <vector>

namespace espalier {

enum class RopeKind { kDefault, kLinear, kDynamic, kLlama3, kYarn };

/** The kind as config.json spells it. */
const char* rope_kind_name(RopeKind kind);

/** Rope parameters of a config, and what follows from them. */
struct RopeConfig {
  RopeKind kind = RopeKind::kDefault;
  int32_t head_dim = 0;
  double theta = 10000;
  double factor = 1;                   // linear, dynamic, llama3, yarn
  int32_t original_max_positions = 0;  // dynamic, llama3, yarn
  double low_freq_factor = 1;          // llama3
  double high_freq_factor = 4;         // llama3
  double beta_fast = 32;               // yarn
  double beta_slow = 1;                // yarn
  bool truncate = true;                // yarn: whole dimensions as the bounds of the ramp
  std::optional<double> attention_factor, mscale, mscale_all_dim;  // yarn

  std::vector<float> inv_freq;  // [head_dim / 2], by prepare_rope
  float scale = 1;              // of cosines and sines, by prepare_rope; other than 1 for yarn only
};

/** Fills inv_freq and scale. */
void prepare_rope(RopeConfig* rope);

/**
 * Cosines and sines of a prepared config at a position, in fp32 as Hugging Face transformers
 * computes them.
 *
 * Dynamic: a position p >= original_max_positions takes the base of a context of p + 1 tokens, as
 * transformers does when it decodes token by token with a cache; so a position has one angle,
 * whatever is computed with it.
 *
 *   cos, sin  [head_dim / 2]  out
 */
void rope_angles(const RopeConfig& rope, int32_t position, float* cos, float* sin);

}  // namespace espalier

#endif
