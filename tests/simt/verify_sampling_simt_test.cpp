// verify_sampling: the kernel equals the CPU backend for every scheme, tree and seed.
#include <algorithm>
#include <random>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "launchers.h"
#include "orders.h"

using namespace espalier;
using simt::emulated::Buffer;
using simt::emulated::for_each_order;

namespace {

constexpr int32_t kOld = -7;  // what path holds before

struct Trees {
  int32_t vocab;
  std::vector<int32_t> begin, token, parent, scheme, q_row, position;
  std::vector<float> p, q;
  std::vector<uint64_t> seed;

  explicit Trees(int32_t of_vocab) : vocab(of_vocab), begin{0} {}

  /** Children are drawn as the scheme of their parent says. */
  void add(int tree_len, std::mt19937& random) {
    add(tree_len, random, [&](int i) { return static_cast<int32_t>(random() % std::min(i, 4)); });
  }
  template <class ParentOf>
  void add(int tree_len, std::mt19937& random, ParentOf&& parent_of) {
    const auto first = static_cast<int32_t>(token.size());
    for (int i = 0; i < tree_len; ++i) {
      parent.push_back(i == 0 ? -1 : parent_of(i));
      scheme.push_back(static_cast<int32_t>(random() % 3));
      q_row.push_back(static_cast<int32_t>(token.size()));
      const float sharp = random() % 3 == 0 ? 8.0f : 1.0f;
      add_law(&q, sharp, random);
      if (random() % 4 == 0) {
        p.insert(p.end(), q.end() - vocab, q.end());
      } else {
        add_law(&p, sharp, random);
      }
      token.push_back(i == 0 ? 0 : drawn(first, i, random));
    }
    begin.push_back(static_cast<int32_t>(token.size()));
    position.push_back(static_cast<int32_t>(random() % 1000));
    seed.push_back(random());
    seed.push_back(random());
  }

 private:
  void add_law(std::vector<float>* laws, float sharp, std::mt19937& random) const {
    std::normal_distribution<float> normal(0, sharp);
    std::vector<double> weight(vocab);
    double sum = 0;
    for (double& w : weight) sum += w = std::exp(static_cast<double>(normal(random)));
    for (const double w : weight) laws->push_back(static_cast<float>(w / sum));
  }

  int32_t drawn(int32_t first, int i, std::mt19937& random) const {
    const int32_t up = first + parent[first + i];
    std::vector<double> law(q.begin() + int64_t{up} * vocab, q.begin() + int64_t{up + 1} * vocab);
    if (scheme[up] == ESPALIER_WITHOUT_REPLACEMENT) {
      for (int j = 1; j < i; ++j) {
        if (parent[first + j] == parent[first + i]) law[token[first + j]] = 0;
      }
    }
    double left = 0;
    for (const double w : law) left += w;
    if (!(left > 0)) return 0;
    return static_cast<int32_t>(std::discrete_distribution<int>(law.begin(), law.end())(random));
  }
};

struct Result {
  std::vector<int32_t> path, accept_len, bonus;
  bool operator==(const Result&) const = default;
};

Result on_cpu(const Trees& t) {
  static const auto cpu = make_cpu_backend(1);
  const auto batch = static_cast<int32_t>(t.position.size());
  Result r{
      std::vector<int32_t>(t.token.size(), kOld), std::vector<int32_t>(batch),
      std::vector<int32_t>(batch)};
  cpu->verify_sampling(
      {t.begin.data(), t.token.data(), t.parent.data(), t.p.data(), t.scheme.data(), t.q.data(),
       t.q_row.data(), t.position.data(), t.seed.data(), r.path.data(), r.accept_len.data(),
       r.bonus.data(), batch, t.vocab});
  return r;
}

Result emulated(const Trees& t) {
  const auto batch = static_cast<int32_t>(t.position.size());
  const auto begin = Buffer<int32_t>::input("tree_begin", t.begin),
             token = Buffer<int32_t>::input("token", t.token),
             parent = Buffer<int32_t>::input("parent", t.parent),
             scheme = Buffer<int32_t>::input("scheme", t.scheme),
             q_row = Buffer<int32_t>::input("q_row", t.q_row),
             position = Buffer<int32_t>::input("position", t.position);
  const auto p = Buffer<float>::input("p", t.p), q = Buffer<float>::input("q", t.q);
  const auto seed = Buffer<uint64_t>::input("seed", t.seed);
  const Buffer<int32_t> path("path", std::vector<int32_t>(t.token.size(), kOld));
  const auto accept_len = Buffer<int32_t>::output("accept_len", batch),
             bonus = Buffer<int32_t>::output("bonus", batch);
  const VerifySamplingArgs args{begin.data(),  token.data(), parent.data(),     p.data(),
                                scheme.data(), q.data(),     q_row.data(),      position.data(),
                                seed.data(),   path.data(),  accept_len.data(), bonus.data(),
                                batch,         t.vocab};
  const auto workspace =
      Buffer<double>::output("workspace", verify_sampling_workspace_bytes(args) / sizeof(double));
  cuda_verify_sampling(args, workspace.data(), nullptr);
  return {path.values(), accept_len.values(), bonus.values()};
}

}  // namespace

