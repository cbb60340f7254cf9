// tree_attention: within its bound of fp64, and a row has the same bits whatever it comes with, wherever its keys lie and
// whether they are committed or in the tree.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "check.h"
#include "cpu/convert.h"
#include "launchers.h"
#include "orders.h"

using espalier::TreeAttentionArgs;
using espalier::Type;
using simt::emulated::Buffer;
using simt::emulated::for_each_order;

namespace {

using Ints = std::vector<int32_t>;
using Floats = std::vector<float>;
using Random = std::mt19937;

constexpr double kUlp = 0x1p-24;
constexpr int kMargin = 32, kTile = 64, kSplit = 512;  // of heads up to 128

struct Case {
  Type type = Type::kBf16;
  int q_heads = 2, kv_heads = 1, head_dim = 64, page_size = 16, window = 0;
  float soft_cap = 0;

  int kv_dim() const { return kv_heads * head_dim; }
  int row_len() const { return q_heads * head_dim; }
  float scale() const { return 1 / std::sqrt(static_cast<float>(head_dim)); }
};

/** The elements that a cache of the type holds, as fp32. */
float rounded(float x, Type type) {
  espalier::Bf16 bf16;
  espalier::Fp16 fp16;
  if (type == Type::kBf16) return espalier::from_float(x, &bf16), espalier::to_float(bf16);
  if (type == Type::kFp16) return espalier::from_float(x, &fp16), espalier::to_float(fp16);
  return x;
}

Floats normals(int64_t n, Random& random) {
  std::normal_distribution<float> normal;
  Floats x(n);
  for (float& value : x) value = normal(random);
  return x;
}

/** A sequence and the tree behind it: keys 0 .. kv_len - 1 are committed, key kv_len + i is that of node i. */
struct Tree {
  int kv_len;
  Ints parent;
  Floats k, v;  // [keys, kv_dim]
  Floats q;     // [nodes, row_len]

  Tree(const Case& c, int committed, Ints parents, Random& random)
      : kv_len(committed), parent(std::move(parents)) {
    const int64_t keys = kv_len + nodes();
    k = normals(keys * c.kv_dim(), random);
    v = normals(keys * c.kv_dim(), random);
    for (float& x : k) x = rounded(x, c.type);
    for (float& x : v) x = rounded(x, c.type);
    q = normals(int64_t{nodes()} * c.row_len(), random);
  }

  int nodes() const { return static_cast<int>(parent.size()); }

  /** Nodes from the root to a node. */
  Ints path(int node) const {
    Ints nodes;
    for (int n = node; n >= 0; n = parent[n]) nodes.push_back(n);
    std::reverse(nodes.begin(), nodes.end());
    return nodes;
  }

  /** The keys that a node sees, in the order of positions. */
  Ints keys_of(int node, int window) const {
    Ints keys(kv_len);
    std::iota(keys.begin(), keys.end(), 0);
    for (const int n : path(node)) keys.push_back(kv_len + n);
    if (window > 0 && static_cast<int>(keys.size()) > window)
      keys.erase(keys.begin(), keys.end() - window);
    return keys;
  }

  /** The same keys up to a node, all but the last `chain` ones committed, and those a chain: its last row is the node's. */
  Tree as_chain(const Case& c, int node, int chain) const {
    const Ints keys = keys_of(node, 0);
    Ints parents(chain);
    std::iota(parents.begin(), parents.end(), -1);
    Random none;
    Tree other(c, static_cast<int>(keys.size()) - chain, parents, none);
    for (size_t i = 0; i < keys.size(); ++i) {
      std::copy_n(&k[keys[i] * c.kv_dim()], c.kv_dim(), &other.k[i * c.kv_dim()]);
      std::copy_n(&v[keys[i] * c.kv_dim()], c.kv_dim(), &other.v[i * c.kv_dim()]);
    }
    std::copy_n(&q[node * c.row_len()], c.row_len(), other.q.end() - c.row_len());
    return other;
  }
};

Ints random_tree(int nodes, int most_children_of, Random& random) {
  Ints parent = {-1};
  for (int i = 1; i < nodes; ++i) {
    const int first = std::max(0, i - most_children_of);
    parent.push_back(first + static_cast<int>(random() % (i - first)));
  }
  return parent;
}

Ints chain(int nodes) {
  Ints parent(nodes);
  std::iota(parent.begin(), parent.end(), -1);
  return parent;
}

Ints star(int nodes) {
  Ints parent(nodes, 0);
  parent[0] = -1;
  return parent;
}

/** A row of a call: node `node` of tree `tree`; tree -1 is for no row. */
struct Row {
  int tree, node;
};

std::vector<Row> all_rows(const std::vector<Tree>& trees) {
  std::vector<Row> rows;
  for (size_t t = 0; t < trees.size(); ++t) {
    for (int i = 0; i < trees[t].nodes(); ++i) rows.push_back({static_cast<int>(t), i});
  }
  return rows;
}

/** Calls with pages and slots drawn at random. What is in no sequence is NaN. */
struct Placement {
  int num_pages = 1, max_pages = 1, max_depth = 1;
  std::vector<Ints> slot;  // [tree][key]
  Ints page_table;

