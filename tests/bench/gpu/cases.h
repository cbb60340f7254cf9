// The cases: the ops of a Llama-3.1-8B at the sizes of decoding, on any backend. One list for all: a peer that is another
// program takes its shapes from the record of these.
#ifndef ESPALIER_TESTS_BENCH_GPU_CASES_H
#define ESPALIER_TESTS_BENCH_GPU_CASES_H

#include <cmath>
#include <cstring>
#include <numeric>

#include "measure.h"

namespace espalier_bench {

/** Contexts of one length, as many as a batch has. */
struct Contexts {
  int context, batch;
};

/** What differs from the model's own attention; 0 where nothing does. */
struct Attention {
  std::string label = {};
  int q_heads = 0, head_dim = 0, page_size = 0, window = 0, soft_cap = 0;
};

/** Sizes of a model, and of the runs over it. */
struct Sizes {
  int64_t hidden, intermediate, vocab;
  int64_t draft_vocab;  // of a draft's head
  int q_heads, kv_heads, head_dim, page_size, layers;
  int64_t square;      // products of squares show what matrix units reach
  int64_t copy_bytes;  // that a copy moves
  std::vector<int> rows, prompts, nodes;
  std::vector<int> before;  // tokens of a prompt that are read already
  std::vector<Contexts> contexts;
  Contexts published;  // as in published numbers of other libraries; and of the others here:
  std::vector<Attention>
      others;              // pages, widths of heads, windows and caps, for one node and for 16
  std::vector<int> draws;  // rows of logits
};

/** Llama-3.1-8B. `quick` is for a look at a card. */
inline Sizes llama_8b(bool quick) {
  Sizes s{
      .hidden = 4096,
      .intermediate = 14336,
      .vocab = 128256,
      .draft_vocab = 32000,
      .q_heads = 32,
      .kv_heads = 8,
      .head_dim = 128,
      .page_size = 16,
      .layers = 32,
      .square = 8192,
      .copy_bytes = int64_t{256} << 20,
      .rows = {1, 2, 4, 8, 16, 32, 64},
      .prompts = {256, 512, 2048},
      .nodes = {1, 8, 16, 64},
      .before = {0, 8192, 32768},
      .contexts = {},
      .published = {8192, 1},
      .others =
          {{.label = "pages of 32", .page_size = 32},
           {.label = "pages of 64", .page_size = 64},
           {.label = "pages of 128", .page_size = 128},
           {.label = "heads of 64", .head_dim = 64},
           {.label = "heads of 256", .head_dim = 256},
           {.label = "window", .window = 4096},
           {.label = "soft-cap", .soft_cap = 50}},
      .draws = {1, 16, 64}};
  if (quick) {
    s.others.clear();
    s.rows = {1, 16, 64};
    s.prompts = {512};
    s.before = {0, 8192};
    s.nodes = {1, 16, 64};
    s.contexts = {{1024, 1}, {8192, 1}, {32768, 1}, {8192, 16}};
    s.draws = {1, 64};
    return s;
  }
  for (const int batch : {1, 4, 16, 64}) {
    for (const int context : {1024, 8192, 32768, 131072}) s.contexts.push_back({context, batch});
  }
  return s;
}

/** The two minutes of --quick are for the tests, these cases, a model and PyTorch. */
constexpr double kQuickSeconds = 25, kMostSeconds = 1800;

inline Limits limits(bool quick, size_t memory_bytes, double most_seconds) {
  return {
      .cold_bytes = size_t{256} << 20,
      .memory_bytes = memory_bytes,
      .seconds = quick ? 0.02 : 0.1,
      .most_seconds = most_seconds};
}

/** The product by somebody else: y [m, n] = x [m, k] w [n, k]^T, bf16 and row major. */
struct GemmPeer {
  std::string name;
  /** Enqueues it on the backend's stream; empty, or why it cannot. */
  std::function<std::string(const void* x, const void* w, void* y, int64_t m, int64_t n, int64_t k)>
      multiply;
};

/** A prompt's op by somebody else, with all of its ends or without: its time stands beside that of our own kernels. */
struct PromptPeer {
  std::string name;
  std::function<size_t(const espalier::SkinnyGemmArgs& args)> workspace_bytes;
  /** Enqueues it on the backend's stream; empty, or why it cannot. */
  std::function<std::string(const espalier::SkinnyGemmArgs& args, void* workspace)> run;
};

/** Whether a peer computes the product that it is timed for, at a few rows: empty, or what is wrong. */
inline std::string why_wrong(Bench& bench, const GemmPeer& peer) {
  constexpr int64_t kN = 256, kK = 128;
  Backend& backend = bench.backend();
  const auto bf16 = [](float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return static_cast<uint16_t>(bits >> 16);
  };
  // -1, 0 and 1: sums are exact in bf16.
  const auto digit = [](int64_t i) { return static_cast<float>(i * i % 7 % 3 - 1); };
  std::string wrong;
  for (const int64_t m : {1, 3, 40, 130}) {
    if (!bench.runs()) break;
    std::vector<uint16_t> x(static_cast<size_t>(m * kK)), w(kN * kK),
        y(static_cast<size_t>(m * kN));
    for (size_t i = 0; i < x.size(); ++i) x[i] = bf16(digit(static_cast<int64_t>(3 * i + i / kK)));
    for (size_t i = 0; i < w.size(); ++i) w[i] = bf16(digit(static_cast<int64_t>(5 * i + i / kK)));
    uint16_t* on_y = bench.fresh<uint16_t>(y.size());
    wrong = peer.multiply(bench.filled(x), bench.filled(w), on_y, m, kN, kK);
    backend.download(y.data(), on_y, y.size() * sizeof y[0]);
    for (int64_t i = 0; i < m * kN && wrong.empty(); ++i) {
      float sum = 0;
      for (int64_t k = 0; k < kK; ++k) {
        const int64_t at_x = i / kN * kK + k, at_w = i % kN * kK + k;
        sum += digit(3 * at_x + at_x / kK) * digit(5 * at_w + at_w / kK);
      }
      if (y[i] == bf16(sum) || (sum == 0 && y[i] == 0x8000)) continue;
      wrong = "computes something else: y[" + std::to_string(i / kN) + ", " +
              std::to_string(i % kN) + "] of " + std::to_string(m) + " rows";
    }
    if (!wrong.empty()) break;
  }
  bench.free_all();
  return wrong;
}

constexpr const char* kBitsOfRows =
    "Has a token the same bits alone and at any column of m16n8k16?";

class Cases {
 public:
  Cases(
      Bench& bench, const Sizes& sizes, std::vector<GemmPeer> peers = {},
      std::vector<PromptPeer> prompt_peers = {})
      : bench_(bench),
        backend_(bench.backend()),
        s_(sizes),
        peers_(std::move(peers)),
        prompt_peers_(std::move(prompt_peers)) {}

