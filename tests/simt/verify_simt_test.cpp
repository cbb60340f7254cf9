// verify: the kernel equals the CPU backend on every tree.
#include <memory>
#include <random>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "launchers.h"
#include "orders.h"

using espalier::VerifyArgs;
using simt::emulated::Buffer;
using simt::emulated::for_each_order;

namespace {

struct Trees {
  std::vector<int32_t> begin = {0}, token, parent, choice;

  /** parent_of(i) for node i of a tree; tokens of 0 .. vocab - 1. */
  template <class ParentOf>
  void add(int tree_len, int vocab, std::mt19937& random, ParentOf&& parent_of) {
    for (int i = 0; i < tree_len; ++i) {
      token.push_back(static_cast<int32_t>(random() % vocab));
      parent.push_back(i == 0 ? -1 : parent_of(i));
      choice.push_back(static_cast<int32_t>(random() % vocab));
    }
    begin.push_back(static_cast<int32_t>(token.size()));
  }
};

struct Result {
  std::vector<int32_t> path, accept_len;
  bool operator==(const Result&) const = default;
};

constexpr int32_t kOld = -7;  // what path holds before

Result on_cpu(const Trees& trees) {
  static const auto cpu = espalier::make_cpu_backend(1);
  const int32_t batch = static_cast<int32_t>(trees.begin.size()) - 1;
  Result result{std::vector<int32_t>(trees.token.size(), kOld), std::vector<int32_t>(batch, kOld)};
  cpu->verify(
      VerifyArgs{
          trees.begin.data(), trees.token.data(), trees.parent.data(), trees.choice.data(),
          result.path.data(), result.accept_len.data(), batch});
  return result;
}

Result emulated(const Trees& trees) {
  const int32_t batch = static_cast<int32_t>(trees.begin.size()) - 1;
  const auto begin = Buffer<int32_t>::input("tree_begin", trees.begin);
  const auto token = Buffer<int32_t>::input("token", trees.token);
  const auto parent = Buffer<int32_t>::input("parent", trees.parent);
  const auto choice = Buffer<int32_t>::input("choice", trees.choice);
  const Buffer<int32_t> path("path", std::vector<int32_t>(trees.token.size(), kOld));
  const auto accept_len = Buffer<int32_t>::output("accept_len", batch);
  espalier::cuda_verify(
      VerifyArgs{
          begin.data(), token.data(), parent.data(), choice.data(), path.data(), accept_len.data(),
          batch},
      nullptr);
  return {path.values(), accept_len.values()};
}

void check_equal(const Trees& trees, const char* what) {
  const Result want = on_cpu(trees);
  for_each_order([&](const char* order) {
    CHECK_MSG(emulated(trees) == want, "%s, %s: differs from the CPU", what, order);
  });
}

}  // namespace

TEST(equals_the_cpu_for_random_trees_of_every_length) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  int accepted = 0;
  for (const int tree_len : {1, 2, 31, 32, 33, 63, 64, 65, 255, 256, 257, 300, 600}) {
    for (const int vocab : {1, 2, 4}) {
      Trees trees;
      trees.add(tree_len, vocab, random, [&](int i) { return static_cast<int32_t>(random() % i); });
      check_equal(trees, ("tree_len " + std::to_string(tree_len)).c_str());
      accepted += on_cpu(trees).accept_len[0];
    }
  }
  CHECK_MSG(accepted > 30, "only %d nodes accepted: the trees prove little", accepted);
}

TEST(equals_the_cpu_for_chains_stars_and_siblings_with_one_token) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int tree_len : {2, 33, 256, 257, 258}) {
    Trees chain, star;
    chain.add(tree_len, 1, random, [](int i) { return i - 1; });  // all accepted
    check_equal(chain, "chain");
    CHECK_EQ(on_cpu(chain).accept_len[0], tree_len - 1);
    star.add(tree_len, tree_len, random, [](int) { return 0; });
    star.choice[0] = star.token[tree_len - 1];
    check_equal(star, "star");
    CHECK_EQ(on_cpu(star).accept_len[0], 1);
  }
}

TEST(equals_the_cpu_for_a_batch_of_unequal_trees) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  Trees trees;
  for (const int tree_len : {5, 1, 64, 0, 33, 256, 2, 100}) {
    trees.add(tree_len, 2, random, [&](int i) { return static_cast<int32_t>(random() % i); });
  }
  check_equal(trees, "batch");
}

TEST(a_tree_that_breaks_the_order_of_parents_ends_the_walk) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (int repeat = 0; repeat < 20; ++repeat) {
    Trees trees;
    trees.add(80, 1, random, [&](int) { return static_cast<int32_t>(random() % 90) - 5; });
    check_equal(trees, "any parents");
  }
}

TEST(no_trees_no_launch) {
  const auto before = simt::emulated::counts().threads;
  check_equal(Trees(), "no trees");
  CHECK_EQ(simt::emulated::counts().threads, before);
}