  Placement(const Case& c, const std::vector<Tree>& trees, Random& random) {
    for (const Tree& t : trees) {
      max_pages = std::max(max_pages, (t.kv_len + c.page_size - 1) / c.page_size);
      for (int i = 0; i < t.nodes(); ++i)
        max_depth = std::max(max_depth, static_cast<int>(t.path(i).size()));
      num_pages += (t.kv_len + c.page_size - 1) / c.page_size + t.nodes() / c.page_size + 2;
    }
    Ints pages(num_pages);
    std::iota(pages.begin(), pages.end(), 0);
    std::shuffle(pages.begin(), pages.end(), random);
    page_table.assign(trees.size() * max_pages, -1);
    for (size_t t = 0; t < trees.size(); ++t) {
      slot.emplace_back();
      for (int p = 0; p < trees[t].kv_len; ++p) {
        int32_t& page = page_table[t * max_pages + p / c.page_size];
        if (p % c.page_size == 0) page = pages.back(), pages.pop_back();
        slot[t].push_back(page * c.page_size + p % c.page_size);
      }
      Ints free;
      while (static_cast<int>(free.size()) < trees[t].nodes()) {
        for (int j = 0; j < c.page_size; ++j) free.push_back(pages.back() * c.page_size + j);
        pages.pop_back();
      }
      std::shuffle(free.begin(), free.end(), random);
      slot[t].insert(slot[t].end(), free.begin(), free.begin() + trees[t].nodes());
    }
  }
};

template <class T>
T stored(float x) {
  if constexpr (sizeof(T) == 4) {
    return x;
  } else {
    T value;
    espalier::from_float(x, &value);
    return value;
  }
}

template <class T>
Floats run_as(
    const Case& c, const std::vector<Tree>& trees, const std::vector<Row>& rows, Random& random,
    int offset) {
  const Placement at(c, trees, random);
  const int64_t elements = int64_t{at.num_pages} * c.page_size * c.kv_dim();
  std::vector<T> k(offset + elements, stored<T>(NAN)), v = k;
  Ints kv_len, row_seq, depth;
  for (size_t t = 0; t < trees.size(); ++t) {
    kv_len.push_back(trees[t].kv_len);
    for (size_t key = 0; key < at.slot[t].size(); ++key) {
      for (int d = 0; d < c.kv_dim(); ++d) {
        const int64_t to = offset + int64_t{at.slot[t][key]} * c.kv_dim() + d;
        k[to] = stored<T>(trees[t].k[key * c.kv_dim() + d]);
        v[to] = stored<T>(trees[t].v[key * c.kv_dim() + d]);
      }
    }
  }
  Floats q;
  Ints ancestors(rows.size() * at.max_depth, -1);
  for (size_t r = 0; r < rows.size(); ++r) {
    row_seq.push_back(rows[r].tree);
    depth.push_back(0);
    if (rows[r].tree < 0) {
      q.insert(q.end(), c.row_len(), NAN);
      continue;
    }
    const Tree& t = trees[rows[r].tree];
    const Ints path = t.path(rows[r].node);
    depth.back() = static_cast<int32_t>(path.size()) - 1;
    for (size_t i = 0; i < path.size(); ++i)
      ancestors[r * at.max_depth + i] = at.slot[rows[r].tree][t.kv_len + path[i]];
    q.insert(
        q.end(), t.q.begin() + int64_t{rows[r].node} * c.row_len(),
        t.q.begin() + int64_t{rows[r].node + 1} * c.row_len());
  }

  const auto on_q = Buffer<float>::input("q", q);
  const auto on_k = Buffer<T>::input("k_cache", k), on_v = Buffer<T>::input("v_cache", v);
  const auto on_table = Buffer<int32_t>::input("page_table", at.page_table),
             on_len = Buffer<int32_t>::input("kv_len", kv_len),
             on_seq = Buffer<int32_t>::input("row_seq", row_seq),
             on_depth = Buffer<int32_t>::input("depth", depth),
             on_ancestors = Buffer<int32_t>::input("ancestor_slot", ancestors);
  const auto out = Buffer<float>::output("out", q.size());
  TreeAttentionArgs args{};
  args.q = on_q.data();
  args.k_cache = on_k.data() + offset;
  args.v_cache = on_v.data() + offset;
  args.kv_type = c.type;
  args.page_table = on_table.data();
  args.kv_len = on_len.data();
  args.row_seq = on_seq.data();
  args.depth = on_depth.data();
  args.ancestor_slot = on_ancestors.data();
  args.scale = c.scale();
  args.window = c.window;
  args.soft_cap = c.soft_cap;
  args.out = out.data();
  args.rows = static_cast<int64_t>(rows.size());
  args.max_pages = at.max_pages;
  args.max_depth = at.max_depth;
  args.page_size = c.page_size;
  args.num_q_heads = c.q_heads;
  args.num_kv_heads = c.kv_heads;
  args.head_dim = c.head_dim;
  args.batch = static_cast<int32_t>(trees.size());
  const size_t bytes = espalier::tree_attention_workspace_bytes(args);
  const auto workspace = Buffer<simt::Vec<float, 4>>::output("workspace", (bytes + 15) / 16);
  espalier::cuda_tree_attention(args, workspace.data(), nullptr);
  return out.values();
}

/** The rows through the kernels; the cache begins `offset` elements behind an aligned address. */
Floats run(
    const Case& c, const std::vector<Tree>& trees, const std::vector<Row>& rows, Random& random,
    int offset = 0) {
  if (c.type == Type::kBf16) return run_as<espalier::Bf16>(c, trees, rows, random, offset);
  if (c.type == Type::kFp16) return run_as<espalier::Fp16>(c, trees, rows, random, offset);
  return run_as<float>(c, trees, rows, random, offset);
}

Floats run(const Case& c, const std::vector<Tree>& trees, Random& random) {
  return run(c, trees, all_rows(trees), random);
}

bool same_bits(const float* a, const float* b, int64_t n) {
  return std::memcmp(a, b, n * sizeof(float)) == 0;
}

double worst_of_bound = 0;

/**
 * Checks one row against fp64, by the bound of docs/kernels/tree_attention.md; adds up the squared errors, those of
 * attention written down plainly with queries and weights rounded to the type, and the squares of the reference.
 */
void check_row(
    const Case& c, const Tree& t, int node, const float* out, double (&squares)[3],
    const char* order) {
  const Ints keys = t.keys_of(node, c.window);
  const double u = c.type == Type::kFp32 ? 0 : c.type == Type::kBf16 ? 0x1p-8 : 0x1p-11;
  const double cap = c.soft_cap;
  for (int h = 0; h < c.q_heads; ++h) {
    const float* q = &t.q[node * c.row_len() + h * c.head_dim];
    const int head = h / (c.q_heads / c.kv_heads) * c.head_dim;
    std::vector<double> weight;
    Floats plain;
    double most = -1e300, score_error = 0, largest = 0;
    float plain_most = -INFINITY;
    for (const int key : keys) {
      const float* k = &t.k[key * c.kv_dim() + head];
      double dot = 0, magnitude = 0;
      float plain_dot = 0;
      for (int d = 0; d < c.head_dim; ++d) {
        dot += static_cast<double>(q[d]) * k[d];
        magnitude += std::fabs(static_cast<double>(q[d]) * k[d]);
        plain_dot += rounded(q[d], c.type) * k[d];
      }
      dot *= c.scale();
      plain_dot *= c.scale();
      double error = magnitude * c.scale() * (u + 2 * c.head_dim * kUlp);
      if (cap > 0) {
        dot = cap * std::tanh(dot / cap);
        plain_dot = c.soft_cap * std::tanh(plain_dot / c.soft_cap);
        error += 8 * cap * kUlp;
      }
      weight.push_back(dot);
      plain.push_back(plain_dot);
      score_error = std::max(score_error, error);
      largest = std::max(largest, std::fabs(dot));
      most = std::max(most, dot);
      plain_most = std::max(plain_most, plain_dot);
    }
    score_error += 8 * largest * kUlp + 0x1p-21;
    double sum = 0;
    float plain_sum = 0;
    for (double& w : weight) sum += w = std::exp(w - most);
    for (float& w : plain) {
      w = rounded(std::exp(w - plain_most), c.type);
      plain_sum += w;
    }
    const double e = std::exp(score_error) - 1 + u + (keys.size() + 16.0) * 2 * kUlp;
    for (int d = 0; d < c.head_dim; ++d) {
      double ref = 0, mean = 0;
      float plain_value = 0;
      for (size_t i = 0; i < keys.size(); ++i) {
        const float value = t.v[keys[i] * c.kv_dim() + head + d];
        ref += weight[i] / sum * value;
        mean += weight[i] / sum * std::fabs(value);
        plain_value += plain[i] * value;
      }
      const double bound = 2 * e / (1 - e) * mean + (keys.size() + 1.0) * 0x1p-24;
      const double got = out[h * c.head_dim + d];
      worst_of_bound = std::max(worst_of_bound, std::fabs(got - ref) / bound);
      CHECK_MSG(
          std::fabs(got - ref) <= bound,
          "%s: node %d of %d, head %d, dimension %d, kv_len %d, head_dim %d, page_size %d, type "
          "%s, window %d: %g, ref %g, bound %g",
          order, node, t.nodes(), h, d, t.kv_len, c.head_dim, c.page_size, type_name(c.type),
          c.window, got, ref, bound);
      squares[0] += (got - ref) * (got - ref);
      squares[1] += std::pow(plain_value / plain_sum - ref, 2);
      squares[2] += ref * ref;
    }
  }
}

void check_all_rows(
    const Case& c, const std::vector<Tree>& trees, const Floats& out, const char* order,
    int stride = 1) {
  double squares[3] = {};
  const auto rows = all_rows(trees);
  for (size_t r = 0; r < rows.size(); r += r + stride < rows.size() ? stride : 1) {
    check_row(c, trees[rows[r].tree], rows[r].node, &out[r * c.row_len()], squares, order);
  }
  const double error = std::sqrt(squares[0] / squares[2]),
               plain = std::sqrt(squares[1] / squares[2]);
  CHECK_MSG(
      error <= 2 * plain + 0x1p-22 && error <= (c.type == Type::kFp32 ? 1e-5 : 1e-2),
      "%s: relative error %g of %zu rows, plain attention has %g", order, error, rows.size(),
      plain);
}

/** Runs trees under an order in turn and checks them. */
void check_trees(const Case& c, const std::vector<Tree>& trees, Random& random, int stride = 1) {
  static int turn = 0;
  const auto& order = simt::emulated::kOrders[turn++ % 3];
  simt::emulated::set_order(order.order, check::seed());
  check_all_rows(c, trees, run(c, trees, random), order.name, stride);
}

/** NaN and then infinity in K of head 0 and V of head 1, at each of some keys of one of two sequences. */
void check_bad_keys(
    Type type, int window, int kv_len, const Ints& parent, const Ints& bad_keys, Random& random) {
  Case c;
  c.type = type;
  c.window = window;
  c.kv_heads = 2;
  c.q_heads = 4;
  const std::vector<Tree> trees = {Tree(c, kv_len, parent, random), Tree(c, 100, chain(2), random)};
  const Floats clean = run(c, trees, random);
  const auto rows = all_rows(trees);
  for (const int key : bad_keys) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      auto with_bad = trees;
      with_bad[0].k[key * c.kv_dim() + 3] = bad;
      with_bad[0].v[key * c.kv_dim() + c.head_dim + 5] = bad;
      const Floats out = run(c, with_bad, random);
      for (size_t r = 0; r < rows.size(); ++r) {
        const Tree& t = trees[rows[r].tree];
        const Ints keys = t.keys_of(rows[r].node, window);
        const bool sees =
            rows[r].tree == 0 && std::find(keys.begin(), keys.end(), key) != keys.end();
        for (int i = 0; i < c.row_len(); ++i) {
          const int h = i / c.head_dim, d = i % c.head_dim;
          const float got = out[r * c.row_len() + i];
          const bool hit = sees && (h < 2 || d == 5);
          // With a score of -infinity a key has no weight.
          const float q = t.q[rows[r].node * c.row_len() + h * c.head_dim + 3];
          const bool no_weight = hit && h < 2 && std::isinf(bad) && q < 0;
          const bool good = no_weight ? std::isfinite(got)
                            : hit     ? !std::isfinite(got)
                                      : same_bits(&got, &clean[r * c.row_len() + i], 1);
          CHECK_MSG(
              good, "%g at key %d, window %d, node %d of tree %d, head %d, dimension %d: %g", bad,
              key, window, rows[r].node, rows[r].tree, h, d, got);
        }
      }
    }
  }
}

}  // namespace

