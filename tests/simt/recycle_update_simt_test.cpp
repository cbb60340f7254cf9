// recycle_update: the kernel equals the CPU backend, and stays within its buffers whatever they hold.
#include <algorithm>
#include <numeric>
#include <random>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "launchers.h"
#include "orders.h"

using espalier::RecycleUpdateArgs;
using simt::emulated::Buffer;
using simt::emulated::for_each_order;

namespace {

using Ints = std::vector<int32_t>;

struct Problem {
  int32_t vocab, k;
  Ints begin = {0}, token = {}, path = {}, accept_len = {}, top = {};

  int32_t num_nodes() const { return static_cast<int32_t>(token.size()); }

  /** Tokens of 0 .. num_tokens - 1, and now and then none; a node in `accepted_of` is accepted. */
  void add(int32_t tree_len, int32_t num_tokens, uint32_t accepted_of, std::mt19937& random) {
    const auto first = static_cast<int32_t>(token.size());
    for (int32_t i = 0; i < tree_len; ++i) {
      token.push_back(random() % 12 == 0 ? -1 : static_cast<int32_t>(random() % num_tokens));
      if (i > 0 && random() % accepted_of == 0) path.push_back(i);
      for (int32_t j = 0; j < k; ++j) top.push_back(static_cast<int32_t>(random() % vocab));
    }
    accept_len.push_back(static_cast<int32_t>(path.size()) - first);
    path.resize(token.size(), -7);
    begin.push_back(static_cast<int32_t>(token.size()));
  }
};

RecycleUpdateArgs args_of(
    const Problem& p, const int32_t* begin, const int32_t* token, const int32_t* path,
    const int32_t* accept_len, const int32_t* top, int32_t* table) {
  return {begin,   token, path,          accept_len,
          top,     table, p.num_nodes(), static_cast<int32_t>(p.begin.size()) - 1,
          p.vocab, p.k};
}

Ints on_cpu(const Problem& p) {
  static const auto cpu = espalier::make_cpu_backend(1);
  Ints table(p.vocab * p.k, -5);
  cpu->recycle_update(args_of(
      p, p.begin.data(), p.token.data(), p.path.data(), p.accept_len.data(), p.top.data(),
      table.data()));
  return table;
}

Ints emulated(const Problem& p) {
  const auto begin = Buffer<int32_t>::input("tree_begin", p.begin),
             token = Buffer<int32_t>::input("token", p.token),
             path = Buffer<int32_t>::input("path", p.path),
             accept_len = Buffer<int32_t>::input("accept_len", p.accept_len),
             top = Buffer<int32_t>::input("top", p.top);
  const Buffer<int32_t> table("table", Ints(p.vocab * p.k, -5));
  espalier::cuda_recycle_update(
      args_of(
          p, begin.data(), token.data(), path.data(), accept_len.data(), top.data(), table.data()),
      nullptr);
  return table.values();
}

void check_equal(const Problem& p, const char* what) {
  const Ints want = on_cpu(p);
  for (const bool together : {false, true}) {
    simt::emulated::set_blocks_together(together);
    for_each_order([&](const char* order) {
      CHECK_MSG(
          emulated(p) == want, "%s, %s, %zu trees, %d nodes, k %d: differs from the CPU", what,
          order, p.accept_len.size(), p.num_nodes(), p.k);
    });
  }
  simt::emulated::set_blocks_together(false);
}

}  // namespace

TEST(equals_the_cpu_for_trees_of_every_length) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int32_t tree_len : {1, 2, 8, 9, 32, 33, 64, 65, 81, 256, 300}) {
    for (const int32_t k : {1, 8, 33, 64}) {
      Problem p{90, k};
      p.add(tree_len, k == 8 ? 90 : 6, k == 33 ? 2 : 6, random);
      check_equal(p, "one tree");
    }
  }
}

TEST(equals_the_cpu_for_batches_of_unequal_trees) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int32_t num_tokens : {1, 5, 80}) {
    Problem p{80, 4};
    for (const int32_t tree_len : {5, 1, 64, 0, 33, 130, 2}) p.add(tree_len, num_tokens, 5, random);
    check_equal(p, "batch");
  }
}

/** Nodes that are not there are left out, and tokens that are none write nothing. */
TEST(what_breaks_its_rule_is_left_out) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  constexpr int32_t kMost = 0x7fffffff, kLeast = -kMost - 1;
  for (int repeat = 0; repeat < 20; ++repeat) {
    Problem clean{200, 3};
    for (const int32_t tree_len : {40, 50}) clean.add(tree_len, 200, 6, random);
    Problem p = clean;
    p.begin = {kLeast, 40, kMost};
    for (int32_t& t : p.token) {
      if (t < 0) t = random() % 2 == 0 ? 200 : static_cast<int32_t>(random() | 0x80000000u);
    }
    // A path with more nodes than were accepted: the ones behind are none.
    for (size_t i = 0; i < p.path.size(); ++i) {
      if (p.path[i] == -7)
        p.path[i] = random() % 2 == 0 ? 50 + static_cast<int32_t>(random() % 9) : -3;
    }
    p.accept_len = {kMost, 50};
    const Ints want = on_cpu(clean);
    for_each_order(
        [&](const char* order) { CHECK_MSG(emulated(p) == want, "%s: round %d", order, repeat); });
  }
  // Trees without an order, and lengths below 0: nothing but that it ends within its buffers.
  Problem p{300, 2};
  for (const int32_t tree_len : {20, 20, 20}) p.add(tree_len, 300, 6, random);
  std::iota(p.token.begin(), p.token.end(), 0);
  p.begin = {60, 20, kMost, kLeast};
  p.accept_len = {-1, kLeast, 1000};
  emulated(p);
}

TEST(offsets_beyond_2_to_31_elements) {
  constexpr int32_t kK = 64, kVocab = (1 << 25) + 2;  // 2^31 entries and more
  const auto table = Buffer<int32_t>::sparse("table", int64_t{kVocab} * kK);
  const auto begin = Buffer<int32_t>::input("tree_begin", {0, 2}),
             token = Buffer<int32_t>::input("token", {kVocab - 1, 7}),
             path = Buffer<int32_t>::input("path", {1, -7}),
             accept_len = Buffer<int32_t>::input("accept_len", {1});
  Ints rows(2 * kK);
  std::iota(rows.begin(), rows.end(), 1);
  const auto top = Buffer<int32_t>::input("top", rows);
  espalier::cuda_recycle_update(
      {begin.data(), token.data(), path.data(), accept_len.data(), top.data(), table.data(), 2, 1,
       kVocab, kK},
      nullptr);
  for (int32_t j = 0; j < kK; ++j) {
    CHECK_EQ(table.data()[int64_t{kVocab - 1} * kK + j], 1 + j);
    CHECK_EQ(table.data()[int64_t{7} * kK + j], 65 + j);
  }
}

TEST(no_trees_no_launch) {
  const auto before = simt::emulated::counts().threads;
  check_equal(Problem{5, 2}, "no trees");
  CHECK_EQ(simt::emulated::counts().threads, before);
}
