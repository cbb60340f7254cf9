// The cases: the ops of a Llama-3.1-8B at the sizes of decoding, on any backend.
#ifndef ESPALIER_TESTS_BENCH_GPU_CASES_H
#define ESPALIER_TESTS_BENCH_GPU_CASES_H

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "ops/ops.h"
#include "table.h"

namespace espalier_bench {

using espalier::Backend;
using espalier::Type;
using espalier::Weight;

/** Sizes of a model, and of the runs over it. */
struct Sizes {
  int64_t hidden, intermediate, vocab;
  int q_heads, kv_heads, head_dim, page_size, layers;
  std::vector<int> rows, contexts, nodes;
  size_t cold_bytes;  // calls in turn touch at least this much, more than the caches hold
  double seconds;     // of measuring for each case, at least
};

inline Sizes llama_8b(bool quick) {
  Sizes s{4096, 14336, 128256, 32, 8, 128, 16, 32, {}, {}, {}, size_t{256} << 20, 0.1};
  s.rows = quick ? std::vector<int>{1, 16, 64} : std::vector<int>{1, 2, 4, 8, 16, 32, 64};
  s.contexts =
      quick ? std::vector<int>{1024, 8192, 32768} : std::vector<int>{1024, 8192, 32768, 131072};
  s.nodes = quick ? std::vector<int>{1, 16, 64} : std::vector<int>{1, 8, 16, 64};
  s.seconds = quick ? 0.02 : 0.1;
  return s;
}

/** For a test of the benchmark itself. */
inline Sizes tiny() { return {64, 96, 500, 4, 2, 16, 16, 2, {1, 8}, {64}, {1, 5}, 1 << 12, 1e-4}; }

/** Runs cases on a backend. A case that the backend has no kernel for is a row that says so. */
class Cases {
 public:
  Cases(Backend& backend, const Sizes& sizes) : backend_(backend), sizes_(sizes) {
    const size_t most = static_cast<size_t>(
        std::max({sizes.vocab * sizes.hidden, 2 * sizes.intermediate * sizes.hidden}));
    std::mt19937 random(1);
    half_.resize(most);
    // Sign and fraction by chance, the size of a weight: no value is special.
    for (uint16_t& x : half_) x = static_cast<uint16_t>(0x3c00 + (random() & 0x83ff));
  }
  ~Cases() {
    for (const Weight& weight : weights_) backend_.release_weight(weight);
    for (void* memory : memory_) backend_.release(memory);
  }
  Cases(const Cases&) = delete;
  Cases& operator=(const Cases&) = delete;

  /** Bytes a second that a copy between two places of the device reads and writes. */
  double copy_speed() {
    const size_t bytes = std::max(sizes_.cold_bytes, size_t{1} << 20);
    void *from = fresh<char>(bytes), *to = fresh<char>(bytes);
    Row row = timed(
        "copy", text("%lld MB", bytes >> 20), 2.0 * static_cast<double>(bytes),
        [&](size_t) { backend_.copy(to, from, bytes); });
    free_all();
    rows_.push_back(row);
    return row.seconds > 0 ? row.bytes / row.seconds : 0;
  }

  void run_all() {
    const Sizes& s = sizes_;
    for (const int m : s.rows) {
      gemm("qkv", m, (s.q_heads + 2 * s.kv_heads) * s.head_dim, s.hidden, false);
      gemm("o", m, s.hidden, s.q_heads * s.head_dim, false);
      gemm("gate+up", m, s.intermediate, s.hidden, true);
      gemm("down", m, s.hidden, s.intermediate, false);
      gemm("lm head", m, s.vocab, s.hidden, false);
    }
    for (const int context : s.contexts) {
      for (const int nodes : s.nodes) attention(context, nodes);
    }
    for (const int rows : s.rows) {
      top_k(rows, 8);
      rms_norm(rows);
      embed(rows);
      verify(rows, 64);
    }
    commit_kv(8);
  }

  const std::vector<Row>& rows() const { return rows_; }

 private:
  template <class... A>
  static std::string text(const char* format, A... args) {
    char out[100];
    std::snprintf(out, sizeof out, format, static_cast<long long>(args)...);
    return out;
  }

  /** Zeroed memory until the end of the case. */
  template <class T>
  T* fresh(size_t count) {
    memory_.push_back(backend_.allocate(std::max<size_t>(count, 1) * sizeof(T)));
    return static_cast<T*>(memory_.back());
  }
  template <class T>
  T* filled(const std::vector<T>& values) {
    T* data = fresh<T>(values.size());
    backend_.upload(data, values.data(), values.size() * sizeof(T));
    return data;
  }
  float* floats(size_t count) {
    std::mt19937 random(2);
    std::normal_distribution<float> normal(0, 2.5f);  // as logits, neither flat nor peaked
    std::vector<float> x(count);
    for (float& value : x) value = normal(random);
    return filled(x);
  }

