// config.json of a Hugging Face model folder.
#ifndef ESPALIER_MODEL_CONFIG_H
#define ESPALIER_MODEL_CONFIG_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/rope.h"
#include "ops/ops.h"

namespace espalier {

/**
 * Shape and options of a LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM or
 * Qwen3ForCausalLM.
 */
struct ModelConfig {
  std::string architecture;  // as the config spells it, for instance LlamaForCausalLM
  int32_t num_layers = 0;
  int32_t hidden = 0;
  int32_t intermediate = 0;
  int32_t num_q_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t vocab = 0;
  int32_t max_positions = 0;  // longest context, in tokens
  float rms_norm_eps = 0;
  bool tied_embeddings = false;  // the LM head is the embedding
  bool qkv_bias = false;         // q_proj, k_proj and v_proj have biases
  bool o_bias = false;           // o_proj has a bias
  bool mlp_bias = false;         // gate_proj, up_proj and down_proj have biases
  bool qk_norm = false;          // RMS norm of every query and key head before rope
  RopeConfig rope;               // prepared
  std::vector<int32_t> window;   // [num_layers] tokens of the sliding window; 0 for full attention
  std::optional<Type> weight_type;  // dtype or torch_dtype, when set; the tensors themselves decide
};

/**
 * Reads <dir>/config.json. Throws Error with ESPALIER_BAD_MODEL for a file that is missing,
 * malformed or out of range, and for an architecture or option that espalier does not implement.
 *
 * Keys: those that change what the model computes are read or, when set to something not
 * implemented, refused by name. Any other key (token ids, dropout, initializer_range,
 * transformers_version, ...) changes nothing here and is ignored. A missing key has the default
 * that transformers gives it where that follows from the others; counts and sizes have no default.
 */
ModelConfig read_config(const std::string& dir);

/** The same from the text of config.json; `path` is for error texts. */
ModelConfig parse_config(std::string_view text, const std::string& path);

}  // namespace espalier

#endif
