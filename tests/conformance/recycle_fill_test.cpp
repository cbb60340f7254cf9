// recycle_fill against walks from the root, and the table that nothing was written to.
#include <algorithm>
#include <functional>

#include "check.h"
#include "ops.h"

namespace {

using namespace ops;
using Ints = std::vector<int32_t>;

/** A template of a tree: node 0, then nodes behind their parents. */
struct Template {
  Ints parent = {-1}, rank = {0};

  void add(int32_t under, int32_t of_rank) {
    parent.push_back(under);
    rank.push_back(of_rank);
  }
};

Template random_template(int32_t tree_len, int32_t k, Random& random) {
  Template t;
  for (int32_t i = 1; i < tree_len; ++i) {
    t.add(std::max(0, i - 1 - random.below(random.below(2) == 0 ? 3 : 40)), random.below(k));
  }
  return t;
}

Ints fill(const Context& ctx, const Ints& table, int64_t k, const Template& t, const Ints& root) {
  const auto n = static_cast<int64_t>(t.parent.size()), batch = static_cast<int64_t>(root.size());
  Buffer on_table(ctx, {static_cast<int64_t>(table.size()) / k, k}, table),
      parent(ctx, {n}, t.parent), rank(ctx, {n}, t.rank), on_root(ctx, {batch}, root);
  Buffer token(ctx, {batch * n}, Ints(batch * n, -77));
  ok(espalier_recycle_fill(ctx, on_table, parent, rank, on_root, token));
  return token.read<int32_t>(batch * n);
}

using Next = std::function<int32_t(int32_t token, int32_t rank)>;  // -1 for none

/** The tokens of a tree, each by a walk from the root. */
Ints walked(const Template& t, int32_t root, const Next& next) {
  Ints token;
  for (size_t i = 0; i < t.parent.size(); ++i) {
    Ints ranks;  // from the node up
    for (int32_t node = static_cast<int32_t>(i); node > 0; node = t.parent[node]) {
      ranks.push_back(t.rank[node]);
    }
    int32_t at = root;
    for (; !ranks.empty() && at >= 0; ranks.pop_back()) at = next(at, ranks.back());
    token.push_back(at);
  }
  return token;
}

void check_batch(
    const Context& ctx, const Ints& table, int64_t k, const Template& t, const Ints& root,
    const Next& next) {
  const Ints got = fill(ctx, table, k, t, root);
  Ints want;
  for (const int32_t r : root) {
    const Ints tree = walked(t, r, next);
    want.insert(want.end(), tree.begin(), tree.end());
  }
  const auto at = std::mismatch(got.begin(), got.end(), want.begin());
  CHECK_MSG(
      at.first == got.end(), "k %lld, %zu trees of %zu nodes: token[%td] = %d, expected %d",
      static_cast<long long>(k), root.size(), t.parent.size(), at.first - got.begin(), *at.first,
      *at.second);
}

}  // namespace

TEST(the_tree_of_known_numbers) {
  const Context ctx;
  Template t;
  for (const auto& [parent, rank] :
       {std::pair{0, 0}, std::pair{0, 1}, std::pair{1, 0}, std::pair{1, 1}, std::pair{2, 0},
        std::pair{3, 0}}) {
    t.add(parent, rank);
  }
  Ints table(20, -1);
  const auto put = [&](int32_t token, int32_t first, int32_t second) {
    table[2 * token] = first;
    table[2 * token + 1] = second;
  };
  put(3, 5, 7);
  put(5, 2, 9);
  put(7, 5, 1);
  put(2, 8, 0);
  CHECK(fill(ctx, table, 2, t, {3}) == (Ints{3, 5, 7, 2, 9, 5, 8}));
  // Row 9 has nothing, row 8 neither; a root of -1 is a tree without tokens.
  CHECK(fill(ctx, table, 2, t, {9, 2, -1}) == (Ints{9,  -1, -1, -1, -1, -1, -1,  //
                                                    2,  8,  0,  -1, -1, -1, -1,  //
                                                    -1, -1, -1, -1, -1, -1, -1}));
}

