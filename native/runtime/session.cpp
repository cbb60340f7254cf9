#include "runtime/session.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <iterator>
#include <numeric>

#include "ops/law.h"
#include "runtime/checks.h"

namespace espalier {
namespace {

constexpr int32_t kMaxTopK = 64;
constexpr int32_t kDefaultMaxNodes = 512;
constexpr int32_t kBothSublayers = ESPALIER_ATTENTION | ESPALIER_MLP;
constexpr size_t kParcelSlack = 4096;  // parts of a parcel begin at multiples of 64 bytes
constexpr size_t kExitRows = 64;       // rows of one pass through the exit head: bounds its logits

espalier_sampling greedy() {
  espalier_sampling s{};
  s.size = sizeof s;
  s.top_p = 1;
  s.repetition_penalty = 1;
  return s;
}

int32_t page_size_of(const espalier_session_options& o) {
  const int32_t size = o.page_size == 0 ? 16 : o.page_size;
  if (size != 16 && size != 32 && size != 64 && size != 128) {
    fail(ESPALIER_INVALID_ARGUMENT, "page_size = %d, expected 16, 32, 64 or 128", size);
  }
  return size;
}

int32_t max_nodes_of(const espalier_session_options& o) {
  const int32_t nodes = o.max_nodes == 0 ? kDefaultMaxNodes : o.max_nodes;
  if (nodes < 1 || nodes > 4096)
    fail(ESPALIER_INVALID_ARGUMENT, "max_nodes = %d, expected 1 to 4096", nodes);
  return nodes;
}

int64_t num_pages_of(const espalier_session_options& o, const ModelConfig& c) {
  const int64_t size = page_size_of(o);
  const int64_t pages = o.num_pages == 0
                            ? (int64_t{c.max_positions} + max_nodes_of(o) + size - 1) / size
                            : o.num_pages;
  if (pages < 1 || pages >= INT32_MAX / size) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "num_pages = %lld, expected 1 to %lld",
        static_cast<long long>(pages), static_cast<long long>(INT32_MAX / size - 1));
  }
  return pages;
}

Type kv_type_of(const espalier_session_options& o, const Model& model) {
  if (o.kv_type == 0) return model.layer(0).k.weight.type;
  if (o.kv_type < 1 + ESPALIER_FP32 || o.kv_type > 1 + ESPALIER_FP16) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "kv_type = %d, expected 0 or 1 + fp32 (0), bf16 (1) or fp16 (2)",
        o.kv_type);
  }
  return static_cast<Type>(o.kv_type - 1);
}

/** A buffer of laws: [rows, vocab] fp32 of this device. */
void check_laws(const espalier_buffer& q, const std::shared_ptr<Device>& device, int32_t vocab) {
  if (q.device != device)
    fail(ESPALIER_INVALID_ARGUMENT, "q is of another context, expected the session's");
  if (q.type != Type::kFp32 || q.shape.size() != 2 || q.shape[1] != vocab) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "q has rank %zu and last axis %lld, expected fp32 [rows, %d]",
        q.shape.size(), static_cast<long long>(q.shape.back()), vocab);
  }
}

bool has_children(const Batch& batch, int32_t node) {
  const int32_t tree = batch.tree[static_cast<size_t>(node)];
  const int32_t first = batch.tree_begin[static_cast<size_t>(tree)];
  const auto begin = batch.parent.begin() + first;
  return std::find(
             begin, batch.parent.begin() + batch.tree_begin[static_cast<size_t>(tree) + 1],
             node - first) !=
         batch.parent.begin() + batch.tree_begin[static_cast<size_t>(tree) + 1];
}

/** The least of 1, 2, .. 8, 10, 12, 14, 16, 20 .. that holds n: a quarter is wasted at most, and shapes are few. */
int32_t roomy(int32_t n) {
  int32_t unit = 1;
  while (n > 8 * unit) unit *= 2;
  return (n + unit - 1) / unit * unit;
}

int32_t rounded_up(int32_t n, int32_t unit) { return (n + unit - 1) / unit * unit; }

/** What begins the shape of a step: which ops it is. */
enum StepKind { kForward, kVerify, kGrow, kVerifySampling };

std::atomic<uint64_t> next_owner{1};

}  // namespace

Session::Session(
    std::shared_ptr<Device> device, std::shared_ptr<const Model> model,
    const espalier_session_options& options)
    : device_(std::move(device)),
      model_(std::move(model)),
      id_(next_owner++),
      backend_(*device_->backend),
      config_(model_->config()),
      max_nodes_(max_nodes_of(options)),
      cache_(
          device_, config_.num_layers, num_pages_of(options, config_), page_size_of(options),
          int64_t{config_.num_kv_heads} * config_.head_dim, kv_type_of(options, *model_)) {
  const size_t max_rows = static_cast<size_t>(rounded_up(max_nodes_, backend_.row_tile()));
  const size_t rows = max_rows * sizeof(float);
  const size_t q = static_cast<size_t>(config_.num_q_heads) * config_.head_dim;
  const size_t kv = static_cast<size_t>(config_.num_kv_heads) * config_.head_dim;
  x_ = Memory(device_, rows * config_.hidden);
  q_ = Memory(device_, rows * q);
  k_ = Memory(device_, rows * kv);
  v_ = Memory(device_, rows * kv);
  attended_ = Memory(device_, rows * q);
  mlp_ = Memory(device_, rows * config_.intermediate);
  logits_ = Memory(device_, rows * config_.vocab);
  laws_ = Memory(device_, rows * config_.vocab);
  verify_out_ = Memory(device_, rows * 5);
  reserve(static_cast<int32_t>(max_rows), num_pages_of(options, config_));
}

size_t Session::judged_bytes(size_t rows) {
  return (rows + 1) * (sizeof(espalier_sampling) + 13 * sizeof(int32_t)) + kParcelSlack;
}

