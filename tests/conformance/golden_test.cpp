// Logits of tiny models of every architecture and rope kind against those of Hugging Face
// transformers, through the public ABI. The models and logits in tests/models/golden are made by
// tests/models/golden.py.
//
// Bounds  fp32 KV, weights of any type: 1e-4 of the reference, in norm and in the worst element of
//         a row. The reference is fp32 arithmetic on the same weights, so only the order of sums
//         differs.
//         KV of the weights' type: twice the errors that rounding keys and values to that type
//         makes in transformers.
//         Where the device rounds activations to 16-bit weights' type too: that again, by the root of
//         how many more roundings there are than those of keys and values in each layer. A layer
//         has four products, the head one; queries and weights of attention have the cache's type.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "check.h"
#include "espalier.h"
#include "model/json.h"
#include "support/device.h"

namespace {

namespace fs = std::filesystem;
using espalier::Json;

const fs::path kGolden = fs::path(__FILE__).parent_path().parent_path() / "models" / "golden";

void ok(espalier_status status) {
  if (status != ESPALIER_OK) std::printf("  %s\n", espalier_last_error());
  REQUIRE(status == ESPALIER_OK);
}

/** A model folder with the logits that transformers gives for some tokens. */
struct Golden {
  std::string name;
  std::vector<int32_t> tokens;
  std::vector<float> logits;  // [tokens, vocab]
  double kv_error = 0;        // of KV in the weights' type, in norm; 0 for fp32
  double kv_worst = 0;        // the same in the worst element
  espalier_context* ctx = nullptr;
  espalier_model* model = nullptr;
  espalier_model_info info{};

  explicit Golden(const fs::path& dir) : name(dir.filename().string()) {
    const Json about =
        espalier::parse_json(espalier::read_file(dir / "tokens.json", 1 << 20), name);
    for (const Json& token : about.find("tokens")->array) {
      tokens.push_back(static_cast<int32_t>(token.integer));
    }
    if (about.find("kv_error") != nullptr) {
      kv_error = about.find("kv_error")->number;
      kv_worst = about.find("kv_worst")->number;
    }
    const std::string bytes = espalier::read_file(dir / "logits.bin", 1 << 24);
    logits.resize(bytes.size() / sizeof(float));
    std::memcpy(logits.data(), bytes.data(), bytes.size());
    ctx = espalier_test::create_context(2);
    REQUIRE(ctx != nullptr);
    ok(espalier_model_load(ctx, dir.c_str(), &model));
    info.size = sizeof info;
    ok(espalier_model_describe(model, &info));
    REQUIRE(logits.size() == tokens.size() * static_cast<size_t>(info.vocab));
  }
  ~Golden() {
    espalier_model_destroy(model);
    espalier_context_destroy(ctx);
  }
  Golden(const Golden&) = delete;

  int32_t num_tokens() const { return static_cast<int32_t>(tokens.size()); }
};

/** One sequence of a session, and the logits of what it computed. */
class Run {
 public:
  Run(const Golden& golden, int32_t kv_type) : golden_(golden) {
    espalier_session_options options{};
    options.size = sizeof options;
    options.kv_type = kv_type;
    ok(espalier_session_create(golden.ctx, golden.model, &options, &session_));
    ok(espalier_sequence_create(session_, &seq_));
  }
  ~Run() { espalier_session_destroy(session_); }
  Run(const Run&) = delete;

  /** All tokens as one chain. */
  std::vector<float> in_one_pass() {
    std::vector<int32_t> parent(golden_.tokens.size());
    for (int32_t i = 0; i < golden_.num_tokens(); ++i) parent[static_cast<size_t>(i)] = i - 1;
    forward(golden_.tokens.data(), parent.data(), golden_.num_tokens());
    std::vector<float> out;
    for (int32_t i = 0; i < golden_.num_tokens(); ++i) append_logits(i, &out);
    return out;
  }

  std::vector<float> token_by_token() {
    std::vector<float> out;
    for (const int32_t& token : golden_.tokens) {
      const int32_t parent = -1;
      forward(&token, &parent, 1);
      append_logits(0, &out);
      const int32_t path = 0, accept_len = 0;
      ok(espalier_session_commit(session_, &path, &accept_len));
    }
    return out;
  }

  /** All tokens but the last in a prefill; logits of the last. */
  std::vector<float> after_prefill() {
    const int32_t last = golden_.num_tokens() - 1, parent = -1;
    ok(espalier_session_prefill(session_, seq_, golden_.tokens.data(), last));
    forward(&golden_.tokens[static_cast<size_t>(last)], &parent, 1);
    std::vector<float> out;
    append_logits(0, &out);
    return out;
  }

 private:
  void forward(const int32_t* token, const int32_t* parent, int32_t num_nodes) {
    const int32_t tree_begin[] = {0, num_nodes};
    ok(espalier_session_forward(session_, 1, &seq_, tree_begin, token, parent, 0, nullptr));
  }

  void append_logits(int32_t node, std::vector<float>* out) {
    out->resize(out->size() + static_cast<size_t>(golden_.info.vocab));
    float* row = out->data() + out->size() - golden_.info.vocab;
    ok(espalier_session_logits(session_, node, row, golden_.info.vocab));
  }