TEST(rows_are_within_the_bound_of_fp64) {
  Random random(static_cast<uint32_t>(check::seed()));
  // Positions at which a page, a tile, its margin or a split begins or ends.
  const int lengths[] = {0,   1,   15,  16,  17,  31,  32,  33,  63,   64,  65,
                         94,  95,  96,  97,  127, 128, 129, 159, 160,  511, 512,
                         513, 543, 544, 545, 606, 607, 608, 609, 1055, 1056};
  const int page_sizes[] = {16, 32, 64, 128, 48};
  const Type types[] = {Type::kBf16, Type::kFp16};
  int i = 0;
  for (const int kv_len : lengths) {
    Case c;
    c.type = types[i % 2];
    c.page_size = page_sizes[i % 5];
    c.kv_heads = 1 + i % 2;
    c.q_heads = c.kv_heads * (i % 3 == 0 ? 1 : 2);
    check_trees(c, {Tree(c, kv_len, random_tree(3, 3, random), random)}, random);
    ++i;
  }
}

TEST(every_width_and_group_is_within_the_bound) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const int head_dim : {64, 128, 256}) {
    for (const int group : {1, 4, 8}) {
      for (const int nodes : {1, 5}) {
        Case c;
        c.type = group == 4 ? Type::kFp16 : Type::kBf16;
        c.head_dim = head_dim;
        c.q_heads = group;
        check_trees(c, {Tree(c, 130, chain(nodes), random)}, random);
      }
    }
  }
  // More query heads than a block has pairs, and a number of them that nothing divides.
  Case c;
  c.head_dim = 256;
  c.q_heads = 70;
  check_trees(c, {Tree(c, 70, chain(1), random)}, random);
  c.head_dim = 64;
  c.q_heads = 21;
  c.kv_heads = 3;
  check_trees(c, {Tree(c, 100, star(3), random)}, random);
}

