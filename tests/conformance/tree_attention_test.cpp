// tree_attention against fp64, and row independence bit for bit: from other rows, pages, slots and
// from what is committed.
#include <algorithm>
#include <numeric>

#include "check.h"
#include "ops.h"

namespace {

using namespace ops;
using Vector = std::vector<float>;
using Ints = std::vector<int32_t>;

struct Case {
  int q_heads = 4, kv_heads = 2, head_dim = 16, page_size = 16;
  int32_t type = ESPALIER_FP32;
  int window = 0;
  float soft_cap = 0;
};

/**
 * One sequence of keys by position: the first kv_len are committed, the others the nodes of a tree.
 */
struct Tree {
  int kv_len;
  Ints parent;  // of each node
};

/**
 * A cache in which every (sequence, key) has a slot drawn at random, so that pages lie anywhere,
 * and the arguments of a call for rows of it. Keys of sequence s: kv_len committed ones, then one
 * for each node.
 */
struct Problem {
  Case c;
  std::vector<Tree> trees;
  int max_pages = 1, max_depth = 1, num_pages = 1;
  std::vector<Ints> slot;  // [tree][key]
  Ints page_table;
  Vector q, k, v;  // q [rows of all trees], k and v [slots]
  Ints tree_of_row, node_of_row;

  Problem(const Case& shape, std::vector<Tree> all, Random& random)
      : c(shape), trees(std::move(all)) {
    for (const Tree& t : trees) {
      const int keys = t.kv_len + static_cast<int>(t.parent.size());
      max_pages = std::max(max_pages, (t.kv_len + c.page_size - 1) / c.page_size);
      max_depth = std::max(max_depth, static_cast<int>(t.parent.size()));
      num_pages += (keys + c.page_size - 1) / c.page_size + 1;
    }
    place(random);
    for (size_t t = 0; t < trees.size(); ++t) {
      for (size_t i = 0; i < trees[t].parent.size(); ++i) {
        tree_of_row.push_back(static_cast<int32_t>(t));
        node_of_row.push_back(static_cast<int32_t>(i));
      }
    }
    q = random.normals(static_cast<int64_t>(tree_of_row.size()) * c.q_heads * c.head_dim);
    k = random.normals(slots() * kv_dim());
    v = random.normals(slots() * kv_dim());
    round_to_type(&k);
    round_to_type(&v);
  }

  int64_t slots() const { return int64_t{num_pages} * c.page_size; }
  int64_t kv_dim() const { return int64_t{c.kv_heads} * c.head_dim; }
  int rows() const { return static_cast<int>(tree_of_row.size()); }
  int64_t row_len() const { return int64_t{c.q_heads} * c.head_dim; }

  /** New pages and slots for the same keys. Node slots are drawn among free ones. */
  void place(Random& random) {
    Ints pages(num_pages);
    std::iota(pages.begin(), pages.end(), 0);
    for (size_t i = pages.size() - 1; i > 0; --i) std::swap(pages[i], pages[random.below(i + 1)]);
    size_t next = 0;
    slot.assign(trees.size(), {});
    page_table.assign(trees.size() * max_pages, -1);
    for (size_t t = 0; t < trees.size(); ++t) {
      const Tree& tree = trees[t];
      for (int p = 0; p < tree.kv_len; ++p) {
        int32_t& page = page_table[t * max_pages + p / c.page_size];
        if (page < 0) page = pages[next++];
        slot[t].push_back(page * c.page_size + p % c.page_size);
      }
      Ints free;
      for (size_t i = 0; i < tree.parent.size(); ++i) {
        if (free.empty()) {
          for (int j = 0; j < c.page_size; ++j) free.push_back(pages[next] * c.page_size + j);
          ++next;
        }
        const int at = random.below(free.size());
        slot[t].push_back(free[at]);
        free.erase(free.begin() + at);
      }
    }
  }

  void round_to_type(Vector* x) const {
    const Context ctx(1);
    Buffer(ctx, c.type, {static_cast<int64_t>(x->size())}, x);
  }

