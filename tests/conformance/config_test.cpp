// config.json: what each option means for a model, and which ones are refused.
#include "model/config.h"

#include <map>
#include <string>
#include <vector>

#include "check.h"
#include "runtime/status.h"

namespace {

using espalier::ModelConfig;
using espalier::RopeKind;
using Keys = std::map<std::string, std::string>;  // key to JSON text; an empty text removes the key

/** A valid config of an architecture with some keys changed. */
std::string config_text(const std::string& architecture, const Keys& changes = {}) {
  Keys keys = {
      {"architectures", "[\"" + architecture + "\"]"},
      {"hidden_size", "64"},
      {"intermediate_size", "96"},
      {"num_hidden_layers", "4"},
      {"num_attention_heads", "8"},
      {"num_key_value_heads", "2"},
      {"vocab_size", "1000"},
      {"max_position_embeddings", "2048"},
      {"hidden_act", "\"silu\""},
      {"rms_norm_eps", "1e-05"},
      {"sliding_window", architecture == "MistralForCausalLM" ? "null" : ""},
  };
  for (const auto& [key, value] : changes) keys[key] = value;
  std::string out;
  for (const auto& [key, value] : keys) {
    if (!value.empty()) out += (out.empty() ? "\"" : ", \"") + key + "\": " + value;
  }
  return "{" + out + "}";
}

ModelConfig config_of(const std::string& architecture, const Keys& changes = {}) {
  return espalier::parse_config(config_text(architecture, changes), "config.json");
}

/** Text of the error; empty when the config is accepted. */
std::string error_of(const std::string& text) {
  try {
    espalier::parse_config(text, "config.json");
    return "";
  } catch (const espalier::Error& e) {
    return e.status() == ESPALIER_BAD_MODEL ? e.what() : "wrong status";
  }
}

std::string error_of(const std::string& architecture, const Keys& changes) {
  return error_of(config_text(architecture, changes));
}

const char kLlama[] = "LlamaForCausalLM";
const char kMistral[] = "MistralForCausalLM";
const char kQwen2[] = "Qwen2ForCausalLM";
const char kQwen3[] = "Qwen3ForCausalLM";

}  // namespace

TEST(shapes_are_read) {
  const ModelConfig c = config_of(kLlama, {{"head_dim", "32"}, {"tie_word_embeddings", "true"}});
  CHECK_EQ(c.architecture, std::string(kLlama));
  CHECK_EQ(c.hidden, 64);
  CHECK_EQ(c.intermediate, 96);
  CHECK_EQ(c.num_layers, 4);
  CHECK_EQ(c.num_q_heads, 8);
  CHECK_EQ(c.num_kv_heads, 2);
  CHECK_EQ(c.head_dim, 32);
  CHECK_EQ(c.vocab, 1000);
  CHECK_EQ(c.max_positions, 2048);
  CHECK_EQ(c.rms_norm_eps, 1e-5f);
  CHECK(c.tied_embeddings);
  CHECK(!c.weight_type);
}

TEST(missing_keys_have_the_defaults_of_transformers) {
  CHECK_EQ(config_of(kLlama).head_dim, 8);
  CHECK_EQ(config_of(kLlama, {{"head_dim", "null"}}).head_dim, 8);
  CHECK_EQ(config_of(kMistral).head_dim, 8);
  CHECK_EQ(config_of(kQwen2).head_dim, 8);
  CHECK_EQ(config_of(kQwen3).head_dim, 128);
  CHECK_EQ(config_of(kLlama, {{"num_key_value_heads", ""}}).num_kv_heads, 8);
  const ModelConfig c = config_of(kLlama, {{"rms_norm_eps", ""}, {"hidden_act", ""}});
  CHECK_EQ(c.rms_norm_eps, 1e-6f);
  CHECK(!c.tied_embeddings);
  CHECK(c.rope.kind == RopeKind::kDefault && c.rope.theta == 10000);
}

TEST(biases_and_norms_are_those_of_the_architecture) {
  const auto bits = [](const ModelConfig& c) {
    return std::string() + "q-"[!c.qkv_bias] + "o-"[!c.o_bias] + "m-"[!c.mlp_bias] +
           "n-"[!c.qk_norm];
  };
  CHECK_EQ(bits(config_of(kLlama)), std::string("----"));
  CHECK_EQ(
      bits(config_of(kLlama, {{"attention_bias", "true"}, {"mlp_bias", "true"}})),
      std::string("qom-"));
  CHECK_EQ(bits(config_of(kMistral)), std::string("----"));
  CHECK_EQ(bits(config_of(kQwen2)), std::string("q---"));
  CHECK_EQ(bits(config_of(kQwen3)), std::string("---n"));
  CHECK_EQ(bits(config_of(kQwen3, {{"attention_bias", "true"}})), std::string("qo-n"));
}

