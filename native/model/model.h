// A loaded model: its config, and its weights as the backend holds them.
#ifndef ESPALIER_MODEL_MODEL_H
#define ESPALIER_MODEL_MODEL_H

#include <memory>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/safetensors.h"
#include "runtime/objects.h"

namespace espalier {

/** A weight, and what it is called in the folder. Matrices are [n, k]; vectors have n = 1. */
struct NamedWeight {
  std::string name;
  const void* host = nullptr;  // in the mapping
  Weight weight;               // on the device; data is null where the model has none
  explicit operator bool() const { return weight.data != nullptr; }
};

struct LayerWeights {
  NamedWeight input_norm, q, k, v, q_bias, k_bias, v_bias, q_norm, k_norm, o, o_bias;
  NamedWeight post_norm, gate, up, down, gate_bias, up_bias, down_bias;
};

class Model {
 public:
  Model(std::shared_ptr<Device> device, const std::string& dir);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const ModelConfig& config() const { return config_; }
  const NamedWeight& embedding() const { return embedding_; }
  const NamedWeight& final_norm() const { return final_norm_; }
  const NamedWeight& lm_head() const { return config_.tied_embeddings ? embedding_ : lm_head_; }
  const LayerWeights& layer(int32_t i) const { return layers_[static_cast<size_t>(i)]; }
  int32_t kind() const { return device_->backend->kind(); }
  void describe(espalier_model_info* info) const;

  /** Name of the first weight with a NaN or an infinity; empty when all are finite. Reads all weights. */
  std::string first_bad_weight() const;

 private:
  NamedWeight load(const std::string& name, std::vector<int64_t> shape);

  std::shared_ptr<Device> device_;
  ModelConfig config_;
  Tensors tensors_;
  NamedWeight embedding_, final_norm_, lm_head_;
  std::vector<LayerWeights> layers_;
  std::vector<NamedWeight> all_;
};

}  // namespace espalier

struct espalier_model {
  std::shared_ptr<const espalier::Model> model;
};

#endif