  const Golden& golden_;
  espalier_session* session_ = nullptr;
  int32_t seq_ = -1;
};

double norm(const float* x, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * x[i];
  return std::sqrt(sum);
}

void check_close(
    const Golden& golden, const std::vector<float>& got, double bound, double worst_bound,
    const char* what) {
  REQUIRE(got.size() == golden.logits.size());
  std::vector<float> error(got.size());
  for (size_t i = 0; i < got.size(); ++i) error[i] = got[i] - golden.logits[i];
  const double relative = norm(error.data(), error.size()) / norm(golden.logits.data(), got.size());
  CHECK_MSG(
      relative <= bound, "%s %s: error %g, bound %g", golden.name.c_str(), what, relative, bound);
  const size_t vocab = static_cast<size_t>(golden.info.vocab);
  double worst = 0;
  for (size_t row = 0; row < got.size(); row += vocab) {
    double most = 0, largest = 0;
    for (size_t i = row; i < row + vocab; ++i) {
      most = std::max(most, std::fabs(static_cast<double>(error[i])));
      largest = std::max(largest, std::fabs(static_cast<double>(golden.logits[i])));
    }
    worst = std::max(worst, most / largest);
  }
  CHECK_MSG(
      worst <= worst_bound, "%s %s: worst element %g of the row's largest, bound %g",
      golden.name.c_str(), what, worst, worst_bound);
  std::printf("  %-16s %-22s %.2g (worst %.2g)\n", golden.name.c_str(), what, relative, worst);
}

/** Errors relative to that of rounding keys and values: 0 when nothing is rounded. */
double rounding_of(const Golden& golden, bool rounded_kv) {
  const int layers = golden.info.num_layers;
  const bool half = golden.info.weight_type != ESPALIER_FP32;
  double roundings = rounded_kv ? 2 * layers : 0;
  if (half && !espalier_test::on_cpu()) {
    roundings += 4 * layers + 1 + (rounded_kv ? 2 * layers : 0);
  }
  return std::sqrt(roundings / (2 * layers));
}

std::vector<fs::path> folders() {
  std::vector<fs::path> dirs;
  for (const auto& entry : fs::directory_iterator(kGolden)) {
    if (entry.is_directory()) dirs.push_back(entry.path());
  }
  std::sort(dirs.begin(), dirs.end());
  return dirs;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST(logits_are_those_of_transformers) {
  REQUIRE(folders().size() == 23);
  for (const fs::path& dir : folders()) {
    const Golden golden(dir);
    const std::vector<float> together = Run(golden, 1 + ESPALIER_FP32).in_one_pass();
    const double rounding = 2 * rounding_of(golden, false);
    check_close(
        golden, together, 1e-4 + rounding * golden.kv_error, 1e-4 + rounding * golden.kv_worst,
        "fp32 KV");
    const std::vector<float> last = Run(golden, 1 + ESPALIER_FP32).after_prefill();
    const std::vector<float> last_together(together.end() - golden.info.vocab, together.end());
    CHECK_MSG(same_bits(last, last_together), "%s: after prefill", golden.name.c_str());
    if (espalier_test::is_emulated()) continue;
    const std::vector<float> apart = Run(golden, 1 + ESPALIER_FP32).token_by_token();
    CHECK_MSG(same_bits(together, apart), "%s: one pass, token by token", golden.name.c_str());
  }
}

TEST(a_cache_in_the_weights_type_costs_what_rounding_costs) {
  int num_models = 0;
  for (const fs::path& dir : folders()) {
    const Golden golden(dir);
    if (golden.kv_error == 0) continue;
    ++num_models;
    const std::vector<float> together = Run(golden, 0).in_one_pass();
    const double rounding = 2 * rounding_of(golden, true);
    check_close(
        golden, together, rounding * golden.kv_error, rounding * golden.kv_worst,
        "KV of the weights' type");
    if (!espalier_test::is_emulated()) {
      CHECK_MSG(same_bits(together, Run(golden, 0).token_by_token()), "%s", golden.name.c_str());
    }
    // Were the cache fp32 after all, the error would be that of fp32.
    const std::vector<float> exact = Run(golden, 1 + ESPALIER_FP32).in_one_pass();
    CHECK_MSG(!same_bits(together, exact), "%s: rounding shows", golden.name.c_str());
  }
  CHECK_EQ(num_models, 2);
}

TEST(models_describe_themselves) {
  const Golden golden(kGolden / "qwen3-default");
  CHECK_EQ(std::string(golden.info.architecture), std::string("Qwen3ForCausalLM"));
  CHECK_EQ(std::string(golden.info.rope), std::string("default"));
  CHECK_EQ(golden.info.num_layers, 2);
  CHECK_EQ(golden.info.sliding_window, 8);
  CHECK_EQ(golden.info.weight_type, ESPALIER_FP32);
  CHECK_EQ(golden.info.kv_elements_per_token, 2 * 2 * 2 * 12);
  CHECK_EQ(golden.info.weight_bytes, 4 * golden.info.num_parameters);
  CHECK_EQ(std::string(Golden(kGolden / "llama-yarn").info.rope), std::string("yarn"));
  CHECK_EQ(Golden(kGolden / "llama-linear").info.tied_embeddings, 1);
  CHECK_EQ(Golden(kGolden / "llama-bf16").info.weight_type, ESPALIER_BF16);
}