void Session::reserve(int32_t max_rows, int64_t num_pages) {
  const size_t rows = static_cast<size_t>(max_rows);
  // The largest placement: every row a sequence of its own, or one chain.
  const int32_t max_pages = roomy(
      static_cast<int32_t>(std::min(
          num_pages, (int64_t{config_.max_positions} + max_nodes_) / cache_.page_size() + 1)));
  const int32_t max_depth = roomy(max_nodes_);
  placement_.reserve(
      device_, sizeof(int32_t) * (rows + 1) *
                       (static_cast<size_t>(max_pages) + static_cast<size_t>(max_depth) +
                        config_.head_dim + 5) +
                   kParcelSlack);
  judged_.reserve(device_, judged_bytes(rows));
  sampled_out_.at_least<int32_t>(
      device_, rows * std::max(kMaxTopK + 1, 2 * (config_.num_layers + 1)));
  log_prob_.at_least<float>(device_, rows * std::max(kMaxTopK, config_.num_layers + 1));
  top_k_.at_least<int32_t>(device_, rows * kMaxTopK);

  if (!backend_.begin_planning()) return;
  attention_.rows = max_rows;
  attention_.max_pages = max_pages;
  attention_.max_depth = max_depth;
  attention_.batch = max_rows;
  run({}, 0, true);
  run({}, 0, false);
  const int32_t most = std::min(kMaxTopK, config_.vocab);
  backend_.top_k({nullptr, nullptr, nullptr, max_rows, config_.vocab, most});
  SampleArgs draws{};
  draws.filtered = true;
  draws.rows = max_rows;
  draws.vocab = config_.vocab;
  draws.k = most;
  backend_.sample(draws);
  VerifySamplingArgs judged{};
  judged.batch = max_rows;
  judged.vocab = config_.vocab;
  backend_.verify_sampling(judged);
  backend_.end_planning();
  check(backend_);
}

Session::~Session() { backend_.drop_steps(id_); }

// -------------------------------------------------------------------------------------------------------- sequences

Sequence& Session::sequence(int32_t seq) {
  const auto found = sequences_.find(seq);
  if (found == sequences_.end()) {
    fail(ESPALIER_INVALID_ARGUMENT, "seq = %d, expected an open sequence of this session", seq);
  }
  return found->second;
}

int32_t Session::create_sequence() {
  Sequence made;
  made.sampling = greedy();
  sequences_.emplace(next_sequence_, std::move(made));
  return next_sequence_++;
}

int32_t Session::fork_sequence(int32_t seq) {
  const Sequence& from = sequence(seq);
  Sequence made;
  made.tokens = from.tokens;
  made.sampling = from.sampling;
  sequences_.emplace(next_sequence_, std::move(made));
  sequences_[next_sequence_].pages = cache_.share(from.pages, from.length());
  return next_sequence_++;
}

void Session::destroy_sequence(int32_t seq) {
  Sequence& s = sequence(seq);
  if (std::find(batch_.seq.begin(), batch_.seq.end(), seq) != batch_.seq.end()) drop_scores();
  cache_.truncate(&s.pages, 0);
  sequences_.erase(seq);
}

int32_t Session::sequence_length(int32_t seq) { return sequence(seq).length(); }

void Session::rollback(int32_t seq, int32_t length) {
  Sequence& s = sequence(seq);
  if (length < 0 || length > s.length()) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "length = %d, expected 0 to %d, the sequence's length", length,
        s.length());
  }
  drop_scores();
  s.tokens.resize(static_cast<size_t>(length));
  cache_.truncate(&s.pages, length);
}

void Session::set_sampling(int32_t seq, const espalier_sampling& s) {
  check_sampling(s);
  Sequence& of = sequence(seq);
  if (has_penalties(s)) reserve_histories();
  of.sampling = s;
}

void Session::reserve_histories() {
  const int64_t context = std::min<int64_t>(config_.max_positions, cache_.num_positions()),
                tokens = max_nodes_ * context;
  if (tokens > INT32_MAX) {
    fail(
        ESPALIER_INVALID_ARGUMENT,
        "max_nodes * context = %d * %lld for penalties, expected at most %d tokens; open the "
        "session with fewer max_nodes",
        max_nodes_, static_cast<long long>(context), INT32_MAX);
  }
  const auto rows = static_cast<size_t>(rounded_up(max_nodes_, backend_.row_tile()));
  const size_t bytes = judged_bytes(rows) + static_cast<size_t>(tokens) * sizeof(int32_t);
  if (judged_.reserve(device_, bytes)) backend_.drop_steps(id_);
}

void Session::drop_scores() {
  for (int32_t seq : batch_.seq) {
    Sequence& s = sequence(seq);
    cache_.truncate(&s.pages, s.length());
  }
  batch_ = {};
  committed_ = false;
}

// ----------------------------------------------------------------------------------------------------------- checks

void Session::check_tokens(const int32_t* token, int32_t count) const {
  for (int32_t i = 0; i < count; ++i) {
    if (token[i] < 0 || token[i] >= config_.vocab) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "token[%d] = %d, expected 0 to %d", i, token[i],
          config_.vocab - 1);
    }
  }
}

void Session::need_scores() const {
  if (batch_.empty()) fail(ESPALIER_INVALID_STATE, "no scores, expected a forward before");
}

void Session::need_whole() const {
  if (!batch_.whole()) {
    fail(
        ESPALIER_INVALID_STATE,
        "the last forward left out layers, expected a forward over all of them before");
  }
}

void Session::check_sublayers(const int32_t* sublayers) const {
  int32_t any = 0;
  for (int32_t i = 0; i < config_.num_layers; ++i) {
    if (sublayers[i] < 0 || sublayers[i] > kBothSublayers) {
      fail(
          ESPALIER_INVALID_ARGUMENT,
          "sublayers[%d] = %d, expected a sum of ESPALIER_ATTENTION (1) and ESPALIER_MLP (2)", i,
          sublayers[i]);
    }
    any |= sublayers[i];
  }
  if (any == 0) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "sublayers leaves out all of %d layers, expected one that runs",
        config_.num_layers);
  }
}

void Session::need_uncommitted() const {
  need_scores();
  if (committed_) {
    fail(ESPALIER_INVALID_STATE, "the last forward is committed, expected a forward before");
  }
}

void Session::check_node(int32_t node, const char* what) const {
  if (node < 0 || node >= batch_.num_nodes()) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "%s = %d, expected 0 to %d, the nodes of the last forward", what,
        node, batch_.num_nodes() - 1);
  }
}

void Session::check_num_nodes(int32_t num_nodes) const {
  if (num_nodes < 1 || num_nodes > max_nodes_) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "num_nodes = %d, expected 1 to %d, max_nodes of the session",
        num_nodes, max_nodes_);
  }
}