TEST(sliding_windows_are_per_layer) {
  using Windows = std::vector<int32_t>;
  CHECK(config_of(kLlama).window == Windows({0, 0, 0, 0}));
  CHECK(config_of(kMistral).window == Windows({0, 0, 0, 0}));
  CHECK(config_of(kMistral, {{"sliding_window", "16"}}).window == Windows({16, 16, 16, 16}));
  CHECK(config_of(kMistral, {{"sliding_window", ""}}).window == Windows({4096, 4096, 4096, 4096}));
  CHECK(config_of(kQwen2, {{"sliding_window", "16"}}).window == Windows({0, 0, 0, 0}));
  const Keys used = {
      {"sliding_window", "16"}, {"use_sliding_window", "true"}, {"max_window_layers", "1"}};
  CHECK(config_of(kQwen2, used).window == Windows({0, 16, 16, 16}));
  CHECK(config_of(kQwen3, used).window == Windows({0, 16, 16, 16}));
  Keys chosen = used;
  chosen["layer_types"] =
      R"(["sliding_attention", "full_attention", "full_attention", "sliding_attention"])";
  CHECK(config_of(kQwen3, chosen).window == Windows({16, 0, 0, 16}));
  Keys unused = used;
  unused["sliding_window"] = "null";
  CHECK(config_of(kQwen2, unused).window == Windows({0, 0, 0, 0}));
  CHECK(
      config_of(kQwen2, {{"use_sliding_window", "true"}, {"max_window_layers", "3"}}).window[3] ==
      4096);
}

