// verify_sampling: the law of what is emitted, acceptance rates of known numbers, and mutants that
// the tests must see.
#include <algorithm>
#include <functional>
#include <numeric>

#include "check.h"
#include "ops.h"
#include "statistics.h"

namespace {

using namespace ops;
using Vector = std::vector<float>;
using Law = std::vector<double>;
using Ints = std::vector<int32_t>;
using statistics::kLimit;

int draw(const Law& law, Random& random) {
  double u = random.uniform() * std::accumulate(law.begin(), law.end(), 0.0);
  int last = 0;
  for (size_t x = 0; x < law.size(); ++x) {
    if (law[x] <= 0) continue;
    last = static_cast<int>(x);
    u -= law[x];
    if (u < 0) return last;
  }
  return last;
}

/** k children drawn from q by a scheme; point mass: the k most likely of q. */
Ints draft(const Law& q, int scheme, int k, Random& random) {
  Ints children;
  Law rest = q;
  for (int i = 0; i < k && *std::max_element(rest.begin(), rest.end()) > 0; ++i) {
    int x = draw(rest, random);
    if (scheme == ESPALIER_POINT_MASS)
      x = static_cast<int>(std::max_element(rest.begin(), rest.end()) - rest.begin());
    children.push_back(x);
    if (scheme != ESPALIER_WITH_REPLACEMENT) rest[x] = 0;
  }
  return children;
}

/** A batch of trees, one call. */
struct Batch {
  int vocab;
  Ints begin = {0}, token, parent, scheme, q_row, position;
  Vector p, q;
  std::vector<uint64_t> seed;

  explicit Batch(int v) : vocab(v) {}

  int32_t add_node(
      int32_t node_token, int32_t node_parent, const Law& law, int node_scheme,
      const Law& draft_law) {
    token.push_back(node_token);
    parent.push_back(node_parent);
    scheme.push_back(node_scheme);
    p.insert(p.end(), law.begin(), law.end());
    q_row.push_back(
        node_scheme == ESPALIER_POINT_MASS ? -1 : static_cast<int32_t>(q.size()) / vocab);
    if (node_scheme != ESPALIER_POINT_MASS) q.insert(q.end(), draft_law.begin(), draft_law.end());
    return static_cast<int32_t>(token.size()) - 1 - begin.back();
  }

  void end_tree(int32_t root_position, uint64_t tree_seed, uint64_t stream) {
    begin.push_back(static_cast<int32_t>(token.size()));
    position.push_back(root_position);
    seed.push_back(tree_seed);
    seed.push_back(stream);
  }

  struct Result {
    espalier_status status;
    Ints path, accept_len, bonus;
  };

  Result run(const Context& ctx) const {
    const int64_t nodes = static_cast<int64_t>(token.size()),
                  batch = static_cast<int64_t>(position.size());
    const int64_t rows = static_cast<int64_t>(q.size()) / vocab;
    Buffer begin_b(ctx, {batch + 1}, begin), token_b(ctx, {nodes}, token),
        parent_b(ctx, {nodes}, parent);
    Buffer p_b(ctx, {nodes, vocab}, p), scheme_b(ctx, {nodes}, scheme), q_b(ctx, {rows, vocab}, q);
    Buffer q_row_b(ctx, {nodes}, q_row), position_b(ctx, {batch}, position),
        seed_b(ctx, {batch, 2}, seed);
    Buffer path(ctx, {nodes}, Ints(nodes, -7)), len(ctx, {batch}, Ints(batch, -7)),
        bonus(ctx, {batch}, Ints(batch, -7));
    const espalier_status status = espalier_verify_sampling(
        ctx, begin_b, token_b, parent_b, p_b, scheme_b, q_b.unless(rows == 0), q_row_b, position_b,
        seed_b, path, len, bonus);
    return {
        status, path.read<int32_t>(nodes), len.read<int32_t>(batch), bonus.read<int32_t>(batch)};
  }
};

struct Outcome {
  std::vector<int64_t> first;  // counts of the first emitted token
  int64_t accepted = 0, trials = 0;