void Session::fail_bad_logits(int32_t node) const {
  const std::string weight = model_->first_bad_weight();
  fail(
      ESPALIER_NOT_A_NUMBER,
      "logits after node %d (token %d) hold NaN or infinity, expected finite numbers; %s%s%s", node,
      batch_.token[static_cast<size_t>(node)],
      weight.empty() ? "all weights are finite" : "weight ", weight.c_str(),
      weight.empty() ? ", so an activation overflowed" : " is not finite");
}

// ---------------------------------------------------------------------------------------------------------- forward

void Session::place(const Batch& batch, int32_t from, int32_t rows) {
  int32_t max_depth = 0, max_pages = 1;
  try {
    for (int32_t b = 0; b < batch.size(); ++b) {
      Sequence& s = sequence(batch.seq[b]);
      const int32_t tree_len = batch.tree_begin[b + 1] - batch.tree_begin[b];
      for (int32_t i = batch.tree_begin[b] + from; i < batch.tree_begin[b + 1]; ++i) {
        max_depth = std::max(max_depth, batch.depth[i] + 1);
        if (s.length() + batch.depth[i] >= config_.max_positions) {
          fail(
              ESPALIER_INVALID_ARGUMENT,
              "node %d of sequence %d is at position %d, expected at most %d; the model's context "
              "is full",
              i - batch.tree_begin[b], batch.seq[b], s.length() + batch.depth[i],
              config_.max_positions - 1);
        }
      }
      cache_.make_writable(&s.pages, s.length() + from, s.length() + tree_len);
      max_pages = std::max(max_pages, static_cast<int32_t>(s.pages.size()));
    }
  } catch (...) {
    for (int32_t seq : batch.seq) {
      Sequence& s = sequence(seq);
      cache_.truncate(&s.pages, s.length() + from);
    }
    throw;
  }

  max_depth = roomy(max_depth);
  max_pages = roomy(max_pages);
  // Rows that only fill up the step are roots of one more, empty sequence, each with a slot of the spare page.
  const int32_t nodes = batch.num_nodes() - from, fillers = rows - nodes;
  std::vector<int32_t> page_table(static_cast<size_t>(batch.size() + 1) * max_pages, -1), kv_len,
      slot, ancestor_slot(static_cast<size_t>(rows) * max_depth, 0),
      row_seq(batch.tree.begin() + from, batch.tree.end()),
      depth(batch.depth.begin() + from, batch.depth.end()),
      token(batch.token.begin() + from, batch.token.end());
  const size_t half = static_cast<size_t>(config_.head_dim) / 2;
  std::vector<float> cos_sin(static_cast<size_t>(rows) * 2 * half);
  for (int32_t b = 0; b < batch.size(); ++b) {
    const Sequence& s = sequence(batch.seq[b]);
    std::copy(
        s.pages.begin(), s.pages.end(), page_table.begin() + static_cast<ptrdiff_t>(b) * max_pages);
    kv_len.push_back(s.length());
    for (int32_t i = batch.tree_begin[b] + from; i < batch.tree_begin[b + 1]; ++i) {
      const size_t row = static_cast<size_t>(i - from);
      int32_t* ancestors = &ancestor_slot[row * static_cast<size_t>(max_depth)];
      for (int32_t at = i - batch.tree_begin[b], up = batch.depth[i]; up >= 0; --up) {
        ancestors[up] = cache_.slot(s.pages, s.length() + at);
        at = batch.parent[batch.tree_begin[b] + at];
      }
      slot.push_back(ancestors[batch.depth[i]]);
      float* angles = &cos_sin[row * 2 * half];
      rope_angles(config_.rope, s.length() + batch.depth[i], angles, angles + half);
    }
  }
  kv_len.push_back(0);
  for (int32_t i = 0; i < fillers; ++i) {
    slot.push_back(cache_.spare_slot(i));
    ancestor_slot[static_cast<size_t>(nodes + i) * max_depth] = slot.back();
  }
  row_seq.resize(static_cast<size_t>(rows), batch.size());
  depth.resize(static_cast<size_t>(rows), 0);
  token.resize(static_cast<size_t>(rows), 0);

  placement_.clear();
  const size_t at_page_table = placement_.put(page_table), at_kv_len = placement_.put(kv_len),
               at_row_seq = placement_.put(row_seq), at_depth = placement_.put(depth),
               at_ancestors = placement_.put(ancestor_slot), at_slot = placement_.put(slot),
               at_token = placement_.put(token), at_cos_sin = placement_.put(cos_sin);
  if (placement_.send(device_)) backend_.drop_steps(id_);
  slot_ = placement_.at<int32_t>(at_slot);
  token_ = placement_.at<int32_t>(at_token);
  cos_sin_ = placement_.at<float>(at_cos_sin);
  attention_ = {};
  attention_.page_table = placement_.at<int32_t>(at_page_table);
  attention_.kv_len = placement_.at<int32_t>(at_kv_len);
  attention_.row_seq = placement_.at<int32_t>(at_row_seq);
  attention_.depth = placement_.at<int32_t>(at_depth);
  attention_.ancestor_slot = placement_.at<int32_t>(at_ancestors);
  attention_.rows = rows;
  attention_.max_pages = max_pages;
  attention_.max_depth = max_depth;
  attention_.batch = batch.size();
}

int32_t Session::step_rows(int32_t num_nodes) const {
  return num_nodes == 1 ? 1 : rounded_up(num_nodes, backend_.row_tile());
}

void Session::run(const Batch& batch, int32_t from, bool scores) {
  const int64_t rows = attention_.rows;
  prompt_ = !scores;
  backend_.embed({model_->embedding().weight, token_, x_.as<float>(), rows});
  keep(batch, 0, from);
  for (int32_t i = 0; i < config_.num_layers; ++i) {
    run_layer(i, rows, batch.sublayers(i));
    keep(batch, i + 1, from);
  }
  if (!scores) return;
  lm_head(x_.as<float>(), logits_.as<float>() + int64_t{from} * config_.vocab, rows);
}

void Session::lm_head(const float* x, float* logits, int64_t rows) {
  SkinnyGemmArgs head;
  head.x = x;
  head.norm = norm_of(model_->final_norm());
  head.part[0] = {model_->lm_head().weight, {}, logits};
  head.m = rows;
  backend_.skinny_gemm(head);
}