  /** All cases, in an order that a run may be cut behind: what a plain step of decoding spends its time on comes first. */
  void run_all() {
    copy();
    square();
    const int64_t q = int64_t{s_.q_heads} * s_.head_dim;
    const int64_t kv = int64_t{s_.kv_heads} * s_.head_dim;
    layer("qkv", q + 2 * kv, s_.hidden, Layer::kPlain);
    layer("o", s_.hidden, q, Layer::kPlain);
    layer("gate+up", s_.intermediate, s_.hidden, Layer::kGated);
    layer("down", s_.hidden, s_.intermediate, Layer::kPlain);
    layer("lm head", s_.vocab, s_.hidden, Layer::kTable);
    for (const Contexts& each : s_.contexts) attention({}, each, s_.nodes);
    for (const int rows : s_.draws) {
      top_k(rows, 8);
      top_k(rows, 64);
      sample("temperature", rows, {.temperature = 0.8f});
      sample("top-k 40, top-p 0.9", rows, {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f});
      sample("penalties", rows, {.temperature = 0.8f, .repetition_penalty = 1.1f});
    }
    for (const int trees : s_.draws) {
      verify("", trees, 64);
      recycle(trees, 8);
    }
    verify("a launch", 1, 1);
    commit_kv(8);
    for (const int rows : s_.rows) {
      rms_norm(rows);
      rope_and_append(rows);
    }
    attention(
        {.label = std::to_string(8 * s_.kv_heads) + " query heads, pages of 32",
         .q_heads = 8 * s_.kv_heads,
         .page_size = 32},
        s_.published, {1});
    for (const Attention& each : s_.others) attention(each, s_.published, {1, 16});
    verify_sampling("point mass", ESPALIER_POINT_MASS);
    verify_sampling("without replacement", ESPALIER_WITHOUT_REPLACEMENT);
    draft_head(10);
    for (const int before : s_.before) prefill_attention(before, kFewRows);
    for (const int rows : s_.prompts) {
      for (const int before : s_.before) prefill_attention(before, rows);
    }
  }