  double rate() const { return static_cast<double>(accepted) / static_cast<double>(trials); }
};

/** Roots with children from `drafted`, verified as `scheme`. */
Outcome run_roots(
    const Context& ctx, const Law& p, const Law& q, int scheme, int trials, Random& random,
    const std::function<Ints()>& drafted) {
  const int vocab = static_cast<int>(p.size());
  Batch batch(vocab);
  const uint64_t seed = random.bits(), stream = random.bits();
  for (int i = 0; i < trials; ++i) {
    batch.add_node(0, -1, p, scheme, q);
    for (const int32_t x : drafted()) batch.add_node(x, 0, p, ESPALIER_POINT_MASS, {});
    batch.end_tree(i, seed, stream);
  }
  const Batch::Result r = batch.run(ctx);
  ok(r.status);
  Outcome outcome;
  outcome.first.assign(vocab, 0);
  outcome.trials = trials;
  for (int i = 0; i < trials; ++i) {
    CHECK(r.accept_len[i] == 0 || r.accept_len[i] == 1);
    outcome.accepted += r.accept_len[i];
    ++outcome.first
          [r.accept_len[i] == 1 ? batch.token[batch.begin[i] + r.path[batch.begin[i]]]
                                : r.bonus[i]];
  }
  return outcome;
}

Outcome run_roots(
    const Context& ctx, const Law& p, const Law& q, int scheme, int k, int trials, Random& random) {
  return run_roots(ctx, p, q, scheme, trials, random, [&] { return draft(q, scheme, k, random); });
}

Law random_law(int vocab, Random& random) {
  Law law(vocab);
  double sum = 0;
  for (double& x : law) sum += x = std::exp(1.5 * random.normal());
  // Rounded as the op sees it.
  for (double& x : law) x = static_cast<float>(x / sum);
  return law;
}

constexpr int kSchemes[] = {
    ESPALIER_POINT_MASS, ESPALIER_WITH_REPLACEMENT, ESPALIER_WITHOUT_REPLACEMENT};

}  // namespace

TEST(acceptance_and_law_of_known_numbers) {
  const Context ctx;
  Random random(1);
  struct Known {
    Law p, q;
    int scheme, k;
    double accepted;
  };
  const Law a = {0.5, 0.3, 0.2}, b = {0.2, 0.5, 0.3}, c = {0.6, 0.3, 0.1};
  const Known all[] = {
      {a, b, ESPALIER_WITH_REPLACEMENT, 1, 0.7},
      {a, b, ESPALIER_WITHOUT_REPLACEMENT, 1, 0.7},
      {a, b, ESPALIER_WITH_REPLACEMENT, 2, 0.76},
      {a, b, ESPALIER_WITHOUT_REPLACEMENT, 2, 0.7 + 0.76 / 7},
      {a, b, ESPALIER_WITHOUT_REPLACEMENT, 3, 1.0},
      {b, c, ESPALIER_WITH_REPLACEMENT, 1, 0.6},
      {b, c, ESPALIER_WITH_REPLACEMENT, 2, 0.76},
      {b, c, ESPALIER_WITHOUT_REPLACEMENT, 2, 0.9},
      {a, c, ESPALIER_POINT_MASS, 2, 0.8},
      {a, a, ESPALIER_WITH_REPLACEMENT, 1, 1.0},
  };
  const int trials = 100000;
  for (const Known& known : all) {
    const Outcome o = run_roots(ctx, known.p, known.q, known.scheme, known.k, trials, random);
    // The numbers are fp32: p and q that should be equal or sum to one miss it by 1e-7.
    const double z = known.accepted == 1 ? (o.accepted >= trials - 2 ? 0 : HUGE_VAL)
                                         : statistics::deviate(o.accepted, trials, known.accepted);
    CHECK_MSG(
        z < kLimit, "scheme %d, k %d: accepted %.4f, expected %.4f, deviate %g", known.scheme,
        known.k, o.rate(), known.accepted, z);
    const double law_z = statistics::deviate(o.first, known.p);
    CHECK_MSG(
        law_z < kLimit, "scheme %d, k %d: deviate of the law %g", known.scheme, known.k, law_z);
  }
}