Norm Session::norm_of(const NamedWeight& weight) const {
  return {weight.weight.data, weight.weight.type, config_.rms_norm_eps};
}

void Session::run_layer(int32_t i, int64_t rows, int32_t sublayers) {
  if ((sublayers & ESPALIER_ATTENTION) != 0) run_attention(i, rows);
  if ((sublayers & ESPALIER_MLP) != 0) run_mlp(i, rows);
}

void Session::run_attention(int32_t i, int64_t rows) {
  const LayerWeights& w = model_->layer(i);
  float *x = x_.as<float>(), *q = q_.as<float>(), *k = k_.as<float>(), *v = v_.as<float>();

  SkinnyGemmArgs qkv;
  qkv.x = x;
  qkv.norm = norm_of(w.input_norm);
  qkv.part[0] = {w.q.weight, w.q_bias.weight, q};
  qkv.part[1] = {w.k.weight, w.k_bias.weight, k};
  qkv.part[2] = {w.v.weight, w.v_bias.weight, v};
  qkv.num_parts = 3;
  qkv.m = rows;
  qkv.prompt = prompt_;
  backend_.skinny_gemm(qkv);
  backend_.rope_and_append(
      {q, k, v, cos_sin_, slot_, cache_.k_layer(i), cache_.v_layer(i), cache_.type(), rows,
       config_.num_q_heads, config_.num_kv_heads, config_.head_dim, norm_of(w.q_norm),
       norm_of(w.k_norm)});

  TreeAttentionArgs attention = attention_;
  attention.q = q;
  attention.k_cache = cache_.k_layer(i);
  attention.v_cache = cache_.v_layer(i);
  attention.kv_type = cache_.type();
  attention.scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
  attention.window = config_.window[static_cast<size_t>(i)];
  attention.out = attended_.as<float>();
  attention.num_pages = cache_.num_layer_pages();
  attention.page_size = cache_.page_size();
  attention.num_q_heads = config_.num_q_heads;
  attention.num_kv_heads = config_.num_kv_heads;
  attention.head_dim = config_.head_dim;
  attention.prompt = prompt_;
  backend_.tree_attention(attention);

  SkinnyGemmArgs o;
  o.x = attended_.as<float>();
  o.part[0] = {w.o.weight, w.o_bias.weight, x};
  o.residual = x;
  o.m = rows;
  o.prompt = prompt_;
  backend_.skinny_gemm(o);
}

void Session::run_mlp(int32_t i, int64_t rows) {
  const LayerWeights& w = model_->layer(i);
  float* x = x_.as<float>();
  SkinnyGemmArgs gate_up;
  gate_up.x = x;
  gate_up.norm = norm_of(w.post_norm);
  gate_up.part[0] = {w.gate.weight, w.gate_bias.weight, mlp_.as<float>()};
  gate_up.up = w.up.weight;
  gate_up.up_bias = w.up_bias.weight;
  gate_up.m = rows;
  gate_up.prompt = prompt_;
  backend_.skinny_gemm(gate_up);

  SkinnyGemmArgs down;
  down.x = mlp_.as<float>();
  down.part[0] = {w.down.weight, w.down_bias.weight, x};
  down.residual = x;
  down.m = rows;
  down.prompt = prompt_;
  backend_.skinny_gemm(down);
}

void Session::keep(const Batch& batch, int32_t layer, int32_t from) {
  if (!batch.whole()) return;
  const int64_t rows = attention_.rows;
  for (size_t i = 0; i < hidden_layers_.size(); ++i) {
    if (hidden_layers_[i] == layer) {
      const size_t bytes = static_cast<size_t>(rows * config_.hidden) * sizeof(float);
      backend_.copy(hidden_[i].as<float>() + int64_t{from} * config_.hidden, x_.as<float>(), bytes);
    }
  }
}

void Session::prefill(int32_t seq, const int32_t* token, int32_t num_tokens) {
  Sequence& s = sequence(seq);
  if (num_tokens < 0) fail(ESPALIER_INVALID_ARGUMENT, "num_tokens = %d, expected >= 0", num_tokens);
  if (num_tokens > 0) need(token, "token");
  check_tokens(token, num_tokens);
  if (num_tokens > config_.max_positions - s.length()) {
    fail(
        ESPALIER_INVALID_ARGUMENT,
        "num_tokens = %d, expected at most %d: %d of the model's %d positions are taken",
        num_tokens, config_.max_positions - s.length(), s.length(), config_.max_positions);
  }
  drop_scores();
  cache_.make_writable(&s.pages, s.length(), s.length() + num_tokens);
  for (int32_t done = 0; done < num_tokens;) {
    const int32_t n = std::min(max_nodes_, num_tokens - done);
    Batch chain;
    chain.seq = {seq};
    chain.tree_begin = {0, n};
    chain.token.assign(token + done, token + done + n);
    chain.parent.resize(static_cast<size_t>(n));
    std::iota(chain.parent.begin(), chain.parent.end(), -1);
    chain.depth.resize(static_cast<size_t>(n));
    std::iota(chain.depth.begin(), chain.depth.end(), 0);
    chain.tree.assign(static_cast<size_t>(n), 0);
    place(chain, 0, n);
    run(chain, 0, false);
    s.tokens.insert(s.tokens.end(), chain.token.begin(), chain.token.end());
    done += n;
  }
  check(backend_);
}

