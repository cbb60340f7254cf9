// recycle_update against writing one row after the other, and which node wins.
#include <algorithm>
#include <map>
#include <tuple>

#include "check.h"
#include "ops.h"

namespace {

using namespace ops;
using Ints = std::vector<int32_t>;

struct Batch {
  int32_t vocab, k;
  Ints begin = {0}, token = {}, path = {}, accept_len = {}, top = {};

  /** A tree and its accepted nodes. Row i of top is 10 i, 10 i + 1 ... of the whole batch, so that each says whose it is. */
  void add(const Ints& tokens, const Ints& accepted) {
    for (const int32_t t : tokens) {
      for (int32_t j = 0; j < k; ++j) {
        top.push_back((10 * static_cast<int32_t>(token.size()) + j) % vocab);
      }
      token.push_back(t);
    }
    path.insert(path.end(), accepted.begin(), accepted.end());
    path.resize(token.size(), -7);  // verify leaves the rest as it was
    accept_len.push_back(static_cast<int32_t>(accepted.size()));
    begin.push_back(static_cast<int32_t>(token.size()));
  }
  void add_random(int32_t tree_len, int32_t num_tokens, Random& random) {
    Ints tokens, accepted;
    for (int32_t i = 0; i < tree_len; ++i) {
      tokens.push_back(random.below(10) == 0 ? -1 : random.below(num_tokens));
      if (i > 0 && tokens.back() >= 0 && random.below(8) == 0) accepted.push_back(i);
    }
    add(tokens, accepted);
  }

  espalier_status update(const Context& ctx, Ints* table) const {
    const auto nodes = static_cast<int64_t>(token.size()),
               batch = static_cast<int64_t>(accept_len.size());
    Buffer on_begin(ctx, {batch + 1}, begin), on_token(ctx, {nodes}, token),
        on_path(ctx, {nodes}, path), on_len(ctx, {batch}, accept_len), on_top(ctx, {nodes, k}, top);
    Buffer on_table(ctx, {vocab, k}, *table);
    const espalier_status status =
        espalier_recycle_update(ctx, on_begin, on_token, on_path, on_len, on_top, on_table);
    *table = on_table.read<int32_t>(int64_t{vocab} * k);
    return status;
  }

  /** Who writes each row: the largest (tree, accepted, node) of those with its token. */
  void expect(Ints* table) const {
    std::map<int32_t, std::tuple<size_t, bool, int32_t>> winner;
    for (size_t b = 0; b + 1 < begin.size(); ++b) {
      for (int32_t i = begin[b]; i < begin[b + 1]; ++i) {
        const auto first = path.begin() + begin[b];
        const bool accepted =
            i == begin[b] || std::count(first, first + accept_len[b], i - begin[b]) > 0;
        if (token[i] < 0) continue;
        auto& best = winner[token[i]];
        best = std::max(best, std::tuple(b, accepted, i));
      }
    }
    for (const auto& [row, who] : winner) {
      std::copy_n(&top[std::get<2>(who) * k], k, &(*table)[row * k]);
    }
  }
};

void check_update(const Context& ctx, const Batch& b) {
  Ints table(b.vocab * b.k, -5);
  Ints want = table;
  b.expect(&want);
  ok(b.update(ctx, &table));
  const auto at = std::mismatch(table.begin(), table.end(), want.begin());
  CHECK_MSG(
      at.first == table.end(), "%zu trees, %zu nodes, k %d: entry %td = %d, expected %d",
      b.accept_len.size(), b.token.size(), b.k, at.first - table.begin(), *at.first, *at.second);
}

}  // namespace

TEST(the_update_of_known_numbers) {
  const Context ctx;
  Batch b{1000, 2};
  b.add({3, 5, 7, 2, 9, 5, 8}, {1, 4});
  Ints table(2000, -1);
  ok(b.update(ctx, &table));
  const auto row = [&](int32_t token) { return Ints{table[2 * token], table[2 * token + 1]}; };
  CHECK(row(3) == (Ints{0, 1}));
  CHECK(row(5) == (Ints{10, 11}));  // at nodes 1 and 5; node 1 is accepted
  CHECK(row(7) == (Ints{20, 21}));
  CHECK(row(9) == (Ints{40, 41}));
  CHECK(row(8) == (Ints{60, 61}));
  CHECK(row(4) == (Ints{-1, -1}));
}