/** 1 + a + a^2 + a^3 tokens for each chain of three when a share a is accepted: 2.533 for .7, spread 1.239. */
TEST(chains_yield_the_tokens_of_the_formula) {
  const Context ctx;
  Random random(10);
  const Law p = {0.5, 0.3, 0.2}, q = {0.2, 0.5, 0.3};  // sum min(p, q) = .7
  const int trials = 10000;
  Batch batch(3);
  const uint64_t seed = random.bits(), stream = random.bits();
  for (int i = 0; i < trials; ++i) {
    for (int depth = 0; depth < 4; ++depth) {
      const int32_t x = depth == 0 ? 0 : draw(q, random);
      batch.add_node(x, depth - 1, p, ESPALIER_WITH_REPLACEMENT, q);
    }
    batch.end_tree(10 * i, seed, stream);
  }
  const Batch::Result r = batch.run(ctx);
  ok(r.status);
  double sum = 0, squares = 0;
  for (const int32_t len : r.accept_len) {
    sum += len + 1;
    squares += (len + 1) * (len + 1);
  }
  const double mean = sum / trials, spread = std::sqrt(squares / trials - mean * mean);
  CHECK_MSG(std::abs(mean - 2.533) < kLimit * 1.239 / std::sqrt(trials), "tokens %g", mean);
  CHECK_MSG(std::abs(spread - 1.239) < kLimit * 0.00385, "spread %g", spread);
}

TEST(the_emitted_law_is_the_targets_for_random_laws) {
  const Context ctx;
  Random random(2);
  for (const int vocab : {2, 7, 16}) {
    for (const int scheme : kSchemes) {
      for (const int k : {1, 2, 4}) {
        const Law p = random_law(vocab, random), q = random_law(vocab, random);
        const Outcome o = run_roots(ctx, p, q, scheme, k, 30000, random);
        const double z = statistics::deviate(o.first, p);
        CHECK_MSG(z < kLimit, "vocab %d, scheme %d, k %d: deviate %g", vocab, scheme, k, z);
      }
    }
  }
}

TEST(two_emitted_tokens_have_the_targets_joint_law) {
  const Context ctx;
  Random random(3);
  const int vocab = 4, trials = 40000;
  for (const int scheme : kSchemes) {
    const Law p = random_law(vocab, random), q = random_law(vocab, random);
    std::vector<Law> p_after, q_after;
    for (int x = 0; x < vocab; ++x) {
      p_after.push_back(random_law(vocab, random));
      q_after.push_back(random_law(vocab, random));
    }
    Batch batch(vocab);
    const uint64_t seed = random.bits();
    for (int i = 0; i < trials; ++i) {
      batch.add_node(0, -1, p, scheme, q);
      std::vector<std::pair<int32_t, int32_t>> children;  // node, token
      for (const int32_t x : draft(q, scheme, 2, random)) {
        children.push_back({batch.add_node(x, 0, p_after[x], scheme, q_after[x]), x});
      }
      for (const auto& [node, x] : children) {
        for (const int32_t y : draft(q_after[x], scheme, 2, random))
          batch.add_node(y, node, p, 0, {});
      }
      batch.end_tree(10 * i, seed, 9);
    }
    const Batch::Result r = batch.run(ctx);
    ok(r.status);
    std::vector<int64_t> count(vocab * vocab), lengths(3);
    Law joint(vocab * vocab);
    for (int i = 0; i < trials; ++i) {
      Ints emitted;
      for (int j = 0; j < r.accept_len[i]; ++j)
        emitted.push_back(batch.token[batch.begin[i] + r.path[batch.begin[i] + j]]);
      emitted.push_back(r.bonus[i]);
      if (emitted.size() == 1) emitted.push_back(draw(p_after[emitted[0]], random));
      ++count[emitted[0] * vocab + emitted[1]];
      ++lengths[r.accept_len[i]];
    }
    for (int x = 0; x < vocab; ++x) {
      for (int y = 0; y < vocab; ++y) joint[x * vocab + y] = p[x] * p_after[x][y];
    }
    const double z = statistics::deviate(count, joint);
    CHECK_MSG(z < kLimit, "scheme %d: deviate %g", scheme, z);
    CHECK(lengths[0] > 0 && lengths[1] > 0 && lengths[2] > 0);
  }
}