void Session::forward(
    int32_t batch, const int32_t* seq, const int32_t* tree_begin, const int32_t* token,
    const int32_t* parent, const int32_t* sublayers, int32_t top_k, int32_t* top_k_token) {
  if (batch < 1) fail(ESPALIER_INVALID_ARGUMENT, "batch = %d, expected >= 1", batch);
  need(seq, "seq");
  need(tree_begin, "tree_begin");
  need(token, "token");
  need(parent, "parent");
  const int32_t most = std::min(kMaxTopK, config_.vocab);
  if (top_k < 0 || top_k > most)
    fail(ESPALIER_INVALID_ARGUMENT, "top_k = %d, expected 0 to %d", top_k, most);
  if (top_k > 0) need(top_k_token, "top_k_token");
  if (tree_begin[0] != 0)
    fail(ESPALIER_INVALID_ARGUMENT, "tree_begin[0] = %d, expected 0", tree_begin[0]);
  Batch made;
  for (int32_t b = 0; b < batch; ++b) {
    sequence(seq[b]);
    if (std::find(made.seq.begin(), made.seq.end(), seq[b]) != made.seq.end()) {
      fail(
          ESPALIER_INVALID_ARGUMENT,
          "seq[%d] = %d, expected a sequence that is not in the batch yet", b, seq[b]);
    }
    if (tree_begin[b + 1] <= tree_begin[b] || tree_begin[b + 1] > max_nodes_) {
      fail(
          ESPALIER_INVALID_ARGUMENT,
          "tree_begin[%d] = %d, expected %d to %d, max_nodes of the session", b + 1,
          tree_begin[b + 1], tree_begin[b] + 1, max_nodes_);
    }
    made.seq.push_back(seq[b]);
    add_nodes(&made, b, tree_begin[b], tree_begin[b + 1], parent + tree_begin[b]);
  }
  const int32_t num_nodes = tree_begin[batch];
  check_tokens(token, num_nodes);
  if (sublayers != nullptr) {
    check_sublayers(sublayers);
    const auto end = sublayers + config_.num_layers;
    // A set that leaves nothing out is a pass like any other.
    if (std::any_of(sublayers, end, [](int32_t s) { return s != kBothSublayers; }))
      made.layer_set.assign(sublayers, end);
  }
  made.tree_begin.assign(tree_begin, tree_begin + batch + 1);
  made.token.assign(token, token + num_nodes);

  drop_scores();
  place(made, 0, step_rows(num_nodes));
  std::vector<int32_t> shape(
      {kForward, static_cast<int32_t>(attention_.rows), batch, attention_.max_pages,
       attention_.max_depth});
  shape.insert(shape.end(), made.layer_set.begin(), made.layer_set.end());
  if (backend_.begin_step(id_, shape)) {
    run(made, 0, true);
    backend_.end_step();
  }
  check(backend_);
  batch_ = std::move(made);
  if (top_k == 0) return;
  const size_t count = static_cast<size_t>(num_nodes) * top_k;
  int32_t* best = top_k_.at_least<int32_t>(device_, count);
  backend_.top_k({logits_.as<float>(), best, nullptr, num_nodes, config_.vocab, top_k});
  read(top_k_token, best, count * sizeof(int32_t));
}

void Session::grow(int32_t num_nodes, const int32_t* token, const int32_t* parent) {
  need_uncommitted();
  if (batch_.size() != 1) {
    fail(
        ESPALIER_INVALID_STATE, "the last forward is over %d trees, expected one to grow",
        batch_.size());
  }
  const int32_t from = batch_.num_nodes();
  if (num_nodes < 1 || num_nodes > max_nodes_ - from) {
    fail(
        ESPALIER_INVALID_ARGUMENT,
        "num_nodes = %d, expected 1 to %d: %d of max_nodes = %d are used", num_nodes,
        max_nodes_ - from, from, max_nodes_);
  }
  need(token, "token");
  need(parent, "parent");
  check_tokens(token, num_nodes);
  Batch grown = batch_;
  add_nodes(&grown, 0, from, from + num_nodes, parent);
  grown.token.insert(grown.token.end(), token, token + num_nodes);
  grown.tree_begin[1] = from + num_nodes;
  place(grown, from, num_nodes);
  std::vector<int32_t> shape({kGrow, from, num_nodes, attention_.max_pages, attention_.max_depth});
  shape.insert(shape.end(), grown.layer_set.begin(), grown.layer_set.end());
  if (backend_.begin_step(id_, shape)) {
    run(grown, from, true);
    backend_.end_step();
  }
  check(backend_);
  batch_ = std::move(grown);
}

void Session::add_nodes(
    Batch* made, int32_t tree, int32_t first, int32_t last, const int32_t* parent) {
  const int32_t begin = tree == 0 ? 0 : first;  // only the first tree can have nodes already
  for (int32_t i = first; i < last; ++i) {
    const int32_t at = i - begin, up = parent[i - first];
    if (at == 0 ? up != -1 : (up < 0 || up >= at)) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "parent of node %d of tree %d = %d, expected %s", at, tree, up,
          at == 0 ? "-1" : "an earlier node");
    }
    made->parent.push_back(up);
    made->depth.push_back(at == 0 ? 0 : made->depth[static_cast<size_t>(begin + up)] + 1);
    made->tree.push_back(tree);
  }
}

// ------------------------------------------------------------------------------------------- choosing and verifying

void Session::read(void* to, const void* from, size_t bytes) {
  backend_.download(to, from, bytes);
  check(backend_);
}

Session::Draws Session::put_draws(const std::vector<int32_t>& nodes, int32_t rows, int32_t noise) {
  std::vector<int32_t> history, history_begin = {0}, position;
  std::vector<espalier_sampling> sampling;
  for (int32_t node : nodes) {
    const int32_t tree = batch_.tree[static_cast<size_t>(node)];
    const Sequence& s = sequence(batch_.seq[static_cast<size_t>(tree)]);
    const int32_t depth = batch_.depth[static_cast<size_t>(node)];
    sampling.push_back(noise == ESPALIER_NO_NOISE ? greedy() : s.sampling);
    position.push_back(s.length() + depth + 1);
    if (has_penalties(sampling.back())) {
      // the context of the node: committed tokens, then the path from the root
      history.insert(history.end(), s.tokens.begin(), s.tokens.end());
      const size_t path_begin = history.size();
      for (int32_t i = node; i >= 0;) {
        history.push_back(batch_.token[static_cast<size_t>(i)]);
        const int32_t up = batch_.parent[static_cast<size_t>(i)];
        i = up < 0 ? -1 : batch_.tree_begin[static_cast<size_t>(tree)] + up;
      }
      std::reverse(history.begin() + static_cast<ptrdiff_t>(path_begin), history.end());
    }
    history_begin.push_back(static_cast<int32_t>(history.size()));
  }
  std::vector<int32_t> row = nodes;
  for (int32_t i = static_cast<int32_t>(nodes.size()); i < rows; ++i) row.push_back(i);
  const size_t n = static_cast<size_t>(rows);
  history_begin.resize(n + 1, history_begin.back());
  position.resize(n, 0);
  sampling.resize(n, greedy());
  Draws d{};
  d.row = judged_.put(row);
  d.position = judged_.put(position);
  d.sampling = judged_.put(sampling);
  d.history_begin = judged_.put(history_begin);
  d.history = judged_.put(history);  // behind the parts whose sizes follow from the rows
  d.rows = rows;
  d.filtered = std::any_of(sampling.begin(), sampling.end(), has_filters);
  return d;
}