  /**
   * The first law, asked of this device: bits of a token's sums alone and in any company. m16n8k16 takes tokens as
   * columns, so this shows whether a column's bits depend on what stands beside it, on padding, or on where it stands.
   */
  Line bits_of_rows() {
    if (!bench_.runs())
      return Line().text("question", kBitsOfRows).text("answer", bench_.why_not());
    constexpr int kRows = 64;
    const int64_t n = s_.hidden, k = s_.intermediate;
    const auto row_bytes = static_cast<size_t>(n) * sizeof(float);
    espalier::SkinnyGemmArgs args;
    const float* x = bench_.floats(static_cast<size_t>(kRows * k));
    args.part[0].w = bench_.weight(n, k);
    args.part[0].out = bench_.fresh<float>(static_cast<size_t>(kRows * n));
    std::vector<float> alone(static_cast<size_t>(kRows * n)), got(alone.size());
    const auto multiply = [&](int first, int m, std::vector<float>* to) {
      args.x = x + first * k;
      args.m = m;
      backend_.skinny_gemm(args);
      backend_.download(
          to->data() + first * n, args.part[0].out, static_cast<size_t>(m) * row_bytes);
    };
    for (int r = 0; r < kRows; ++r) multiply(r, 1, &alone);
    std::string differ;
    int64_t compared = 0;
    for (const int m : {2, 7, 8, 9, 16, 33, 64}) {
      for (const int first : {0, 1, 5, kRows - m}) {
        if (first + m > kRows) continue;
        multiply(first, m, &got);
        for (int r = first; r < first + m; ++r, ++compared) {
          if (!differ.empty() || std::memcmp(&got[r * n], &alone[r * n], row_bytes) == 0) continue;
          differ = "row " + std::to_string(r) + " among " + std::to_string(m) + " from row " +
                   std::to_string(first) + " on";
        }
      }
    }
    bench_.free_all();
    const espalier::Failure failure = backend_.take_failure();
    if (failure.status != ESPALIER_OK) differ = failure.text;
    Line line;
    line.text("question", kBitsOfRows);
    if (differ.empty()) {
      return line.text(
          "answer", "yes, " + std::to_string(compared) + " rows of " + std::to_string(n) +
                        " sums over " + std::to_string(k));
    }
    return line.text("answer", "no: " + differ).failed();
  }

 private:
  enum class Layer { kPlain, kGated, kTable };  // kTable: embeddings too

  static constexpr int kFewRows =
      65;  // the fewest that are a prompt's for the kernels: do they fill the card?

  /** What a sampling has besides its defaults. */
  struct Sampling {
    float temperature = 1;
    int32_t top_k = 0;
    float top_p = 1, repetition_penalty = 1;
  };

  static std::vector<int32_t> binary_tree(int nodes) {
    std::vector<int32_t> parent(static_cast<size_t>(nodes));
    for (int i = 0; i < nodes; ++i) parent[i] = i == 0 ? -1 : (i - 1) / 2;
    return parent;
  }

  void copy() {
    const auto bytes = static_cast<double>(s_.copy_bytes);
    const Row row{"copy", "", {{"KiB", s_.copy_bytes >> 10}}, 2 * bytes};
    bench_.needs(2 * bytes);
    char* from = bench_.fresh<char>(s_.copy_bytes);
    char* to = bench_.fresh<char>(s_.copy_bytes);
    bench_.measure(row, 1, [&](size_t) { backend_.copy(to, from, s_.copy_bytes); });
    bench_.free_all();
  }

  /** A product that arithmetic bounds, by the kernels for prompts and by peers. */
  void square() {
    const int64_t n = s_.square;
    const auto count = static_cast<size_t>(n * n);
    const Row row{"product", "", {{"m", n}, {"n", n}, {"k", n}}, 10.0 * n * n, 2.0 * n * n * n};
    bench_.needs(18.0 * n * n);
    espalier::SkinnyGemmArgs args;
    args.x = bench_.floats(count);
    args.part[0].w = bench_.weight(n, n);
    args.part[0].out = bench_.fresh<float>(count);
    args.m = n;
    args.prompt = true;
    bench_.measure(row, 1, [&](size_t) { backend_.skinny_gemm(args); });
    bench_.free_all();
    by_peers({row}, n, n);
  }

  /** A weight of the model, for rows of trees and of prompts. */
  void layer(const char* label, int64_t n, int64_t k, Layer kind) {
    const bool gated = kind == Layer::kGated;
    const double bytes = 2.0 * n * k * (gated ? 2 : 1);
    const size_t turns = bench_.turns(bytes);
    const auto row_of = [&](int m) {
      return Row{
          "skinny_gemm", label, {{"m", m}, {"n", gated ? 2 * n : n}, {"k", k}}, bytes, bytes * m};
    };
    bench_.needs(bytes * static_cast<double>(turns));
    std::vector<espalier::SkinnyGemmArgs> args(turns);
    for (auto& each : args) {
      each.part[0].w = bench_.weight(n, k);
      if (gated) each.up = bench_.weight(n, k);
    }
    std::vector<Row> rows;
    const auto run = [&](int m, bool prompt) {
      const float* x = bench_.floats(static_cast<size_t>(m * k));
      float* out = bench_.fresh<float>(static_cast<size_t>(m * n));
      for (auto& each : args) {
        each.x = x;
        each.part[0].out = out;
        each.m = m;
        each.prompt = prompt;
      }
      rows.push_back(row_of(m));
      if (prompt) rows.back().label += " of a prompt";
      bench_.measure(rows.back(), turns, [&](size_t i) { backend_.skinny_gemm(args[i]); });
      if (!prompt) return;
      for (const PromptPeer& peer : prompt_peers_) {
        Row row = rows.back();
        row.peer = peer.name;
        void* workspace =
            bench_.runs() ? bench_.fresh<char>(peer.workspace_bytes(args[0])) : nullptr;
        bench_.measure_call(row, turns, [&](size_t i) {
          return workspace == nullptr ? "no memory" : peer.run(args[i], workspace);
        });
      }
    };
    for (const int m : s_.rows) run(m, false);
    if (kind == Layer::kTable) {
      for (const int m : s_.rows) embed(m, args[0].part[0].w);
    } else {
      for (const int m : s_.prompts) run(m, true);
    }
    bench_.free_all();
    by_peers(rows, gated ? 2 * n : n, k);
  }