TEST(children_treated_as_if_they_were_drawn_are_seen) {
  const Context ctx;
  Random random(4);
  const Law p = {0.5, 0.3, 0.2}, q = {0.2, 0.5, 0.3};
  // The two most likely of q, verified as draws without replacement: the law becomes (.4, .6, 0).
  const Outcome o =
      run_roots(ctx, p, q, ESPALIER_WITHOUT_REPLACEMENT, 20000, random, [] { return Ints{1, 2}; });
  CHECK(statistics::deviate(o.first, {0.4, 0.6, 0}) < kLimit);
  CHECK(statistics::deviate(o.first, p) > kLimit);
  // Draws without replacement, verified as draws with replacement: the law becomes (.2, .6, .2).
  const Law p2 = {0.2, 0.5, 0.3}, q2 = {0.6, 0.3, 0.1};
  const Outcome mixed = run_roots(ctx, p2, q2, ESPALIER_WITH_REPLACEMENT, 20000, random, [&] {
    return draft(q2, ESPALIER_WITHOUT_REPLACEMENT, 2, random);
  });
  CHECK(statistics::deviate(mixed.first, {0.2, 0.6, 0.2}) < kLimit);
  CHECK(statistics::deviate(mixed.first, p2) > kLimit);
}

TEST(mutants_of_the_rule_are_seen) {
  // The rule written again, with known mistakes; the mistakes must be found at the sizes used
  // above.
  enum Mutant { kNone, kQNotRenormalised, kResidualOfTheTarget, kQNotCut, kSecondDrawForBonus };
  Random random(5);
  const auto emit = [&](const Law& p, const Law& q, int k, Mutant mutant) {
    Law rest = p, from = q;
    double from_mass = 1;
    for (const int32_t x : draft(q, ESPALIER_WITHOUT_REPLACEMENT, k, random)) {
      const double mass = std::accumulate(rest.begin(), rest.end(), 0.0);
      const double q_mass = mutant == kQNotRenormalised ? 1 : from_mass;
      if (random.uniform() < rest[x] / mass / (from[x] / q_mass)) return static_cast<int>(x);
      if (mutant != kResidualOfTheTarget) {
        for (size_t t = 0; t < p.size(); ++t)
          rest[t] = std::max(0.0, rest[t] / mass - from[t] / q_mass);
      }
      if (mutant != kQNotCut) from[x] = 0;
      from_mass = std::accumulate(from.begin(), from.end(), 0.0);
    }
    return draw(mutant == kSecondDrawForBonus ? p : rest, random);
  };
  const auto deviate = [&](const Law& p, const Law& q, Mutant mutant) {
    std::vector<int64_t> count(p.size());
    for (int i = 0; i < 30000; ++i) ++count[emit(p, q, 2, mutant)];
    return statistics::deviate(count, p);
  };
  const Law p = {0.2, 0.5, 0.3}, q = {0.6, 0.3, 0.1};
  CHECK(deviate(p, q, kNone) < kLimit);
  for (const Mutant mutant :
       {kQNotRenormalised, kResidualOfTheTarget, kQNotCut, kSecondDrawForBonus}) {
    const double z = deviate(p, q, mutant);
    CHECK_MSG(z > kLimit, "mutant %d: deviate %g, expected above %g", mutant, z, kLimit);
  }
}

TEST(tokens_without_probability_are_never_accepted_or_emitted) {
  const Context ctx;
  Random random(6);
  for (const int scheme : kSchemes) {
    const Law p = {0, 0.5, 0, 0.5, 0}, q = {0.4, 0.1, 0.3, 0.1, 0.1};
    const Outcome o = run_roots(ctx, p, q, scheme, 3, 5000, random);
    CHECK(o.first[0] == 0 && o.first[2] == 0 && o.first[4] == 0);
  }
}