void Session::send_judged() {
  if (judged_.send(device_)) backend_.drop_steps(id_);
}

void Session::sample(
    const Draws& d, int32_t k, int32_t noise, int32_t* token, float* log_prob, float* prob,
    int32_t* bad) {
  SampleArgs args{};
  args.logits = logits_.as<float>();
  args.row = judged_.at<int32_t>(d.row);
  args.history = judged_.at<int32_t>(d.history);
  args.history_begin = judged_.at<int32_t>(d.history_begin);
  args.position = judged_.at<int32_t>(d.position);
  args.sampling = judged_.at<espalier_sampling>(d.sampling);
  args.filtered = d.filtered;
  args.noise = noise == ESPALIER_DRAFT_NOISE ? ESPALIER_DRAFT_NOISE : ESPALIER_TARGET_NOISE;
  args.token = token;
  args.log_prob = log_prob;
  args.prob = prob;
  args.bad = bad;
  args.rows = d.rows;
  args.vocab = config_.vocab;
  args.k = k;
  backend_.sample(args);
}

std::vector<int32_t> Session::all_nodes() const {
  std::vector<int32_t> nodes(static_cast<size_t>(batch_.num_nodes()));
  std::iota(nodes.begin(), nodes.end(), 0);
  return nodes;
}

void Session::verify(int32_t* choice, int32_t* path, int32_t* accept_len) {
  need(choice, "choice");
  need(path, "path");
  need(accept_len, "accept_len");
  need_uncommitted();
  need_whole();
  const size_t n = static_cast<size_t>(batch_.num_nodes()),
               batch = static_cast<size_t>(batch_.size());
  const int32_t rows = step_rows(batch_.num_nodes());
  std::vector<int32_t> token = batch_.token, parent = batch_.parent;
  token.resize(static_cast<size_t>(rows), 0);
  parent.resize(static_cast<size_t>(rows), -1);
  judged_.clear();
  const size_t at_begin = judged_.put(batch_.tree_begin), at_token = judged_.put(token),
               at_parent = judged_.put(parent);
  const Draws draws = put_draws(all_nodes(), rows, ESPALIER_TARGET_NOISE);
  send_judged();
  // One piece: choice, bad and path of every row, accept_len of every tree.
  const size_t m = static_cast<size_t>(rows);
  int32_t *choice_out = verify_out_.as<int32_t>(), *bad_out = choice_out + m,
          *path_out = bad_out + m, *len_out = path_out + m;
  if (backend_.begin_step(id_, {kVerify, rows, batch_.size(), draws.filtered ? 1 : 0})) {
    sample(draws, 1, ESPALIER_TARGET_NOISE, choice_out, nullptr, nullptr, bad_out);
    backend_.verify(
        {judged_.at<int32_t>(at_begin), judged_.at<int32_t>(at_token),
         judged_.at<int32_t>(at_parent), choice_out, path_out, len_out, batch_.size()});
    backend_.end_step();
  }
  std::vector<int32_t> result(3 * m + batch);
  read(result.data(), choice_out, result.size() * sizeof(int32_t));

  // A node whose logits are no numbers has no choice, so no path leads through it; only one that is reached fails.
  const int32_t *bad = &result[m], *paths = &result[2 * m], *lengths = &result[3 * m];
  for (size_t b = 0; b < batch; ++b) {
    const int32_t first = batch_.tree_begin[b], len = lengths[b];
    const int32_t last = first + (len == 0 ? 0 : paths[first + len - 1]);
    if (bad[last] != 0) fail_bad_logits(last);
  }
  std::copy_n(result.begin(), n, choice);
  for (size_t b = 0; b < batch; ++b) {
    const int32_t first = batch_.tree_begin[b];
    accept_len[b] = lengths[b];
    std::copy_n(paths + first, accept_len[b], path + first);
  }
}

