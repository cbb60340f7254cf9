// What a step asks of the device: launches, waits and memory, counted.
#include <cmath>
#include <numeric>

#include "check.h"
#include "emulated_device.h"
#include "emulator.h"
#include "espalier.h"
#include "support/random_model.h"

namespace {

using Ints = std::vector<int32_t>;
using simt::emulated::counts;

constexpr int kMostLaunches = 7;  // of a layer
constexpr int32_t kMaxNodes = 72;

void ok(espalier_status status) {
  if (status != ESPALIER_OK) std::printf("  %s\n", espalier_last_error());
  REQUIRE(status == ESPALIER_OK);
}

espalier_sampling how(float temperature) {
  espalier_sampling s{};
  s.size = sizeof s;
  s.temperature = temperature;
  s.top_p = 1;
  s.repetition_penalty = 1;
  s.seed = 4;
  return s;
}

/** A session of a random model with so many layers, and the calls of a step. */
struct Steps {
  espalier_test::TemporaryFolder folder;
  espalier_test::RandomModel shape;
  espalier_context* ctx = espalier_test::create_emulated_context();
  espalier_model* model = nullptr;
  espalier_session* session = nullptr;
  Ints seqs;

  explicit Steps(int layers, int sequences = 1, int q_heads = 4, int max_positions = 256) {
    shape.layers = layers;
    shape.hidden = shape.head_dim = 64;
    shape.q_heads = q_heads;
    shape.max_positions = max_positions;
    espalier_test::write_random_model(shape, folder.path());
    ok(espalier_model_load(ctx, folder.path().c_str(), &model));
    espalier_session_options options{};
    options.size = sizeof options;
    options.max_nodes = kMaxNodes;
    options.num_pages = 40;
    ok(espalier_session_create(ctx, model, &options, &session));
    for (int i = 0; i < sequences; ++i) {
      seqs.push_back(-1);
      ok(espalier_sequence_create(session, &seqs.back()));
    }
  }
  ~Steps() {
    espalier_session_destroy(session);
    espalier_model_destroy(model);
    espalier_context_destroy(ctx);
  }

  void prefill(int32_t num_tokens) const {
    for (const int32_t seq : seqs)
      ok(espalier_session_prefill(session, seq, Ints(num_tokens, 5).data(), num_tokens));
  }
  /** A forward over a tree of so many nodes for each sequence, three chains of them. */
  void forward(int32_t nodes, const Ints& sublayers = {}, Ints* top = nullptr) const {
    Ints begin{0}, token, parent;
    for (size_t i = 0; i < seqs.size(); ++i) {
      for (int32_t n = 0; n < nodes; ++n) {
        token.push_back((7 * n + 3) % shape.vocab);
        parent.push_back(n == 0 ? -1 : std::max(0, n - 3));
      }
      begin.push_back(static_cast<int32_t>(token.size()));
    }
    const int32_t k = top == nullptr ? 0 : 8;
    if (top != nullptr) top->resize(token.size() * 8);
    ok(espalier_session_forward_layers(
        session, static_cast<int32_t>(seqs.size()), seqs.data(), begin.data(), token.data(),
        parent.data(), sublayers.empty() ? nullptr : sublayers.data(), k,
        top == nullptr ? nullptr : top->data()));
  }
  void grow(int32_t nodes) const {
    ok(espalier_session_grow(session, nodes, Ints(nodes, 6).data(), Ints(nodes, 0).data()));
  }
  void verify_and_commit() const {
    Ints choice(kMaxNodes), path(kMaxNodes), accept_len(seqs.size());
    ok(espalier_session_verify(session, choice.data(), path.data(), accept_len.data()));
    ok(espalier_session_commit(session, path.data(), accept_len.data()));
  }
  void verify_sampling_and_commit(const espalier_buffer* q) const {
    const Ints scheme(kMaxNodes, q == nullptr ? ESPALIER_POINT_MASS : ESPALIER_WITH_REPLACEMENT),
        q_row(kMaxNodes, q == nullptr ? -1 : 0);
    Ints path(kMaxNodes), accept_len(seqs.size()), bonus(seqs.size());
    ok(espalier_session_verify_sampling(
        session, scheme.data(), q, q_row.data(), path.data(), accept_len.data(), bonus.data()));
    ok(espalier_session_commit(session, path.data(), accept_len.data()));
  }
  void finish() const { ok(espalier_synchronize(ctx)); }
};

uint64_t launches_of_pass(int layers, int32_t nodes, bool grown) {
  const Steps steps(layers);
  steps.prefill(3);
  if (grown) steps.forward(1);
  steps.finish();
  const uint64_t before = counts().launches;
  grown ? steps.grow(nodes) : steps.forward(nodes);
  steps.finish();
  return counts().launches - before;
}

}  // namespace

