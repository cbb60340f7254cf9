// Inputs of attention, a run of its kernels on the emulator, and what fp64 says of them.
#ifndef ESPALIER_TESTS_SIMT_ATTENTION_PROBLEM_H
#define ESPALIER_TESTS_SIMT_ATTENTION_PROBLEM_H

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

namespace attention_test {

using espalier::TreeAttentionArgs;
using espalier::Type;
using simt::emulated::Buffer;
using simt::emulated::for_each_order;

using Ints = std::vector<int32_t>;
using Floats = std::vector<float>;
using Random = std::mt19937;

constexpr double kUlp = 0x1p-24;

struct Case {
  Type type = Type::kBf16;
  int q_heads = 2, kv_heads = 1, head_dim = 64, page_size = 16, window = 0;
  float soft_cap = 0;
  bool prompt = false;  // trees are chains, whose keys lie in the pages too
  float beside = NAN;   // in slots of the cache that are in no sequence

  int kv_dim() const { return kv_heads * head_dim; }
  int row_len() const { return q_heads * head_dim; }
  float scale() const { return 1 / std::sqrt(static_cast<float>(head_dim)); }
};

/** The elements that a cache of the type holds, as fp32. */
inline float rounded(float x, Type type) {
  espalier::Bf16 bf16;
  espalier::Fp16 fp16;
  if (type == Type::kBf16) return espalier::from_float(x, &bf16), espalier::to_float(bf16);
  if (type == Type::kFp16) return espalier::from_float(x, &fp16), espalier::to_float(fp16);
  return x;
}

inline Floats normals(int64_t n, Random& random) {
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

inline Ints random_tree(int nodes, int most_children_of, Random& random) {
  Ints parent = {-1};
  for (int i = 1; i < nodes; ++i) {
    const int first = std::max(0, i - most_children_of);
    parent.push_back(first + static_cast<int>(random() % (i - first)));
  }
  return parent;
}

inline Ints chain(int nodes) {
  Ints parent(nodes);
  std::iota(parent.begin(), parent.end(), -1);
  return parent;
}

inline Ints star(int nodes) {
  Ints parent(nodes, 0);
  parent[0] = -1;
  return parent;
}

/** A row of a call: node `node` of tree `tree`; tree -1 is for no row. */
struct Row {
  int tree, node;
};

inline std::vector<Row> all_rows(const std::vector<Tree>& trees) {
  std::vector<Row> rows;
  for (size_t t = 0; t < trees.size(); ++t) {
    for (int i = 0; i < trees[t].nodes(); ++i) rows.push_back({static_cast<int>(t), i});
  }
  return rows;
}

/** Calls with pages and slots drawn at random. What is in no sequence is `beside`. */
struct Placement {
  int num_pages = 1, max_pages = 1, max_depth = 1;
  std::vector<Ints> slot;  // [tree][key]
  Ints page_table;

  Placement(const Case& c, const std::vector<Tree>& trees, Random& random) {
    const auto in_pages = [&](const Tree& t) { return t.kv_len + (c.prompt ? t.nodes() : 0); };
    for (const Tree& t : trees) {
      max_pages = std::max(max_pages, (in_pages(t) + c.page_size - 1) / c.page_size);
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
      for (int p = 0; p < in_pages(trees[t]); ++p) {
        int32_t& page = page_table[t * max_pages + p / c.page_size];
        if (p % c.page_size == 0) page = pages.back(), pages.pop_back();
        slot[t].push_back(page * c.page_size + p % c.page_size);
      }
      if (c.prompt) continue;
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
  std::vector<T> k(offset + elements, stored<T>(c.beside)), v = k;
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
  args.num_pages = at.num_pages;
  args.page_size = c.page_size;
  args.num_q_heads = c.q_heads;
  args.num_kv_heads = c.kv_heads;
  args.head_dim = c.head_dim;
  args.batch = static_cast<int32_t>(trees.size());
  args.prompt = c.prompt;
  const size_t bytes = espalier::tree_attention_workspace_bytes(args);
  const auto workspace = Buffer<simt::Vec<float, 4>>::output("workspace", (bytes + 15) / 16);
  espalier::cuda_tree_attention(args, workspace.data(), nullptr);
  return out.values();
}

/** The rows through the kernels; the cache begins `offset` elements behind an aligned address. */
inline Floats run(
    const Case& c, const std::vector<Tree>& trees, const std::vector<Row>& rows, Random& random,
    int offset = 0) {
  if (c.type == Type::kBf16) return run_as<espalier::Bf16>(c, trees, rows, random, offset);
  if (c.type == Type::kFp16) return run_as<espalier::Fp16>(c, trees, rows, random, offset);
  return run_as<float>(c, trees, rows, random, offset);
}

inline Floats run(const Case& c, const std::vector<Tree>& trees, Random& random) {
  return run(c, trees, all_rows(trees), random);
}

inline bool same_bits(const float* a, const float* b, int64_t n) {
  return std::memcmp(a, b, n * sizeof(float)) == 0;
}

inline double worst_of_bound = 0;

/**
 * Checks one row against fp64, by the bound of docs/kernels/tree_attention.md; adds up the squared errors, those of
 * attention written down plainly with queries and weights rounded to the type, and the squares of the reference.
 */
inline void check_row(
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

inline void check_all_rows(
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
inline void check_trees(
    const Case& c, const std::vector<Tree>& trees, Random& random, int stride = 1) {
  static int turn = 0;
  const auto& order = simt::emulated::kOrders[turn++ % 3];
  simt::emulated::set_order(order.order, check::seed());
  check_all_rows(c, trees, run(c, trees, random), order.name, stride);
}

/**
 * Runs a tree with keys of 0 and queries of 1, but for keys that are gone, whose score is -infinity: they have no weight, so a
 * node has the mean of the other values that it sees.
 */
template <class Gone>
void check_gone_keys(const Case& c, Tree t, Gone gone, Random& random) {
  std::fill(t.k.begin(), t.k.end(), 0.0f);
  std::fill(t.q.begin(), t.q.end(), 1.0f);
  for (float& value : t.v) value = static_cast<float>(random() % 17) - 8;
  for (int key = 0; key < t.kv_len; ++key) {
    if (gone(key)) t.k[key * c.kv_dim()] = -std::numeric_limits<float>::infinity();
  }
  const Floats out = run(c, {t}, random);
  for (int node = 0; node < t.nodes(); ++node) {
    for (int d = 0; d < c.head_dim; ++d) {
      float sum = 0, num = 0;
      for (const int key : t.keys_of(node, 0)) {
        if (!gone(key)) sum += t.v[key * c.kv_dim() + d], ++num;
      }
      const float got = out[node * c.row_len() + d];
      CHECK_MSG(
          got == sum / num, "type %s, node %d: %g, mean %g", type_name(c.type), node, got,
          sum / num);
    }
  }
}

}  // namespace attention_test

#endif