  /** The keys that a row sees, in the order of positions: indices of slot[tree]. */
  Ints keys_of(int row) const {
    const Tree& tree = trees[tree_of_row[row]];
    Ints nodes;
    for (int32_t n = node_of_row[row]; n >= 0; n = tree.parent[n])
      nodes.insert(nodes.begin(), tree.kv_len + n);
    Ints keys(tree.kv_len);
    std::iota(keys.begin(), keys.end(), 0);
    keys.insert(keys.end(), nodes.begin(), nodes.end());
    if (c.window > 0 && static_cast<int>(keys.size()) > c.window)
      keys.erase(keys.begin(), keys.end() - c.window);
    return keys;
  }

  /** Runs the op on some of the rows. */
  Vector run(const Context& ctx, const Ints& chosen) {
    const int64_t n = static_cast<int64_t>(chosen.size());
    Vector q_rows;
    Ints seq, depth, ancestors(n * max_depth, -1), kv_len;
    for (int64_t i = 0; i < n; ++i) {
      const int row = chosen[i], t = tree_of_row[row];
      q_rows.insert(q_rows.end(), q.begin() + row * row_len(), q.begin() + (row + 1) * row_len());
      seq.push_back(t);
      Ints path;
      for (int32_t node = node_of_row[row]; node >= 0; node = trees[t].parent[node])
        path.insert(path.begin(), node);
      depth.push_back(static_cast<int32_t>(path.size()) - 1);
      for (size_t d = 0; d < path.size(); ++d) {
        ancestors[i * max_depth + d] = slot[t][trees[t].kv_len + path[d]];
      }
    }
    for (const Tree& t : trees) kv_len.push_back(t.kv_len);
    const int64_t batch = static_cast<int64_t>(trees.size());
    const Shape cache = {num_pages, c.page_size, c.kv_heads, c.head_dim};
    Buffer q_buffer(ctx, {n, c.q_heads, c.head_dim}, q_rows), k_buffer(ctx, c.type, cache, &k);
    Buffer v_buffer(ctx, c.type, cache, &v), table(ctx, {batch, max_pages}, page_table);
    Buffer kv_len_buffer(ctx, {batch}, kv_len), seq_buffer(ctx, {n}, seq),
        depth_buffer(ctx, {n}, depth);
    Buffer ancestor_buffer(ctx, {n, max_depth}, ancestors),
        out(ctx, ESPALIER_FP32, {n, c.q_heads, c.head_dim});
    ok(espalier_tree_attention(
        ctx, q_buffer, k_buffer, v_buffer, table, kv_len_buffer, seq_buffer, depth_buffer,
        ancestor_buffer, scale(), c.window, c.soft_cap, out));
    return out.read<float>(n * row_len());
  }

  Vector run(const Context& ctx) {
    Ints all(rows());
    std::iota(all.begin(), all.end(), 0);
    return run(ctx, all);
  }

  float scale() const { return 1 / std::sqrt(static_cast<float>(c.head_dim)); }