TEST(equals_the_cpu_for_every_scheme_and_vocabulary) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  int accepted = 0, rejected = 0;
  for (const int32_t vocab : {5, 31, 33, 1023, 1025, 3000}) {
    Trees trees(vocab);
    for (const int tree_len : {1, 2, 5, 9, 9, 20}) trees.add(tree_len, random);
    const Result want = on_cpu(trees);
    for (const int32_t len : want.accept_len) (len > 0 ? accepted : rejected) += 1;
    for_each_order([&](const char* order) {
      CHECK_MSG(emulated(trees) == want, "%s: vocab %d: differs from the CPU", order, vocab);
    });
  }
  CHECK_MSG(accepted > 3 && rejected > 8, "%d accepted, %d rejected", accepted, rejected);
}

TEST(equals_the_cpu_for_many_small_trees) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  Trees trees(6);
  for (int i = 0; i < 250; ++i) trees.add(8, random);
  CHECK(emulated(trees) == on_cpu(trees));
}

TEST(equals_the_cpu_for_chains_stars_and_256_nodes) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  Trees trees(37);
  trees.add(256, random, [](int i) { return i - 1; });
  trees.add(256, random, [](int) { return 0; });
  trees.add(256, random, [&](int i) { return static_cast<int32_t>(random() % i); });
  trees.add(1, random);
  const Result want = on_cpu(trees);
  for_each_order([&](const char* order) { CHECK_MSG(emulated(trees) == want, "%s", order); });
}

TEST(offsets_beyond_2_to_31_elements) {
  // The root's last child is likely, and its law begins behind 2^31 elements. All others are below its first one.
  constexpr int32_t kVocab = 1 << 16, kNodes = (1 << 15) + 2, kLast = kNodes - 1;
  const auto p = Buffer<float>::sparse("p", int64_t{kNodes} * kVocab);
  p.data()[9] = 1;
  p.data()[int64_t{kLast} * kVocab + 12345] = 1;
  std::vector<int32_t> tokens(kNodes, 3), parents(kNodes, 1);
  tokens[kLast] = 9;
  parents[0] = -1;
  parents[1] = parents[kLast] = 0;
  const auto begin = Buffer<int32_t>::input("tree_begin", {0, kNodes}),
             token = Buffer<int32_t>::input("token", tokens),
             parent = Buffer<int32_t>::input("parent", parents),
             scheme = Buffer<int32_t>::input("scheme", std::vector<int32_t>(kNodes)),
             q_row = Buffer<int32_t>::input("q_row", std::vector<int32_t>(kNodes, -1)),
             position = Buffer<int32_t>::input("position", {0});
  const auto seed = Buffer<uint64_t>::input("seed", {1, 2});
  const auto path = Buffer<int32_t>::output("path", kNodes),
             accept_len = Buffer<int32_t>::output("accept_len", 1),
             bonus = Buffer<int32_t>::output("bonus", 1);
  const VerifySamplingArgs args{
      begin.data(),
      token.data(),
      parent.data(),
      p.data(),
      scheme.data(),
      nullptr,
      q_row.data(),
      position.data(),
      seed.data(),
      path.data(),
      accept_len.data(),
      bonus.data(),
      1,
      kVocab};
  const auto workspace =
      Buffer<double>::output("workspace", verify_sampling_workspace_bytes(args) / sizeof(double));
  cuda_verify_sampling(args, workspace.data(), nullptr);
  CHECK_EQ(accept_len.data()[0], 1);
  CHECK_EQ(path.data()[0], kLast);
  CHECK_EQ(bonus.data()[0], 12345);
}

TEST(laws_that_are_none_end_the_walk) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  int broken = 0, sound = 0;
  for (int kind = 0; kind < 7; ++kind) {
    Trees trees(40);
    for (int i = 0; i < 4; ++i) trees.add(6, random);
    std::vector<float>& laws = kind % 2 == 0 ? trees.p : trees.q;
    const auto half = laws.begin() + static_cast<ptrdiff_t>(laws.size() / 2);  // of two trees
    if (kind < 2) std::fill(half, laws.end(), 0.0f);
    if (kind == 2 || kind == 3) std::fill(half, laws.end(), std::nanf(""));
    if (kind == 4) *half = -0.5f, half[1] += 0.5f;
    if (kind == 5) std::for_each(half, laws.end(), [](float& q) { q *= 1.1f; });
    if (kind == 6) std::for_each(half, laws.end(), [](float& p) { p *= 0.99f; });
    if (kind % 2 != 0) std::fill(trees.scheme.begin(), trees.scheme.end(), 1);
    const Result want = on_cpu(trees);
    CHECK_MSG(emulated(trees) == want, "kind %d: differs from the CPU", kind);
    for (const int32_t bonus : want.bonus) (bonus < 0 ? broken : sound) += 1;
    CHECK(want.bonus[0] >= 0 && want.bonus[1] >= 0 && want.bonus[2] < 0);
  }
  CHECK_MSG(broken >= 7 && sound >= 14, "%d broken, %d sound", broken, sound);
}
