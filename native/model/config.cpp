#include "model/config.h"

#include <algorithm>
#include <cmath>

#include "model/json.h"
#include "runtime/status.h"

namespace espalier {
namespace {

constexpr size_t kMaxConfigBytes = 4 << 20;
constexpr int32_t kMaxLayers = 1 << 10;
constexpr int32_t kMaxHidden = 1 << 17;
constexpr int32_t kMaxIntermediate = 1 << 20;
constexpr int32_t kMaxHeads = 1 << 10;
constexpr int32_t kMaxHeadDim = 1 << 10;
constexpr int32_t kMaxVocab = 1 << 24;
constexpr int32_t kMaxPositions = 1 << 28;

/** Members of one object of the config, checked as they are read. Null counts as absent. */
class Fields {
 public:
  Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const std::string& where() const { return where_; }

  const Json* find(const char* key) const {
    const Json* json = object_.find(key);
    return json == nullptr || json->is_null() ? nullptr : json;
  }

  [[noreturn]] void refuse(const char* key, const std::string& rule) const {
    const Json* json = find(key);
    const std::string got = json == nullptr ? "missing" : shown(*json);
    fail(
        ESPALIER_BAD_MODEL, "%s: %s = %s, expected %s", where_.c_str(), key, got.c_str(),
        rule.c_str());
  }

  int32_t integer(const char* key, int32_t least, int32_t most) const {
    const Json* json = find(key);
    if (json == nullptr || !json->is_number() || json->number != std::floor(json->number) ||
        !(json->number >= least && json->number <= most)) {
      refuse(key, "an integer from " + std::to_string(least) + " to " + std::to_string(most));
    }
    return static_cast<int32_t>(json->number);
  }

  int32_t integer(const char* key, int32_t least, int32_t most, int32_t fallback) const {
    return find(key) == nullptr ? fallback : integer(key, least, most);
  }

  /** A number above `least`, of a size that a float can hold. */
  double number(const char* key, double least) const {
    const Json* json = find(key);
    if (json == nullptr || !json->is_number() || !(json->number > least && json->number <= 1e30)) {
      refuse(key, "a number above " + shown_number(least) + " and at most 1e30");
    }
    return json->number;
  }

  double number(const char* key, double least, double fallback) const {
    return find(key) == nullptr ? fallback : number(key, least);
  }

  bool boolean(const char* key, bool fallback) const {
    const Json* json = find(key);
    if (json == nullptr) return fallback;
    if (json->kind != Json::Kind::kBool) refuse(key, "true or false");
    return json->boolean;
  }

  std::string string(const char* key) const {
    const Json* json = find(key);
    if (json == nullptr || !json->is_string()) refuse(key, "a string");
    return json->string;
  }

  const Json& object() const { return object_; }

 private:
  static std::string shown_number(double number) {
    Json json;
    json.kind = Json::Kind::kDouble;
    json.number = number;
    return shown(json);
  }