  /** The same products by each peer, of weights that are row major. */
  void by_peers(const std::vector<Row>& rows, int64_t n, int64_t k) {
    if (peers_.empty()) return;
    const double bytes = 2.0 * n * k;
    const size_t turns = bench_.turns(bytes);
    int64_t most = 0;
    for (const Row& row : rows) most = std::max(most, row.sizes[0].second);
    bench_.needs(bytes * static_cast<double>(turns) + 2.0 * static_cast<double>(most * (n + k)));
    std::vector<const uint16_t*> w(turns);
    for (const uint16_t*& each : w) each = bench_.halves(static_cast<size_t>(n * k));
    const uint16_t* x = bench_.halves(static_cast<size_t>(most * k));
    uint16_t* y = bench_.fresh<uint16_t>(static_cast<size_t>(most * n));
    for (const GemmPeer& peer : peers_) {
      for (Row row : rows) {
        row.peer = peer.name;
        const int64_t m = row.sizes[0].second;
        bench_.measure_call(
            row, turns, [&](size_t i) { return peer.multiply(x, w[i], y, m, n, k); });
      }
    }
    bench_.free_all();
  }

  void embed(int rows, const Weight& table) {
    std::vector<int32_t> token(static_cast<size_t>(rows));
    for (int i = 0; i < rows; ++i) token[i] = static_cast<int32_t>(i * 7919 % s_.vocab);
    const espalier::EmbedArgs args{
        table, bench_.filled(token), bench_.fresh<float>(static_cast<size_t>(rows * s_.hidden)),
        rows};
    const Row row{"embed", "", {{"rows", rows}, {"hidden", s_.hidden}}, 6.0 * rows * s_.hidden};
    bench_.measure(row, 1, [&](size_t) { backend_.embed(args); });
  }

  void rms_norm(int rows) {
    const auto count = static_cast<size_t>(rows * s_.hidden);
    const espalier::RmsNormArgs args{
        bench_.floats(count),
        bench_.weight(1, s_.hidden).data,
        Type::kBf16,
        1e-5f,
        bench_.fresh<float>(count),
        rows,
        s_.hidden};
    const Row row{
        "rms_norm", "", {{"rows", rows}, {"hidden", s_.hidden}}, (8.0 * rows + 2) * s_.hidden};
    bench_.measure(row, 1, [&](size_t) { backend_.rms_norm(args); });
    bench_.free_all();
  }

  void rope_and_append(int rows) {
    const int64_t kv = int64_t{s_.kv_heads} * s_.head_dim, q = int64_t{s_.q_heads} * s_.head_dim;
    const int num_pages = rows / s_.page_size + 1;
    const auto cache = static_cast<size_t>(num_pages * s_.page_size * kv);
    std::vector<int32_t> slot(static_cast<size_t>(rows));
    for (int i = 0; i < rows; ++i) slot[i] = i;
    std::vector<float> angles(static_cast<size_t>(rows * s_.head_dim), std::sqrt(0.5f));
    espalier::RopeAndAppendArgs args{};
    args.q = bench_.floats(static_cast<size_t>(rows * q));
    args.k = bench_.floats(static_cast<size_t>(rows * kv));
    args.v = bench_.floats(static_cast<size_t>(rows * kv));
    args.cos_sin = bench_.filled(angles);
    args.slot = bench_.filled(slot);
    args.k_cache = bench_.fresh<uint16_t>(cache);
    args.v_cache = bench_.fresh<uint16_t>(cache);
    args.kv_type = Type::kBf16;
    args.rows = rows;
    args.num_q_heads = s_.q_heads;
    args.num_kv_heads = s_.kv_heads;
    args.head_dim = s_.head_dim;
    const Row row{
        "rope_and_append",
        "",
        {{"rows", rows}, {"q_heads", s_.q_heads}, {"kv_heads", s_.kv_heads}},
        static_cast<double>(rows) * (8.0 * q + 12.0 * kv + 4.0 * s_.head_dim)};
    bench_.measure(row, 1, [&](size_t) { backend_.rope_and_append(args); });
    bench_.free_all();
  }