TEST(a_layer_is_at_most_7_launches) {
  for (const bool grown : {false, true}) {
    for (const int32_t nodes : grown ? Ints{17} : Ints{1, 17, 70}) {
      const uint64_t of_2 = launches_of_pass(2, nodes, grown),
                     of_3 = launches_of_pass(3, nodes, grown);
      CHECK_MSG(
          of_3 - of_2 <= kMostLaunches, "%d nodes: %d launches for a layer, expected at most %d",
          nodes, static_cast<int>(of_3 - of_2), kMostLaunches);
      // Besides the layers: the embedding and the LM head.
      CHECK_MSG(
          of_2 - 2 * (of_3 - of_2) == 2, "%d nodes: %d launches besides the layers", nodes,
          static_cast<int>(of_2 - 2 * (of_3 - of_2)));
    }
  }
}

TEST(a_step_waits_once_and_a_prefill_never) {
  const Steps steps(2);
  auto waits = [&, last = counts().waits]() mutable {
    return counts().waits - std::exchange(last, counts().waits);
  };
  steps.prefill(80);  // in two pieces
  CHECK_EQ(waits(), 0u);
  for (int i = 0; i < 3; ++i) {
    for (const int32_t nodes : {1, 17}) {
      steps.forward(nodes);
      steps.verify_and_commit();
      CHECK_EQ(waits(), 1u);
    }
    steps.forward(3);
    steps.grow(5);
    steps.verify_sampling_and_commit(nullptr);
    CHECK_EQ(waits(), 1u);
  }
}

TEST(steps_of_every_kind_are_replayed) {
  const Steps steps(2);
  const Ints draft_layers = {ESPALIER_ATTENTION | ESPALIER_MLP, ESPALIER_MLP};
  for (int i = 0; i < 3; ++i) {
    const auto step = [&](const char* what, auto&& call) {
      const auto before = counts();
      call();
      CHECK_MSG(
          counts().graph_launches - before.graph_launches == (i == 0 ? 0 : 1) &&
              counts().captures - before.captures == (i == 1 ? 1 : 0),
          "%s, time %d: %d launches of a graph", what, i,
          static_cast<int>(counts().graph_launches - before.graph_launches));
    };
    step("forward", [&] { steps.forward(9); });
    step("verify_sampling", [&] { steps.verify_sampling_and_commit(nullptr); });
    step("forward over some layers", [&] { steps.forward(2, draft_layers); });
    step("grow over some layers", [&] { steps.grow(2); });
    step("forward of one", [&] { steps.forward(1); });
    step("grow", [&] { steps.grow(3); });
    Ints choice(4), path(4), len(1);
    step("verify", [&] {
      ok(espalier_session_verify(steps.session, choice.data(), path.data(), len.data()));
    });
    len[0] = -1;
    ok(espalier_session_commit(steps.session, path.data(), len.data()));
    ok(espalier_sequence_rollback(steps.session, steps.seqs[0], 0));
  }
}

TEST(nothing_is_allocated_after_a_session_is_made) {
  for (const int sequences : {1, 3}) {
    const Steps steps(2, sequences);
    const int32_t hidden_layers[] = {1, 2};
    ok(espalier_session_keep_hidden(steps.session, hidden_layers, 2));
    const int64_t laws[] = {2, steps.shape.vocab};
    espalier_buffer* q = nullptr;
    ok(espalier_buffer_create(steps.ctx, ESPALIER_FP32, 2, laws, &q));
    const std::vector<float> even(2 * laws[1], 1.0f / static_cast<float>(laws[1]));
    ok(espalier_buffer_write(q, even.data(), 2 * laws[1] * 4));
    espalier_sampling sampling = how(0.9f);
    sampling.top_k = 20;
    sampling.top_p = 0.95f;

    const uint64_t before = counts().allocations;
    const auto none = [&](const char* what) {
      CHECK_MSG(
          counts().allocations == before, "%d sequences, %s: %d allocations", sequences, what,
          static_cast<int>(counts().allocations - before));
    };
    steps.forward(1);  // the smallest before the largest
    steps.verify_and_commit();
    none("a plain step");
    steps.prefill(sequences == 1 ? 80 : 5);
    none("prefill");
    for (const int32_t nodes : {2, kMaxNodes / sequences}) {
      Ints top;
      for (int i = 0; i < 2; ++i) {
        steps.forward(nodes, {}, &top);
        none("forward");
        steps.verify_and_commit();
        none("verify and commit");
      }
    }
    for (const int32_t seq : steps.seqs) {
      ok(espalier_sequence_set_sampling(steps.session, seq, &sampling));
    }
    steps.forward(kMaxNodes / sequences);
    steps.verify_and_commit();
    none("sampled");
    steps.forward(kMaxNodes / sequences);
    const int32_t num_nodes = kMaxNodes / sequences * sequences;
    Ints nodes(num_nodes), token(num_nodes * 61);
    std::iota(nodes.begin(), nodes.end(), 0);
    std::vector<float> log_prob(token.size());
    ok(espalier_session_draw(
        steps.session, num_nodes, nodes.data(), 61, ESPALIER_DRAFT_NOISE, token.data(),
        log_prob.data(), nullptr, 0));
    none("draw");
    ok(espalier_session_exit_head(
        steps.session, 2, hidden_layers, num_nodes, nodes.data(), token.data(), log_prob.data()));
    none("exit head");
    steps.verify_sampling_and_commit(q);
    none("speculative sampling");
    if (sequences == 1) {
      steps.forward(2, {ESPALIER_MLP, ESPALIER_ATTENTION});
      steps.grow(kMaxNodes - 2);
      none("grow over some layers");
      int32_t fork = -1;
      ok(espalier_sequence_fork(steps.session, steps.seqs[0], &fork));
      ok(espalier_session_prefill(steps.session, fork, nodes.data(), 3));
      none("a fork");
    }
    espalier_buffer_destroy(q);
  }
}

