// Sessions: whatever trees, forks and rollbacks lie between, a token's logits are the same bits as in plain decoding.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "espalier.h"
#include "support/device.h"
#include "support/random_model.h"

namespace {

using espalier_test::RandomModel;
using espalier_test::TemporaryFolder;
using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;

void ok(espalier_status status) {
  if (status != ESPALIER_OK) std::printf("  %s\n", espalier_last_error());
  REQUIRE(status == ESPALIER_OK);
}

espalier_sampling sampled(float temperature, uint64_t seed) {
  espalier_sampling s{};
  s.size = sizeof s;
  s.temperature = temperature;
  s.top_p = 1;
  s.repetition_penalty = 1;
  s.seed = seed;
  return s;
}

/** A random model on a context of its own. */
struct Fixture {
  RandomModel shape;
  TemporaryFolder folder;
  espalier_context* ctx = nullptr;
  espalier_model* model = nullptr;

  explicit Fixture(const RandomModel& m = {}, int threads = 2) : shape(m) {
    write_random_model(m, folder.path());
    ctx = espalier_test::create_context(threads);
    REQUIRE(ctx != nullptr);
    ok(espalier_model_load(ctx, folder.path().c_str(), &model));
  }
  ~Fixture() {
    espalier_model_destroy(model);
    espalier_context_destroy(ctx);
  }
};

/** A session and its calls with vectors instead of pointers. */
struct Session {
  const Fixture& fixture;
  espalier_session* handle = nullptr;

  explicit Session(const Fixture& f, espalier_session_options options = {})
      : Session(f, f.ctx, options) {}
  Session(const Fixture& f, espalier_context* ctx, espalier_session_options options = {})
      : fixture(f) {
    options.size = sizeof options;
    ok(espalier_session_create(ctx, f.model, &options, &handle));
  }
  ~Session() { espalier_session_destroy(handle); }