TEST(a_tree_alone_and_among_others_has_the_same_result) {
  const Context ctx, one_thread(1);
  Random random(7);
  const int vocab = 6;
  Batch all(vocab);
  std::vector<Batch> alone;
  for (int i = 0; i < 64; ++i) {
    Batch one(vocab);
    const Law p = random_law(vocab, random), q = random_law(vocab, random);
    const Ints children = draft(q, ESPALIER_WITHOUT_REPLACEMENT, 3, random);
    const uint64_t seed = random.bits();
    for (Batch* batch : {&all, &one}) {
      batch->add_node(0, -1, p, ESPALIER_WITHOUT_REPLACEMENT, q);
      for (const int32_t x : children) batch->add_node(x, 0, q, ESPALIER_POINT_MASS, {});
      batch->end_tree(i, seed, 3);
    }
    alone.push_back(one);
  }
  const Batch::Result whole = all.run(ctx), single = all.run(one_thread);
  CHECK(
      whole.path == single.path && whole.bonus == single.bonus &&
      whole.accept_len == single.accept_len);
  for (int i = 0; i < 64; ++i) {
    const Batch::Result r = alone[i].run(ctx);
    CHECK_EQ(r.accept_len[0], whole.accept_len[i]);
    CHECK_EQ(r.bonus[0], whole.bonus[i]);
    CHECK(std::equal(r.path.begin(), r.path.end(), whole.path.begin() + all.begin[i]));
  }
}

TEST(numbers_of_two_seeds_streams_or_positions_differ) {
  const Context ctx;
  const int trials = 2000;
  const Law p(16, 1.0 / 16);
  Batch batch(16);
  for (int i = 0; i < trials; ++i) {
    for (int kind = 0; kind < 4; ++kind) {
      batch.add_node(0, -1, p, ESPALIER_POINT_MASS, {});
      batch.end_tree(i + (kind == 1 ? 100000 : 0), kind == 2 ? 6 : 5, kind == 3 ? 8 : 7);
    }
  }
  const Batch::Result r = batch.run(ctx);
  ok(r.status);
  for (int kind = 1; kind < 4; ++kind) {
    int64_t same = 0;
    for (int i = 0; i < trials; ++i) same += r.bonus[4 * i] == r.bonus[4 * i + kind] ? 1 : 0;
    CHECK(statistics::deviate(same, trials, 1.0 / 16) < kLimit);
  }
}

TEST(bad_arguments_are_refused_and_outputs_are_untouched) {
  if (!espalier_test::on_cpu()) return;  // a GPU's memory is not read for checks
  const Context ctx;
  const Law p = {0.5, 0.25, 0.25};
  const auto tree = [&](int scheme, const Law& q, const Ints& children) {
    Batch b(3);
    b.add_node(0, -1, p, scheme, q);
    for (const int32_t x : children) b.add_node(x, 0, p, ESPALIER_POINT_MASS, {});
    b.end_tree(0, 1, 1);
    return b;
  };
  const auto refuses = [&](const Batch& b, const std::string& text) {
    const Batch::Result r = b.run(ctx);
    refused(r.status, ESPALIER_INVALID_ARGUMENT, "espalier_verify_sampling: " + text);
    CHECK(r.path == Ints(r.path.size(), -7));
    CHECK(r.accept_len == Ints(1, -7) && r.bonus == Ints(1, -7));
  };
  refuses(tree(3, p, {0}), "scheme[0] = 3, expected 0 <= scheme < number of schemes = 3");
  refuses(tree(ESPALIER_POINT_MASS, p, {3}), "token[1] = 3, expected 0 <= token < vocab = 3");
  Batch b = tree(ESPALIER_WITH_REPLACEMENT, p, {0});
  b.q_row[0] = 1;
  refuses(b, "q_row[0] = 1, expected 0 <= q_row < rows = 1");
}