TEST(chains_stars_and_256_nodes_are_within_the_bound) {
  Random random(static_cast<uint32_t>(check::seed()));
  Case c;
  c.q_heads = 1;
  check_trees(c, {Tree(c, 0, chain(256), random)}, random, 13);
  check_trees(c, {Tree(c, 40, chain(130), random)}, random, 7);
  check_trees(c, {Tree(c, 100, star(256), random)}, random, 13);
  check_trees(c, {Tree(c, 60, random_tree(256, 256, random), random)}, random, 13);
  check_trees(c, {Tree(c, 60, random_tree(256, 3, random), random)}, random, 13);
}

TEST(unequal_sequences_are_within_the_bound) {
  Random random(static_cast<uint32_t>(check::seed()));
  Case c;
  c.page_size = 32;
  check_trees(
      c,
      {Tree(c, 0, chain(1), random), Tree(c, 600, random_tree(9, 9, random), random),
       Tree(c, 97, star(4), random), Tree(c, 1, random_tree(20, 4, random), random)},
      random);
  // One node of each of many sequences.
  std::vector<Tree> trees;
  for (int i = 0; i < 20; ++i) trees.emplace_back(c, i * 11, chain(1), random);
  check_trees(c, trees, random);
}

TEST(windows_and_caps_are_within_the_bound) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const int window : {1, 2, 31, 33, 64, 96, 97, 150, 200, 1000}) {
    for (const float soft_cap : {0.0f, 2.5f}) {
      Case c;
      c.window = window;
      c.soft_cap = soft_cap;
      c.page_size = 32;
      c.type = soft_cap > 0 ? Type::kFp16 : Type::kBf16;
      check_trees(
          c, {Tree(c, 250, random_tree(5, 2, random), random), Tree(c, 20, chain(3), random)},
          random);
    }
  }
  Case c;
  c.window = 70;
  c.soft_cap = 30;
  check_trees(c, {Tree(c, 590, chain(40), random)}, random, 3);
  std::printf("  largest error: %.2f of the bound\n", worst_of_bound);
}