  /** Checks a row of out against fp64. */
  void check_row(int row, const float* out) const {
    const int t = tree_of_row[row];
    const Ints keys = keys_of(row);
    // Other backends round queries and weights to the type of the cache.
    const double u = c.type == ESPALIER_BF16 ? 0x1p-8 : c.type == ESPALIER_FP16 ? 0x1p-11 : 0;
    for (int h = 0; h < c.q_heads; ++h) {
      const int64_t head = h / (c.q_heads / c.kv_heads) * c.head_dim;
      std::vector<double> score;
      double most = -1e300, score_error = 0;
      for (const int32_t key : keys) {
        double dot = 0, magnitude = 0;
        for (int d = 0; d < c.head_dim; ++d) {
          const double product = static_cast<double>(q[row * row_len() + h * c.head_dim + d]) *
                                 k[slot[t][key] * kv_dim() + head + d];
          dot += product;
          magnitude += std::fabs(product);
        }
        dot *= scale();
        // The dot product's roundings, those of scale, and with a cap those of its division, tanh
        // and product.
        double error = ((c.head_dim / 4.0 + 6) * magnitude * scale() + 2 * std::fabs(dot)) * kUlp;
        if (c.soft_cap > 0) {
          error += 6 * kUlp * c.soft_cap;
          dot = c.soft_cap * std::tanh(dot / c.soft_cap);
        }
        if (!espalier_test::on_cpu()) {
          error = magnitude * scale() * (u + 2 * c.head_dim * kUlp) + 8 * c.soft_cap * kUlp +
                  7 * std::fabs(dot) * kUlp + 0x1p-21;
        }
        score.push_back(dot);
        score_error = std::max(score_error, error + std::fabs(dot) * kUlp);
        most = std::max(most, dot);
      }
      double sum = 0;
      for (double& s : score) sum += s = std::exp(s - most);
      for (int d = 0; d < c.head_dim; ++d) {
        double ref = 0, largest = 0;
        for (size_t i = 0; i < keys.size(); ++i) {
          const double value = v[slot[t][keys[i]] * kv_dim() + head + d];
          ref += score[i] / sum * value;
          largest = std::max(largest, std::fabs(value));
        }
        // An error e of scores changes weights by a factor e^(2e) at most; then one rounding for
        // each key and a few.
        double bound = (4 * score_error + (keys.size() + 12.0) * kUlp) * largest;
        if (!espalier_test::on_cpu()) {  // docs/kernels/tree_attention.md
          const double e = std::exp(score_error) - 1 + u + (keys.size() + 16.0) * 2 * kUlp;
          bound = 2 * e / (1 - e) * largest + (keys.size() + 1.0) * kUlp;
        }
        const double error = std::fabs(out[h * c.head_dim + d] - ref);
        CHECK_MSG(
            error <= bound,
            "row %d, head %d, dimension %d, %zu keys, head_dim %d, page_size %d, %s: %g, ref %g, "
            "bound %g",
            row, h, d, keys.size(), c.head_dim, c.page_size, type_name(c.type),
            out[h * c.head_dim + d], ref, bound);
      }
    }
  }
};

Ints random_tree(int nodes, Random& random) {
  Ints parent = {-1};
  for (int i = 1; i < nodes; ++i) parent.push_back(random.below(i));
  return parent;
}

Ints chain(int nodes) {
  Ints parent(nodes);
  std::iota(parent.begin(), parent.end(), -1);
  return parent;
}

}  // namespace

TEST(rows_are_within_the_bound_of_fp64) {
  const Context ctx;
  Random random(1);
  for (const int32_t type : kFloatTypes) {
    for (const int head_dim : {2, 8, 16, 20, 64, 80, 128}) {
      for (const int kv_len : {0, 1, 15, 16, 17, 100}) {
        Case c;
        c.type = type;
        c.head_dim = head_dim;
        Problem p(c, {{kv_len, random_tree(6, random)}}, random);
        const Vector out = p.run(ctx);
        for (int r = 0; r < p.rows(); ++r) p.check_row(r, out.data() + r * p.row_len());
      }
    }
  }
}

TEST(windows_and_caps_are_within_the_bound_of_fp64) {
  const Context ctx;
  Random random(2);
  for (const int window : {0, 1, 2, 5, 16, 33, 1000}) {
    for (const float soft_cap : {0.0f, 2.5f, 30.0f}) {
      for (const int kv_len : {0, 3, 40}) {
        for (const int page_size : {16, 32, 5}) {
          Case c;
          c.window = window;
          c.soft_cap = soft_cap;
          c.page_size = page_size;
          Problem p(c, {{kv_len, random_tree(12, random)}, {kv_len / 2, chain(4)}}, random);
          const Vector out = p.run(ctx);
          for (int r = 0; r < p.rows(); ++r) p.check_row(r, out.data() + r * p.row_len());
        }
      }
    }
  }
}