  int32_t create() {
    int32_t seq = -1;
    ok(espalier_sequence_create(handle, &seq));
    return seq;
  }
  int32_t fork(int32_t seq) {
    int32_t forked = -1;
    ok(espalier_sequence_fork(handle, seq, &forked));
    return forked;
  }
  int32_t length(int32_t seq) {
    int32_t n = -1;
    ok(espalier_sequence_length(handle, seq, &n));
    return n;
  }
  /** In pieces on a GPU: from 65 rows on a prompt may be summed in another order than a tree (ADR 0114). */
  void prefill(int32_t seq, const Tokens& t) {
    const int32_t size = static_cast<int32_t>(t.size());
    const int32_t most = espalier_test::on_cpu() ? std::max(size, 1) : 64;
    int32_t done = 0;
    do {
      const int32_t piece = std::min(size - done, most);
      ok(espalier_session_prefill(handle, seq, t.data() + done, piece));
      done += piece;
    } while (done < size);
  }
  void forward(const Tokens& seqs, const Tokens& begin, const Tokens& token, const Tokens& parent) {
    ok(espalier_session_forward(
        handle, static_cast<int32_t>(seqs.size()), seqs.data(), begin.data(), token.data(),
        parent.data(), 0, nullptr));
  }
  void forward_layers(
      const Tokens& seqs, const Tokens& begin, const Tokens& token, const Tokens& parent,
      const Tokens& sublayers) {
    ok(espalier_session_forward_layers(
        handle, static_cast<int32_t>(seqs.size()), seqs.data(), begin.data(), token.data(),
        parent.data(), sublayers.data(), 0, nullptr));
  }
  Logits logits(int32_t node) {
    Logits out(static_cast<size_t>(fixture.shape.vocab));
    ok(espalier_session_logits(handle, node, out.data(), fixture.shape.vocab));
    return out;
  }
  /** Logits after the last of the tokens, computed in a plain pass on a new sequence. */
  Logits plain(const Tokens& tokens) {
    const int32_t seq = create();
    prefill(seq, Tokens(tokens.begin(), tokens.end() - 1));
    forward({seq}, {0, 1}, {tokens.back()}, {-1});
    Logits out = logits(0);
    ok(espalier_sequence_destroy(handle, seq));
    return out;
  }
};

bool same_bits(const Logits& a, const Logits& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

Tokens random_tokens(std::mt19937& rng, int count, int vocab) {
  Tokens t(static_cast<size_t>(count));
  for (int32_t& x : t) x = static_cast<int32_t>(rng() % static_cast<unsigned>(vocab));
  return t;
}

/** Parents of a random tree: some are chains, some stars, most in between. */
Tokens random_parents(std::mt19937& rng, int count) {
  Tokens parent(static_cast<size_t>(count), -1);
  const unsigned kind = rng() % 3;
  for (int i = 1; i < count; ++i) {
    const int back = kind == 0   ? 1
                     : kind == 1 ? 1 + static_cast<int>(rng() % 4)
                                 : 1 + static_cast<int>(rng() % i);
    parent[static_cast<size_t>(i)] = std::max(0, i - back);
  }
  return parent;
}

Tokens path_tokens(const Tokens& token, const Tokens& parent, int first, int node) {
  Tokens path;
  for (int i = node; i >= 0; i = parent[static_cast<size_t>(first + i)])
    path.push_back(token[static_cast<size_t>(first + i)]);
  std::reverse(path.begin(), path.end());
  return path;
}

Tokens joined(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const char* error() { return espalier_last_error(); }

bool fails(espalier_status status, espalier_status expected, const char* part) {
  const bool good = status == expected && std::strstr(error(), part) != nullptr;
  if (!good)
    std::printf(
        "  status %d (expected %d), text: %s (expected to hold: %s)\n", status, expected, error(),
        part);
  return good;
}

}  // namespace

TEST(every_node_of_a_random_tree_has_the_bits_of_plain_decoding) {
  const Fixture f;
  Session s(f);
  std::mt19937 rng(7);
  for (int prefix : {0, 1, 15, 16, 17, 31, 47, 64, 100}) {
    for (int nodes : {1, 2, 7, 8, 9, 16, 33, 64}) {
      const Tokens committed = random_tokens(rng, prefix, f.shape.vocab);
      const Tokens token = random_tokens(rng, nodes, f.shape.vocab),
                   parent = random_parents(rng, nodes);
      const int32_t seq = s.create();
      s.prefill(seq, committed);
      s.forward({seq}, {0, nodes}, token, parent);
      std::vector<Logits> got;
      for (int i = 0; i < nodes; ++i) got.push_back(s.logits(i));
      for (int i = 0; i < nodes; i += nodes > 16 ? 5 : 1) {
        const Logits want = s.plain(joined(committed, path_tokens(token, parent, 0, i)));
        CHECK_MSG(
            same_bits(got[static_cast<size_t>(i)], want), "prefix %d, nodes %d, node %d", prefix,
            nodes, i);
      }
      ok(espalier_sequence_destroy(s.handle, seq));
    }
  }
}

TEST(a_step_has_the_bits_of_one_in_a_session_that_never_took_a_step) {
  const Fixture f;
  std::mt19937 rng(23);
  for (const int nodes : {1, 3, 8, 13}) {
    for (const float temperature : {0.0f, 0.9f}) {
      // Few nodes: the penalties' histories outgrow the memory of the start.
      Session s(f, {.size = 0, .page_size = 0, .kv_type = 0, .max_nodes = 16, .num_pages = 0});
      const int64_t replays = espalier_test::num_replays();
      espalier_sampling sampling = sampled(temperature, 5);
      Tokens committed = random_tokens(rng, 5, f.shape.vocab);
      const int32_t seq = s.create();
      s.prefill(seq, committed);
      int32_t root = 1;
      int steps = 0;
      while (committed.size() < 75) {
        ++steps;
        sampling.seed = static_cast<uint64_t>(steps);  // and a penalty whose history grows
        sampling.repetition_penalty = steps % 3 == 0 ? 1.5f : 1.0f;
        Tokens token = random_tokens(rng, nodes, f.shape.vocab);
        const Tokens parent = random_parents(rng, nodes);
        token[0] = root;
        Tokens choice[2], path[2];
        int32_t accept_len[2];
        Logits last[2];
        Session fresh(f);
        for (int i = 0; i < 2; ++i) {
          Session& on = i == 0 ? s : fresh;
          const int32_t its = i == 0 ? seq : fresh.create();
          if (i == 1) fresh.prefill(its, committed);
          ok(espalier_sequence_set_sampling(on.handle, its, &sampling));
          on.forward({its}, {0, nodes}, token, parent);
          choice[i].assign(static_cast<size_t>(nodes), -1);
          path[i].assign(static_cast<size_t>(nodes), 0);
          ok(espalier_session_verify(on.handle, choice[i].data(), path[i].data(), &accept_len[i]));
          last[i] = on.logits(nodes - 1);
        }
        CHECK_MSG(
            choice[0] == choice[1] && path[0] == path[1] && accept_len[0] == accept_len[1] &&
                same_bits(last[0], last[1]),
            "%d nodes, temperature %g, step %d, context %zu", nodes, temperature, steps,
            committed.size());
        // Commit one drafted token more than was accepted, so that trees of one luck do not stay in place.
        Tokens up;
        for (int i = nodes - 1; i > 0; i = parent[static_cast<size_t>(i)]) up.push_back(i);
        std::reverse(up.begin(), up.end());
        int32_t keep = std::min(2, static_cast<int32_t>(up.size()));
        up.resize(static_cast<size_t>(nodes), 0);
        ok(espalier_session_commit(s.handle, up.data(), &keep));
        committed.push_back(root);
        for (int i = 0; i < keep; ++i)
          committed.push_back(token[static_cast<size_t>(up[static_cast<size_t>(i)])]);
        root = choice[0][0];
      }
      // Some shapes come once or twice only; each step has two, the pass and the verification.
      if (replays >= 0) CHECK(espalier_test::num_replays() - replays > steps / 2);
    }
  }
}

TEST(hidden_states_are_kept_from_the_step_on_that_follows_the_wish) {
  const Fixture f;
  Session s(f);
  const int32_t seq = s.create(), layer = 1;
  std::vector<float> state(static_cast<size_t>(f.shape.hidden)), want = state;
  for (int i = 0; i < 3; ++i) s.forward({seq}, {0, 1}, {3 + i}, {-1});
  ok(espalier_session_keep_hidden(s.handle, &layer, 1));
  for (int i = 0; i < 3; ++i) {
    s.forward({seq}, {0, 1}, {3 + i}, {-1});
    ok(espalier_session_hidden(s.handle, layer, 0, state.data(), f.shape.hidden));
    Session fresh(f);
    ok(espalier_session_keep_hidden(fresh.handle, &layer, 1));
    fresh.forward({fresh.create()}, {0, 1}, {3 + i}, {-1});
    ok(espalier_session_hidden(fresh.handle, layer, 0, want.data(), f.shape.hidden));
    CHECK_MSG(same_bits(state, want), "step %d", i);
  }
}

TEST(a_sequence_has_the_same_bits_in_a_ragged_batch_as_alone) {
  const Fixture f;
  Session s(f, {.size = 0, .page_size = 32, .kv_type = 0, .max_nodes = 0, .num_pages = 64});
  std::mt19937 rng(11);
  Tokens seqs, begin = {0}, token, parent;
  std::vector<Tokens> committed;
  for (int b = 0; b < 5; ++b) {
    const int nodes = 1 + static_cast<int>(rng() % 20);
    committed.push_back(random_tokens(rng, static_cast<int>(rng() % 70), f.shape.vocab));
    seqs.push_back(s.create());
    s.prefill(seqs.back(), committed.back());
    token = joined(token, random_tokens(rng, nodes, f.shape.vocab));
    parent = joined(parent, random_parents(rng, nodes));
    begin.push_back(begin.back() + nodes);
  }
  s.forward(seqs, begin, token, parent);
  std::vector<Logits> together;
  for (int i = 0; i < begin.back(); ++i) together.push_back(s.logits(i));
  for (size_t b = 0; b < seqs.size(); ++b) {
    const int first = begin[b], nodes = begin[b + 1] - first;
    s.forward(
        {seqs[b]}, {0, nodes}, Tokens(token.begin() + first, token.begin() + first + nodes),
        Tokens(parent.begin() + first, parent.begin() + first + nodes));
    for (int i = 0; i < nodes; ++i) {
      CHECK_MSG(
          same_bits(together[static_cast<size_t>(first + i)], s.logits(i)), "tree %zu, node %d", b,
          i);
    }
  }
}

TEST(threads_do_not_change_bits) {
  const Fixture one({}, 1), three({}, 3);
  Session a(one), b(three);
  std::mt19937 rng(5);
  const Tokens t = random_tokens(rng, 90, one.shape.vocab);
  CHECK(same_bits(a.plain(t), b.plain(t)));
}

TEST(commits_forks_and_rollbacks_leave_the_cache_that_the_tokens_alone_would) {
  for (int page_size : {16, 64}) {
    const Fixture f;
    Session s(
        f, {.size = 0, .page_size = page_size, .kv_type = 0, .max_nodes = 0, .num_pages = 120});
    std::mt19937 rng(static_cast<unsigned>(page_size));
    std::vector<std::pair<int32_t, Tokens>>
        live;  // sequences, and what the naive model says they hold
    live.emplace_back(s.create(), Tokens{});
    const int steps = espalier_test::is_emulated() ? 80 : 250;
    for (int step = 0; step < steps; ++step) {
      auto& [seq, tokens] = live[rng() % live.size()];
      switch (rng() % 6) {
        case 0: {
          if (live.size() < 6) {
            const Tokens copy = tokens;
            live.emplace_back(s.fork(seq), copy);
          }
          break;
        }
        case 1: {
          const int keep = tokens.empty() ? 0 : static_cast<int>(rng() % (tokens.size() + 1));
          if (keep + 20 < static_cast<int>(tokens.size())) break;
          ok(espalier_sequence_rollback(s.handle, seq, keep));
          tokens.resize(static_cast<size_t>(keep));
          break;
        }
        case 2: {
          if (live.size() > 1 && rng() % 3 == 0) {
            ok(espalier_sequence_destroy(s.handle, seq));
            live.erase(
                std::find_if(live.begin(), live.end(), [&](auto& l) { return l.first == seq; }));
          }
          break;
        }
        default: {
          if (tokens.size() > 150) {
            ok(espalier_sequence_rollback(s.handle, seq, 10));
            tokens.resize(10);
          }
          const int nodes = 1 + static_cast<int>(rng() % 24);
          const Tokens token = random_tokens(rng, nodes, f.shape.vocab),
                       parent = random_parents(rng, nodes);
          s.forward({seq}, {0, nodes}, token, parent);
          // Commit the path to a random node.
          Tokens path(static_cast<size_t>(nodes), 0), up;
          for (int i = static_cast<int>(rng() % static_cast<unsigned>(nodes)); i > 0;
               i = parent[static_cast<size_t>(i)])
            up.push_back(i);
          std::reverse(up.begin(), up.end());
          std::copy(up.begin(), up.end(), path.begin());
          const int32_t accept_len = rng() % 8 == 0 ? -1 : static_cast<int32_t>(up.size());
          ok(espalier_session_commit(s.handle, path.data(), &accept_len));
          if (accept_len >= 0) tokens.push_back(token[0]);
          for (int i = 0; i < accept_len; ++i)
            tokens.push_back(token[static_cast<size_t>(up[static_cast<size_t>(i)])]);
        }
      }
      const auto& [check_seq, check_tokens] = live[rng() % live.size()];
      CHECK_EQ(s.length(check_seq), static_cast<int32_t>(check_tokens.size()));
      if (step % 5 == 0) {
        s.forward({check_seq}, {0, 1}, {3}, {-1});
        const Logits got = s.logits(0);
        CHECK_MSG(
            same_bits(got, s.plain(joined(check_tokens, {3}))), "page size %d, step %d", page_size,
            step);
      }
    }
    // All pages come back.
    for (auto& [seq, tokens] : live) ok(espalier_sequence_destroy(s.handle, seq));
    const int32_t all = s.create();
    std::mt19937 fill(1);
    s.prefill(all, random_tokens(fill, f.shape.max_positions, f.shape.vocab));
    CHECK_EQ(s.length(all), f.shape.max_positions);
  }
}

TEST(verify_follows_the_choices_and_choices_are_those_of_plain_decoding) {
  const Fixture f;
  Session s(f);
  std::mt19937 rng(3);
  int accepted = 0;
  for (int round = 0; round < 24; ++round) {
    espalier_sampling sampling = sampled(
        round % 3 == 0   ? 0.0f
        : round % 3 == 1 ? 0.9f
                         : 6.0f,
        100 + static_cast<uint64_t>(round));
    if (round % 2 == 1) sampling.repetition_penalty = 1.3f;
    if (round % 4 == 2) sampling.top_p = 0.8f;
    if (round % 5 == 3) sampling.min_p = 0.05f;
    const Tokens prompt = random_tokens(rng, 1 + round, f.shape.vocab);
    // Plain decoding, one token at a time.
    const int32_t plain = s.create();
    ok(espalier_sequence_set_sampling(s.handle, plain, &sampling));
    s.prefill(plain, Tokens(prompt.begin(), prompt.end() - 1));
    Tokens text = {prompt.back()};
    for (int i = 0; i < 6; ++i) {
      int32_t choice = -1, path = -1, accept_len = -1;
      s.forward({plain}, {0, 1}, {text.back()}, {-1});
      ok(espalier_session_verify(s.handle, &choice, &path, &accept_len));
      CHECK_EQ(accept_len, 0);
      ok(espalier_session_commit(s.handle, &path, &accept_len));
      text.push_back(choice);
    }
    // The same with a tree in which the right chain is hidden among wrong branches.
    const int32_t tree = s.create();
    ok(espalier_sequence_set_sampling(s.handle, tree, &sampling));
    s.prefill(tree, Tokens(prompt.begin(), prompt.end() - 1));
    Tokens token = {text[0]}, parent = {-1}, right = {0};
    const int good = static_cast<int>(rng() % 6);
    for (int i = 1; i <= good; ++i) {
      token.push_back((text[static_cast<size_t>(i)] + 1) % f.shape.vocab);  // a wrong sibling first
      parent.push_back(right.back());
      token.push_back(text[static_cast<size_t>(i)]);
      parent.push_back(right.back());
      right.push_back(static_cast<int32_t>(token.size()) - 1);
    }
    const int32_t nodes = static_cast<int32_t>(token.size());
    Tokens choice(token.size(), -1), path(token.size(), -1);
    int32_t accept_len = -1;
    s.forward({tree}, {0, nodes}, token, parent);
    ok(espalier_session_verify(s.handle, choice.data(), path.data(), &accept_len));
    CHECK_EQ(accept_len, good);
    accepted += accept_len;
    for (int i = 0; i < accept_len; ++i) {
      CHECK_EQ(path[static_cast<size_t>(i)], right[static_cast<size_t>(i + 1)]);
    }
    CHECK_EQ(choice[static_cast<size_t>(right.back())], text[static_cast<size_t>(good + 1)]);
    // draw with the target's noise is the same choice.
    int32_t drawn = -1;
    float log_prob = 0;
    ok(espalier_session_draw(
        s.handle, 1, &right.back(), 1, ESPALIER_TARGET_NOISE, &drawn, &log_prob, nullptr, 0));
    CHECK_EQ(drawn, text[static_cast<size_t>(good + 1)]);
    CHECK(log_prob <= 0);
    ok(espalier_session_commit(s.handle, path.data(), &accept_len));
    CHECK_EQ(s.length(tree), static_cast<int32_t>(prompt.size()) + good);
    ok(espalier_sequence_destroy(s.handle, tree));
    ok(espalier_sequence_destroy(s.handle, plain));
  }
  CHECK(accepted > 20);
}

TEST(penalties_count_the_committed_tokens_and_the_path_of_each_node) {
  const Fixture f;
  Session s(f);
  std::mt19937 rng(9);
  int changed = 0;
  for (int round = 0; round < 20; ++round) {
    espalier_sampling sampling = sampled(0, 0);
    sampling.repetition_penalty = 1.8f;
    sampling.presence_penalty = 0.5f;
    sampling.frequency_penalty = 0.7f;
    const Tokens committed = random_tokens(rng, 40, f.shape.vocab);
    const int nodes = 12;
    const Tokens token = random_tokens(rng, nodes, f.shape.vocab),
                 parent = random_parents(rng, nodes);
    const int32_t seq = s.create();
    ok(espalier_sequence_set_sampling(s.handle, seq, &sampling));
    s.prefill(seq, committed);
    s.forward({seq}, {0, nodes}, token, parent);
    Tokens choice(static_cast<size_t>(nodes)), path(static_cast<size_t>(nodes));
    int32_t accept_len = -1;
    ok(espalier_session_verify(s.handle, choice.data(), path.data(), &accept_len));
    for (int node = 0; node < nodes; ++node) {
      Logits logits = s.logits(node);
      const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
      std::vector<int> count(logits.size(), 0);
      for (int32_t t : joined(committed, path_tokens(token, parent, 0, node)))
        ++count[static_cast<size_t>(t)];
      for (size_t t = 0; t < logits.size(); ++t) {
        if (count[t] == 0) continue;
        logits[t] = logits[t] > 0 ? logits[t] / 1.8f : logits[t] * 1.8f;
        logits[t] -= 0.5f + 0.7f * static_cast<float>(count[t]);
      }
      const auto want = std::max_element(logits.begin(), logits.end()) - logits.begin();
      CHECK_EQ(choice[static_cast<size_t>(node)], want);
      changed += want != best;
    }
    ok(espalier_sequence_destroy(s.handle, seq));
  }
  CHECK(changed > 50);
}

TEST(top_k_of_forward_are_the_largest_logits) {
  const Fixture f;
  Session s(f);
  const int32_t seq = s.create();
  const Tokens begin = {0, 3}, token = {5, 9, 30}, parent = {-1, 0, 0};
  Tokens best(3 * 4);
  ok(espalier_session_forward(
      s.handle, 1, &seq, begin.data(), token.data(), parent.data(), 4, best.data()));
  for (int node = 0; node < 3; ++node) {
    const Logits logits = s.logits(node);
    Tokens order(logits.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
    });
    for (int i = 0; i < 4; ++i)
      CHECK_EQ(best[static_cast<size_t>(4 * node + i)], order[static_cast<size_t>(i)]);
  }
}

TEST(penalties_on_more_contexts_than_an_index_counts_are_refused) {
  RandomModel m;
  m.max_positions = 1 << 20;
  const Fixture f(m);
  espalier_sampling penalized = sampled(0, 0);
  penalized.presence_penalty = 1;
  for (const int64_t num_pages : {16, 4096}) {  // 2048 or 524288 positions
    Session s(
        f, {.size = 0, .page_size = 128, .kv_type = 0, .max_nodes = 4096, .num_pages = num_pages});
    const int32_t seq = s.create();
    const espalier_status status = espalier_sequence_set_sampling(s.handle, seq, &penalized);
    if (num_pages == 16) {
      CHECK_EQ(status, ESPALIER_OK);
    } else {
      CHECK(fails(
          status, ESPALIER_INVALID_ARGUMENT,
          "max_nodes * context = 4096 * 524288 for penalties, expected at most 2147483647 tokens"));
      s.forward({seq}, {0, 2}, {1, 2}, {-1, 0});  // the sequence is as it was
      Tokens choice(2), path(2), len(1);
      ok(espalier_session_verify(s.handle, choice.data(), path.data(), len.data()));
    }
  }
}

TEST(hidden_states_of_a_tree_are_those_of_plain_decoding) {
  const Fixture f;
  Session s(f);
  const Tokens layers = {0, 1, 2};
  ok(espalier_session_keep_hidden(s.handle, layers.data(), 3));
  const Tokens token = {5, 9, 30, 2}, parent = {-1, 0, 0, 1};
  const int32_t seq = s.create();
  s.prefill(seq, {1, 2, 3});
  s.forward({seq}, {0, 4}, token, parent);
  std::vector<float> in_tree(static_cast<size_t>(f.shape.hidden)), alone(in_tree.size());
  for (int layer : layers) {
    s.forward({seq}, {0, 4}, token, parent);
    ok(espalier_session_hidden(s.handle, layer, 3, in_tree.data(), f.shape.hidden));
    s.plain({1, 2, 3, 5, 9, 2});
    const int32_t plain = s.create();
    s.prefill(plain, {1, 2, 3, 5, 9});
    s.forward({plain}, {0, 1}, {2}, {-1});
    ok(espalier_session_hidden(s.handle, layer, 0, alone.data(), f.shape.hidden));
    CHECK_MSG(same_bits(in_tree, alone), "layer %d", layer);
    ok(espalier_sequence_destroy(s.handle, plain));
  }
  CHECK(fails(
      espalier_session_hidden(s.handle, 1, 0, in_tree.data(), f.shape.hidden),
      ESPALIER_INVALID_STATE, "forward"));
}

TEST(a_bad_weight_is_named_and_hurts_only_who_reaches_it) {
  RandomModel m;
  m.tied = false;
  m.nan_in = "model.embed_tokens.weight";
  m.nan_row = 17;
  const Fixture f(m);
  Session s(f);
  const int32_t seq = s.create();
  s.prefill(seq, {1, 2});
  int32_t accept_len = -5;
  Tokens choice(2, -5), path(2, -5);
  // Token 17 is drafted: its node has no choice, and the others are as if it were not there.
  s.forward({seq}, {0, 2}, {4, 17}, {-1, 0});
  ok(espalier_session_verify(s.handle, choice.data(), path.data(), &accept_len));
  CHECK_EQ(accept_len, 0);
  CHECK_EQ(choice[1], -1);
  const Logits plain = s.plain({1, 2, 4});
  CHECK_EQ(
      choice[0],
      static_cast<int32_t>(std::max_element(plain.begin(), plain.end()) - plain.begin()));
  // Token 17 is the text: the call fails and names the weight.
  s.forward({seq}, {0, 1}, {17}, {-1});
  choice = {-5, -5};
  accept_len = -5;
  CHECK(fails(
      espalier_session_verify(s.handle, choice.data(), path.data(), &accept_len),
      ESPALIER_NOT_A_NUMBER, "weight model.embed_tokens.weight is not finite"));
  CHECK_EQ(choice[0], -5);
  CHECK_EQ(accept_len, -5);
  // The session goes on.
  s.forward({seq}, {0, 1}, {5}, {-1});
  ok(espalier_session_verify(s.handle, choice.data(), path.data(), &accept_len));
}

TEST(bad_calls_are_refused_and_change_nothing) {
  const Fixture f;
  Session s(f, {.size = 0, .page_size = 16, .kv_type = 0, .max_nodes = 8, .num_pages = 3});
  const int32_t seq = s.create();
  s.prefill(seq, {1, 2, 3});
  const auto forward = [&](const Tokens& seqs, const Tokens& begin, const Tokens& token,
                           const Tokens& parent) {
    return espalier_session_forward(
        s.handle, static_cast<int32_t>(seqs.size()), seqs.data(), begin.data(), token.data(),
        parent.data(), 0, nullptr);
  };
  CHECK(fails(
      forward({seq}, {0, 1}, {f.shape.vocab}, {-1}), ESPALIER_INVALID_ARGUMENT,
      "token[0] = 61, expected 0 to 60"));
  CHECK(fails(forward({seq}, {0, 1}, {-1}, {-1}), ESPALIER_INVALID_ARGUMENT, "token[0] = -1"));
  CHECK(fails(
      forward({seq}, {0, 2}, {1, 2}, {-1, 1}), ESPALIER_INVALID_ARGUMENT,
      "parent of node 1 of tree 0 = 1"));
  CHECK(fails(
      forward({seq}, {0, 2}, {1, 2}, {0, 0}), ESPALIER_INVALID_ARGUMENT,
      "parent of node 0 of tree 0 = 0, expected -1"));
  CHECK(fails(
      forward({seq}, {1, 2}, {1, 2}, {-1, 0}), ESPALIER_INVALID_ARGUMENT, "tree_begin[0] = 1"));
  CHECK(fails(
      forward({seq}, {0, 0}, {1}, {-1}), ESPALIER_INVALID_ARGUMENT,
      "tree_begin[1] = 0, expected 1"));
  CHECK(fails(
      forward({seq}, {0, 9}, Tokens(9, 1), Tokens(9, 0)), ESPALIER_INVALID_ARGUMENT,
      "tree_begin[1] = 9, expected 1 to 8"));
  CHECK(
      fails(forward({seq, seq}, {0, 1, 2}, {1, 1}, {-1, -1}), ESPALIER_INVALID_ARGUMENT, "seq[1]"));
  CHECK(fails(
      forward({seq + 1}, {0, 1}, {1}, {-1}), ESPALIER_INVALID_ARGUMENT,
      "expected an open sequence"));
  const int32_t zero = 0;
  CHECK(fails(
      espalier_session_commit(s.handle, &zero, &zero), ESPALIER_INVALID_STATE,
      "expected a forward before"));
  CHECK(fails(
      espalier_sequence_rollback(s.handle, seq, 4), ESPALIER_INVALID_ARGUMENT,
      "length = 4, expected 0 to 3"));
  const Tokens many(60, 1);
  CHECK(fails(
      espalier_session_prefill(s.handle, seq, many.data(), 60), ESPALIER_OUT_OF_MEMORY,
      "KV pages: 3 needed, 2 of 3 free"));
  const Tokens endless(300, 1);
  CHECK(fails(
      espalier_session_prefill(s.handle, seq, endless.data(), 300), ESPALIER_INVALID_ARGUMENT,
      "expected at most 253"));
  espalier_sampling bad = sampled(-1, 0);
  CHECK(fails(
      espalier_sequence_set_sampling(s.handle, seq, &bad), ESPALIER_INVALID_ARGUMENT,
      "temperature = -1, expected >= 0"));
  CHECK_EQ(s.length(seq), 3);
  // A commit must follow the tree.
  s.forward({seq}, {0, 3}, {1, 2, 3}, {-1, 0, 0});
  const Tokens path = {1, 2, 0};
  const int32_t two = 2, three = 3;
  CHECK(fails(
      espalier_session_commit(s.handle, path.data(), &two), ESPALIER_INVALID_ARGUMENT,
      "path[1] = 2, expected a child of node 1"));
  CHECK(fails(
      espalier_session_commit(s.handle, path.data(), &three), ESPALIER_INVALID_ARGUMENT,
      "accept_len[0] = 3"));
  Logits logits(static_cast<size_t>(f.shape.vocab));
  CHECK(fails(
      espalier_session_logits(s.handle, 3, logits.data(), f.shape.vocab), ESPALIER_INVALID_ARGUMENT,
      "node = 3"));
  CHECK(fails(
      espalier_session_logits(s.handle, 0, logits.data(), 60), ESPALIER_INVALID_ARGUMENT,
      "vocab = 60, expected 61"));
  CHECK(fails(
      espalier_session_logits(nullptr, 0, logits.data(), 61), ESPALIER_INVALID_ARGUMENT,
      "session = NULL"));
  // The scores are still there.
  const int32_t one = 1;
  ok(espalier_session_commit(s.handle, path.data(), &one));
  CHECK_EQ(s.length(seq), 5);
}

TEST(scores_can_be_read_after_a_commit_and_nothing_else) {
  const Fixture f;
  Session s(f);
  const int32_t seq = s.create();
  s.forward({seq}, {0, 2}, {4, 5}, {-1, 0});
  const Logits before = s.logits(1);
  const Tokens path = {1, 0};
  const int32_t one = 1, zero = 0;
  ok(espalier_session_commit(s.handle, path.data(), &one));
  CHECK(same_bits(s.logits(1), before));
  int32_t token[2], accept_len;
  CHECK(fails(
      espalier_session_commit(s.handle, path.data(), &one), ESPALIER_INVALID_STATE,
      "is committed"));
  CHECK(fails(
      espalier_session_verify(s.handle, token, token, &accept_len), ESPALIER_INVALID_STATE,
      "is committed"));
  CHECK(fails(
      espalier_session_draw(
          s.handle, 1, &zero, 1, ESPALIER_TARGET_NOISE, token, nullptr, nullptr, 0),
      ESPALIER_INVALID_STATE, "is committed"));
  CHECK_EQ(s.length(seq), 2);
  s.forward({seq}, {0, 1}, {6}, {-1});
  ok(espalier_session_commit(s.handle, path.data(), &zero));
  CHECK_EQ(s.length(seq), 3);
}

TEST(a_pass_over_first_layers_is_the_model_cut_there) {
  RandomModel deep;
  deep.layers = 4;
  RandomModel cut = deep;
  cut.layers = 2;  // the same weights: they are drawn by name
  const Fixture f(deep), g(cut);
  Session s(f), t(g);
  std::mt19937 rng(31);
  for (int prefix : {0, 15, 40}) {
    const Tokens committed = random_tokens(rng, prefix, deep.vocab),
                 token = random_tokens(rng, 9, deep.vocab), parent = random_parents(rng, 9);
    const int32_t seq = s.create();
    s.prefill(seq, committed);
    s.forward_layers({seq}, {0, 9}, token, parent, {3, 3, 0, 0});
    for (int i = 0; i < 9; ++i) {
      const Logits want = t.plain(joined(committed, path_tokens(token, parent, 0, i)));
      CHECK_MSG(same_bits(s.logits(i), want), "prefix %d, node %d", prefix, i);
    }
    // Nothing of it stays: a whole pass behind it is the one that never saw it.
    s.forward({seq}, {0, 1}, {7}, {-1});
    const Logits after = s.logits(0);
    CHECK(same_bits(after, s.plain(joined(committed, {7}))));
    ok(espalier_sequence_destroy(s.handle, seq));
  }
}

TEST(each_sublayer_alone_makes_a_difference_and_all_of_them_are_the_model) {
  const Fixture f;
  Session s(f);
  const int32_t seq = s.create();
  s.prefill(seq, {1, 2, 3});
  std::vector<Logits> seen;
  for (const Tokens& layers :
       std::vector<Tokens>{{3, 3}, {1, 3}, {2, 3}, {3, 1}, {3, 2}, {0, 3}, {3, 0}, {0, 2}}) {
    s.forward_layers({seq}, {0, 2}, {4, 5}, {-1, 0}, layers);
    seen.push_back(s.logits(1));
    for (size_t i = 0; i + 1 < seen.size(); ++i) CHECK(!same_bits(seen[i], seen.back()));
  }
  CHECK(same_bits(seen[0], s.plain({1, 2, 3, 4, 5})));
  const Tokens all = {3, 3};
  const int32_t zero = 0;
  s.forward_layers({seq}, {0, 1}, {4}, {-1}, all);
  ok(espalier_session_commit(s.handle, &zero, &zero));  // nothing was left out
  CHECK_EQ(s.length(seq), 4);
}

TEST(a_tree_that_grows_has_the_bits_of_the_whole_tree) {
  const Fixture f;
  std::mt19937 rng(17);
  for (const Tokens& layers : std::vector<Tokens>{{3, 3}, {1, 3}}) {
    for (int prefix : {0, 9, 31, 40}) {
      Session s(f), t(f);
      const int layer = 2, nodes = 40;
      ok(espalier_session_keep_hidden(s.handle, &layer, 1));
      ok(espalier_session_keep_hidden(t.handle, &layer, 1));
      const Tokens committed = random_tokens(rng, prefix, f.shape.vocab),
                   token = random_tokens(rng, nodes, f.shape.vocab),
                   parent = random_parents(rng, nodes);
      const int32_t grown = s.create(), whole = t.create();
      s.prefill(grown, committed);
      t.prefill(whole, committed);
      t.forward_layers({whole}, {0, nodes}, token, parent, layers);
      int32_t fork = -1;
      for (int have = 0; have < nodes;) {
        const int next = std::min(nodes, have + 1 + static_cast<int>(rng() % 7));
        const Tokens more(token.begin() + have, token.begin() + next),
            up(parent.begin() + have, parent.begin() + next);
        if (have == 0) {
          s.forward_layers({grown}, {0, next}, more, up, layers);
        } else {
          ok(espalier_session_grow(s.handle, next - have, more.data(), up.data()));
        }
        if (fork < 0) fork = s.fork(grown);  // shares the page that the nodes lie in
        have = next;
      }
      for (int i = 0; i < nodes; ++i) {
        CHECK_MSG(same_bits(s.logits(i), t.logits(i)), "prefix %d, node %d", prefix, i);
      }
      if (layers != Tokens{3, 3}) continue;
      std::vector<float> a(static_cast<size_t>(f.shape.hidden)), b(a.size());
      for (int i = 0; i < nodes; ++i) {
        ok(espalier_session_hidden(s.handle, layer, i, a.data(), f.shape.hidden));
        ok(espalier_session_hidden(t.handle, layer, i, b.data(), f.shape.hidden));
        CHECK_MSG(same_bits(a, b), "prefix %d, node %d", prefix, i);
      }
      // It can be committed like any other pass.
      Tokens path(nodes, 0), up;
      for (int i = nodes - 1; i > 0; i = parent[static_cast<size_t>(i)]) up.push_back(i);
      std::reverse(up.begin(), up.end());
      std::copy(up.begin(), up.end(), path.begin());
      const int32_t accept_len = static_cast<int32_t>(up.size());
      ok(espalier_session_commit(s.handle, path.data(), &accept_len));
      s.forward({grown}, {0, 1}, {3}, {-1});
      const Logits got = s.logits(0);
      const Tokens text = joined(committed, path_tokens(token, parent, 0, nodes - 1));
      CHECK_MSG(same_bits(got, s.plain(joined(text, {3}))), "prefix %d", prefix);
      s.forward({fork}, {0, 1}, {3}, {-1});
      const Logits of_fork = s.logits(0);
      CHECK_MSG(same_bits(of_fork, s.plain(joined(committed, {3}))), "prefix %d", prefix);
    }
  }
}

TEST(a_tree_that_finds_no_page_to_grow_into_stays_as_it_is) {
  const Fixture f;
  Session s(f, {.size = 0, .page_size = 16, .kv_type = 0, .max_nodes = 64, .num_pages = 3});
  Session t(f);
  std::mt19937 rng(23);
  const Tokens committed = random_tokens(rng, 14, f.shape.vocab), more(40, 1), star(40, 0);
  const int32_t seq = s.create(), three = 3;
  s.prefill(seq, committed);
  s.forward({seq}, {0, 3}, {4, 5, 6}, {-1, 0, 1});
  CHECK(fails(
      espalier_session_grow(s.handle, 40, more.data(), star.data()), ESPALIER_OUT_OF_MEMORY,
      "KV pages"));
  const Tokens last = {7}, up = {2}, path = {1, 2, 3, 0};
  ok(espalier_session_grow(s.handle, 1, last.data(), up.data()));
  ok(espalier_session_commit(s.handle, path.data(), &three));
  s.forward({seq}, {0, 1}, {8}, {-1});
  CHECK(same_bits(s.logits(0), t.plain(joined(committed, {4, 5, 6, 7, 8}))));
}

TEST(the_exit_head_says_what_the_model_cut_there_would_say) {
  RandomModel m;
  m.layers = 4;
  const Fixture f(m);
  Session s(f, {.size = 0, .page_size = 16, .kv_type = 0, .max_nodes = 96, .num_pages = 40});
  const Tokens layers = {1, 2, 3, 4}, asked = {3, 1, 4};
  ok(espalier_session_keep_hidden(s.handle, layers.data(), 4));
  std::mt19937 rng(13);
  const Tokens committed = random_tokens(rng, 20, m.vocab), token = random_tokens(rng, 90, m.vocab),
               parent = random_parents(rng, 90);
  const int32_t seq = s.create();
  s.prefill(seq, committed);
  // More rows than go through the head at once, some of them side by side.
  Tokens nodes;
  for (int i = 0; i < 90; ++i) {
    if (i % 7 != 3) nodes.push_back((i + 40) % 90);
  }
  std::vector<std::vector<Logits>> cut;
  for (int32_t layer : asked) {
    Tokens set(4, 0);
    std::fill_n(set.begin(), layer, 3);
    s.forward_layers({seq}, {0, 90}, token, parent, set);
    cut.emplace_back();
    for (int32_t node : nodes) cut.back().push_back(s.logits(node));
  }
  s.forward({seq}, {0, 90}, token, parent);
  const Logits last = s.logits(nodes[0]);
  const Tokens path(90, 0);
  const int32_t zero = 0;
  ok(espalier_session_commit(s.handle, path.data(), &zero));
  const size_t n = nodes.size();
  Tokens best(3 * n, -5);
  std::vector<float> prob(3 * n, -5);
  ok(espalier_session_exit_head(
      s.handle, 3, asked.data(), static_cast<int32_t>(n), nodes.data(), best.data(), prob.data()));
  for (size_t l = 0; l < 3; ++l) {
    for (size_t i = 0; i < n; ++i) {
      const Logits& logits = cut[l][i];
      const auto max = std::max_element(logits.begin(), logits.end());
      CHECK_EQ(best[l * n + i], max - logits.begin());
      double sum = 0;
      for (float x : logits) sum += std::exp(static_cast<double>(x) - *max);
      CHECK_MSG(
          std::abs(prob[l * n + i] * sum - 1) < 1e-5, "layer %d, node %d: %g, expected %g",
          asked[l], nodes[i], static_cast<double>(prob[l * n + i]), 1 / sum);
    }
  }
  CHECK(same_bits(s.logits(nodes[0]), last));  // the pass's own scores are still there
}

TEST(draws_without_noise_are_by_raw_logit) {
  const Fixture f;
  Session s(f);
  espalier_sampling sampling = sampled(5, 3);
  sampling.repetition_penalty = 3;
  const int32_t seq = s.create();
  ok(espalier_sequence_set_sampling(s.handle, seq, &sampling));
  s.prefill(seq, {1, 2, 3});
  Tokens best(2 * 4), drawn(2 * 4);
  const Tokens begin = {0, 2}, token = {5, 9}, parent = {-1, 0}, nodes = {0, 1};
  ok(espalier_session_forward(
      s.handle, 1, &seq, begin.data(), token.data(), parent.data(), 4, best.data()));
  std::vector<float> log_prob(2 * 4);
  ok(espalier_session_draw(
      s.handle, 2, nodes.data(), 4, ESPALIER_NO_NOISE, drawn.data(), log_prob.data(), nullptr, 0));
  CHECK(drawn == best);
  for (int i = 0; i < 2; ++i) {
    double sum = 0;
    const Logits logits = s.logits(i);
    const double max = *std::max_element(logits.begin(), logits.end());
    for (float x : logits) sum += std::exp(x - max);
    CHECK(std::abs(log_prob[static_cast<size_t>(4 * i)] + std::log(sum)) < 1e-5);
  }
}

TEST(a_pass_over_some_layers_is_only_for_drafts) {
  const Fixture f;
  Session s(f, {.size = 0, .page_size = 16, .kv_type = 0, .max_nodes = 8, .num_pages = 40});
  const int32_t seq = s.create(), other = s.create(), layer = 1, zero = 0;
  s.prefill(seq, {1, 2, 3});
  const Tokens begin = {0, 2}, token = {4, 5}, parent = {-1, 0}, up = {1, 2}, path = {1, 0};
  const auto forward = [&](const Tokens& set) {
    return espalier_session_forward_layers(
        s.handle, 1, &seq, begin.data(), token.data(), parent.data(), set.data(), 0, nullptr);
  };
  CHECK(fails(forward({0, 0}), ESPALIER_INVALID_ARGUMENT, "sublayers leaves out all of 2 layers"));
  CHECK(fails(forward({3, 4}), ESPALIER_INVALID_ARGUMENT, "sublayers[1] = 4, expected a sum"));
  CHECK(fails(forward({-1, 3}), ESPALIER_INVALID_ARGUMENT, "sublayers[0] = -1, expected a sum"));
  CHECK(fails(
      espalier_session_grow(s.handle, 1, token.data(), path.data()), ESPALIER_INVALID_STATE,
      "no scores"));
  ok(espalier_session_keep_hidden(s.handle, &layer, 1));
  ok(forward({3, 1}));
  const Logits before = s.logits(1);
  Tokens out(2), lens(2);
  std::vector<float> floats(static_cast<size_t>(f.shape.hidden));
  const char* left_out = "left out layers, expected a forward over all of them before";
  CHECK(fails(
      espalier_session_commit(s.handle, path.data(), &zero), ESPALIER_INVALID_STATE, left_out));
  CHECK(fails(
      espalier_session_verify(s.handle, out.data(), out.data(), lens.data()),
      ESPALIER_INVALID_STATE, left_out));
  const Tokens schemes = {0, 0}, rows = {-1, -1};
  CHECK(fails(
      espalier_session_verify_sampling(
          s.handle, schemes.data(), nullptr, rows.data(), out.data(), lens.data(), lens.data()),
      ESPALIER_INVALID_STATE, left_out));
  CHECK(fails(
      espalier_session_hidden(s.handle, 1, 0, floats.data(), f.shape.hidden),
      ESPALIER_INVALID_STATE, left_out));
  CHECK(fails(
      espalier_session_exit_head(s.handle, 1, &layer, 1, &zero, out.data(), floats.data()),
      ESPALIER_INVALID_STATE, left_out));
  // A tree that cannot grow stays as it is.
  const Tokens bad_parent = {2, 5}, bad_token = {1, f.shape.vocab}, many(9, 1);
  CHECK(fails(
      espalier_session_grow(s.handle, 2, token.data(), bad_parent.data()),
      ESPALIER_INVALID_ARGUMENT, "parent of node 2 of tree 0 = 2, expected an earlier node"));
  CHECK(fails(
      espalier_session_grow(s.handle, 2, bad_token.data(), up.data()), ESPALIER_INVALID_ARGUMENT,
      "token[1] = 61"));
  CHECK(fails(
      espalier_session_grow(s.handle, 7, many.data(), many.data()), ESPALIER_INVALID_ARGUMENT,
      "num_nodes = 7, expected 1 to 6: 2 of max_nodes = 8 are used"));
  CHECK(fails(
      espalier_session_grow(s.handle, 0, many.data(), many.data()), ESPALIER_INVALID_ARGUMENT,
      "num_nodes = 0"));
  CHECK(same_bits(s.logits(1), before));
  CHECK_EQ(s.length(seq), 3);
  ok(espalier_session_grow(s.handle, 2, token.data(), up.data()));
  s.forward({seq, other}, {0, 1, 2}, {1, 1}, {-1, -1});
  CHECK(fails(
      espalier_session_grow(s.handle, 1, token.data(), path.data()), ESPALIER_INVALID_STATE,
      "over 2 trees, expected one to grow"));
  const int32_t unkept = 2, far = 2;
  CHECK(fails(
      espalier_session_exit_head(s.handle, 1, &unkept, 1, &zero, out.data(), floats.data()),
      ESPALIER_INVALID_ARGUMENT, "layer = 2, expected a layer that espalier_session_keep_hidden"));
  CHECK(fails(
      espalier_session_exit_head(s.handle, 1, &layer, 1, &far, out.data(), floats.data()),
      ESPALIER_INVALID_ARGUMENT, "node = 2, expected 0 to 1"));
  for (const int32_t num_layers : {0, 2}) {
    const std::string text = "num_layers = " + std::to_string(num_layers) +
                             ", expected 1 to the 1 layers that espalier_session_keep_hidden chose";
    CHECK(fails(
        espalier_session_exit_head(
            s.handle, num_layers, &layer, 1, &zero, out.data(), floats.data()),
        ESPALIER_INVALID_ARGUMENT, text.c_str()));
  }
  const Tokens too_many(9, 0);
  for (const int32_t num_nodes : {0, 9}) {
    const std::string text =
        "num_nodes = " + std::to_string(num_nodes) + ", expected 1 to 8, max_nodes of the session";
    CHECK(fails(
        espalier_session_exit_head(
            s.handle, 1, &layer, num_nodes, too_many.data(), out.data(), floats.data()),
        ESPALIER_INVALID_ARGUMENT, text.c_str()));
    CHECK(fails(
        espalier_session_draw(
            s.handle, num_nodes, too_many.data(), 1, ESPALIER_TARGET_NOISE, out.data(), nullptr,
            nullptr, 0),
        ESPALIER_INVALID_ARGUMENT, text.c_str()));
  }
  const Tokens paths = {0, 0}, lengths = {0, -1};
  ok(espalier_session_commit(s.handle, paths.data(), lengths.data()));
  CHECK(fails(
      espalier_session_grow(s.handle, 1, token.data(), path.data()), ESPALIER_INVALID_STATE,
      "is committed"));
}

TEST(a_session_on_another_context_sees_the_whole_model_at_once) {
  const Fixture f;
  espalier_context* other = espalier_test::create_context(2);
  REQUIRE(other != nullptr);
  const Tokens tokens = {1, 2, 3, 4, 5};
  Logits there;
  {
    Session session(f, other);
    there = session.plain(tokens);
  }
  Session here(f);
  CHECK(same_bits(there, here.plain(tokens)));
  espalier_context_destroy(other);
}

TEST(the_context_of_the_model_ends_where_the_config_says) {
  RandomModel m;
  m.max_positions = 20;
  const Fixture f(m);
  Session s(f);
  const int32_t seq = s.create();
  s.prefill(seq, Tokens(19, 1));
  s.forward({seq}, {0, 1}, {1}, {-1});
  const Tokens begin = {0, 2}, token = {1, 1}, parent = {-1, 0};
  CHECK(fails(
      espalier_session_forward(
          s.handle, 1, &seq, begin.data(), token.data(), parent.data(), 0, nullptr),
      ESPALIER_INVALID_ARGUMENT, "position 20, expected at most 19"));
}

TEST(a_second_thread_on_a_session_is_refused) {
  const Fixture f;
  Session s(f);
  const int32_t seq = s.create();
  std::atomic<int> refused{0};  // of either thread: whoever comes second
  for (int round = 0; round < 1000 && refused == 0; ++round) {
    std::atomic<bool> done{false};
    std::thread first([&] {
      const Tokens t(200, 1);
      const espalier_status status = espalier_session_prefill(s.handle, seq, t.data(), 200);
      CHECK(status == ESPALIER_OK || status == ESPALIER_INVALID_STATE);
      if (status == ESPALIER_INVALID_STATE) ++refused;
      done = true;
    });
    while (!done) {
      int32_t length;
      if (espalier_sequence_length(s.handle, seq, &length) == ESPALIER_INVALID_STATE) ++refused;
    }
    first.join();
    ok(espalier_sequence_rollback(s.handle, seq, 0));
  }
  CHECK(refused > 0);
}

TEST(handles_may_be_destroyed_in_any_order) {
  TemporaryFolder folder;
  espalier_test::write_random_model({}, folder.path());
  espalier_context* ctx = nullptr;
  espalier_model* model = nullptr;
  espalier_session* session = nullptr;
  espalier_session_options options{};
  options.size = sizeof options;
  ctx = espalier_test::create_context(1);
  ok(espalier_model_load(ctx, folder.path().c_str(), &model));
  ok(espalier_session_create(ctx, model, &options, &session));
  espalier_context_destroy(ctx);
  espalier_model_destroy(model);
  int32_t seq = -1;
  ok(espalier_sequence_create(session, &seq));
  const Tokens begin = {0, 1}, token = {1}, parent = {-1};
  ok(espalier_session_forward(
      session, 1, &seq, begin.data(), token.data(), parent.data(), 0, nullptr));
  espalier_session_destroy(session);
}