  /** Binary trees of each size over contexts in shuffled pages. */
  void attention(const Attention& kind, const Contexts& of, const std::vector<int>& sizes) {
    const int q_heads = kind.q_heads > 0 ? kind.q_heads : s_.q_heads,
              head_dim = kind.head_dim > 0 ? kind.head_dim : s_.head_dim,
              page_size = kind.page_size > 0 ? kind.page_size : s_.page_size,
              keys = kind.window > 0 ? std::min(kind.window, of.context) : of.context;
    const int64_t row_values = int64_t{s_.kv_heads} * head_dim;
    const int most = *std::max_element(sizes.begin(), sizes.end());
    const int max_pages = (of.context + most + page_size - 1) / page_size;
    const auto count = static_cast<size_t>(max_pages * page_size * row_values * of.batch);
    const double bytes = 4.0 * keys * static_cast<double>(row_values) * of.batch;
    const size_t turns = bench_.turns(bytes);
    const auto row_of = [&](int nodes) {
      return Row{
          "tree_attention",
          kind.label,
          {{"context", of.context}, {"batch", of.batch}, {"nodes", nodes}},
          bytes,
          4.0 * keys * q_heads * head_dim * nodes * of.batch,
          {{"q_heads", q_heads},
           {"kv_heads", s_.kv_heads},
           {"head_dim", head_dim},
           {"page_size", page_size},
           {"window", kind.window},
           {"soft_cap", kind.soft_cap}}};
    };
    // Besides the caches, parts of the sums: some 60 splits of the longest context.
    const double parts = 240.0 * most * of.batch * q_heads * (head_dim + 2);
    bench_.needs(4.0 * static_cast<double>(count * turns) + parts);

    std::vector<int32_t> table(static_cast<size_t>(max_pages) * of.batch);
    for (size_t p = 0; p < table.size(); ++p) table[p] = static_cast<int32_t>(p);
    std::shuffle(table.begin(), table.end(), std::mt19937(3));
    espalier::TreeAttentionArgs first{};
    first.kv_type = Type::kBf16;
    first.page_table = bench_.filled(table);
    first.kv_len = bench_.filled(std::vector<int32_t>(of.batch, of.context));
    first.scale = 1 / std::sqrt(static_cast<float>(head_dim));
    first.window = kind.window;
    first.soft_cap = static_cast<float>(kind.soft_cap);
    first.max_pages = max_pages;
    first.num_pages = max_pages * of.batch;
    first.page_size = page_size;
    first.num_q_heads = q_heads;
    first.num_kv_heads = s_.kv_heads;
    first.head_dim = head_dim;
    first.batch = of.batch;
    std::vector<espalier::TreeAttentionArgs> args(turns, first);
    for (auto& each : args) {
      each.k_cache = bench_.halves(count);
      each.v_cache = bench_.halves(count);
    }
    for (const int nodes : sizes) {
      const std::vector<int32_t> parent = binary_tree(nodes);
      const auto rows = static_cast<size_t>(nodes) * of.batch;
      int max_depth = 1;
      while ((1 << max_depth) <= nodes) ++max_depth;
      std::vector<int32_t> depth(rows), seq(rows), ancestors(rows * max_depth);
      for (size_t r = 0; r < rows; ++r) {
        const auto b = static_cast<int>(r) / nodes, node = static_cast<int>(r) % nodes;
        int32_t* path = &ancestors[r * max_depth];
        if (node > 0) {
          const size_t up = r - node + parent[node];
          depth[r] = depth[up] + 1;
          std::copy_n(&ancestors[up * max_depth], depth[r], path);
        }
        const int position = of.context + node;
        path[depth[r]] =
            table[static_cast<size_t>(b) * max_pages + position / page_size] * page_size +
            position % page_size;
        seq[r] = b;
      }
      const size_t values = rows * q_heads * head_dim;
      first.q = bench_.floats(values);
      first.row_seq = bench_.filled(seq);
      first.depth = bench_.filled(depth);
      first.ancestor_slot = bench_.filled(ancestors);
      first.out = bench_.fresh<float>(values);
      first.rows = static_cast<int64_t>(rows);
      first.max_depth = max_depth;
      for (auto& each : args) {
        const void *k_cache = each.k_cache, *v_cache = each.v_cache;
        each = first;
        each.k_cache = k_cache;
        each.v_cache = v_cache;
      }
      bench_.measure(row_of(nodes), turns, [&](size_t i) { backend_.tree_attention(args[i]); });
    }
    bench_.free_all();
  }