TEST(a_row_alone_among_others_and_on_other_pages_has_the_same_bits) {
  const Context ctx, one_thread(1);
  Random random(3);
  for (const int32_t type : kFloatTypes) {
    for (const int window : {0, 7, 70}) {
      for (const int head_dim : {24, 64}) {
        Case c;
        c.type = type;
        c.window = window;
        c.head_dim = head_dim;
        c.q_heads = 6;
        Problem p(
            c, {{130, random_tree(33, random)}, {17, chain(20)}, {0, random_tree(11, random)}},
            random);
        const Vector whole = p.run(ctx);
        CHECK(same_bits(p.run(one_thread).data(), whole.data(), p.rows() * p.row_len()));
        for (const int count : kRowCounts) {
          Ints chosen;
          for (int i = 0; i < count; ++i) chosen.push_back(random.below(p.rows()));
          const Vector part = p.run(ctx, chosen);
          for (int i = 0; i < count; ++i) {
            CHECK_MSG(
                same_bits(
                    part.data() + i * p.row_len(), whole.data() + chosen[i] * p.row_len(),
                    p.row_len()),
                "row %d among %d others, window %d, head_dim %d, %s", chosen[i], count - 1, window,
                head_dim, type_name(type));
          }
        }
        // The same keys and values on other pages and slots.
        Problem moved = p;
        moved.place(random);
        for (size_t t = 0; t < p.trees.size(); ++t) {
          for (size_t key = 0; key < p.slot[t].size(); ++key) {
            const int64_t from = p.slot[t][key] * p.kv_dim(), to = moved.slot[t][key] * p.kv_dim();
            std::copy_n(p.k.begin() + from, p.kv_dim(), moved.k.begin() + to);
            std::copy_n(p.v.begin() + from, p.kv_dim(), moved.v.begin() + to);
          }
        }
        CHECK(same_bits(moved.run(ctx).data(), whole.data(), p.rows() * p.row_len()));
      }
    }
  }
}

TEST(a_position_is_the_same_bits_whether_committed_or_a_node) {
  const Context ctx;
  Random random(4);
  for (const int window : {0, 9, 40}) {
    for (const int total : {5, 16, 33, 64, 100}) {
      Case c;
      c.window = window;
      c.type = ESPALIER_BF16;
      c.head_dim = 32;
      // The last position as the only node, and as the end of chains of every length.
      Problem last(c, {{total - 1, chain(1)}}, random);
      const Vector expected = last.run(ctx);
      for (int nodes = 2; nodes <= total; nodes += 1 + nodes / 3) {
        Problem p(c, {{total - nodes, chain(nodes)}}, random);
        for (int key = 0; key < total; ++key) {
          const int64_t from = last.slot[0][key] * p.kv_dim(), to = p.slot[0][key] * p.kv_dim();
          std::copy_n(last.k.begin() + from, p.kv_dim(), p.k.begin() + to);
          std::copy_n(last.v.begin() + from, p.kv_dim(), p.v.begin() + to);
        }
        std::copy(last.q.begin(), last.q.end(), p.q.end() - p.row_len());
        const Vector out = p.run(ctx);
        CHECK_MSG(
            same_bits(out.data() + (nodes - 1) * p.row_len(), expected.data(), p.row_len()),
            "position %d with %d committed, window %d", total - 1, total - nodes, window);
      }
    }
  }
}

TEST(long_contexts_and_many_rows_have_the_same_bits) {
  const Context ctx;
  Random random(5);
  Case c;
  c.type = ESPALIER_BF16;
  c.head_dim = 64;
  c.q_heads = 8;
  Problem p(c, {{9000, random_tree(40, random)}}, random);
  const Vector whole = p.run(ctx);
  for (const int row : {0, 7, 8, 39}) {
    CHECK(same_bits(p.run(ctx, {row}).data(), whole.data() + row * p.row_len(), p.row_len()));
  }
  p.check_row(39, whole.data() + 39 * p.row_len());
}