  const Json& object_;
  std::string where_;
};

/** What the four architectures differ in. */
struct Architecture {
  const char* name;
  bool has_bias_options;       // attention_bias is read
  bool always_qkv_bias;        // q_proj, k_proj and v_proj have biases whatever the config says
  bool qk_norm;                // query and key heads are normalised
  bool window_always;          // sliding_window needs no use_sliding_window
  int32_t default_window;      // sliding_window when absent; 0: no sliding window at all
  int32_t default_head_dim;    // head_dim when absent; 0: hidden_size / num_attention_heads
  bool kv_heads_default_to_q;  // num_key_value_heads when absent
};

constexpr Architecture kLlama = {"LlamaForCausalLM", true, false, false, false, 0, 0, true};
constexpr Architecture kMistral = {"MistralForCausalLM", false, false, false, true, 4096, 0, false};
constexpr Architecture kQwen2 = {"Qwen2ForCausalLM", false, true, false, false, 4096, 0, false};
constexpr Architecture kQwen3 = {"Qwen3ForCausalLM", true, false, true, false, 4096, 128, false};

const Architecture& read_architecture(const Fields& fields) {
  const Json* list = fields.find("architectures");
  if (list == nullptr || !list->is_array() || list->array.size() != 1 ||
      !list->array[0].is_string()) {
    fields.refuse("architectures", "a list of one name");
  }
  const std::string& name = list->array[0].string;
  for (const Architecture* known : {&kLlama, &kMistral, &kQwen2, &kQwen3}) {
    if (name == known->name) return *known;
  }
  fail(
      ESPALIER_BAD_MODEL,
      "%s: architectures = %s, expected LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM or "
      "Qwen3ForCausalLM",
      fields.where().c_str(), shown(name).c_str());
}

/** A key that changes what a model computes, and the number that makes it change nothing. */
struct Refused {
  const char* key;
  double neutral;
};

// Null, false, and empty lists and objects are neutral for all of them.
constexpr Refused kRefused[] = {
    {"add_cross_attention", 0},
    {"alibi", 0},
    {"attention_chunk_size", 0},
    {"attention_multiplier", 1},
    {"attention_sink_size", 0},
    {"attention_sinks", 0},
    {"attn_logit_softcapping", 0},
    {"attn_temperature_tuning", 0},
    {"clip_qkv", 0},
    {"compression_config", 0},
    {"dual_chunk_attention_config", 0},
    {"embedding_multiplier", 1},
    {"final_logit_softcapping", 0},
    {"is_encoder_decoder", 0},
    {"logit_scale", 1},
    {"logits_scaling", 1},
    {"mrope_section", 0},
    {"no_rope_layers", 0},
    {"num_experts", 0},
    {"num_local_experts", 0},
    {"num_nextn_predict_layers", 0},
    {"parallel_attn", 0},
    {"partial_rotary_factor", 1},
    {"pretraining_tp", 1},
    {"pruned_heads", 0},
    {"quantization", 0},
    {"quantization_config", 0},
    {"query_pre_attn_scalar", 0},
    {"residual_multiplier", 1},
    {"rotary_pct", 1},
    {"text_config", 0},
    {"use_mrope", 0},
    {"vision_config", 0},
};

bool is_neutral(const Json& json, double neutral) {
  switch (json.kind) {
    case Json::Kind::kNull:
      return true;
    case Json::Kind::kBool:
      return !json.boolean;
    case Json::Kind::kInt:
    case Json::Kind::kDouble:
      return json.number == neutral;
    case Json::Kind::kString:
      return false;
    case Json::Kind::kArray:
      return json.array.empty();
    case Json::Kind::kObject:
      return json.object.empty();
  }
  return false;
}

void refuse_unsupported(const Fields& fields) {
  for (const Refused& refused : kRefused) {
    const Json* json = fields.find(refused.key);
    if (json != nullptr && !is_neutral(*json, refused.neutral)) {
      fields.refuse(refused.key, "not set; espalier does not implement it");
    }
  }
  const Json* custom = fields.find("auto_map");
  if (custom != nullptr && custom->find("AutoModelForCausalLM") != nullptr) {
    fields.refuse(
        "auto_map",
        "no AutoModelForCausalLM; espalier does not run the code that comes with a model");
  }
}

RopeKind read_rope_kind(const Fields& fields) {
  const char* key = fields.find("rope_type") != nullptr ? "rope_type" : "type";
  const std::string name = fields.string(key);
  if (fields.find("type") != nullptr && fields.string("type") != name) {
    fields.refuse("type", "the value of rope_type, " + shown(name));
  }
  for (RopeKind kind :
       {RopeKind::kDefault, RopeKind::kLinear, RopeKind::kDynamic, RopeKind::kLlama3,
        RopeKind::kYarn}) {
    if (name == rope_kind_name(kind)) return kind;
  }
  fields.refuse(key, "default, linear, dynamic, llama3 or yarn");
}

/** Every key of a rope object matters, so one that is not known is refused. */
void refuse_unknown_rope_keys(const Fields& fields) {
  static constexpr std::string_view kKnown[] = {
      "attention_factor",
      "beta_fast",
      "beta_slow",
      "factor",
      "finetuned",
      "high_freq_factor",
      "low_freq_factor",
      "mscale",
      "mscale_all_dim",
      "original_max_position_embeddings",
      "partial_rotary_factor",
      "rope_theta",
      "rope_type",
      "truncate",
      "type"};
  for (const auto& [key, value] : fields.object().object) {
    if (value.is_null() || std::find(std::begin(kKnown), std::end(kKnown), key) != std::end(kKnown))
      continue;
    fail(
        ESPALIER_BAD_MODEL, "%s: %s = %s, expected not set; espalier does not implement it",
        fields.where().c_str(), shown(key).c_str(), shown(value).c_str());
  }
  if (fields.number("partial_rotary_factor", 0, 1) != 1) {
    fields.refuse(
        "partial_rotary_factor", "1; espalier does not implement rotating a part of a head");
  }
}

std::optional<double> optional_number(const Fields& fields, const char* key, double least) {
  if (fields.find(key) == nullptr) return std::nullopt;
  return fields.number(key, least);
}

/** Parameters of a kind other than default; `max_positions` is max_position_embeddings. */
void read_rope_scaling(const Fields& fields, int32_t max_positions, RopeConfig* rope) {
  rope->factor = fields.number("factor", 0);
  rope->original_max_positions = max_positions;
  if (rope->kind == RopeKind::kDynamic && rope->head_dim <= 2) {
    fail(
        ESPALIER_BAD_MODEL, "%s: head_dim = %d, expected above 2 for rope of type dynamic",
        fields.where().c_str(), rope->head_dim);
  }
  if (rope->kind == RopeKind::kLlama3) {
    rope->original_max_positions =
        fields.integer("original_max_position_embeddings", 1, kMaxPositions);
    rope->low_freq_factor = fields.number("low_freq_factor", 0);
    rope->high_freq_factor = fields.number("high_freq_factor", 0);
    if (rope->high_freq_factor <= rope->low_freq_factor)
      fields.refuse("high_freq_factor", "above low_freq_factor");
  }
  if (rope->kind == RopeKind::kYarn) {
    const int32_t original =
        fields.integer("original_max_position_embeddings", 0, kMaxPositions, 0);
    if (original != 0) rope->original_max_positions = original;
    const double beta_fast = fields.number("beta_fast", -1, 0),
                 beta_slow = fields.number("beta_slow", -1, 0);
    rope->beta_fast =
        beta_fast > 0 ? beta_fast : 32;  // 0 stands for the default, as in transformers
    rope->beta_slow = beta_slow > 0 ? beta_slow : 1;
    rope->truncate = fields.boolean("truncate", true);
    rope->attention_factor = optional_number(fields, "attention_factor", 0);
    rope->mscale = optional_number(fields, "mscale", -1);
    rope->mscale_all_dim = optional_number(fields, "mscale_all_dim", -1);
  }
}

/** Both notations: rope_theta with rope_scaling, and rope_parameters, which holds all of it. */
RopeConfig read_rope(const Fields& fields, int32_t head_dim, int32_t max_positions) {
  RopeConfig rope;
  rope.head_dim = head_dim;
  rope.theta = fields.number("rope_theta", 1, rope.theta);
  const Json* scaling = fields.find("rope_scaling");
  const Json* parameters = fields.find("rope_parameters");
  if (scaling != nullptr && parameters != nullptr)
    fields.refuse("rope_parameters", "not set when rope_scaling is");
  const char* key = parameters != nullptr ? "rope_parameters" : "rope_scaling";
  const Json* object = fields.find(key);
  if (object != nullptr) {
    if (!object->is_object()) fields.refuse(key, "an object or null");
    const Fields inner(*object, fields.where() + ": " + key);
    refuse_unknown_rope_keys(inner);
    const double theta = inner.number("rope_theta", 1, rope.theta);
    if (fields.find("rope_theta") != nullptr && theta != rope.theta) {
      inner.refuse("rope_theta", "the value of rope_theta outside of " + std::string(key));
    }
    rope.theta = theta;
    rope.kind = read_rope_kind(inner);
    if (rope.kind != RopeKind::kDefault) read_rope_scaling(inner, max_positions, &rope);
  }
  prepare_rope(&rope);
  return rope;
}

/**
 * Longest context: max_position_embeddings, where that names the context before scaling times the
 * factor.
 */
int32_t longest_context(const Fields& fields, const RopeConfig& rope, int32_t max_positions) {
  double longest = max_positions;
  if (rope.kind == RopeKind::kLinear || rope.kind == RopeKind::kDynamic) longest *= rope.factor;
  if (rope.kind == RopeKind::kYarn)
    longest = std::max(longest, rope.original_max_positions * rope.factor);
  longest = std::floor(longest);
  if (longest < 1 || longest > kMaxPositions) {
    fail(
        ESPALIER_BAD_MODEL, "%s: context after rope scaling = %g tokens, expected from 1 to %d",
        fields.where().c_str(), longest, kMaxPositions);
  }
  return static_cast<int32_t>(longest);
}

/** layer_types, when set: true for a layer with a sliding window. */
std::optional<std::vector<bool>> read_layer_types(const Fields& fields, int32_t num_layers) {
  const Json* list = fields.find("layer_types");
  if (list == nullptr) return std::nullopt;
  if (!list->is_array() || list->array.size() != static_cast<size_t>(num_layers)) {
    const std::string got =
        list->is_array() ? "a list of " + std::to_string(list->array.size()) : shown(*list);
    fail(
        ESPALIER_BAD_MODEL, "%s: layer_types = %s, expected a list of num_hidden_layers = %d",
        fields.where().c_str(), got.c_str(), num_layers);
  }
  std::vector<bool> sliding;
  for (const Json& type : list->array) {
    const bool is_sliding = type.is_string() && type.string == "sliding_attention";
    if (!is_sliding && !(type.is_string() && type.string == "full_attention")) {
      fail(
          ESPALIER_BAD_MODEL,
          "%s: layer_types has %s, expected full_attention or sliding_attention",
          fields.where().c_str(), shown(type).c_str());
    }
    sliding.push_back(is_sliding);
  }
  return sliding;
}

std::vector<int32_t> read_windows(
    const Fields& fields, const Architecture& architecture, int32_t num_layers) {
  // An explicit null turns the window off; an absent key has the default of its architecture.
  const bool absent = fields.object().find("sliding_window") == nullptr;
  int32_t window =
      absent ? architecture.default_window : fields.integer("sliding_window", 1, kMaxPositions, 0);
  if (architecture.default_window == 0 && window != 0) {
    fields.refuse("sliding_window", std::string("not set for ") + architecture.name);
  }
  const bool used = fields.boolean("use_sliding_window", architecture.window_always);
  if (used != architecture.window_always &&
      (architecture.window_always || architecture.default_window == 0)) {
    fields.refuse("use_sliding_window", std::string("not set for ") + architecture.name);
  }
  if (!used) window = 0;
  const int32_t first =
      architecture.window_always ? 0 : fields.integer("max_window_layers", 0, kMaxPositions, 28);
  const auto sliding = read_layer_types(fields, num_layers);
  std::vector<int32_t> windows;
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    const bool expected = window != 0 && layer >= first;
    const bool is_sliding = sliding ? (*sliding)[layer] : expected;
    // Only Qwen chooses by layer_types; elsewhere they can only repeat what sliding_window says.
    const bool can_choose = !architecture.window_always && window != 0;
    if (is_sliding != expected && !can_choose) {
      fail(
          ESPALIER_BAD_MODEL,
          "%s: layer_types of layer %d = %s, expected %s, as sliding_window says",
          fields.where().c_str(), layer, is_sliding ? "sliding_attention" : "full_attention",
          expected ? "sliding_attention" : "full_attention");
    }
    windows.push_back(is_sliding ? window : 0);
  }
  return windows;
}

void read_biases(const Fields& fields, const Architecture& architecture, ModelConfig* config) {
  const bool attention_bias = fields.boolean("attention_bias", architecture.always_qkv_bias);
  config->mlp_bias = fields.boolean("mlp_bias", false);
  if (architecture.has_bias_options) {
    config->qkv_bias = config->o_bias = attention_bias;
  } else {
    config->qkv_bias = architecture.always_qkv_bias;
    if (attention_bias != architecture.always_qkv_bias) {
      fields.refuse("attention_bias", std::string("not set for ") + architecture.name);
    }
  }
  // Of the four only Llama has biases in the MLP.
  if (config->mlp_bias && &architecture != &kLlama) {
    fields.refuse("mlp_bias", std::string("not set for ") + architecture.name);
  }
}

std::optional<Type> read_weight_type(const Fields& fields) {
  const char* key = fields.find("dtype") != nullptr ? "dtype" : "torch_dtype";
  if (fields.find(key) == nullptr) return std::nullopt;
  const std::string name = fields.string(key);
  if (name == "float32") return Type::kFp32;
  if (name == "bfloat16") return Type::kBf16;
  if (name == "float16") return Type::kFp16;
  fields.refuse(key, "float32, bfloat16 or float16");
}

void read_heads(const Fields& fields, const Architecture& architecture, ModelConfig* config) {
  config->num_q_heads = fields.integer("num_attention_heads", 1, kMaxHeads);
  config->num_kv_heads =
      architecture.kv_heads_default_to_q
          ? fields.integer("num_key_value_heads", 1, kMaxHeads, config->num_q_heads)
          : fields.integer("num_key_value_heads", 1, kMaxHeads);
  if (config->num_q_heads % config->num_kv_heads != 0) {
    fields.refuse(
        "num_key_value_heads",
        "a divisor of num_attention_heads = " + std::to_string(config->num_q_heads));
  }
  config->head_dim = fields.integer("head_dim", 2, kMaxHeadDim, architecture.default_head_dim);
  if (config->head_dim == 0) {
    if (config->hidden % config->num_q_heads != 0) {
      fields.refuse(
          "num_attention_heads", "a divisor of hidden_size = " + std::to_string(config->hidden));
    }
    config->head_dim = config->hidden / config->num_q_heads;
  }
  if (config->head_dim % 2 != 0 || config->head_dim > kMaxHeadDim) {
    fail(
        ESPALIER_BAD_MODEL, "%s: head_dim = %d, expected an even number of at most %d",
        fields.where().c_str(), config->head_dim, kMaxHeadDim);
  }
}

}  // namespace

