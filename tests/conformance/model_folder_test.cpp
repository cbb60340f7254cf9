// Model folders that are missing, damaged or not supported, through the public ABI: a status, a text that names the
// thing, and no model.
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "check.h"
#include "espalier.h"
#include "model/json.h"
#include "support/random_model.h"

namespace {

using espalier_test::RandomModel;
using espalier_test::TemporaryFolder;

/** A good folder, to be damaged, and what loading it then says. */
class Folder {
 public:
  Folder() {
    write_random_model(RandomModel(), folder_.path());
    REQUIRE(espalier_context_create(ESPALIER_CPU, 0, 1, &ctx_) == ESPALIER_OK);
  }
  ~Folder() { espalier_context_destroy(ctx_); }

  std::string path(const char* name) const { return folder_.path() + "/" + name; }

  std::string read(const char* name) const {
    return espalier::read_file(path(name), size_t{1} << 24);
  }

  void write(const char* name, const std::string& content) const {
    std::ofstream(path(name), std::ios::binary) << content;
  }

  /** Replaces the first occurrence in a file, which must be there. */
  void replace(const char* name, const std::string& from, const std::string& to) const {
    std::string content = read(name);
    const size_t at = content.find(from);
    REQUIRE(at != std::string::npos);
    write(name, content.replace(at, from.size(), to));
  }

  /** Whether the folder is refused with a text that holds the part, and no model is given out. */
  bool refused(const std::string& part, espalier_status expected = ESPALIER_BAD_MODEL) const {
    espalier_model* const untouched = reinterpret_cast<espalier_model*>(uintptr_t{8});
    espalier_model* model = untouched;
    const espalier_status status = espalier_model_load(ctx_, folder_.path().c_str(), &model);
    const std::string text = status == ESPALIER_OK ? "loaded" : espalier_last_error();
    const bool good =
        status == expected && model == untouched && text.find(part) != std::string::npos;
    if (!good) std::printf("  status %d: %s\n", status, text.c_str());
    if (status == ESPALIER_OK) espalier_model_destroy(model);
    return good;
  }

  bool loads() const {
    espalier_model* model = nullptr;
    const espalier_status status = espalier_model_load(ctx_, folder_.path().c_str(), &model);
    espalier_model_destroy(model);
    return status == ESPALIER_OK && model != nullptr;
  }

  espalier_context* ctx() const { return ctx_; }

 private:
  TemporaryFolder folder_;
  espalier_context* ctx_ = nullptr;
};

constexpr char kConfig[] = "config.json";
constexpr char kWeights[] = "model.safetensors";

}  // namespace

TEST(the_undamaged_folder_loads) { CHECK(Folder().loads()); }

TEST(null_arguments_and_missing_folders_are_refused) {
  const Folder folder;
  espalier_model* model = nullptr;
  CHECK_EQ(espalier_model_load(nullptr, "x", &model), ESPALIER_INVALID_ARGUMENT);
  CHECK_EQ(espalier_model_load(folder.ctx(), nullptr, &model), ESPALIER_INVALID_ARGUMENT);
  CHECK_EQ(espalier_model_load(folder.ctx(), "x", nullptr), ESPALIER_INVALID_ARGUMENT);
  CHECK_EQ(espalier_model_load(folder.ctx(), "/no/such/folder", &model), ESPALIER_BAD_MODEL);
  CHECK_EQ(
      std::string(espalier_last_error()),
      std::string(
          "espalier_model_load: /no/such/folder/config.json: No such file or directory, "
          "expected a readable file"));
  CHECK(model == nullptr);
}

TEST(missing_files_are_refused) {
  const Folder folder;
  std::filesystem::remove(folder.path(kWeights));
  CHECK(folder.refused("no weights, expected model.safetensors or model.safetensors.index.json"));
  std::filesystem::remove(folder.path(kConfig));
  CHECK(folder.refused("config.json: No such file or directory"));
}