TEST(nan_in_a_key_reaches_only_the_rows_that_see_it) {
  const Context ctx;
  Random random(6);
  Case c;
  c.window = 4;
  Problem p(c, {{20, {-1, 0, 0, 1, 2, 3}}}, random);
  const Vector clean = p.run(ctx);
  p.k[p.slot[0][20 + 3] * p.kv_dim() + 2] = kNan;  // node 3, head 0
  p.v[p.slot[0][17] * p.kv_dim()] = kNan;          // position 17: in the window of the root only
  const Vector out = p.run(ctx);
  for (int r = 0; r < 6; ++r) {
    const Ints keys = p.keys_of(r);
    const bool sees_node = std::count(keys.begin(), keys.end(), 23) > 0;
    const bool sees_value = std::count(keys.begin(), keys.end(), 17) > 0;
    for (int h = 0; h < c.q_heads; ++h) {
      for (int d = 0; d < c.head_dim; ++d) {
        const int64_t i = r * p.row_len() + h * c.head_dim + d;
        const bool expected = h < 2 && (sees_node || (sees_value && d == 0));
        CHECK_MSG(
            std::isnan(out[i]) == expected && (expected || same_bits(&out[i], &clean[i], 1)),
            "row %d, head %d, dimension %d: %g, expected %s", r, h, d, out[i],
            expected ? "NaN" : "as before");
      }
    }
  }
}

TEST(bad_arguments_are_refused_and_out_is_untouched) {
  const Context ctx;
  Buffer q(ctx, ESPALIER_FP32, {2, 4, 8}), k(ctx, ESPALIER_BF16, {3, 16, 2, 8}),
      v(ctx, ESPALIER_BF16, {3, 16, 2, 8});
  Buffer table(ctx, {1, 2}, Ints{2, -1}), kv_len(ctx, {1}, Ints{16}), seq(ctx, {2}, Ints{0, 0});
  Buffer depth(ctx, {2}, Ints{0, 1}), slots(ctx, {2, 2}, Ints{0, -1, 0, 47}),
      out(ctx, {2, 4, 8}, Vector(64, 7));
  const auto call = [&](float scale = 1, int window = 0, float cap = 0) {
    return espalier_tree_attention(
        ctx, q, k, v, table, kv_len, seq, depth, slots, scale, window, cap, out);
  };
  const std::string name = "espalier_tree_attention: ";
  const auto refuses = [&](espalier_status status, const std::string& text) {
    refused(status, ESPALIER_INVALID_ARGUMENT, name + text);
  };
  ok(call());
  out.write(Vector(64, 7));
  refuses(call(kNan), "scale = nan, expected a finite number");
  refuses(call(1, -1), "window = -1, expected >= 0; 0 is for all positions");
  refuses(call(1, 0, -1), "soft_cap = -1, expected a finite number >= 0");
  if (espalier_test::on_cpu()) {  // a GPU's memory is not read for checks
    kv_len.write(Ints{17});
    refuses(call(), "page_table[1] = -1, expected 0 <= page_table < num_pages = 3");
    kv_len.write(Ints{33});
    refuses(call(), "kv_len[0] = 33, expected 0 <= kv_len < 1 + max_pages * page_size = 33");
    kv_len.write(Ints{16});
    seq.write(Ints{0, 1});
    refuses(call(), "row_seq[1] = 1, expected 0 <= row_seq < batch = 1");
    seq.write(Ints{0, 0});
    depth.write(Ints{0, 2});
    refuses(call(), "depth[1] = 2, expected 0 <= depth < max_depth = 2");
    depth.write(Ints{0, 1});
    slots.write(Ints{0, -1, 0, 48});
    refuses(
        call(), "ancestor_slot[3] = 48, expected 0 <= ancestor_slot < num_pages * page_size = 48");
    slots.write(Ints{0, -1, 0, 47});
  }
  Buffer odd(ctx, ESPALIER_FP32, {2, 3, 8}), odd_out(ctx, ESPALIER_FP32, {2, 3, 8});
  refuses(
      espalier_tree_attention(ctx, odd, k, v, table, kv_len, seq, depth, slots, 1, 0, 0, odd_out),
      "num_q_heads = 3, expected a multiple of num_kv_heads = 2");
  Buffer other_v(ctx, ESPALIER_FP16, {3, 16, 2, 8});
  refuses(
      espalier_tree_attention(ctx, q, k, other_v, table, kv_len, seq, depth, slots, 1, 0, 0, out),
      "type of v_cache = fp16, expected bf16, as k_cache has");
  CHECK(out.read<float>(64) == Vector(64, 7));
  ok(call());
}