TEST(fp32_and_other_widths_go_key_by_key_within_the_bound) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const Type type : {Type::kFp32, Type::kBf16, Type::kFp16}) {
    for (const int head_dim : {2, 20, 64, 80, 256}) {
      if (type != Type::kFp32 && head_dim % 64 == 0) continue;
      for (const int window : {0, 33}) {
        Case c;
        c.type = type;
        c.head_dim = head_dim;
        c.q_heads = 5;
        c.window = window;
        check_trees(
            c, {Tree(c, head_dim == 20 ? 530 : 40, random_tree(3, 3, random), random)}, random);
      }
    }
  }
}

TEST(a_cache_at_any_address_is_within_the_bound) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const Type type : {Type::kFp32, Type::kBf16}) {
    Case c;
    c.type = type;
    const std::vector<Tree> trees = {Tree(c, 70, chain(2), random)};
    check_all_rows(c, trees, run(c, trees, all_rows(trees), random, 1), "an odd address");
  }
}

TEST(equal_keys_give_the_mean_of_the_visible_values) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const Type type : {Type::kBf16, Type::kFp16, Type::kFp32}) {
    for (const int kv_len : {0, 95, 96, 127, 128, 560, 700}) {
      for (const int window : {0, 100}) {
        Case c;
        c.type = type;
        c.window = window;
        std::vector<Tree> trees = {Tree(c, kv_len, random_tree(6, 2, random), random)};
        Tree& t = trees[0];
        std::fill(t.k.begin(), t.k.end(), 0.0f);
        for (float& value : t.v) value = static_cast<float>(random() % 17) - 8;
        const Floats out = run(c, trees, random);
        for (int node = 0; node < t.nodes(); ++node) {
          const Ints keys = t.keys_of(node, window);
          for (int d = 0; d < c.head_dim; ++d) {
            float sum = 0;
            for (const int key : keys) sum += t.v[key * c.kv_dim() + d];
            const float mean = sum / static_cast<float>(keys.size());
            CHECK_MSG(
                out[node * c.row_len() + d] == mean, "kv_len %d, window %d, node %d: %g, mean %g",
                kv_len, window, node, out[node * c.row_len() + d], mean);
          }
        }
      }
    }
  }
}