TEST(rope_is_read_in_both_notations) {
  for (const char* type : {"rope_type", "type"}) {
    const std::string kind = std::string("{\"") + type + "\": \"linear\", \"factor\": 4}";
    const ModelConfig c = config_of(kLlama, {{"rope_theta", "500"}, {"rope_scaling", kind}});
    CHECK(c.rope.kind == RopeKind::kLinear && c.rope.factor == 4 && c.rope.theta == 500);
    CHECK_EQ(c.max_positions, 8192);
  }
  const ModelConfig c = config_of(
      kLlama,
      {{"rope_parameters", R"({"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0})"}});
  CHECK(c.rope.kind == RopeKind::kLinear && c.rope.factor == 4 && c.rope.theta == 500);
  const ModelConfig plain =
      config_of(kLlama, {{"rope_parameters", R"({"rope_type": "default", "rope_theta": 7})"}});
  CHECK(plain.rope.kind == RopeKind::kDefault && plain.rope.theta == 7);
}

TEST(parameters_of_every_rope_kind_are_read) {
  const ModelConfig dynamic =
      config_of(kLlama, {{"rope_scaling", R"({"type": "dynamic", "factor": 2.5})"}});
  CHECK(dynamic.rope.kind == RopeKind::kDynamic && dynamic.rope.original_max_positions == 2048);
  CHECK_EQ(dynamic.max_positions, 5120);

  const ModelConfig llama3 = config_of(
      kLlama, {{"rope_scaling",
                R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
          "original_max_position_embeddings": 256})"}});
  CHECK(llama3.rope.kind == RopeKind::kLlama3 && llama3.rope.original_max_positions == 256);
  CHECK(
      llama3.rope.low_freq_factor == 1 && llama3.rope.high_freq_factor == 4 &&
      llama3.rope.factor == 8);
  CHECK_EQ(llama3.max_positions, 2048);

  const ModelConfig yarn = config_of(
      kQwen2,
      {{"rope_scaling", R"({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024,
          "beta_fast": 16, "beta_slow": 2, "mscale": 0.5, "mscale_all_dim": 0.25,
          "attention_factor": 1.5, "truncate": false})"}});
  CHECK(yarn.rope.kind == RopeKind::kYarn && yarn.rope.original_max_positions == 1024);
  CHECK(yarn.rope.beta_fast == 16 && yarn.rope.beta_slow == 2 && !yarn.rope.truncate);
  CHECK(
      yarn.rope.mscale == 0.5 && yarn.rope.mscale_all_dim == 0.25 &&
      yarn.rope.attention_factor == 1.5);
  CHECK_EQ(yarn.rope.scale, 1.5f);
  CHECK_EQ(yarn.max_positions, 4096);

  const ModelConfig defaults =
      config_of(kQwen2, {{"rope_scaling", R"({"type": "yarn", "factor": 4.0})"}});
  CHECK(defaults.rope.beta_fast == 32 && defaults.rope.beta_slow == 1 && defaults.rope.truncate);
  CHECK(defaults.rope.original_max_positions == 2048 && defaults.max_positions == 8192);
}

TEST(weight_types_are_read) {
  CHECK(config_of(kLlama, {{"torch_dtype", "\"bfloat16\""}}).weight_type == espalier::Type::kBf16);
  CHECK(config_of(kLlama, {{"dtype", "\"float16\""}}).weight_type == espalier::Type::kFp16);
  CHECK(config_of(kLlama, {{"dtype", "\"float32\""}}).weight_type == espalier::Type::kFp32);
}

TEST(keys_that_change_nothing_are_accepted) {
  CHECK_EQ(
      error_of(
          kLlama, {{"transformers_version", "\"4.57.1\""},
                   {"use_cache", "true"},
                   {"attention_dropout", "0.1"},
                   {"bos_token_id", "1"},
                   {"eos_token_id", "[2, 3]"},
                   {"initializer_range", "0.02"},
                   {"_name_or_path", "\"x\""},
                   {"model_type", "\"llama\""},
                   {"pretraining_tp", "1"},
                   {"partial_rotary_factor", "1.0"},
                   {"quantization_config", "null"},
                   {"use_mrope", "false"},
                   {"pruned_heads", "{}"},
                   {"attn_logit_softcapping", "null"},
                   {"a_key_of_somebody", "{\"x\": [1]}"}}),
      std::string());
}

TEST(options_that_are_not_implemented_are_refused_by_name) {
  const struct {
    const char* architecture;
    Keys changes;
    std::string error;
  } cases[] = {
      {"GPT2LMHeadModel",
       {},
       "config.json: architectures = \"GPT2LMHeadModel\", expected LlamaForCausalLM, "
       "MistralForCausalLM, "
       "Qwen2ForCausalLM or Qwen3ForCausalLM"},
      {kLlama, {{"hidden_act", "\"gelu\""}}, "config.json: hidden_act = \"gelu\", expected silu"},
      {kLlama,
       {{"quantization_config", "{\"bits\": 4}"}},
       "config.json: quantization_config = an object, expected not set; espalier does not "
       "implement it"},
      {kLlama,
       {{"pretraining_tp", "2"}},
       "config.json: pretraining_tp = 2, expected not set; espalier does not implement it"},
      {kLlama,
       {{"partial_rotary_factor", "0.5"}},
       "config.json: partial_rotary_factor = 0.5, expected not set; espalier does not implement "
       "it"},
      {kLlama,
       {{"attention_sinks", "true"}},
       "config.json: attention_sinks = true, expected not set; espalier does not implement it"},
      {kLlama,
       {{"final_logit_softcapping", "30.0"}},
       "config.json: final_logit_softcapping = 30, expected not set; espalier does not implement "
       "it"},
      {kQwen2,
       {{"use_mrope", "true"}},
       "config.json: use_mrope = true, expected not set; espalier does not implement it"},
      {kLlama,
       {{"auto_map", "{\"AutoModelForCausalLM\": \"m.M\"}"}},
       "config.json: auto_map = an object, expected no AutoModelForCausalLM; espalier does not run "
       "the code that comes "
       "with a model"},
      {kLlama,
       {{"rope_scaling", R"({"rope_type": "longrope", "factor": 4})"}},
       "config.json: rope_scaling: rope_type = \"longrope\", expected default, linear, dynamic, "
       "llama3 or yarn"},
      {kLlama,
       {{"rope_scaling", R"({"type": "mrope"})"}},
       "config.json: rope_scaling: type = \"mrope\", expected default, linear, dynamic, llama3 or "
       "yarn"},
      {kLlama,
       {{"rope_scaling", R"({"rope_type": "default", "mrope_section": [1, 2]})"}},
       "config.json: rope_scaling: \"mrope_section\" = an array, expected not set; espalier does "
       "not implement it"},
      {kLlama,
       {{"rope_scaling", R"({"rope_type": "dynamic", "alpha": 1000, "factor": 1})"}},
       "config.json: rope_scaling: \"alpha\" = 1000, expected not set; espalier does not implement "
       "it"},
      {kLlama,
       {{"rope_parameters", R"({"full_attention": {"rope_type": "default"}})"}},
       "config.json: rope_parameters: \"full_attention\" = an object, expected not set; espalier "
       "does not implement it"},
      {kLlama,
       {{"rope_parameters", R"({"rope_type": "default", "partial_rotary_factor": 0.5})"}},
       "config.json: rope_parameters: partial_rotary_factor = 0.5, expected 1; espalier does not "
       "implement rotating a "
       "part of a head"},
      {kLlama,
       {{"sliding_window", "128"}},
       "config.json: sliding_window = 128, expected not set for LlamaForCausalLM"},
      {kLlama,
       {{"use_sliding_window", "true"}},
       "config.json: use_sliding_window = true, expected not set for LlamaForCausalLM"},
      {kMistral,
       {{"use_sliding_window", "false"}},
       "config.json: use_sliding_window = false, expected not set for MistralForCausalLM"},
      {kLlama,
       {{"layer_types",
         R"(["full_attention", "full_attention", "full_attention", "chunked_attention"])"}},
       "config.json: layer_types has \"chunked_attention\", expected full_attention or "
       "sliding_attention"},
      {kLlama,
       {{"layer_types",
         R"(["full_attention", "sliding_attention", "full_attention", "full_attention"])"}},
       "config.json: layer_types of layer 1 = sliding_attention, expected full_attention, as "
       "sliding_window says"},
      {kMistral,
       {{"attention_bias", "true"}},
       "config.json: attention_bias = true, expected not set for MistralForCausalLM"},
      {kQwen2,
       {{"attention_bias", "false"}},
       "config.json: attention_bias = false, expected not set for Qwen2ForCausalLM"},
      {kQwen3,
       {{"mlp_bias", "true"}},
       "config.json: mlp_bias = true, expected not set for Qwen3ForCausalLM"},
      {kLlama,
       {{"torch_dtype", "\"float8_e4m3fn\""}},
       "config.json: torch_dtype = \"float8_e4m3fn\", expected float32, bfloat16 or float16"},
  };
  for (const auto& c : cases) CHECK_EQ(error_of(c.architecture, c.changes), c.error);
}

TEST(values_out_of_range_are_refused) {
  const struct {
    const char* architecture;
    Keys changes;
    std::string error;
  } cases[] = {
      {kLlama, {{"architectures", ""}}, "architectures = missing, expected a list of one name"},
      {kLlama, {{"architectures", "[]"}}, "architectures = an array, expected a list of one name"},
      {kLlama,
       {{"hidden_size", ""}},
       "hidden_size = missing, expected an integer from 1 to 131072"},
      {kLlama, {{"hidden_size", "0"}}, "hidden_size = 0, expected an integer from 1 to 131072"},
      {kLlama,
       {{"hidden_size", "\"64\""}},
       "hidden_size = \"64\", expected an integer from 1 to 131072"},
      {kLlama,
       {{"hidden_size", "64.5"}},
       "hidden_size = 64.5, expected an integer from 1 to 131072"},
      {kLlama,
       {{"hidden_size", "1e300"}},
       "hidden_size = 1e+300, expected an integer from 1 to 131072"},
      {kLlama,
       {{"intermediate_size", "-1"}},
       "intermediate_size = -1, expected an integer from 1 to 1048576"},
      {kLlama,
       {{"num_hidden_layers", "0"}},
       "num_hidden_layers = 0, expected an integer from 1 to 1024"},
      {kLlama,
       {{"num_hidden_layers", "1000000"}},
       "num_hidden_layers = 1000000, expected an integer from 1 to 1024"},
      {kLlama,
       {{"num_attention_heads", "0"}},
       "num_attention_heads = 0, expected an integer from 1 to 1024"},
      {kLlama,
       {{"num_attention_heads", "7"}, {"num_key_value_heads", "7"}},
       "num_attention_heads = 7, expected a divisor of hidden_size = 64"},
      {kLlama,
       {{"num_key_value_heads", "0"}},
       "num_key_value_heads = 0, expected an integer from 1 to 1024"},
      {kLlama,
       {{"num_key_value_heads", "3"}},
       "num_key_value_heads = 3, expected a divisor of num_attention_heads = 8"},
      {kLlama,
       {{"num_key_value_heads", "16"}},
       "num_key_value_heads = 16, expected a divisor of num_attention_heads = 8"},
      {kQwen2,
       {{"num_key_value_heads", ""}},
       "num_key_value_heads = missing, expected an integer from 1 to 1024"},
      {kLlama, {{"head_dim", "0"}}, "head_dim = 0, expected an integer from 2 to 1024"},
      {kLlama, {{"head_dim", "33"}}, "head_dim = 33, expected an even number of at most 1024"},
      {kLlama,
       {{"hidden_size", "65536"}, {"num_attention_heads", "2"}},
       "head_dim = 32768, expected an even number of at most 1024"},
      {kLlama,
       {{"vocab_size", "99999999999"}},
       "vocab_size = 99999999999, expected an integer from 1 to 16777216"},
      {kLlama,
       {{"max_position_embeddings", ""}},
       "max_position_embeddings = missing, expected an integer from 1 to 268435456"},
      {kLlama,
       {{"rms_norm_eps", "0"}},
       "rms_norm_eps = 0, expected a number above 0 and at most 1e30"},
      {kLlama, {{"rms_norm_eps", "2"}}, "rms_norm_eps = 2, expected at most 1"},
      {kLlama, {{"tie_word_embeddings", "1"}}, "tie_word_embeddings = 1, expected true or false"},
      {kLlama,
       {{"rope_theta", "-5"}},
       "rope_theta = -5, expected a number above 1 and at most 1e30"},
      {kLlama,
       {{"rope_theta", "1e300"}},
       "rope_theta = 1e+300, expected a number above 1 and at most 1e30"},
      {kLlama, {{"rope_scaling", "[1]"}}, "rope_scaling = an array, expected an object or null"},
      {kLlama, {{"rope_scaling", "{}"}}, "rope_scaling: type = missing, expected a string"},
      {kLlama,
       {{"rope_scaling", R"({"type": "linear"})"}},
       "rope_scaling: factor = missing, expected a number above 0 and at most 1e30"},
      {kLlama,
       {{"rope_scaling", R"({"type": "linear", "factor": 0})"}},
       "rope_scaling: factor = 0, expected a number above 0 and at most 1e30"},
      {kLlama,
       {{"rope_scaling", R"({"type": "linear", "factor": 1e9})"}},
       "context after rope scaling = 2.048e+12 tokens, expected from 1 to 268435456"},
      {kLlama,
       {{"rope_scaling", R"({"type": "linear", "rope_type": "yarn", "factor": 2})"}},
       "rope_scaling: type = \"linear\", expected the value of rope_type, \"yarn\""},
      {kLlama,
       {{"rope_scaling", R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1})"}},
       "rope_scaling: original_max_position_embeddings = missing, expected an integer from 1 to "
       "268435456"},
      {kLlama,
       {{"rope_scaling",
         R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4,
                             "original_max_position_embeddings": 8})"}},
       "rope_scaling: high_freq_factor = 4, expected above low_freq_factor"},
      {kLlama,
       {{"head_dim", "2"}, {"rope_scaling", R"({"type": "dynamic", "factor": 2})"}},
       "rope_scaling: head_dim = 2, expected above 2 for rope of type dynamic"},
      {kLlama,
       {{"rope_scaling", R"({"type": "default"})"},
        {"rope_parameters", R"({"rope_type": "default"})"}},
       "rope_parameters = an object, expected not set when rope_scaling is"},
      {kLlama,
       {{"rope_theta", "10"}, {"rope_parameters", R"({"rope_type": "default", "rope_theta": 20})"}},
       "rope_parameters: rope_theta = 20, expected the value of rope_theta outside of "
       "rope_parameters"},
      {kMistral,
       {{"sliding_window", "0"}},
       "sliding_window = 0, expected an integer from 1 to 268435456"},
      {kQwen2,
       {{"layer_types", R"(["full_attention"])"}},
       "layer_types = a list of 1, expected a list of num_hidden_layers = 4"},
      {kQwen2,
       {{"layer_types",
         R"(["sliding_attention", "full_attention", "full_attention", "full_attention"])"}},
       "layer_types of layer 0 = sliding_attention, expected full_attention, as sliding_window "
       "says"},
  };
  for (const auto& c : cases)
    CHECK_EQ(error_of(c.architecture, c.changes), "config.json: " + c.error);
  CHECK_EQ(error_of("[]"), std::string("config.json = an array, expected an object"));
  CHECK_EQ(error_of("{"), std::string("config.json: byte 1 = end of the text, expected a key"));
}

TEST(a_missing_file_is_named) {
  std::string error;
  try {
    espalier::read_config("/no/such/folder");
  } catch (const espalier::Error& e) {
    error = e.what();
  }
  CHECK_EQ(
      error,
      std::string(
          "/no/such/folder/config.json: No such file or directory, expected a readable file"));
}