ModelConfig parse_config(std::string_view text, const std::string& path) {
  const Json json = parse_json(text, path);
  if (!json.is_object())
    fail(ESPALIER_BAD_MODEL, "%s = %s, expected an object", path.c_str(), shown(json).c_str());
  const Fields fields(json, path);
  const Architecture& architecture = read_architecture(fields);
  refuse_unsupported(fields);
  const std::string activation =
      fields.find("hidden_act") == nullptr ? "silu" : fields.string("hidden_act");
  if (activation != "silu" && activation != "swish") fields.refuse("hidden_act", "silu");

  ModelConfig config;
  config.architecture = architecture.name;
  config.num_layers = fields.integer("num_hidden_layers", 1, kMaxLayers);
  config.hidden = fields.integer("hidden_size", 1, kMaxHidden);
  config.intermediate = fields.integer("intermediate_size", 1, kMaxIntermediate);
  config.vocab = fields.integer("vocab_size", 1, kMaxVocab);
  read_heads(fields, architecture, &config);
  const double eps = fields.number("rms_norm_eps", 0, 1e-6);
  if (eps > 1) fields.refuse("rms_norm_eps", "at most 1");
  config.rms_norm_eps = static_cast<float>(eps);
  config.tied_embeddings = fields.boolean("tie_word_embeddings", false);
  read_biases(fields, architecture, &config);
  config.qk_norm = architecture.qk_norm;
  const int32_t max_positions = fields.integer("max_position_embeddings", 1, kMaxPositions);
  config.rope = read_rope(fields, config.head_dim, max_positions);
  config.max_positions = longest_context(fields, config.rope, max_positions);
  config.window = read_windows(fields, architecture, config.num_layers);
  config.weight_type = read_weight_type(fields);
  return config;
}

ModelConfig read_config(const std::string& dir) {
  const std::string path = dir + "/config.json";
  return parse_config(read_file(path, kMaxConfigBytes), path);
}

}  // namespace espalier
