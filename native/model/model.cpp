#include "model/model.h"

#include <cstdio>

namespace espalier {
namespace {

/** True for an exponent of all ones: NaN or infinity. */
template <class Bits, Bits kExponent>
bool any_not_finite(const void* data, int64_t count) {
  const Bits* bits = static_cast<const Bits*>(data);
  for (int64_t i = 0; i < count; ++i) {
    if ((bits[i] & kExponent) == kExponent) return true;
  }
  return false;
}

bool any_not_finite(const NamedWeight& w) {
  const int64_t count = w.weight.n * w.weight.k;
  switch (w.weight.type) {
    case Type::kFp32:
      return any_not_finite<uint32_t, 0x7f800000u>(w.host, count);
    case Type::kBf16:
      return any_not_finite<uint16_t, 0x7f80>(w.host, count);
    case Type::kFp16:
      return any_not_finite<uint16_t, 0x7c00>(w.host, count);
    default:
      return false;
  }
}

/** Weights of one product, or of products that share their input: one type. */
void need_same_type(const NamedWeight& first, const NamedWeight& other) {
  if (other.weight.type == first.weight.type) return;
  fail(
      ESPALIER_BAD_MODEL, "type of %s = %s, expected %s, as %s has", other.name.c_str(),
      type_name(other.weight.type), type_name(first.weight.type), first.name.c_str());
}

}  // namespace

Model::Model(std::shared_ptr<Device> device, const std::string& dir)
    : device_(std::move(device)), config_(read_config(dir)), tensors_(Tensors::open(dir)) {
  const ModelConfig& c = config_;
  const int64_t q = int64_t{c.num_q_heads} * c.head_dim, kv = int64_t{c.num_kv_heads} * c.head_dim;
  try {
    embedding_ = load("model.embed_tokens.weight", {c.vocab, c.hidden});
    for (int32_t i = 0; i < c.num_layers; ++i) {
      const std::string at = "model.layers." + std::to_string(i) + ".";
      LayerWeights w;
      w.input_norm = load(at + "input_layernorm.weight", {c.hidden});
      w.q = load(at + "self_attn.q_proj.weight", {q, c.hidden});
      w.k = load(at + "self_attn.k_proj.weight", {kv, c.hidden});
      w.v = load(at + "self_attn.v_proj.weight", {kv, c.hidden});
      if (c.qkv_bias) {
        w.q_bias = load(at + "self_attn.q_proj.bias", {q});
        w.k_bias = load(at + "self_attn.k_proj.bias", {kv});
        w.v_bias = load(at + "self_attn.v_proj.bias", {kv});
      }
      if (c.qk_norm) {
        w.q_norm = load(at + "self_attn.q_norm.weight", {c.head_dim});
        w.k_norm = load(at + "self_attn.k_norm.weight", {c.head_dim});
      }
      w.o = load(at + "self_attn.o_proj.weight", {c.hidden, q});
      if (c.o_bias) w.o_bias = load(at + "self_attn.o_proj.bias", {c.hidden});
      w.post_norm = load(at + "post_attention_layernorm.weight", {c.hidden});
      w.gate = load(at + "mlp.gate_proj.weight", {c.intermediate, c.hidden});
      w.up = load(at + "mlp.up_proj.weight", {c.intermediate, c.hidden});
      w.down = load(at + "mlp.down_proj.weight", {c.hidden, c.intermediate});
      if (c.mlp_bias) {
        w.gate_bias = load(at + "mlp.gate_proj.bias", {c.intermediate});
        w.up_bias = load(at + "mlp.up_proj.bias", {c.intermediate});
        w.down_bias = load(at + "mlp.down_proj.bias", {c.hidden});
      }
      need_same_type(w.q, w.k);
      need_same_type(w.q, w.v);
      need_same_type(w.gate, w.up);
      layers_.push_back(std::move(w));
    }
    final_norm_ = load("model.norm.weight", {c.hidden});
    if (!c.tied_embeddings) lm_head_ = load("lm_head.weight", {c.vocab, c.hidden});
    // Sessions on other contexts do not wait for this one's copies.
    device_->backend->synchronize();
    check(*device_->backend);
  } catch (...) {
    for (const NamedWeight& w : all_) device_->backend->release_weight(w.weight);
    throw;
  }
}

Model::~Model() {
  for (const NamedWeight& w : all_) device_->backend->release_weight(w.weight);
}

NamedWeight Model::load(const std::string& name, std::vector<int64_t> shape) {
  const TensorView view = tensors_.get(name, shape);
  NamedWeight w;
  w.name = name;
  w.host = view.data;
  const int64_t n = shape.size() == 1 ? 1 : shape[0], k = shape.back();
  w.weight = device_->backend->prepare_weight(view.data, view.type, n, k);
  all_.push_back(w);
  check(*device_->backend);
  return w;
}

void Model::describe(espalier_model_info* info) const {
  const ModelConfig& c = config_;
  *info = {};
  info->size = sizeof *info;
  info->num_layers = c.num_layers;
  info->hidden = c.hidden;
  info->intermediate = c.intermediate;
  info->num_q_heads = c.num_q_heads;
  info->num_kv_heads = c.num_kv_heads;
  info->head_dim = c.head_dim;
  info->vocab = c.vocab;
  info->max_positions = c.max_positions;
  for (int32_t window : c.window) info->sliding_window = std::max(info->sliding_window, window);
  info->weight_type =
      static_cast<int32_t>(layers_.empty() ? embedding_.weight.type : layers_[0].q.weight.type);
  info->tied_embeddings = c.tied_embeddings;
  for (const NamedWeight& w : all_) {
    info->num_parameters += w.weight.n * w.weight.k;
    info->weight_bytes += w.weight.n * w.weight.k * type_bytes(w.weight.type);
  }
  info->kv_elements_per_token = int64_t{2} * c.num_layers * c.num_kv_heads * c.head_dim;
  std::snprintf(info->architecture, sizeof info->architecture, "%s", c.architecture.c_str());
  std::snprintf(info->rope, sizeof info->rope, "%s", rope_kind_name(c.rope.kind));
}

std::string Model::first_bad_weight() const {
  for (const NamedWeight& w : all_) {
    if (any_not_finite(w)) return w.name;
  }
  return "";
}

}  // namespace espalier

using namespace espalier;

espalier_status espalier_model_load(
    espalier_context* ctx, const char* dir, espalier_model** model) {
  return guarded("espalier_model_load", [&] {
    need(ctx, "ctx");
    need(dir, "dir");
    need(model, "model");
    Claim claim(*ctx->device);
    auto made = std::make_unique<espalier_model>();
    made->model = std::make_shared<const Model>(ctx->device, dir);
    *model = made.release();
  });
}

void espalier_model_destroy(espalier_model* model) { delete model; }

espalier_status espalier_model_describe(const espalier_model* model, espalier_model_info* info) {
  return guarded("espalier_model_describe", [&] {
    need(model, "model");
    need(info, "info");
    if (info->size != sizeof *info) {
      fail(ESPALIER_INVALID_ARGUMENT, "info.size = %u, expected %zu", info->size, sizeof *info);
    }
    model->model->describe(info);
  });
}