  /** A prompt's rows behind others, in shuffled pages: as a prompt's, and as a tree's, which other cards take them for. */
  void prefill_attention(int before, int rows) {
    const int64_t row_values = int64_t{s_.kv_heads} * s_.head_dim;
    const int len = before + rows, max_pages = (len + s_.page_size - 1) / s_.page_size;
    const auto count = static_cast<size_t>(max_pages * s_.page_size * row_values);
    const auto values = static_cast<size_t>(rows) * s_.q_heads * s_.head_dim;
    const double bytes = 4.0 * len * static_cast<double>(row_values);
    const size_t turns = bench_.turns(bytes);
    Row row{
        "prefill_attention",
        "",
        {{"before", before}, {"rows", rows}},
        bytes,
        4.0 * (before + (rows + 1) / 2.0) * s_.q_heads * s_.head_dim * rows,
        {{"q_heads", s_.q_heads}, {"kv_heads", s_.kv_heads}, {"head_dim", s_.head_dim}}};
    const double parts = 240.0 * rows * s_.q_heads * (s_.head_dim + 2);
    bench_.needs(4.0 * static_cast<double>(count * turns) + parts);

    std::vector<int32_t> table(static_cast<size_t>(max_pages)), depth(static_cast<size_t>(rows));
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), std::mt19937(3));
    std::iota(depth.begin(), depth.end(), 0);
    std::vector<int32_t> ancestors(depth.size() * depth.size());
    for (int r = 0; r < rows; ++r) {
      for (int i = 0; i <= r; ++i) {
        const int position = before + i;
        ancestors[static_cast<size_t>(r) * rows + i] =
            table[position / s_.page_size] * s_.page_size + position % s_.page_size;
      }
    }
    espalier::TreeAttentionArgs first{};
    first.q = bench_.floats(values);
    first.kv_type = Type::kBf16;
    first.page_table = bench_.filled(table);
    first.kv_len = bench_.filled(std::vector<int32_t>{before});
    first.row_seq = bench_.filled(std::vector<int32_t>(static_cast<size_t>(rows)));
    first.depth = bench_.filled(depth);
    first.ancestor_slot = bench_.filled(ancestors);
    first.scale = 1 / std::sqrt(static_cast<float>(s_.head_dim));
    first.out = bench_.fresh<float>(values);
    first.rows = rows;
    first.max_pages = first.num_pages = max_pages;
    first.max_depth = rows;
    first.page_size = s_.page_size;
    first.num_q_heads = s_.q_heads;
    first.num_kv_heads = s_.kv_heads;
    first.head_dim = s_.head_dim;
    first.batch = 1;
    std::vector<espalier::TreeAttentionArgs> args(turns, first);
    for (auto& each : args) {
      each.k_cache = bench_.halves(count);
      each.v_cache = bench_.halves(count);
    }
    for (const bool prompt : {true, false}) {
      for (auto& each : args) each.prompt = prompt;
      row.label = prompt ? "" : "as a tree";
      bench_.measure(row, turns, [&](size_t i) { backend_.tree_attention(args[i]); });
    }
    bench_.free_all();
  }

  /** Logits of many passes, so that none is in a cache. */
  std::vector<float*> logits(int rows) {
    const double bytes = 4.0 * rows * s_.vocab;
    std::vector<float*> all(bench_.turns(bytes));
    for (float*& each : all) each = bench_.floats(static_cast<size_t>(rows * s_.vocab));
    return all;
  }

  void top_k(int rows, int k) {
    const Row row{
        "top_k", "", {{"rows", rows}, {"vocab", s_.vocab}, {"k", k}}, 4.0 * rows * s_.vocab};
    const std::vector<float*> x = logits(rows);
    const auto count = static_cast<size_t>(rows * k);
    int32_t* idx = bench_.fresh<int32_t>(count);
    float* value = bench_.fresh<float>(count);
    bench_.measure(row, x.size(), [&](size_t i) {
      backend_.top_k({x[i], idx, value, rows, static_cast<int32_t>(s_.vocab), k});
    });
    bench_.free_all();
  }

  void sample(const char* label, int rows, const Sampling& of) {
    const Row row{"sample", label, {{"rows", rows}, {"vocab", s_.vocab}}, 4.0 * rows * s_.vocab};
    const std::vector<float*> x = logits(rows);
    const auto n = static_cast<size_t>(rows);
    espalier_sampling each{};
    each.size = sizeof each;
    each.temperature = of.temperature;
    each.top_k = of.top_k;
    each.top_p = of.top_p;
    each.repetition_penalty = of.repetition_penalty;
    constexpr int kContext = 1024;  // tokens that are penalized
    const bool penalized = of.repetition_penalty != 1;
    std::vector<int32_t> history(penalized ? n * kContext : 0), begin(n + 1);
    for (size_t i = 0; i < history.size(); ++i)
      history[i] = static_cast<int32_t>(i * 7919 % s_.vocab);
    for (size_t i = 0; i <= n; ++i) begin[i] = penalized ? static_cast<int32_t>(i) * kContext : 0;
    espalier::SampleArgs args{};
    args.history = bench_.filled(history);
    args.history_begin = bench_.filled(begin);
    args.position = bench_.filled(std::vector<int32_t>(n, kContext));
    args.sampling = bench_.filled(std::vector<espalier_sampling>(n, each));
    args.filtered = of.top_k > 0 || of.top_p < 1;
    args.noise = ESPALIER_TARGET_NOISE;
    args.token = bench_.fresh<int32_t>(n);
    args.bad = bench_.fresh<int32_t>(n);
    args.rows = rows;
    args.vocab = static_cast<int32_t>(s_.vocab);
    args.k = 1;
    bench_.measure(row, x.size(), [&](size_t i) {
      args.logits = x[i];
      backend_.sample(args);
    });
    bench_.free_all();
  }

  /** A tree of 64 nodes whose first children are likely: the walk accepts some, and rejects some. */
  void verify_sampling(const char* label, int scheme) {
    constexpr int kNodes = 64;
    const auto vocab = static_cast<size_t>(s_.vocab);
    // p has a half of its mass on one token, q a quarter, the rest lies on all.
    const auto law = [&](float most, size_t token) {
      std::vector<float> p(vocab, (1 - most) / static_cast<float>(vocab - 1));
      p[token] = most;
      return p;
    };
    std::vector<float> p, q;
    const std::vector<int32_t> parent = binary_tree(kNodes);
    std::vector<int32_t> token(kNodes), q_row(kNodes);
    for (int i = 0; i < kNodes; ++i) {
      const size_t liked = static_cast<size_t>(i) * 7919 % vocab;
      for (const float x : law(0.5f, liked)) p.push_back(x);
      for (const float x : law(0.25f, liked)) q.push_back(x);
      q_row[i] = i;
      // The left child is its parent's liked token.
      token[i] = static_cast<int32_t>(
          i % 2 == 1 ? static_cast<size_t>(parent[i]) * 7919 % vocab : (liked + 1) % vocab);
    }
    const bool drawn = scheme != ESPALIER_POINT_MASS;
    espalier::VerifySamplingArgs args{};
    args.tree_begin = bench_.filled(std::vector<int32_t>{0, kNodes});
    args.token = bench_.filled(token);
    args.parent = bench_.filled(parent);
    args.p = bench_.filled(p);
    args.scheme = bench_.filled(std::vector<int32_t>(kNodes, scheme));
    args.q = drawn ? bench_.filled(q) : nullptr;
    args.q_row = bench_.filled(q_row);
    args.position = bench_.filled(std::vector<int32_t>{100});
    args.seed = bench_.filled(std::vector<uint64_t>{1, 0});
    args.path = bench_.fresh<int32_t>(kNodes);
    args.accept_len = bench_.fresh<int32_t>(1);
    args.bonus = bench_.fresh<int32_t>(1);
    args.batch = 1;
    args.vocab = static_cast<int32_t>(vocab);
    int32_t accepted = 0;
    if (bench_.runs()) {
      backend_.verify_sampling(args);
      backend_.download(&accepted, args.accept_len, sizeof accepted);
    }
    const double laws = (drawn ? 2.0 : 1.0) * (accepted + 1);  // of the nodes that are walked
    const Row row{
        "verify_sampling",
        label,
        {{"nodes", kNodes}, {"vocab", s_.vocab}, {"accepted", accepted}},
        4.0 * laws * static_cast<double>(vocab)};
    bench_.measure(row, 1, [&](size_t) { backend_.verify_sampling(args); });
    bench_.free_all();
  }

  /** What a draft with a vocabulary of its own does last: norm, product and the best tokens. */
  void draft_head(int k) {
    const int64_t n = s_.draft_vocab;
    const double bytes = 2.0 * n * s_.hidden;
    const size_t turns = bench_.turns(bytes);
    std::vector<espalier::SkinnyGemmArgs> args(turns);
    const float* x = bench_.floats(static_cast<size_t>(s_.hidden));
    float* scores = bench_.fresh<float>(static_cast<size_t>(n));
    const void* norm = bench_.weight(1, s_.hidden).data;
    for (auto& each : args) {
      each.x = x;
      each.norm = {norm, Type::kBf16, 1e-5f};
      each.part[0].w = bench_.weight(n, s_.hidden);
      each.part[0].out = scores;
      each.m = 1;
    }
    const espalier::TopKArgs best{scores, bench_.fresh<int32_t>(k), nullptr,
                                  1,      static_cast<int32_t>(n),  k};
    const Row row{
        "draft_head", "", {{"rows", 1}, {"vocab", n}, {"hidden", s_.hidden}, {"k", k}}, bytes};
    // Each op plans by itself: memory is for the larger one.
    bench_.measure(row, turns, [&](size_t i) {
      backend_.skinny_gemm(args[i]);
      backend_.top_k(best);
    });
    bench_.free_all();
  }

  void verify(const std::string& label, int batch, int tree_len) {
    std::vector<int32_t> begin, token, parent;
    for (int b = 0; b <= batch; ++b) begin.push_back(b * tree_len);
    for (int b = 0; b < batch; ++b) {
      for (const int32_t up : binary_tree(tree_len)) parent.push_back(up);
      for (int i = 0; i < tree_len; ++i) token.push_back(i % 3);
    }
    const espalier::VerifyArgs args{
        bench_.filled(begin),
        bench_.filled(token),
        bench_.filled(parent),
        bench_.filled(token),
        bench_.fresh<int32_t>(token.size()),
        bench_.fresh<int32_t>(batch),
        batch};
    const Row row{
        "verify", label, {{"trees", batch}, {"nodes", tree_len}}, 12.0 * batch * tree_len};
    bench_.measure(row, 1, [&](size_t) { backend_.verify(args); });
    bench_.free_all();
  }

  /** Token Recycling's table: trees of 64 nodes out of it, and what was likely behind their nodes into it. */
  void recycle(int trees, int k) {
    constexpr int kNodes = 64;
    const auto vocab = static_cast<int32_t>(s_.vocab);
    const auto nodes = static_cast<size_t>(trees * kNodes);
    std::vector<int32_t> table(static_cast<size_t>(vocab) * k), rank(kNodes), root(trees),
        begin(trees + 1), path(nodes), top(nodes * k);
    for (size_t i = 0; i < table.size(); ++i) {
      table[i] = static_cast<int32_t>(i * 7919 % vocab);
    }
    for (size_t i = 0; i < top.size(); ++i) top[i] = static_cast<int32_t>(i * 104729 % vocab);
    for (int i = 1; i < kNodes; ++i) rank[i] = 1 - i % 2;  // of a binary tree's children
    for (int b = 0; b <= trees; ++b) begin[b] = b * kNodes;
    for (int b = 0; b < trees; ++b) {
      root[b] = b * 31 % vocab;
      path[static_cast<size_t>(b) * kNodes] = 1;  // the first child is accepted
    }
    int32_t* on_table = bench_.filled(table);
    int32_t* token = bench_.fresh<int32_t>(nodes);
    const espalier::RecycleFillArgs fill{
        on_table,
        bench_.filled(binary_tree(kNodes)),
        bench_.filled(rank),
        bench_.filled(root),
        token,
        vocab,
        k,
        kNodes,
        trees};
    const SizesOf sizes = {{"trees", trees}, {"nodes", kNodes}, {"vocab", vocab}, {"k", k}};
    const auto num_nodes = static_cast<double>(nodes);
    bench_.measure(Row{"recycle_fill", "", sizes, 8.0 * kNodes + 8 * num_nodes}, 1, [&](size_t) {
      backend_.recycle_fill(fill);
    });
    const espalier::RecycleUpdateArgs update{
        bench_.filled(begin),
        token,
        bench_.filled(path),
        bench_.filled(std::vector<int32_t>(trees, 1)),
        bench_.filled(top),
        on_table,
        static_cast<int32_t>(nodes),
        trees,
        vocab,
        k};
    bench_.measure(Row{"recycle_update", "", sizes, num_nodes * (4 + 8.0 * k)}, 1, [&](size_t) {
      backend_.recycle_update(update);
    });
    bench_.free_all();
  }

  void commit_kv(int moves) {
    const int64_t slots = 1024, row_bytes = int64_t{2} * s_.kv_heads * s_.head_dim;
    std::vector<int32_t> from, to;
    for (int i = 0; i < moves; ++i) from.push_back(2 * i + 1), to.push_back(i);
    const auto bytes = static_cast<size_t>(s_.layers * slots * row_bytes);
    const espalier::CommitKvArgs args{
        bench_.filled(from),
        bench_.filled(to),
        bench_.fresh<char>(bytes),
        bench_.fresh<char>(bytes),
        moves,
        s_.layers,
        slots,
        row_bytes};
    const Row row{
        "commit_kv",
        "",
        {{"moves", moves}, {"layers", s_.layers}},
        4.0 * moves * s_.layers * static_cast<double>(row_bytes)};
    bench_.measure(row, 1, [&](size_t) { backend_.commit_kv(args); });
    bench_.free_all();
  }

  Bench& bench_;
  Backend& backend_;
  const Sizes s_;
  const std::vector<GemmPeer> peers_;
  const std::vector<PromptPeer> prompt_peers_;
};

}  // namespace espalier_bench

#endif