TEST(damaged_weights_are_refused) {
  const Folder folder;
  const std::string good = folder.read(kWeights);
  for (size_t len :
       {size_t{0}, size_t{7}, size_t{8}, size_t{100}, good.size() / 2, good.size() - 1}) {
    folder.write(kWeights, good.substr(0, len));
    CHECK_MSG(folder.refused("model.safetensors: "), "cut to %zu bytes", len);
  }
  folder.write(kWeights, good + "x");
  CHECK(folder.refused("1 bytes after the last tensor"));
  std::string header = good;
  std::memset(header.data(), 0xFF, 8);
  folder.write(kWeights, header);
  CHECK(folder.refused("header = 18446744073709551615 bytes, expected at most"));
  folder.write(kWeights, good);
  folder.replace(kWeights, "\"dtype\"", "\"dtypo\"");
  CHECK(folder.refused("no dtype"));
  folder.write(kWeights, good);
  CHECK(folder.loads());
}

TEST(tensors_of_another_type_or_name_are_refused) {
  const Folder folder;
  const std::string good = folder.read(kWeights);
  folder.replace(kWeights, "\"BF16\"", "\"I16\" ");
  CHECK(folder.refused("dtype = I16, expected F32, BF16 or F16"));
  folder.write(kWeights, good);
  folder.replace(
      kWeights, "k_proj.weight\": {\"dtype\": \"BF16\"", "k_proj.weight\": {\"dtype\": \"F16\" ");
  CHECK(folder.refused(
      "type of model.layers.0.self_attn.k_proj.weight = fp16, expected bf16, as "
      "model.layers.0.self_attn.q_proj.weight has"));
  folder.write(kWeights, good);
  folder.replace(kWeights, "model.norm.weight", "model.form.weight");
  CHECK(folder.refused("tensor \"model.norm.weight\" = missing, expected shape [40]"));
}

TEST(configs_that_do_not_fit_the_weights_are_refused) {
  const struct {
    const char *from, *to, *error;
  } cases[] = {
      {"\"vocab_size\": 61", "\"vocab_size\": 62",
       "tensor \"model.embed_tokens.weight\": shape = [61, 40], expected [62, 40]"},
      {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
       "tensor \"model.layers.2.input_layernorm.weight\" = missing, expected shape [40]"},
      {"\"intermediate_size\": 72", "\"intermediate_size\": 71",
       "tensor \"model.layers.0.mlp.gate_proj.weight\": shape = [72, 40], expected [71, 40]"},
      {"\"head_dim\": 16", "\"head_dim\": 8",
       "tensor \"model.layers.0.self_attn.q_proj.weight\": shape = [64, 40], expected [32, 40]"},
      {"LlamaForCausalLM", "Qwen2ForCausalLM",
       "tensor \"model.layers.0.self_attn.q_proj.bias\" = missing, expected shape [64]"},
      {"LlamaForCausalLM", "Qwen3ForCausalLM",
       "tensor \"model.layers.0.self_attn.q_norm.weight\" = missing, expected shape [16]"},
      {"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false",
       "tensor \"lm_head.weight\" = missing, expected shape [61, 40]"},
      {"LlamaForCausalLM", "GPT2LMHeadModel", "architectures = \"GPT2LMHeadModel\", expected"},
      {"\"num_attention_heads\": 4", "\"num_attention_heads\": 0", "num_attention_heads = 0"},
      {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "num_key_value_heads = 3"},
      {"\"hidden_size\": 40", "\"hidden_sizes\": 40", "hidden_size = missing, expected"},
      {"\"silu\"", "\"gelu\"", "hidden_act = \"gelu\", expected silu"},
      {"}", "", "config.json: byte "},
  };
  for (const auto& c : cases) {
    const Folder folder;
    folder.replace(kConfig, c.from, c.to);
    CHECK_MSG(folder.refused(c.error), "%s", c.to);
  }
}