  void free_all() {
    backend_.synchronize();
    backend_.drop_steps(owner_);
    for (const Weight& weight : weights_) backend_.release_weight(weight);
    for (void* memory : memory_) backend_.release(memory);
    weights_.clear();
    memory_.clear();
  }

  /** Number of copies of an input of this size that calls take in turn. */
  size_t turns(double bytes) const {
    return static_cast<size_t>(
        std::clamp(static_cast<double>(sizes_.cold_bytes) / bytes + 1, 1.0, 64.0));
  }

  /** The time of op(i), i = 0, 1, ...: many calls in one step, which a GPU replays as one graph; the median of steps. */
  Row timed(
      const std::string& op, const std::string& shape, double bytes,
      const std::function<void(size_t)>& call) {
    using Clock = std::chrono::steady_clock;
    Row row{op, shape, 0, bytes, 0, "", ""};
    ++owner_;
    size_t repeats = 1, calls = 0;
    const auto step = [&] {
      const auto begin = Clock::now();
      if (backend_.begin_step(owner_, {static_cast<int32_t>(repeats)})) {
        for (size_t i = 0; i < repeats; ++i) call(calls++);
        backend_.end_step();
      }
      backend_.synchronize();
      return std::chrono::duration<double>(Clock::now() - begin).count();
    };
    const auto failed = [&] {
      const espalier::Failure failure = backend_.take_failure();
      row.note = failure.text;
      return failure.status != ESPALIER_OK;
    };
    if (failed()) return row;
    step();
    if (failed()) return row;
    for (double seconds = 0; repeats < 1024; repeats *= 2) {
      step(), step();  // as it is called, and as it is captured
      seconds = step();
      if (seconds > sizes_.seconds / 10) break;
    }
    std::vector<double> times;
    double sum = 0;
    while (sum < sizes_.seconds || times.size() < 3) {
      times.push_back(step());
      sum += times.back();
    }
    if (failed()) return row;
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    row.seconds = times[times.size() / 2] / static_cast<double>(repeats);
    return row;
  }

  void add(Row row) {
    rows_.push_back(std::move(row));
    free_all();
  }

  void gemm(const char* layer, int m, int64_t n, int64_t k, bool gate) {
    const double bytes = 2.0 * n * k * (gate ? 2 : 1);
    std::vector<espalier::SkinnyGemmArgs> args(turns(bytes));
    const float* x = floats(m * k);
    float* out = fresh<float>(m * n);
    for (auto& each : args) {
      each.x = x;
      weights_.push_back(backend_.prepare_weight(half_.data(), Type::kBf16, n, k));
      each.part[0].w = weights_.back();
      each.part[0].out = out;
      if (gate) {
        weights_.push_back(backend_.prepare_weight(half_.data() + n * k, Type::kBf16, n, k));
        each.up = weights_.back();
      }
      each.m = m;
    }
    add(timed(
        "skinny_gemm", std::string(layer) + text(", m %lld, n %lld, k %lld, bf16", m, n, k), bytes,
        [&](size_t i) { backend_.skinny_gemm(args[i % args.size()]); }));
  }

  void attention(int context, int nodes) {
    const Sizes& s = sizes_;
    const int pages = (context + nodes + s.page_size - 1) / s.page_size;
    const size_t elements = static_cast<size_t>(pages) * s.page_size * s.kv_heads * s.head_dim;
    const double bytes = 4.0 * context * s.kv_heads * s.head_dim;
    const int32_t num_pages = pages;
    std::vector<int32_t> table(num_pages), depth(nodes, 0), ancestors(nodes * nodes, 0),
        seq(nodes, 0);
    for (int32_t p = 0; p < num_pages; ++p) table[p] = p;
    std::shuffle(table.begin(), table.end(), std::mt19937(3));
    for (int r = 0; r < nodes; ++r) {  // a binary tree
      const int parent = (r - 1) / 2;
      if (r > 0) {
        depth[r] = depth[parent] + 1;
        std::copy_n(&ancestors[parent * nodes], depth[r], &ancestors[r * nodes]);
      }
      const int position = context + r;
      ancestors[r * nodes + depth[r]] =
          table[position / s.page_size] * s.page_size + position % s.page_size;
    }
    espalier::TreeAttentionArgs first{};
    first.q = floats(static_cast<size_t>(nodes) * s.q_heads * s.head_dim);
    first.kv_type = Type::kBf16;
    first.page_table = filled(table);
    first.kv_len = filled(std::vector<int32_t>{context});
    first.row_seq = filled(seq);
    first.depth = filled(depth);
    first.ancestor_slot = filled(ancestors);
    first.scale = 0.088f;
    first.out = fresh<float>(static_cast<size_t>(nodes) * s.q_heads * s.head_dim);
    first.rows = nodes;
    first.max_pages = num_pages;
    first.max_depth = nodes;
    first.page_size = s.page_size;
    first.num_q_heads = s.q_heads;
    first.num_kv_heads = s.kv_heads;
    first.head_dim = s.head_dim;
    std::vector<espalier::TreeAttentionArgs> args(turns(bytes), first);
    const std::vector<uint16_t> kv = [&] {
      std::vector<uint16_t> values(elements);
      for (size_t i = 0; i < elements; ++i) values[i] = half_[i % half_.size()];
      return values;
    }();
    for (auto& each : args) {
      each.k_cache = filled(kv);
      each.v_cache = filled(kv);
    }
    add(timed(
        "tree_attention", text("context %lld, nodes %lld, bf16", context, nodes), bytes,
        [&](size_t i) { backend_.tree_attention(args[i % args.size()]); }));
  }

