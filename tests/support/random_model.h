// Model folders of random weights for tests and benchmarks: they prove arithmetic, never speed-up.
#ifndef ESPALIER_TESTS_SUPPORT_RANDOM_MODEL_H
#define ESPALIER_TESTS_SUPPORT_RANDOM_MODEL_H

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace espalier_test {

/** Shape of a random Llama; the defaults are small and odd enough to meet tails. */
struct RandomModel {
  int layers = 2, hidden = 40, intermediate = 72, q_heads = 4, kv_heads = 2, head_dim = 16,
      vocab = 61;
  int max_positions = 256;
  bool tied = true;
  uint64_t seed = 1;
  std::string nan_in;  // name of a tensor that gets a NaN in its row nan_row
  int nan_row = 0;
};

/** A folder that is removed with the object. */
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "espalier-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/** Writes config.json and model.safetensors (bf16) of a random Llama. */
inline void write_random_model(const RandomModel& m, const std::string& dir) {
  std::ofstream(dir + "/config.json")
      << "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_act\": "
         "\"silu\""
      << ", \"num_hidden_layers\": " << m.layers << ", \"hidden_size\": " << m.hidden
      << ", \"intermediate_size\": " << m.intermediate << ", \"num_attention_heads\": " << m.q_heads
      << ", \"num_key_value_heads\": " << m.kv_heads << ", \"head_dim\": " << m.head_dim
      << ", \"vocab_size\": " << m.vocab << ", \"max_position_embeddings\": " << m.max_positions
      << ", \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"tie_word_embeddings\": "
      << (m.tied ? "true" : "false") << ", \"torch_dtype\": \"bfloat16\"}\n";
  std::vector<std::pair<std::string, std::vector<int>>> tensors = {
      {"model.embed_tokens.weight", {m.vocab, m.hidden}}, {"model.norm.weight", {m.hidden}}};
  if (!m.tied) tensors.push_back({"lm_head.weight", {m.vocab, m.hidden}});
  for (int i = 0; i < m.layers; ++i) {
    const std::string at = "model.layers." + std::to_string(i) + ".";
    const int q = m.q_heads * m.head_dim, kv = m.kv_heads * m.head_dim;
    tensors.insert(
        tensors.end(), {{at + "input_layernorm.weight", {m.hidden}},
                        {at + "self_attn.q_proj.weight", {q, m.hidden}},
                        {at + "self_attn.k_proj.weight", {kv, m.hidden}},
                        {at + "self_attn.v_proj.weight", {kv, m.hidden}},
                        {at + "self_attn.o_proj.weight", {m.hidden, q}},
                        {at + "post_attention_layernorm.weight", {m.hidden}},
                        {at + "mlp.gate_proj.weight", {m.intermediate, m.hidden}},
                        {at + "mlp.up_proj.weight", {m.intermediate, m.hidden}},
                        {at + "mlp.down_proj.weight", {m.hidden, m.intermediate}}});
  }
  std::string header = "{";
  int64_t offset = 0;
  for (const auto& [name, shape] : tensors) {
    const int64_t n = shape.size() == 1 ? shape[0] : int64_t{shape[0]} * shape[1];
    header += (offset == 0 ? "\"" : ", \"") + name + "\": {\"dtype\": \"BF16\", \"shape\": [" +
              std::to_string(shape[0]) +
              (shape.size() == 2 ? ", " + std::to_string(shape[1]) : "") +
              "], \"data_offsets\": [" + std::to_string(offset) + ", " +
              std::to_string(offset + 2 * n) + "]}";
    offset += 2 * n;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::ofstream out(dir + "/model.safetensors", std::ios::binary);
  const uint64_t header_bytes = header.size();
  out.write(reinterpret_cast<const char*>(&header_bytes), 8);
  out << header;
  for (const auto& [name, shape] : tensors) {
    const int64_t rows = shape.size() == 1 ? 1 : shape[0], columns = shape.back();
    const bool norm = shape.size() == 1, embedding = name == "model.embed_tokens.weight";
    const float scale = embedding ? 1.0f : 1.0f / std::sqrt(static_cast<float>(columns));
    uint64_t state = m.seed * 0x9e3779b97f4a7c15u + std::hash<std::string>{}(name);
    std::vector<uint16_t> row(static_cast<size_t>(columns));
    for (int64_t r = 0; r < rows; ++r) {
      for (uint16_t& value : row) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const float unit = static_cast<float>(static_cast<int32_t>(state >> 33)) / 1073741824.0f -
                           1.0f;  // [-1, 1)
        const float x = norm ? 1.0f + 0.2f * unit : 1.7f * scale * unit;
        uint32_t bits;
        std::memcpy(&bits, &x, 4);
        value = static_cast<uint16_t>(bits >> 16);
      }
      if (name == m.nan_in && r == m.nan_row) row[0] = 0x7fc0;
      out.write(
          reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(2 * columns));
    }
  }
}

}  // namespace espalier_test

#endif
