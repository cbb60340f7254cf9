// recycle_fill: the kernel equals the CPU backend, and stays within its buffers whatever they hold.
#include <algorithm>
#include <random>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "launchers.h"
#include "orders.h"

using espalier::RecycleFillArgs;
using simt::emulated::Buffer;
using simt::emulated::for_each_order;

namespace {

using Ints = std::vector<int32_t>;

struct Problem {
  int32_t vocab, k;
  Ints table = {}, parent = {-1}, rank = {0}, root = {};
};

template <class ParentOf>
Problem problem(
    int32_t vocab, int32_t k, int32_t tree_len, int32_t batch, std::mt19937& random,
    ParentOf&& parent_of) {
  Problem p{vocab, k};
  for (int32_t i = 0; i < vocab * k; ++i) {
    // A few that are out of the vocabulary, so that some trees end early.
    const auto entry = static_cast<int32_t>(random() % (vocab + 2)) - 1;
    p.table.push_back(random() % 50 == 0 ? static_cast<int32_t>(random()) : entry);
  }
  for (int32_t i = 1; i < tree_len; ++i) {
    p.parent.push_back(parent_of(i));
    p.rank.push_back(static_cast<int32_t>(random() % k));
  }
  for (int32_t b = 0; b < batch; ++b) p.root.push_back(static_cast<int32_t>(random() % vocab));
  return p;
}

Ints on_cpu(const Problem& p) {
  static const auto cpu = espalier::make_cpu_backend(1);
  const auto tree_len = static_cast<int32_t>(p.parent.size()),
             batch = static_cast<int32_t>(p.root.size());
  Ints token(p.root.size() * p.parent.size(), -7);
  cpu->recycle_fill(
      RecycleFillArgs{
          p.table.data(), p.parent.data(), p.rank.data(), p.root.data(), token.data(), p.vocab, p.k,
          tree_len, batch});
  return token;
}

Ints emulated(const Problem& p) {
  const auto table = Buffer<int32_t>::input("table", p.table),
             parent = Buffer<int32_t>::input("parent", p.parent),
             rank = Buffer<int32_t>::input("rank", p.rank),
             root = Buffer<int32_t>::input("root", p.root);
  const auto token = Buffer<int32_t>::output("token", p.root.size() * p.parent.size());
  espalier::cuda_recycle_fill(
      RecycleFillArgs{
          table.data(), parent.data(), rank.data(), root.data(), token.data(), p.vocab, p.k,
          static_cast<int32_t>(p.parent.size()), static_cast<int32_t>(p.root.size())},
      nullptr);
  return token.values();
}

/** The number of nodes with a token. */
int64_t check_equal(const Problem& p, const char* what) {
  const Ints want = on_cpu(p);
  for_each_order([&](const char* order) {
    CHECK_MSG(
        emulated(p) == want, "%s, %s, %zu trees of %zu nodes: differs from the CPU", what, order,
        p.root.size(), p.parent.size());
  });
  return std::count_if(want.begin(), want.end(), [](int32_t t) { return t >= 0; });
}

}  // namespace

TEST(equals_the_cpu_for_random_trees_of_every_length) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  int64_t tokens = 0, nodes = 0;
  for (const int32_t tree_len : {1, 2, 31, 32, 33, 64, 65, 81, 256, 257, 300}) {
    for (const int32_t k : {1, 3, 64}) {
      for (const int32_t batch : {1, 5}) {
        const Problem p = problem(97, k, tree_len, batch, random, [&](int32_t i) {
          return static_cast<int32_t>(random() % std::min(i, 8));
        });
        tokens += check_equal(p, "random");
        nodes += int64_t{batch} * tree_len;
      }
    }
  }
  CHECK_MSG(
      tokens > nodes / 3 && tokens < nodes, "%ld of %ld nodes have a token: the trees prove little",
      static_cast<long>(tokens), static_cast<long>(nodes));
}

TEST(equals_the_cpu_for_chains_stars_and_levels) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int32_t tree_len : {33, 256}) {
    Problem chain = problem(600, 2, tree_len, 2, random, [](int32_t i) { return i - 1; });
    for (int32_t i = 0; i < 1200; ++i) chain.table[i] = (i / 2 + 1 + i % 2) % 600;
    CHECK_EQ(check_equal(chain, "chain"), 2 * tree_len);
    check_equal(problem(97, 4, tree_len, 2, random, [](int32_t) { return 0; }), "star");
    check_equal(
        problem(97, 4, tree_len, 2, random, [](int32_t i) { return (i - 1) / 3; }), "levels");
  }
}

TEST(what_breaks_its_rule_gives_no_token) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (int repeat = 0; repeat < 20; ++repeat) {
    Problem p = problem(
        20, 3, 90, 2, random, [&](int32_t i) { return static_cast<int32_t>(random() % i); });
    p.root.push_back(20);
    p.root.push_back(static_cast<int32_t>(random() | 0x80000000u));
    Problem clean = p;
    std::vector<bool> none(90);
    for (int32_t i = 1; i < 90; ++i) {
      const int kind = static_cast<int>(random() % 12);
      if (kind == 0) p.parent[i] = i + static_cast<int32_t>(random() % 5);
      if (kind == 1) p.parent[i] = static_cast<int32_t>(random() | 0x80000000u);
      if (kind == 2) p.rank[i] = 3 + static_cast<int32_t>(random() % 5);
      if (kind == 3) p.rank[i] = static_cast<int32_t>(random() | 0x80000000u);
      none[i] = kind < 4 || none[clean.parent[i]];
    }
    Ints want = on_cpu(clean);
    for (size_t i = 0; i < want.size(); ++i) want[i] = none[i % 90] ? -1 : want[i];
    for_each_order(
        [&](const char* order) { CHECK_MSG(emulated(p) == want, "%s: round %d", order, repeat); });
  }
}

TEST(offsets_beyond_2_to_31_elements) {
  constexpr int32_t kK = 64, kVocab = (1 << 25) + 2;  // 2^31 entries and more
  const auto table = Buffer<int32_t>::sparse("table", int64_t{kVocab} * kK);
  table.data()[int64_t{kVocab - 1} * kK + 63] = kVocab - 2;
  table.data()[int64_t{kVocab - 2} * kK] = 5;
  const auto parent = Buffer<int32_t>::input("parent", {-1, 0, 1}),
             rank = Buffer<int32_t>::input("rank", {0, 63, 0}),
             root = Buffer<int32_t>::input("root", {kVocab - 1});
  const auto token = Buffer<int32_t>::output("token", 3);
  espalier::cuda_recycle_fill(
      {table.data(), parent.data(), rank.data(), root.data(), token.data(), kVocab, kK, 3, 1},
      nullptr);
  CHECK(token.values() == (Ints{kVocab - 1, kVocab - 2, 5}));
}

TEST(no_trees_no_launch) {
  const auto before = simt::emulated::counts().threads;
  espalier::cuda_recycle_fill({nullptr, nullptr, nullptr, nullptr, nullptr, 5, 2, 7, 0}, nullptr);
  CHECK_EQ(simt::emulated::counts().threads, before);
}
