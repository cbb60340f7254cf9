// verify against a walk from the root, and what it leaves alone.
#include <algorithm>

#include "check.h"
#include "ops.h"

namespace {

using namespace ops;
using Ints = std::vector<int32_t>;

struct Trees {
  Ints begin = {0}, token, parent, choice;

  void add(const Ints& tokens, const Ints& parents, const Ints& choices) {
    token.insert(token.end(), tokens.begin(), tokens.end());
    parent.insert(parent.end(), parents.begin(), parents.end());
    choice.insert(choice.end(), choices.begin(), choices.end());
    begin.push_back(static_cast<int32_t>(token.size()));
  }
};

constexpr int32_t kUntouched = -77;

espalier_status run(const Context& ctx, const Trees& t, Ints* path, Ints* accept_len) {
  const int64_t nodes = static_cast<int64_t>(t.token.size()),
                batch = static_cast<int64_t>(t.begin.size()) - 1;
  Buffer begin(ctx, {batch + 1}, t.begin), token(ctx, {nodes}, t.token),
      parent(ctx, {nodes}, t.parent);
  Buffer choice(ctx, {nodes}, t.choice), path_out(ctx, {nodes}, Ints(nodes, kUntouched));
  Buffer len_out(ctx, {batch}, Ints(batch, kUntouched));
  const espalier_status status =
      espalier_verify(ctx, begin, token, parent, choice, path_out, len_out);
  *path = path_out.read<int32_t>(nodes);
  *accept_len = len_out.read<int32_t>(batch);
  return status;
}

}  // namespace

TEST(the_walk_of_a_known_tree) {
  const Context ctx;
  Trees t;
  // The root's choice is 7, its children are 3 and 7; after 7 comes 2, after 2 comes 9.
  t.add({1, 3, 7, 2}, {-1, 0, 0, 2}, {7, 0, 2, 9});
  t.add({5}, {-1}, {5});
  t.add({5, 5}, {-1, 0}, {4, 5});
  Ints path, len;
  ok(run(ctx, t, &path, &len));
  CHECK(path == (Ints{2, 3, kUntouched, kUntouched, kUntouched, kUntouched, kUntouched}));
  CHECK(len == (Ints{2, 0, 0}));
}

TEST(random_trees_agree_with_a_walk_from_the_root) {
  const Context ctx;
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    Trees t;
    Ints expected_path, expected_len;
    for (int b = 0; b < 5; ++b) {
      const int nodes = 1 + random.below(70);
      Ints token, parent, choice;
      for (int i = 0; i < nodes; ++i) {
        token.push_back(random.below(3));
        parent.push_back(i == 0 ? -1 : std::max(0, i - 1 - random.below(4)));
        choice.push_back(random.below(3));
      }
      t.add(token, parent, choice);
      Ints path;
      for (int node = 0, next = 0; next >= 0; node = next) {
        next = -1;
        for (int i = nodes - 1; i > 0; --i) {
          if (parent[i] == node && token[i] == choice[node]) next = i;
        }
        if (next >= 0) path.push_back(next);
      }
      expected_len.push_back(static_cast<int32_t>(path.size()));
      path.resize(nodes, kUntouched);
      expected_path.insert(expected_path.end(), path.begin(), path.end());
    }
    Ints path, len;
    ok(run(ctx, t, &path, &len));
    CHECK(path == expected_path);
    CHECK(len == expected_len);
  }
}

TEST(a_pad_of_minus_one_is_never_accepted_for_a_token) {
  const Context ctx;
  Trees t;
  t.add({1, -1, 0}, {-1, 0, 1}, {0, 0, 0});
  Ints path, len;
  ok(run(ctx, t, &path, &len));
  CHECK_EQ(len[0], 0);
}

TEST(bad_trees_are_refused_and_outputs_are_untouched) {
  if (!espalier_test::on_cpu()) return;  // a GPU's memory is not read for checks
  const Context ctx;
  const auto refuses = [&](Trees t, const std::string& text) {
    Ints path, len;
    refused(run(ctx, t, &path, &len), ESPALIER_INVALID_ARGUMENT, "espalier_verify: " + text);
    CHECK(path == Ints(path.size(), kUntouched));
    CHECK(len == Ints(len.size(), kUntouched));
  };
  Trees good;
  good.add({1, 2, 3}, {-1, 0, 1}, {2, 3, 4});
  good.add({1, 2}, {-1, 0}, {2, 3});
  Trees t = good;
  t.parent[2] = 2;
  refuses(t, "parent[2] = 2, expected 0 <= parent < the node's own index = 2");
  t.parent[2] = -1;
  refuses(t, "parent[2] = -1, expected 0 <= parent < the node's own index = 2");
  t = good;
  t.parent[3] = 0;
  refuses(t, "parent[3] = 0, expected -1 for node 0 of a tree");
  t = good;
  t.begin = {0, 3, 3};
  refuses(t, "tree_begin[2] = 3, expected more than tree_begin[1] = 3");
  t.begin = {0, 3, 6};
  refuses(t, "tree_begin[2] = 6, expected num_nodes = 5");
  t.begin = {1, 3, 5};
  refuses(t, "tree_begin[0] = 1, expected 0");
}