TEST(a_context_that_ends_in_the_first_tile_of_a_long_split_is_seen_whole) {
  // From position 8192 on splits are longer than 512; here the last tile is the first of the first of them.
  Random random(static_cast<uint32_t>(check::seed()));
  Case c;
  c.q_heads = 1;
  std::vector<Tree> trees = {Tree(c, 8192 + 64 + 40, chain(1), random)};
  Tree& t = trees[0];
  std::fill(t.k.begin(), t.k.end(), 0.0f);
  std::fill(t.v.begin(), t.v.end(), 0.0f);
  for (int p = 8192; p < 8256; ++p) t.v[p * c.kv_dim() + p % c.head_dim] = 1;
  const Floats out = run(c, trees, random);
  const float want = 1.0f / static_cast<float>(t.kv_len + 1);
  for (int d = 0; d < c.head_dim; ++d) CHECK_EQ(out[d], want);
}

TEST(keys_with_a_score_of_minus_infinity_have_no_weight) {
  // All keys of the first tile, all of the first 32 of the tail, and some between.
  Random random(static_cast<uint32_t>(check::seed()));
  for (const Type type : {Type::kBf16, Type::kFp32}) {
    Case c;
    c.type = type;
    std::vector<Tree> trees = {Tree(c, 150, chain(3), random)};
    Tree& t = trees[0];
    std::fill(t.k.begin(), t.k.end(), 0.0f);
    std::fill(t.q.begin(), t.q.end(), 1.0f);
    for (float& value : t.v) value = static_cast<float>(random() % 17) - 8;
    const auto gone = [](int key) { return key < 96 || key == 120; };
    for (int key = 0; key < t.kv_len; ++key) {
      if (gone(key)) t.k[key * c.kv_dim()] = -std::numeric_limits<float>::infinity();
    }
    const Floats out = run(c, trees, random);
    for (int node = 0; node < t.nodes(); ++node) {
      for (int d = 0; d < c.head_dim; ++d) {
        float sum = 0, num = 0;
        for (const int key : t.keys_of(node, 0)) {
          if (!gone(key)) sum += t.v[key * c.kv_dim() + d], ++num;
        }
        CHECK_MSG(
            out[node * c.row_len() + d] == sum / num, "type %s, node %d: %g, mean %g",
            type_name(type), node, out[node * c.row_len() + d], sum / num);
      }
    }
  }
}