TEST(what_is_asked_for_later_takes_its_memory_then_and_its_steps_take_none) {
  for (const int sequences : {1, 3}) {
    const Steps steps(2, sequences);
    const int32_t tree_len = kMaxNodes / sequences;
    Ints nodes(tree_len * sequences), token(nodes.size() * 61);
    std::iota(nodes.begin(), nodes.end(), 0);
    std::vector<float> log_prob(token.size());
    const auto taken = [&](const char* what, uint64_t want, auto&& call) {
      const uint64_t before = counts().allocations;
      call();
      steps.finish();
      CHECK_MSG(
          counts().allocations - before == want, "%d sequences, %s: %d allocations, expected %d",
          sequences, what, static_cast<int>(counts().allocations - before), static_cast<int>(want));
    };
    const auto keep = [&](const char* what, const Ints& layers, uint64_t want) {
      taken(what, want, [&] {
        ok(espalier_session_keep_hidden(
            steps.session, layers.data(), static_cast<int32_t>(layers.size())));
      });
    };
    const auto step = [&](const char* what, const Ints& layers) {
      taken(what, 0, [&] {
        steps.forward(tree_len);
        if (!layers.empty()) {
          ok(espalier_session_exit_head(
              steps.session, static_cast<int32_t>(layers.size()), layers.data(),
              static_cast<int32_t>(nodes.size()), nodes.data(), token.data(), log_prob.data()));
        }
        ok(espalier_session_draw(
            steps.session, static_cast<int32_t>(nodes.size()), nodes.data(), 61,
            ESPALIER_DRAFT_NOISE, token.data(), log_prob.data(), nullptr, 0));
        steps.verify_and_commit();
      });
    };
    for (int i = 0; i < 3; ++i) step("before anything is asked for", {});

    keep("the first layer", {1}, 1);
    step("one layer is kept", {1});
    keep("a further layer", {0, 2}, 1);
    step("two layers are kept", {0, 2});
    keep("other layers", {1, 2}, 0);
    step("other layers are kept", {1, 2});
    const uint64_t before = counts().releases;
    keep("no layer", {}, 0);
    CHECK_EQ(counts().releases - before, 2u);

    // Contexts almost as long as they can be, of all nodes, on steps that are replayed.
    for (int i = 0; i < 3; ++i) step("before penalties", {});
    const int32_t long_context = sequences == 1 ? 220 : 150;
    for (const int32_t seq : steps.seqs) {
      int32_t length = 0;
      ok(espalier_sequence_length(steps.session, seq, &length));
      ok(espalier_session_prefill(
          steps.session, seq, Ints(long_context - length, 5).data(), long_context - length));
    }
    for (const float temperature : {0.0f, 0.9f}) {
      for (size_t i = 0; i < steps.seqs.size(); ++i) {
        espalier_sampling sampling = how(temperature);
        sampling.presence_penalty = 0.5f;
        taken("penalties", temperature == 0 && i == 0 ? 1 : 0, [&] {
          ok(espalier_sequence_set_sampling(steps.session, steps.seqs[i], &sampling));
        });
      }
      step("penalties", {});
      taken("speculative sampling", 0, [&] {
        steps.forward(tree_len);
        steps.verify_sampling_and_commit(nullptr);
      });
    }
  }
}

TEST(nothing_is_allocated_where_attention_wants_the_most) {
  const Steps steps(1, 1, 16, 600);  // more than sampling; and a second split of the keys
  const uint64_t before = counts().allocations;
  steps.prefill(515);
  steps.forward(kMaxNodes);
  steps.finish();
  CHECK_EQ(counts().allocations, before);
}

TEST(a_session_that_memory_is_too_small_for_is_refused) {
  const Steps steps(1);
  espalier_session_options options{};
  options.size = sizeof options;
  options.num_pages = int64_t{1} << 26;
  options.page_size = 16;
  espalier_session* session = nullptr;
  CHECK_EQ(
      espalier_session_create(steps.ctx, steps.model, &options, &session), ESPALIER_OUT_OF_MEMORY);
  CHECK(session == nullptr);
  steps.forward(1);  // the first session goes on
  steps.verify_and_commit();
}