  void top_k(int rows, int k) {
    const int32_t vocab = static_cast<int32_t>(sizes_.vocab);
    const double bytes = 4.0 * rows * vocab;
    std::vector<espalier::TopKArgs> args(turns(bytes));
    for (auto& each : args) {
      each = {floats(static_cast<size_t>(rows) * vocab),
              fresh<int32_t>(rows * k),
              nullptr,
              rows,
              vocab,
              k};
    }
    add(timed("top_k", text("rows %lld, vocab %lld, k %lld", rows, vocab, k), bytes, [&](size_t i) {
      backend_.top_k(args[i % args.size()]);
    }));
  }

  void rms_norm(int rows) {
    const int64_t hidden = sizes_.hidden;
    weights_.push_back(backend_.prepare_weight(half_.data(), Type::kBf16, 1, hidden));
    const espalier::RmsNormArgs args{
        floats(rows * hidden),
        weights_.back().data,
        Type::kBf16,
        1e-5f,
        fresh<float>(rows * hidden),
        rows,
        hidden};
    add(timed(
        "rms_norm", text("rows %lld, hidden %lld", rows, hidden), 8.0 * rows * hidden,
        [&](size_t) { backend_.rms_norm(args); }));
  }

  void embed(int rows) {
    std::vector<int32_t> token(rows);
    for (int i = 0; i < rows; ++i) token[i] = static_cast<int32_t>(i * 7919 % sizes_.vocab);
    weights_.push_back(
        backend_.prepare_weight(half_.data(), Type::kBf16, sizes_.vocab, sizes_.hidden));
    espalier::EmbedArgs args{};
    args.table = weights_.back();
    args.token = filled(token);
    args.out = fresh<float>(rows * sizes_.hidden);
    args.rows = rows;
    add(timed(
        "embed", text("rows %lld, hidden %lld, bf16", rows, sizes_.hidden),
        6.0 * rows * sizes_.hidden, [&](size_t) { backend_.embed(args); }));
  }

  void verify(int batch, int tree_len) {
    std::vector<int32_t> begin, token, parent;
    for (int b = 0; b <= batch; ++b) begin.push_back(b * tree_len);
    for (int i = 0; i < batch * tree_len; ++i) {
      token.push_back(i % 3);
      parent.push_back(i % tree_len == 0 ? -1 : (i % tree_len - 1) / 2);
    }
    const espalier::VerifyArgs args{filled(begin),
                                    filled(token),
                                    filled(parent),
                                    filled(token),
                                    fresh<int32_t>(token.size()),
                                    fresh<int32_t>(batch),
                                    batch};
    add(timed(
        "verify", text("trees %lld, nodes %lld", batch, tree_len), 12.0 * batch * tree_len,
        [&](size_t) { backend_.verify(args); }));
  }

  void commit_kv(int moves) {
    const Sizes& s = sizes_;
    const int64_t slots = 1024, row_bytes = int64_t{2} * s.kv_heads * s.head_dim;
    std::vector<int32_t> from, to;
    for (int i = 0; i < moves; ++i) from.push_back(2 * i + 1), to.push_back(i);
    const size_t bytes = static_cast<size_t>(s.layers * slots * row_bytes);
    const espalier::CommitKvArgs args{
        filled(from), filled(to), fresh<char>(bytes), fresh<char>(bytes), moves,
        s.layers,     slots,      row_bytes};
    add(timed(
        "commit_kv", text("moves %lld, layers %lld, all in one launch", moves, s.layers),
        4.0 * moves * s.layers * row_bytes, [&](size_t) { backend_.commit_kv(args); }));
  }

  Backend& backend_;
  const Sizes sizes_;
  std::vector<uint16_t> half_;
  std::vector<Weight> weights_;
  std::vector<void*> memory_;
  std::vector<Row> rows_;
  uint64_t owner_ = 0;
};

}  // namespace espalier_bench

#endif