TEST(a_node_has_the_bits_of_the_same_token_decoded_alone) {
  Random random(static_cast<uint32_t>(check::seed()));
  // Prefixes on both sides of tile and split edges, for nodes in front of, at and behind them.
  const int lengths[] = {0, 1, 30, 33, 62, 63, 64, 90, 95, 96, 127, 128, 500, 511, 512, 540, 607};
  int i = 0;
  for (const int rows : {1, 2, 7, 8, 9, 16, 33, 64}) {
    for (int j = 0; j < 3; ++j) {
      Case c;
      c.page_size = 16 << i % 4;
      c.type = i % 2 == 0 ? Type::kBf16 : Type::kFp16;
      c.q_heads = i % 3 == 0 ? 1 : 4;
      c.window = i % 5 == 4 ? 100 : 0;
      const int kv_len = lengths[i++ % 17];
      const std::vector<Tree> trees = {
          Tree(c, kv_len, random_tree(rows, j == 0 ? 64 : 2, random), random)};
      const Floats whole = run(c, trees, random);
      for (const int node : {0, rows / 2, rows - 1}) {
        const std::vector<Tree> alone = {trees[0].as_chain(c, node, 1)};
        CHECK_MSG(
            same_bits(run(c, alone, random).data(), &whole[node * c.row_len()], c.row_len()),
            "node %d of %d, kv_len %d, depth %zu, %d heads, window %d", node, rows, kv_len,
            trees[0].path(node).size() - 1, c.q_heads, c.window);
      }
    }
  }
}

TEST(a_deep_tree_has_the_bits_of_plain_decoding) {
  Random random(static_cast<uint32_t>(check::seed()));
  // Chains and bushes so deep that tiles reach into the tree, some of whose paths differ there.
  for (const int head_dim : {64, 256}) {
    for (const int children_of : {1, 2, 4}) {
      Case c;
      c.head_dim = head_dim;
      c.q_heads = 2;
      const int nodes = head_dim == 64 ? 200 : 120;
      const std::vector<Tree> trees = {
          Tree(c, 37, random_tree(nodes, children_of, random), random)};
      const Floats whole = run(c, trees, random);
      for (const int node : {nodes - 1, nodes - 2, nodes - 40}) {
        const int depth = static_cast<int>(trees[0].path(node).size()) - 1;
        for (const int part : {1, depth / 2 + 1, depth + 1}) {
          const std::vector<Tree> other = {trees[0].as_chain(c, node, part)};
          const Floats out =
              run(c, other, {{0, part - 1}}, random);  // its other rows have no queries
          CHECK_MSG(
              same_bits(out.data(), &whole[node * c.row_len()], c.row_len()),
              "head_dim %d, node %d at depth %d, as the end of a chain of %d", head_dim, node,
              depth, part);
        }
      }
    }
  }
}

TEST(neither_other_rows_nor_places_nor_order_change_a_bit) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const Type type : {Type::kBf16, Type::kFp32}) {
    Case c;
    c.type = type;
    c.kv_heads = 2;
    c.q_heads = 8;
    const int kv_len = type == Type::kFp32 ? 530 : 577;
    const std::vector<Tree> trees = {
        Tree(c, 70, chain(3), random), Tree(c, kv_len, random_tree(17, 5, random), random),
        Tree(c, 5, star(2), random)};
    const auto rows = all_rows(trees);
    simt::emulated::set_order(simt::emulated::Order::kForward);
    const Floats want = run(c, trees, random);
    const auto check_rows = [&](const std::vector<Row>& some, const char* what) {
      const Floats got = run(c, trees, some, random);
      for (size_t r = 0; r < some.size(); ++r) {
        size_t at = 0;
        while (at < rows.size() && (rows[at].tree != some[r].tree || rows[at].node != some[r].node))
          ++at;
        if (at == rows.size()) continue;
        CHECK_MSG(
            same_bits(&got[r * c.row_len()], &want[at * c.row_len()], c.row_len()),
            "%s, %zu rows, node %d of tree %d, type %s", what, some.size(), some[r].node,
            some[r].tree, type_name(type));
      }
    };
    for_each_order([&](const char* order) { check_rows(rows, order); });
    auto shuffled = rows;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    check_rows(shuffled, "rows in another order");
    for (const int num : {1, 2, 7, 8, 9, 16}) {
      check_rows({shuffled.begin(), shuffled.begin() + num}, "some rows");
      check_rows({rows.end() - num, rows.end()}, "the last rows");
    }
    auto padded = rows;
    padded.insert(padded.begin() + 5, 3, Row{-1, 0});
    padded.resize(32, Row{-1, 0});
    check_rows(padded, "padded");
  }
}