/** As the Java drafter draws it: a row of zeros has one child. */
TEST(a_row_that_nothing_was_written_to_gives_one_child) {
  const Context ctx;
  Random random(1);
  for (const int k : {1, 2, 8, 64}) {
    constexpr int kVocab = 100;
    Ints table(kVocab * k);
    for (int32_t token = 0; token < kVocab; ++token) {
      if (random.below(2) == 0) continue;
      const int32_t first = random.below(kVocab);  // all different
      for (int j = 0; j < k; ++j) table[token * k + j] = (first + 31 * j) % kVocab;
    }
    const Next next = [&](int32_t token, int32_t rank) {
      const int32_t* row = &table[token * k];
      const bool seen = k == 1 || row[0] != row[1];
      return rank == 0 || seen ? row[rank] : -1;
    };
    for (const int tree_len : {1, 2, 31, 32, 33, 64, 81, 257}) {
      const Template t = random_template(tree_len, k, random);
      check_batch(ctx, table, k, t, {random.below(kVocab), 0, random.below(kVocab)}, next);
    }
  }
}

TEST(whatever_is_in_the_table_tokens_are_of_the_vocabulary_or_none) {
  const Context ctx;
  Random random(2);
  constexpr int kVocab = 40, kK = 3;
  Ints table(kVocab * kK);
  for (int32_t& entry : table) {
    const int kind = random.below(10);
    entry = kind == 0   ? std::numeric_limits<int32_t>::max()
            : kind == 1 ? std::numeric_limits<int32_t>::min()
            : kind == 2 ? kVocab
            : kind == 3 ? -1
                        : random.below(kVocab);
  }
  const Next next = [&](int32_t token, int32_t rank) {
    const int32_t entry = table[token * kK + rank];
    const bool again = rank > 0 && entry == table[token * kK];
    return entry < 0 || entry >= kVocab || again ? -1 : entry;
  };
  int32_t most = -1;
  for (int round = 0; round < 20; ++round) {
    const Template t = random_template(1 + random.below(100), kK, random);
    const Ints root = {random.below(kVocab), kVocab - 1, -1};
    check_batch(ctx, table, kK, t, root, next);
    const Ints tokens = fill(ctx, table, kK, t, root);
    most = std::max(most, *std::max_element(tokens.begin(), tokens.end()));
  }
  CHECK_EQ(most, kVocab - 1);
}

TEST(chains_stars_and_no_trees) {
  const Context ctx;
  Ints table;  // token t is followed by t + 1, t + 2 ...
  constexpr int kVocab = 300, kK = 4;
  for (int32_t i = 0; i < kVocab * kK; ++i) table.push_back(i / kK + i % kK + 1);
  Template chain, star;
  for (int32_t i = 1; i < 256; ++i) {
    chain.add(i - 1, 0);
    star.add(0, i % kK);
  }
  const Ints in_chain = fill(ctx, table, kK, chain, {30, 60}),
             in_star = fill(ctx, table, kK, star, {7});
  for (int32_t i = 0; i < 256; ++i) {
    CHECK_EQ(in_chain[i], 30 + i);
    CHECK_EQ(in_chain[256 + i], 60 + i < kVocab ? 60 + i : -1);  // the last row leads out
    CHECK_EQ(in_star[i], i == 0 ? 7 : 8 + i % kK);
  }
  CHECK(fill(ctx, table, kK, chain, {}).empty());
}

TEST(bad_values_are_refused_and_token_is_untouched) {
  if (!espalier_test::on_cpu()) return;  // a GPU's memory is not read for checks
  const Context ctx;
  const Template good{{-1, 0, 1}, {0, 1, 1}};
  const auto refuses = [&](const Template& t, int32_t root, const std::string& text) {
    Buffer table(ctx, ESPALIER_I32, {10, 2}), parent(ctx, {3}, t.parent), rank(ctx, {3}, t.rank);
    Buffer on_root(ctx, {1}, Ints{root}), token(ctx, {3}, Ints(3, -77));
    refused(
        espalier_recycle_fill(ctx, table, parent, rank, on_root, token), ESPALIER_INVALID_ARGUMENT,
        "espalier_recycle_fill: " + text);
    CHECK(token.read<int32_t>(3) == Ints(3, -77));
  };
  refuses({{0, 0, 1}, good.rank}, 3, "parent[0] = 0, expected -1 for node 0 of a tree");
  refuses(
      {{-1, 0, 2}, good.rank}, 3, "parent[2] = 2, expected 0 <= parent < the node's own index = 2");
  refuses({good.parent, {0, 1, 2}}, 3, "rank[2] = 2, expected 0 <= rank < k = 2");
  refuses({good.parent, {0, -1, 0}}, 3, "rank[1] = -1, expected 0 <= rank < k = 2");
  refuses(good, 10, "root[0] = 10, expected -1 <= root < vocab = 10");
  refuses(good, -2, "root[0] = -2, expected -1 <= root < vocab = 10");
}