void Session::verify_sampling(
    const int32_t* scheme, const espalier_buffer* q, const int32_t* q_row, int32_t* path,
    int32_t* accept_len, int32_t* bonus) {
  need(scheme, "scheme");
  need(q_row, "q_row");
  need(path, "path");
  need(accept_len, "accept_len");
  need(bonus, "bonus");
  need_uncommitted();
  need_whole();
  const size_t n = static_cast<size_t>(batch_.num_nodes()),
               batch = static_cast<size_t>(batch_.size());
  if (q != nullptr) check_laws(*q, device_, config_.vocab);
  const int64_t laws = q == nullptr ? 0 : q->shape[0];
  for (size_t i = 0; i < n; ++i) {
    if (scheme[i] < ESPALIER_POINT_MASS || scheme[i] > ESPALIER_WITHOUT_REPLACEMENT) {
      fail(ESPALIER_INVALID_ARGUMENT, "scheme[%zu] = %d, expected 0, 1 or 2", i, scheme[i]);
    }
    const int32_t least =
        scheme[i] == ESPALIER_POINT_MASS || !has_children(batch_, static_cast<int32_t>(i)) ? -1 : 0;
    if (q_row[i] < least || q_row[i] >= laws) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "q_row[%zu] = %d, expected %d to %lld, the rows of q", i,
          q_row[i], least, static_cast<long long>(laws - 1));
    }
  }
  std::vector<int32_t> root_position;
  std::vector<uint64_t> seed;
  for (int32_t seq : batch_.seq) {
    const Sequence& s = sequence(seq);
    root_position.push_back(s.length());
    seed.push_back(s.sampling.seed);
    seed.push_back(s.sampling.stream);
  }
  const int32_t rows = step_rows(batch_.num_nodes());
  const size_t m = static_cast<size_t>(rows);
  // Rows that only fill up the step are in no tree.
  const auto filled = [m](std::vector<int32_t> of_nodes, int32_t filler) {
    of_nodes.resize(m, filler);
    return of_nodes;
  };
  judged_.clear();
  const size_t at_begin = judged_.put(batch_.tree_begin), at_position = judged_.put(root_position),
               at_token = judged_.put(filled(batch_.token, 0)),
               at_parent = judged_.put(filled(batch_.parent, -1)),
               at_scheme = judged_.put(filled({scheme, scheme + n}, ESPALIER_POINT_MASS)),
               at_q_row = judged_.put(filled({q_row, q_row + n}, -1)), at_seed = judged_.put(seed);
  const Draws draws = put_draws(all_nodes(), rows, ESPALIER_TARGET_NOISE);
  send_judged();
  // What is read is one piece: bad and path of every row, accept_len and bonus of every tree.
  int32_t *chosen = verify_out_.as<int32_t>(), *bad_out = chosen + m, *path_out = bad_out + m,
          *len_out = path_out + m, *bonus_out = len_out + batch;
  const auto where_q = q == nullptr ? uint64_t{0} : reinterpret_cast<uint64_t>(q->data);
  if (backend_.begin_step(
          id_, {kVerifySampling, rows, batch_.size(), draws.filtered ? 1 : 0,
                static_cast<int32_t>(where_q), static_cast<int32_t>(where_q >> 32)})) {
    float* p = laws_.as<float>();
    sample(draws, 1, ESPALIER_TARGET_NOISE, chosen, nullptr, p, bad_out);
    VerifySamplingArgs args{};
    args.tree_begin = judged_.at<int32_t>(at_begin);
    args.token = judged_.at<int32_t>(at_token);
    args.parent = judged_.at<int32_t>(at_parent);
    args.p = p;
    args.scheme = judged_.at<int32_t>(at_scheme);
    args.q = q == nullptr ? nullptr : static_cast<const float*>(q->data);
    args.q_row = judged_.at<int32_t>(at_q_row);
    args.position = judged_.at<int32_t>(at_position);
    args.seed = judged_.at<uint64_t>(at_seed);
    args.path = path_out;
    args.accept_len = len_out;
    args.bonus = bonus_out;
    args.batch = batch_.size();
    args.vocab = config_.vocab;
    backend_.verify_sampling(args);
    backend_.end_step();
  }
  std::vector<int32_t> result(2 * m + 2 * batch);
  read(result.data(), bad_out, result.size() * sizeof(int32_t));
  const int32_t *paths = &result[m], *lengths = &result[2 * m], *bonuses = lengths + batch;
  for (size_t i = 0; i < n; ++i) {
    if (result[i] != 0) fail_bad_logits(static_cast<int32_t>(i));
  }
  for (size_t b = 0; b < batch; ++b) {
    if (bonuses[b] >= 0) continue;
    fail(
        ESPALIER_INVALID_ARGUMENT,
        "q of tree %zu is no law, or 0 at a token that was drawn from it, expected the law of the "
        "draw",
        b);
  }
  for (size_t b = 0; b < batch; ++b) {
    const size_t first = static_cast<size_t>(batch_.tree_begin[b]);
    accept_len[b] = lengths[b];
    bonus[b] = bonuses[b];
    std::copy_n(paths + first, accept_len[b], path + first);
  }
}

void Session::commit(const int32_t* path, const int32_t* accept_len) {
  need(path, "path");
  need(accept_len, "accept_len");
  need_uncommitted();
  need_whole();
  std::vector<int32_t> from, to;
  for (int32_t b = 0; b < batch_.size(); ++b) {
    const int32_t first = batch_.tree_begin[b], tree_len = batch_.tree_begin[b + 1] - first;
    if (accept_len[b] < -1 || accept_len[b] >= tree_len) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "accept_len[%d] = %d, expected -1 to %d", b, accept_len[b],
          tree_len - 1);
    }
    const Sequence& s = sequence(batch_.seq[b]);
    for (int32_t i = 0, at = 0; i < accept_len[b]; ++i) {
      const int32_t node = path[first + i];
      if (node <= at || node >= tree_len || batch_.parent[first + node] != at) {
        fail(
            ESPALIER_INVALID_ARGUMENT, "path[%d] = %d, expected a child of node %d of tree %d",
            first + i, node, at, b);
      }
      at = node;
      if (node == i + 1) continue;  // in place already
      from.push_back(cache_.slot(s.pages, s.length() + node));
      to.push_back(cache_.slot(s.pages, s.length() + i + 1));
    }
  }
  cache_.move(from, to);
  check(backend_);
  for (int32_t b = 0; b < batch_.size(); ++b) {
    if (accept_len[b] < 0) continue;
    Sequence& s = sequence(batch_.seq[b]);
    const int32_t first = batch_.tree_begin[b];
    s.tokens.push_back(batch_.token[first]);
    for (int32_t i = 0; i < accept_len[b]; ++i)
      s.tokens.push_back(batch_.token[first + path[first + i]]);
  }
  for (int32_t seq : batch_.seq) {
    Sequence& s = sequence(seq);
    cache_.truncate(&s.pages, s.length());
  }
  committed_ = true;
}

void Session::draw(
    int32_t num_nodes, const int32_t* node, int32_t k, int32_t noise, int32_t* token,
    float* log_prob, espalier_buffer* q, int32_t q_row) {
  check_num_nodes(num_nodes);
  need(node, "node");
  need(token, "token");
  need_uncommitted();
  const int32_t most = std::min(kMaxTopK, config_.vocab);
  if (k < 1 || k > most) fail(ESPALIER_INVALID_ARGUMENT, "k = %d, expected 1 to %d", k, most);
  if (noise < ESPALIER_TARGET_NOISE || noise > ESPALIER_NO_NOISE) {
    fail(
        ESPALIER_INVALID_ARGUMENT,
        "noise = %d, expected ESPALIER_TARGET_NOISE (0), ESPALIER_DRAFT_NOISE (1) or "
        "ESPALIER_NO_NOISE (2)",
        noise);
  }
  for (int32_t i = 0; i < num_nodes; ++i) check_node(node[i], "node");
  float* prob = nullptr;
  if (q != nullptr) {
    check_laws(*q, device_, config_.vocab);
    if (q_row < 0 || q_row > q->shape[0] - num_nodes) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "q_row = %d, expected 0 to %lld, so that %d rows fit", q_row,
          static_cast<long long>(q->shape[0] - num_nodes), num_nodes);
    }
    prob = static_cast<float*>(q->data) + static_cast<int64_t>(q_row) * config_.vocab;
  }
  const size_t n = static_cast<size_t>(num_nodes), count = n * static_cast<size_t>(k);
  judged_.clear();
  const Draws draws = put_draws(std::vector<int32_t>(node, node + num_nodes), num_nodes, noise);
  send_judged();
  int32_t* ints = sampled_out_.at_least<int32_t>(device_, count + n);
  float* floats = log_prob == nullptr ? nullptr : log_prob_.at_least<float>(device_, count);
  sample(draws, k, noise, ints, floats, prob, ints + count);
  std::vector<int32_t> result(count + n);
  read(result.data(), ints, result.size() * sizeof(int32_t));
  for (size_t i = 0; i < n; ++i) {
    if (result[count + i] != 0) fail_bad_logits(node[i]);
  }
  std::copy_n(result.begin(), count, token);
  if (log_prob != nullptr) read(log_prob, floats, count * sizeof(float));
}