TEST(a_law_that_is_none_gives_the_bonus_token_minus_1_and_leaves_other_trees_alone) {
  const Context ctx;
  const Law p = {0.5, 0.25, 0.25}, sure = {0, 1, 0};
  const auto bonus_of = [&](int scheme, const Law& root_p, const Law& q) {
    Batch b(3);
    for (const bool sound : {true, false, true}) {
      b.add_node(0, -1, sound ? p : root_p, scheme, sound ? p : q);
      b.add_node(1, 0, p, ESPALIER_POINT_MASS, {});
      b.end_tree(0, 1, 1);
    }
    const Batch::Result r = b.run(ctx);
    ok(r.status);
    CHECK(r.bonus[0] >= 0 && r.bonus[2] == r.bonus[0] && r.accept_len[2] == r.accept_len[0]);
    if (r.bonus[1] < 0) CHECK(r.accept_len[1] == 0 && r.path[2] == -7 && r.path[3] == -7);
    return r.bonus[1];
  };
  const int drawn = ESPALIER_WITH_REPLACEMENT;
  CHECK(bonus_of(drawn, p, p) >= 0);
  CHECK(bonus_of(drawn, {0.5, 0.25, 0.2505}, p) >= 0);  // within 1e-3
  CHECK_EQ(bonus_of(drawn, {0.5, 0.25, 0.252}, p), -1);
  CHECK_EQ(bonus_of(drawn, {0.5, 0, 0.25}, p), -1);
  CHECK_EQ(bonus_of(drawn, {0, 0, 0}, p), -1);
  CHECK_EQ(bonus_of(drawn, {1.5, -0.5, 0}, p), -1);
  CHECK_EQ(bonus_of(drawn, {kNan, 0.5, 0.5}, p), -1);
  CHECK_EQ(bonus_of(drawn, p, {0.5, kNan, 0.5}), -1);
  CHECK_EQ(bonus_of(drawn, p, {0.5, kInf, 0.5}), -1);
  CHECK_EQ(bonus_of(drawn, p, {0.5, 0, 0.5}), -1);              // the child has token 1
  CHECK(bonus_of(ESPALIER_POINT_MASS, p, {0.5, 0, 0.5}) >= 0);  // no q
  // The walk ends where it meets the law, behind what it accepted.
  Batch b(3);
  b.add_node(0, -1, sure, ESPALIER_POINT_MASS, {});
  b.add_node(1, 0, {0, 0, 0}, ESPALIER_POINT_MASS, {});
  b.end_tree(0, 1, 1);
  const Batch::Result r = b.run(ctx);
  ok(r.status);
  CHECK(r.accept_len[0] == 1 && r.path[0] == 1 && r.bonus[0] == -1);
}

/** Laws go into a buffer and come out of it row by row; the other rows stay. */
TEST(rows_of_laws_are_copied_one_by_one) {
  Context ctx;
  Buffer laws(ctx, {3, 4}, Vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  const Vector row = {20, 21, 22, 23};
  ok(espalier_buffer_write_row(laws, 1, row.data(), 4));
  CHECK(laws.read<float>(12) == (Vector{0, 1, 2, 3, 20, 21, 22, 23, 8, 9, 10, 11}));
  Vector got(4);
  for (int64_t r = 0; r < 3; ++r) {
    ok(espalier_buffer_read_row(laws, r, got.data(), 4));
    CHECK(got[3] == (r == 1 ? 23 : static_cast<float>(4 * r + 3)));
  }
  refused(
      espalier_buffer_write_row(laws, 3, row.data(), 4), ESPALIER_INVALID_ARGUMENT,
      "espalier_buffer_write_row: row = 3, expected 0 to 2");
  refused(
      espalier_buffer_read_row(laws, -1, got.data(), 4), ESPALIER_INVALID_ARGUMENT,
      "espalier_buffer_read_row: row = -1, expected 0 to 2");
  refused(
      espalier_buffer_read_row(laws, 0, got.data(), 3), ESPALIER_INVALID_ARGUMENT,
      "espalier_buffer_read_row: num_elements = 3, expected 4, the buffer's last axis");
  refused(
      espalier_buffer_read_row(laws, 0, nullptr, 4), ESPALIER_INVALID_ARGUMENT,
      "espalier_buffer_read_row: data = NULL, expected a pointer");
  Buffer ints(ctx, {2, 2}, Ints{1, 2, 3, 4});
  refused(
      espalier_buffer_read_row(ints, 0, got.data(), 2), ESPALIER_INVALID_ARGUMENT,
      "espalier_buffer_read_row: buffer has type i32 and rank 2, expected fp32 and 2");
}