TEST(accepted_nodes_win_then_the_last_and_later_trees_before_both) {
  const Context ctx;
  const auto winner = [&](const std::vector<std::pair<Ints, Ints>>& trees) {
    Batch b{5000, 1};
    for (const auto& [tokens, accepted] : trees) b.add(tokens, accepted);
    Ints table(5000, -1);
    ok(b.update(ctx, &table));
    return table[4] / 10;  // the node that wrote row 4
  };
  CHECK_EQ(winner({{{4, 1, 4, 4}, {1}}}), 0);     // node 0 is accepted
  CHECK_EQ(winner({{{1, 4, 4, 4}, {}}}), 3);      // none is
  CHECK_EQ(winner({{{1, 4, 4, 4}, {1, 2}}}), 2);  // two are
  CHECK_EQ(winner({{{4, 4, 4, 4}, {1, 2}}}), 2);
  CHECK_EQ(winner({{{4, 4, 4}, {1}}, {{2, 4, 4}, {}}}), 5);  // another tree is later
  CHECK_EQ(winner({{{1, 4, 4}, {1}}, {{4, 4, 4}, {1}}, {{2, 3}, {1}}}), 4);
}

TEST(random_batches_agree_with_the_rule) {
  const Context ctx;
  Random random(1);
  for (int round = 0; round < 30; ++round) {
    const int32_t k = round % 3 == 0 ? 1 : 1 + random.below(64), vocab = 64 + random.below(200);
    Batch b{vocab, k};
    for (int trees = 1 + random.below(4); trees > 0; --trees) {
      b.add_random(1 + random.below(round % 4 == 0 ? 300 : 60), round % 2 == 0 ? 5 : vocab, random);
    }
    check_update(ctx, b);
  }
}

/** A batch leaves the table that its trees leave one after the other. */
TEST(a_batch_is_its_trees_one_after_the_other) {
  const Context ctx;
  Random random(2);
  Batch all{30, 4};
  for (const int32_t tree_len : {7, 1, 40, 33}) all.add_random(tree_len, 12, random);
  Ints table(120, -5), one_by_one = table;
  ok(all.update(ctx, &table));
  for (size_t b = 0; b + 1 < all.begin.size(); ++b) {
    const auto from = all.begin[b], to = all.begin[b + 1];
    Batch one{30, 4};
    one.token.assign(all.token.begin() + from, all.token.begin() + to);
    one.path.assign(all.path.begin() + from, all.path.begin() + to);
    one.top.assign(all.top.begin() + 4 * from, all.top.begin() + 4 * to);
    one.accept_len = {all.accept_len[b]};
    one.begin = {0, to - from};
    ok(one.update(ctx, &one_by_one));
  }
  CHECK(table == one_by_one);
}

TEST(no_trees_change_nothing) {
  const Context ctx;
  Ints table(20, 3);
  ok(Batch{10, 2}.update(ctx, &table));
  CHECK(table == Ints(20, 3));
}

TEST(bad_values_are_refused_and_the_table_is_untouched) {
  if (!espalier_test::on_cpu()) return;  // a GPU's memory is not read for checks
  const Context ctx;
  Batch good{10, 2};
  good.add({1, 2, 3}, {1});
  good.add({4, -1}, {});
  const auto refuses = [&](const Batch& b, const std::string& text) {
    Ints table(20, 3);
    refused(b.update(ctx, &table), ESPALIER_INVALID_ARGUMENT, "espalier_recycle_update: " + text);
    CHECK(table == Ints(20, 3));
  };
  Ints table(20, 3);
  ok(good.update(ctx, &table));
  Batch b = good;
  b.begin = {0, 3, 6};
  refuses(b, "tree_begin[2] = 6, expected num_nodes = 5");
  b.begin = {0, 0, 5};
  refuses(b, "tree_begin[1] = 0, expected more than tree_begin[0] = 0");
  b = good;
  b.token[3] = 10;
  refuses(b, "token[3] = 10, expected -1 <= token < vocab = 10");
  b = good;
  b.top[5] = -1;
  refuses(b, "top[5] = -1, expected 0 <= top < vocab = 10");
  b = good;
  b.accept_len[0] = 3;
  refuses(b, "accept_len[0] = 3, expected 0 <= accept_len < nodes of the tree = 3");
  b = good;
  b.path[0] = 3;
  refuses(b, "path[0] = 3, expected 1 <= path < nodes of the tree = 3");
  b.path[0] = 0;
  refuses(b, "path[0] = 0, expected 1 <= path < nodes of the tree = 3");
}