// ------------------------------------------------------------------------------------------------- reading the scores

void Session::logits(int32_t node, float* out, int32_t vocab) {
  need(out, "logits");
  need_scores();
  check_node(node, "node");
  if (vocab != config_.vocab)
    fail(ESPALIER_INVALID_ARGUMENT, "vocab = %d, expected %d", vocab, config_.vocab);
  read(
      out, logits_.as<float>() + static_cast<int64_t>(node) * vocab,
      static_cast<size_t>(vocab) * sizeof(float));
}

void Session::keep_hidden(const int32_t* layer, int32_t num_layers) {
  if (num_layers < 0) fail(ESPALIER_INVALID_ARGUMENT, "num_layers = %d, expected >= 0", num_layers);
  if (num_layers > 0) need(layer, "layer");
  for (int32_t i = 0; i < num_layers; ++i) {
    const int32_t least = i == 0 ? 0 : layer[i - 1] + 1;
    if (layer[i] < least || layer[i] > config_.num_layers) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "layer[%d] = %d, expected %d to %d, ascending", i, layer[i],
          least, config_.num_layers);
    }
  }
  const auto count = static_cast<size_t>(num_layers);
  std::vector<Memory> further;
  for (size_t i = hidden_.size(); i < count; ++i) {
    further.emplace_back(device_, static_cast<size_t>(max_nodes_) * config_.hidden * sizeof(float));
  }
  backend_.drop_steps(id_);
  drop_scores();
  hidden_.resize(std::min(hidden_.size(), count));
  std::move(further.begin(), further.end(), std::back_inserter(hidden_));
  hidden_layers_.assign(layer, layer + num_layers);
}

void Session::hidden(int32_t layer, int32_t node, float* out, int32_t hidden) {
  need(out, "state");
  need_scores();
  need_whole();
  check_node(node, "node");
  if (hidden != config_.hidden)
    fail(ESPALIER_INVALID_ARGUMENT, "hidden = %d, expected %d", hidden, config_.hidden);
  const float* state = kept(layer) + static_cast<int64_t>(node) * hidden;
  read(out, state, static_cast<size_t>(hidden) * sizeof(float));
}

const float* Session::kept(int32_t layer) const {
  const auto found = std::find(hidden_layers_.begin(), hidden_layers_.end(), layer);
  if (found == hidden_layers_.end()) {
    fail(
        ESPALIER_INVALID_ARGUMENT,
        "layer = %d, expected a layer that espalier_session_keep_hidden chose", layer);
  }
  return hidden_[static_cast<size_t>(found - hidden_layers_.begin())].as<float>();
}

void Session::exit_head(
    int32_t num_layers, const int32_t* layer, int32_t num_nodes, const int32_t* node,
    int32_t* token, float* prob) {
  const auto num_kept = static_cast<int32_t>(hidden_layers_.size());
  if (num_layers < 1 || num_layers > num_kept) {
    fail(
        ESPALIER_INVALID_ARGUMENT,
        "num_layers = %d, expected 1 to the %d layers that espalier_session_keep_hidden chose",
        num_layers, num_kept);
  }
  check_num_nodes(num_nodes);
  need(layer, "layer");
  need(node, "node");
  need(token, "token");
  need(prob, "prob");
  need_scores();
  need_whole();
  for (int32_t i = 0; i < num_nodes; ++i) check_node(node[i], "node");
  std::vector<const float*> states;  // of all rows
  for (int32_t l = 0; l < num_layers; ++l) {
    const float* of_layer = kept(layer[l]);
    for (int32_t i = 0; i < num_nodes; ++i)
      states.push_back(of_layer + static_cast<int64_t>(node[i]) * config_.hidden);
  }
  const size_t hidden = static_cast<size_t>(config_.hidden), rows = states.size(),
               most = std::min({rows, static_cast<size_t>(max_nodes_), kExitRows});
  // Greedy draws need neither history nor position.
  judged_.clear();
  const size_t at_sampling = judged_.put(std::vector<espalier_sampling>(most, greedy())),
               at_zeros = judged_.put(std::vector<int32_t>(most + 1, 0));
  send_judged();
  const int32_t* zeros = judged_.at<int32_t>(at_zeros);
  int32_t* tokens = sampled_out_.at_least<int32_t>(device_, 2 * rows);
  float* log_probs = log_prob_.at_least<float>(device_, rows);
  float* logits = laws_.as<float>();
  for (size_t done = 0; done < rows; done += most) {
    const size_t n = std::min(most, rows - done);
    for (size_t i = 0, run = 1; i < n; i += run, run = 1) {  // states that lie together in one call
      while (i + run < n && states[done + i + run] == states[done + i] + run * hidden) ++run;
      lm_head(
          states[done + i], logits + i * static_cast<size_t>(config_.vocab),
          static_cast<int64_t>(run));
    }
    SampleArgs args{};
    args.logits = logits;
    args.history = zeros;
    args.history_begin = zeros;
    args.position = zeros;
    args.sampling = judged_.at<espalier_sampling>(at_sampling);
    args.noise = ESPALIER_TARGET_NOISE;
    args.token = tokens + done;
    args.log_prob = log_probs + done;
    args.bad = tokens + rows + done;
    args.rows = static_cast<int64_t>(n);
    args.vocab = config_.vocab;
    args.k = 1;
    backend_.sample(args);
  }
  read(token, tokens, rows * sizeof(int32_t));
  read(prob, log_probs, rows * sizeof(float));
  for (size_t i = 0; i < rows; ++i) prob[i] = token[i] < 0 ? 0 : std::exp(prob[i]);
}

}  // namespace espalier