TEST(rows_without_a_sequence_are_not_written) {
  Random random(static_cast<uint32_t>(check::seed()));
  for (const Type type : {Type::kBf16, Type::kFp32}) {
    Case c;
    c.type = type;
    const std::vector<Tree> trees = {Tree(c, 120, chain(1), random)};
    const Floats out = run(c, trees, {{-1, 0}, {0, 0}, {-1, 0}}, random);
    for (int i = 0; i < c.row_len(); ++i) {
      // An output that nobody wrote holds 0xff in each byte.
      CHECK(std::isnan(out[i]) && std::isnan(out[2 * c.row_len() + i]));
      CHECK(std::isfinite(out[c.row_len() + i]));
    }
  }
}

TEST(nan_and_infinity_reach_only_the_rows_that_see_them) {
  Random random(static_cast<uint32_t>(check::seed()));
  // Two paths of 45 nodes that part in the middle of a tile: each has a pass of its own.
  Ints fork = chain(98);
  fork[53] = 8;
  check_bad_keys(Type::kBf16, 0, 50, fork, {7, 55, 59, 70, 104, 120}, random);
  // In front of a window, at its edge, in tiles, in the tail.
  check_bad_keys(Type::kFp16, 150, 250, chain(12), {100, 105, 130, 190, 230, 255}, random);
  check_bad_keys(Type::kFp32, 0, 530, star(3), {7, 529, 531}, random);
}

TEST(offsets_beyond_2_to_31_elements) {
  // A cache of which only the last slot is used: 128 positions of pages in front of it, then a node.
  constexpr int kPage = 16, kDim = 64, kHeads = 2, kPages = (1 << 20) + 9;
  using espalier::Bf16;
  const auto k = Buffer<Bf16>::sparse("k_cache", size_t{kPages} * kPage * kHeads * kDim);
  const auto v = Buffer<Bf16>::sparse("v_cache", size_t{kPages} * kPage * kHeads * kDim);
  Ints pages;
  for (int i = 0; i < 8; ++i) pages.push_back(kPages - 1 - i);
  const int32_t node = (kPages - 9) * kPage;
  const auto slot_of = [&](int position) {
    return position == 128 ? node : pages[position / kPage] * kPage + position % kPage;
  };
  double mean[kDim] = {};
  for (int position = 0; position < 129; ++position) {
    for (int d = 0; d < kDim; ++d) {
      const float value = static_cast<float>((position * 7 + d) % 13);
      v.data()[(int64_t{slot_of(position)} * kHeads + 1) * kDim + d] = stored<Bf16>(value);
      mean[d] += value / 129;
    }
  }
  const auto table = Buffer<int32_t>::input("page_table", pages),
             len = Buffer<int32_t>::input("kv_len", {128}),
             seq = Buffer<int32_t>::input("row_seq", {0}),
             depth = Buffer<int32_t>::input("depth", {0}),
             ancestor = Buffer<int32_t>::input("ancestor_slot", {node});
  const auto q = Buffer<float>::input("q", Floats(kHeads * kDim, 1.0f));
  const auto out = Buffer<float>::output("out", kHeads * kDim);
  TreeAttentionArgs args{};
  args.q = q.data();
  args.k_cache = k.data();
  args.v_cache = v.data();
  args.kv_type = Type::kBf16;
  args.page_table = table.data();
  args.kv_len = len.data();
  args.row_seq = seq.data();
  args.depth = depth.data();
  args.ancestor_slot = ancestor.data();
  args.scale = 1;
  args.out = out.data();
  args.rows = args.batch = args.max_depth = 1;
  args.max_pages = 8;
  args.page_size = kPage;
  args.num_q_heads = args.num_kv_heads = kHeads;
  args.head_dim = kDim;
  const auto workspace = Buffer<simt::Vec<float, 4>>::output(
      "workspace", espalier::tree_attention_workspace_bytes(args) / 16 + 1);
  espalier::cuda_tree_attention(args, workspace.data(), nullptr);
  for (int d = 0; d < kDim; ++d) {
    CHECK_EQ(out.data()[d], 0.0f);
    CHECK_MSG(
        std::fabs(out.data()[kDim + d] - mean[d]) < 1e-5, "dimension %d: %g, mean %g", d,
        out.data()[kDim + d], mean[d]);
  }
}
