#include "runtime/session.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "runtime/checks.h"

namespace espalier {
namespace {

constexpr int32_t kMaxTopK = 64;
constexpr int32_t kDefaultMaxNodes = 512;

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
  if (pages < 1 || pages > INT32_MAX / size) {
    fail(
        ESPALIER_INVALID_ARGUMENT, "num_pages = %lld, expected 1 to %lld",
        static_cast<long long>(pages), static_cast<long long>(INT32_MAX / size));
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

/** Copies a vector into a growing staging area and returns where it begins. */
size_t put(std::vector<int32_t>* area, const std::vector<int32_t>& part) {
  const size_t at = area->size();
  area->insert(area->end(), part.begin(), part.end());
  return at;
}

}  // namespace

Session::Session(
    std::shared_ptr<Device> device, std::shared_ptr<const Model> model,
    const espalier_session_options& options)
    : device_(std::move(device)),
      model_(std::move(model)),
      backend_(*device_->backend),
      config_(model_->config()),
      max_nodes_(max_nodes_of(options)),
      cache_(
          device_, config_.num_layers, num_pages_of(options, config_), page_size_of(options),
          int64_t{config_.num_kv_heads} * config_.head_dim, kv_type_of(options, *model_)) {
  const size_t rows = static_cast<size_t>(max_nodes_) * sizeof(float);
  const size_t q = static_cast<size_t>(config_.num_q_heads) * config_.head_dim;
  const size_t kv = static_cast<size_t>(config_.num_kv_heads) * config_.head_dim;
  x_ = Memory(device_, rows * config_.hidden);
  h_ = Memory(device_, rows * config_.hidden);
  q_ = Memory(device_, rows * q);
  k_ = Memory(device_, rows * kv);
  v_ = Memory(device_, rows * kv);
  attended_ = Memory(device_, rows * q);
  mlp_ = Memory(device_, rows * config_.intermediate);
  cos_sin_ = Memory(device_, rows * config_.head_dim);
  logits_ = Memory(device_, rows * config_.vocab);
}

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
  sequence(seq).sampling = s;
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

void Session::place(const Batch& batch) {
  const int32_t rows = batch.num_nodes();
  int32_t max_depth = 0, max_pages = 1;
  try {
    for (int32_t b = 0; b < batch.size(); ++b) {
      Sequence& s = sequence(batch.seq[b]);
      const int32_t tree_len = batch.tree_begin[b + 1] - batch.tree_begin[b];
      for (int32_t i = batch.tree_begin[b]; i < batch.tree_begin[b + 1]; ++i) {
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
      cache_.make_writable(&s.pages, s.length(), s.length() + tree_len);
      max_pages = std::max(max_pages, static_cast<int32_t>(s.pages.size()));
    }
  } catch (...) {
    for (int32_t seq : batch.seq) {
      Sequence& s = sequence(seq);
      cache_.truncate(&s.pages, s.length());
    }
    throw;
  }

  std::vector<int32_t> page_table(static_cast<size_t>(batch.size()) * max_pages, -1), kv_len, slot,
      ancestor_slot(static_cast<size_t>(rows) * max_depth, 0);
  const size_t half = static_cast<size_t>(config_.head_dim) / 2;
  cos_sin_host_.resize(static_cast<size_t>(rows) * 2 * half);
  for (int32_t b = 0; b < batch.size(); ++b) {
    const Sequence& s = sequence(batch.seq[b]);
    std::copy(
        s.pages.begin(), s.pages.end(), page_table.begin() + static_cast<ptrdiff_t>(b) * max_pages);
    kv_len.push_back(s.length());
    for (int32_t i = batch.tree_begin[b]; i < batch.tree_begin[b + 1]; ++i) {
      slot.push_back(cache_.slot(s.pages, s.length() + i - batch.tree_begin[b]));
      int32_t* ancestors = &ancestor_slot[static_cast<size_t>(i) * max_depth];
      if (batch.parent[i] >= 0) {
        const int32_t up = batch.tree_begin[b] + batch.parent[i];
        std::copy_n(&ancestor_slot[static_cast<size_t>(up) * max_depth], batch.depth[i], ancestors);
      }
      ancestors[batch.depth[i]] = slot.back();
      float* angles = &cos_sin_host_[static_cast<size_t>(i) * 2 * half];
      rope_angles(config_.rope, s.length() + batch.depth[i], angles, angles + half);
    }
  }

  placement_.clear();
  const size_t at_page_table = put(&placement_, page_table), at_kv_len = put(&placement_, kv_len),
               at_tree = put(&placement_, batch.tree), at_depth = put(&placement_, batch.depth),
               at_ancestors = put(&placement_, ancestor_slot), at_slot = put(&placement_, slot),
               at_token = put(&placement_, batch.token);
  int32_t* on_device = placement_on_device_.at_least<int32_t>(device_, placement_.size());
  backend_.upload(on_device, placement_.data(), placement_.size() * sizeof(int32_t));
  backend_.upload(cos_sin_.as<float>(), cos_sin_host_.data(), cos_sin_host_.size() * sizeof(float));
  slot_ = on_device + at_slot;
  token_ = on_device + at_token;
  attention_ = {};
  attention_.page_table = on_device + at_page_table;
  attention_.kv_len = on_device + at_kv_len;
  attention_.row_seq = on_device + at_tree;
  attention_.depth = on_device + at_depth;
  attention_.ancestor_slot = on_device + at_ancestors;
  attention_.rows = rows;
  attention_.max_pages = max_pages;
  attention_.max_depth = max_depth;
}

void Session::run(const Batch& batch, bool scores) {
  const int64_t rows = batch.num_nodes();
  backend_.embed({model_->embedding().weight, token_, x_.as<float>(), rows});
  keep(0, rows);
  for (int32_t i = 0; i < config_.num_layers; ++i) {
    run_layer(i, rows);
    keep(i + 1, rows);
  }
  if (!scores) return;
  const Weight& norm = model_->final_norm().weight;
  backend_.rms_norm(
      {x_.as<float>(), norm.data, norm.type, config_.rms_norm_eps, h_.as<float>(), rows,
       config_.hidden});
  backend_.skinny_gemm(
      {h_.as<float>(), model_->lm_head().weight, {}, {}, {}, nullptr, logits_.as<float>(), rows});
}

void Session::run_layer(int32_t i, int64_t rows) {
  const LayerWeights& w = model_->layer(i);
  float *x = x_.as<float>(), *h = h_.as<float>(), *q = q_.as<float>(), *k = k_.as<float>(),
        *v = v_.as<float>();
  const auto norm = [&](const float* in, const Weight& weight, float* out, int64_t n,
                        int64_t size) {
    backend_.rms_norm({in, weight.data, weight.type, config_.rms_norm_eps, out, n, size});
  };

  norm(x, w.input_norm.weight, h, rows, config_.hidden);
  backend_.skinny_gemm({h, w.q.weight, {}, w.q_bias.weight, {}, nullptr, q, rows});
  backend_.skinny_gemm({h, w.k.weight, {}, w.k_bias.weight, {}, nullptr, k, rows});
  backend_.skinny_gemm({h, w.v.weight, {}, w.v_bias.weight, {}, nullptr, v, rows});
  if (w.q_norm) {
    norm(q, w.q_norm.weight, q, rows * config_.num_q_heads, config_.head_dim);
    norm(k, w.k_norm.weight, k, rows * config_.num_kv_heads, config_.head_dim);
  }
  backend_.rope_and_append(
      {q, k, v, cos_sin_.as<float>(), slot_, cache_.k_layer(i), cache_.v_layer(i), cache_.type(),
       rows, config_.num_q_heads, config_.num_kv_heads, config_.head_dim});

  TreeAttentionArgs attention = attention_;
  attention.q = q;
  attention.k_cache = cache_.k_layer(i);
  attention.v_cache = cache_.v_layer(i);
  attention.kv_type = cache_.type();
  attention.scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
  attention.window = config_.window[static_cast<size_t>(i)];
  attention.out = attended_.as<float>();
  attention.page_size = cache_.page_size();
  attention.num_q_heads = config_.num_q_heads;
  attention.num_kv_heads = config_.num_kv_heads;
  attention.head_dim = config_.head_dim;
  backend_.tree_attention(attention);
  backend_.skinny_gemm({attended_.as<float>(), w.o.weight, {}, w.o_bias.weight, {}, x, x, rows});

  norm(x, w.post_norm.weight, h, rows, config_.hidden);
  backend_.skinny_gemm(
      {h, w.gate.weight, w.up.weight, w.gate_bias.weight, w.up_bias.weight, nullptr,
       mlp_.as<float>(), rows});
  backend_.skinny_gemm({mlp_.as<float>(), w.down.weight, {}, w.down_bias.weight, {}, x, x, rows});
}

void Session::keep(int32_t layer, int64_t rows) {
  for (size_t i = 0; i < hidden_layers_.size(); ++i) {
    if (hidden_layers_[i] == layer) {
      const size_t bytes = static_cast<size_t>(rows * config_.hidden) * sizeof(float);
      backend_.copy(hidden_[i].as<float>(), x_.as<float>(), bytes);
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
    place(chain);
    run(chain, false);
    s.tokens.insert(s.tokens.end(), chain.token.begin(), chain.token.end());
    done += n;
  }
}

void Session::forward(
    int32_t batch, const int32_t* seq, const int32_t* tree_begin, const int32_t* token,
    const int32_t* parent, int32_t top_k, int32_t* top_k_token) {
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
    for (int32_t i = tree_begin[b]; i < tree_begin[b + 1]; ++i) {
      const int32_t at = i - tree_begin[b];
      if (at == 0 ? parent[i] != -1 : (parent[i] < 0 || parent[i] >= at)) {
        fail(
            ESPALIER_INVALID_ARGUMENT, "parent of node %d of tree %d = %d, expected %s", at, b,
            parent[i], at == 0 ? "-1" : "an earlier node");
      }
      made.depth.push_back(
          at == 0 ? 0 : made.depth[static_cast<size_t>(tree_begin[b] + parent[i])] + 1);
      made.tree.push_back(b);
    }
  }
  const int32_t num_nodes = tree_begin[batch];
  check_tokens(token, num_nodes);
  made.tree_begin.assign(tree_begin, tree_begin + batch + 1);
  made.token.assign(token, token + num_nodes);
  made.parent.assign(parent, parent + num_nodes);

  drop_scores();
  place(made);
  run(made, true);
  batch_ = std::move(made);
  if (top_k == 0) return;
  const size_t count = static_cast<size_t>(num_nodes) * top_k;
  int32_t* best = top_k_.at_least<int32_t>(device_, count);
  backend_.top_k({logits_.as<float>(), best, nullptr, num_nodes, config_.vocab, top_k});
  backend_.download(top_k_token, best, count * sizeof(int32_t));
}

// ------------------------------------------------------------------------------------------- choosing and verifying

void Session::sample(
    const std::vector<int32_t>& nodes, int32_t k, int32_t noise, int32_t* token, float* log_prob,
    float* prob, int32_t* bad) {
  const size_t n = nodes.size();
  history_.clear();
  history_begin_.assign(1, 0);
  sampling_.clear();
  std::vector<int32_t> position;
  for (int32_t node : nodes) {
    const int32_t tree = batch_.tree[static_cast<size_t>(node)];
    const Sequence& s = sequence(batch_.seq[static_cast<size_t>(tree)]);
    const int32_t depth = batch_.depth[static_cast<size_t>(node)];
    sampling_.push_back(s.sampling);
    position.push_back(s.length() + depth + 1);
    if (has_penalties(
            s.sampling)) {  // the context of the node: committed tokens, then the path from the root
      history_.insert(history_.end(), s.tokens.begin(), s.tokens.end());
      const size_t path_begin = history_.size();
      for (int32_t i = node; i >= 0;) {
        history_.push_back(batch_.token[static_cast<size_t>(i)]);
        const int32_t up = batch_.parent[static_cast<size_t>(i)];
        i = up < 0 ? -1 : batch_.tree_begin[static_cast<size_t>(tree)] + up;
      }
      std::reverse(history_.begin() + static_cast<ptrdiff_t>(path_begin), history_.end());
    }
    history_begin_.push_back(static_cast<int32_t>(history_.size()));
  }
  int32_t* ints = sample_ints_.at_least<int32_t>(device_, 3 * n + 1 + history_.size());
  int32_t *row = ints, *at = ints + n, *begin = ints + 2 * n, *history = ints + 3 * n + 1;
  backend_.upload(row, nodes.data(), n * sizeof(int32_t));
  backend_.upload(at, position.data(), n * sizeof(int32_t));
  backend_.upload(begin, history_begin_.data(), (n + 1) * sizeof(int32_t));
  backend_.upload(history, history_.data(), history_.size() * sizeof(int32_t));
  SampleArgs args{};
  args.logits = logits_.as<float>();
  args.row = row;
  args.history = history;
  args.history_begin = begin;
  args.position = at;
  args.sampling = sampling_.data();
  args.noise = noise;
  args.token = token;
  args.log_prob = log_prob;
  args.prob = prob;
  args.bad = bad;
  args.rows = static_cast<int64_t>(n);
  args.vocab = config_.vocab;
  args.k = k;
  backend_.sample(args);
}

void Session::verify(int32_t* choice, int32_t* path, int32_t* accept_len) {
  need(choice, "choice");
  need(path, "path");
  need(accept_len, "accept_len");
  need_uncommitted();
  const size_t n = static_cast<size_t>(batch_.num_nodes()),
               batch = static_cast<size_t>(batch_.size());
  int32_t* ints = verify_ints_.at_least<int32_t>(device_, 2 * batch + 1 + 5 * n);
  int32_t *tree_begin = ints, *token = tree_begin + batch + 1, *parent = token + n,
          *out = parent + n;
  // One piece: choice, bad and path of every node, accept_len of every tree.
  int32_t *choice_out = out, *bad_out = out + n, *path_out = out + 2 * n, *len_out = out + 3 * n;
  backend_.upload(tree_begin, batch_.tree_begin.data(), (batch + 1) * sizeof(int32_t));
  backend_.upload(token, batch_.token.data(), n * sizeof(int32_t));
  backend_.upload(parent, batch_.parent.data(), n * sizeof(int32_t));
  std::vector<int32_t> nodes(n);
  std::iota(nodes.begin(), nodes.end(), 0);
  sample(nodes, 1, ESPALIER_TARGET_NOISE, choice_out, nullptr, nullptr, bad_out);
  backend_.verify({tree_begin, token, parent, choice_out, path_out, len_out, batch_.size()});
  std::vector<int32_t> result(3 * n + batch);
  backend_.download(result.data(), out, result.size() * sizeof(int32_t));

  // A node whose logits are no numbers has no choice, so no path leads through it; only one that is reached fails.
  for (size_t b = 0; b < batch; ++b) {
    const size_t first = static_cast<size_t>(batch_.tree_begin[b]),
                 len = static_cast<size_t>(result[3 * n + b]);
    const size_t last =
        first + (len == 0 ? 0 : static_cast<size_t>(result[2 * n + first + len - 1]));
    if (result[n + last] != 0) fail_bad_logits(static_cast<int32_t>(last));
  }
  std::copy_n(result.begin(), n, choice);
  for (size_t b = 0; b < batch; ++b) {
    const size_t first = static_cast<size_t>(batch_.tree_begin[b]);
    accept_len[b] = result[3 * n + b];
    std::copy_n(&result[2 * n + first], accept_len[b], path + first);
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
  int32_t* ints = verify_ints_.at_least<int32_t>(device_, 4 * batch + 1 + 7 * n);
  int32_t *tree_begin = ints, *position = tree_begin + batch + 1, *token = position + batch,
          *parent = token + n, *schemes = parent + n, *rows = schemes + n, *chosen = rows + n,
          *out = chosen + n;
  int32_t *bad_out = out, *path_out = out + n, *len_out = out + 2 * n, *bonus_out = len_out + batch;
  std::vector<int32_t> root_position, nodes(n);
  std::vector<uint64_t> seed;
  for (int32_t seq : batch_.seq) {
    const Sequence& s = sequence(seq);
    root_position.push_back(s.length());
    seed.push_back(s.sampling.seed);
    seed.push_back(s.sampling.stream);
  }
  std::iota(nodes.begin(), nodes.end(), 0);
  uint64_t* seeds = seeds_.at_least<uint64_t>(device_, seed.size());
  float* p = laws_.at_least<float>(device_, n * static_cast<size_t>(config_.vocab));
  backend_.upload(tree_begin, batch_.tree_begin.data(), (batch + 1) * sizeof(int32_t));
  backend_.upload(position, root_position.data(), batch * sizeof(int32_t));
  backend_.upload(token, batch_.token.data(), n * sizeof(int32_t));
  backend_.upload(parent, batch_.parent.data(), n * sizeof(int32_t));
  backend_.upload(schemes, scheme, n * sizeof(int32_t));
  backend_.upload(rows, q_row, n * sizeof(int32_t));
  backend_.upload(seeds, seed.data(), seed.size() * sizeof(uint64_t));
  sample(nodes, 1, ESPALIER_TARGET_NOISE, chosen, nullptr, p, bad_out);
  std::vector<int32_t> result(2 * n + 2 * batch);
  backend_.download(result.data(), bad_out, n * sizeof(int32_t));
  for (size_t i = 0; i < n; ++i) {
    if (result[i] != 0) fail_bad_logits(static_cast<int32_t>(i));
  }
  VerifySamplingArgs args{};
  args.tree_begin = tree_begin;
  args.token = token;
  args.parent = parent;
  args.p = p;
  args.scheme = schemes;
  args.q = q == nullptr ? nullptr : static_cast<const float*>(q->data);
  args.q_row = rows;
  args.position = position;
  args.seed = seeds;
  args.path = path_out;
  args.accept_len = len_out;
  args.bonus = bonus_out;
  args.batch = batch_.size();
  args.vocab = config_.vocab;
  backend_.verify_sampling(args);
  backend_.download(result.data(), out, result.size() * sizeof(int32_t));
  for (size_t b = 0; b < batch; ++b) {
    const size_t first = static_cast<size_t>(batch_.tree_begin[b]);
    accept_len[b] = result[2 * n + b];
    bonus[b] = result[2 * n + batch + b];
    std::copy_n(&result[n + first], accept_len[b], path + first);
  }
}

void Session::commit(const int32_t* path, const int32_t* accept_len) {
  need(path, "path");
  need(accept_len, "accept_len");
  need_uncommitted();
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
  if (num_nodes < 1) fail(ESPALIER_INVALID_ARGUMENT, "num_nodes = %d, expected >= 1", num_nodes);
  need(node, "node");
  need(token, "token");
  need_uncommitted();
  const int32_t most = std::min(kMaxTopK, config_.vocab);
  if (k < 1 || k > most) fail(ESPALIER_INVALID_ARGUMENT, "k = %d, expected 1 to %d", k, most);
  if (noise != ESPALIER_TARGET_NOISE && noise != ESPALIER_DRAFT_NOISE) {
    fail(
        ESPALIER_INVALID_ARGUMENT,
        "noise = %d, expected ESPALIER_TARGET_NOISE (0) or ESPALIER_DRAFT_NOISE (1)", noise);
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
  int32_t* ints = verify_ints_.at_least<int32_t>(device_, count + n);
  float* floats = log_prob == nullptr ? nullptr : sample_floats_.at_least<float>(device_, count);
  sample(std::vector<int32_t>(node, node + num_nodes), k, noise, ints, floats, prob, ints + count);
  std::vector<int32_t> result(count + n);
  backend_.download(result.data(), ints, result.size() * sizeof(int32_t));
  for (size_t i = 0; i < n; ++i) {
    if (result[count + i] != 0) fail_bad_logits(node[i]);
  }
  std::copy_n(result.begin(), count, token);
  if (log_prob != nullptr) backend_.download(log_prob, floats, count * sizeof(float));
}

// ------------------------------------------------------------------------------------------------- reading the scores

void Session::logits(int32_t node, float* out, int32_t vocab) {
  need(out, "logits");
  need_scores();
  check_node(node, "node");
  if (vocab != config_.vocab)
    fail(ESPALIER_INVALID_ARGUMENT, "vocab = %d, expected %d", vocab, config_.vocab);
  backend_.download(
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
  std::vector<Memory> made;
  for (int32_t i = 0; i < num_layers; ++i) {
    made.emplace_back(device_, static_cast<size_t>(max_nodes_) * config_.hidden * sizeof(float));
  }
  hidden_ = std::move(made);
  hidden_layers_.assign(layer, layer + num_layers);
  drop_scores();
}

void Session::hidden(int32_t layer, int32_t node, float* out, int32_t hidden) {
  need(out, "state");
  need_scores();
  check_node(node, "node");
  if (hidden != config_.hidden)
    fail(ESPALIER_INVALID_ARGUMENT, "hidden = %d, expected %d", hidden, config_.hidden);
  const auto found = std::find(hidden_layers_.begin(), hidden_layers_.end(), layer);
  if (found == hidden_layers_.end()) {
    fail(
        ESPALIER_INVALID_ARGUMENT,
        "layer = %d, expected a layer that espalier_session_keep_hidden chose", layer);
  }
  const Memory& kept = hidden_[static_cast<size_t>(found - hidden_layers_.begin())];
  backend_.download(
      out, kept.as<float>() + static_cast<int64_t>(node) * hidden,
      static_cast<size_t>(hidden) * sizeof(float));
}

}  // namespace espalier
