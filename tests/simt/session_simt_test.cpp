// Whole models on the emulated device: every kernel of a step together. A token's logits are the same bits alone and in
// a tree, drafted text is plain text, and the CPU backend agrees within the rounding of activations to bf16.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <thread>

#include "check.h"
#include "emulated_device.h"
#include "emulator.h"
#include "espalier.h"
#include "fake_library.h"
#include "support/random_model.h"

namespace {

using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;

const std::filesystem::path kModels =
    std::filesystem::path(__FILE__).parent_path().parent_path() / "models";
constexpr int kBest = 8;  // candidates that drafts learn from

void ok(espalier_status status) {
  if (status != ESPALIER_OK) std::printf("  %s\n", espalier_last_error());
  REQUIRE(status == ESPALIER_OK);
}

/** A model on a device, with one session. */
struct Decoder {
  espalier_context* ctx;
  espalier_model* model = nullptr;
  espalier_session* session = nullptr;
  int32_t vocab = 0;

  Decoder(espalier_context* context, const std::string& dir) : ctx(context) {
    REQUIRE(ctx != nullptr);
    ok(espalier_model_load(ctx, dir.c_str(), &model));
    espalier_model_info info{};
    info.size = sizeof info;
    ok(espalier_model_describe(model, &info));
    vocab = info.vocab;
    espalier_session_options options{};
    options.size = sizeof options;
    options.max_nodes = 80;
    options.num_pages = 24;
    ok(espalier_session_create(ctx, model, &options, &session));
  }
  ~Decoder() {
    espalier_session_destroy(session);
    espalier_model_destroy(model);
    espalier_context_destroy(ctx);
  }

  int32_t create(const espalier_sampling& how) {
    int32_t seq = -1;
    ok(espalier_sequence_create(session, &seq));
    ok(espalier_sequence_set_sampling(session, seq, &how));
    return seq;
  }
  void prefill(int32_t seq, const Tokens& t, size_t count) {
    ok(espalier_session_prefill(session, seq, t.data(), static_cast<int32_t>(count)));
  }
  /** The kBest most likely tokens behind each node. */
  Tokens forward(int32_t seq, const Tokens& token, const Tokens& parent) {
    const int32_t begin[] = {0, static_cast<int32_t>(token.size())};
    Tokens best(token.size() * kBest);
    ok(espalier_session_forward(
        session, 1, &seq, begin, token.data(), parent.data(), kBest, best.data()));
    return best;
  }
  Logits logits(int32_t node) {
    Logits out(static_cast<size_t>(vocab));
    ok(espalier_session_logits(session, node, out.data(), vocab));
    return out;
  }
  void destroy(int32_t seq) { ok(espalier_sequence_destroy(session, seq)); }
};

espalier_context* cpu_context() {
  espalier_context* ctx = nullptr;
  ok(espalier_context_create(ESPALIER_CPU, 0, 1, &ctx));
  return ctx;
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

/** Tokens after a prompt, and the logits that each was chosen from; `draft` proposes a tree behind the text so far. */
struct Text {
  Tokens token;
  std::vector<Logits> logits;
  int passes = 0;
};

/** Proposes nodes behind node 0, which is there; and learns from the candidates of the nodes of a pass. */
struct Draft {
  std::function<void(const Tokens& text, Tokens* token, Tokens* parent)> propose;
  std::function<void(const Tokens& token, const Tokens& best)> observe;
};

Text decode(
    Decoder& on, const Tokens& prompt, int count, const espalier_sampling& how,
    const Draft& draft) {
  const int32_t seq = on.create(how);
  on.prefill(seq, prompt, prompt.size() - 1);
  Text out;
  Tokens text = prompt;
  while (static_cast<int>(out.token.size()) < count) {
    Tokens token{text.back()}, parent{-1};
    if (draft.propose) draft.propose(text, &token, &parent);
    const Tokens best = on.forward(seq, token, parent);
    if (draft.observe) draft.observe(token, best);
    Tokens choice(token.size()), path(token.size());
    int32_t accept_len = 0;
    ok(espalier_session_verify(on.session, choice.data(), path.data(), &accept_len));
    int32_t node = 0;
    for (int32_t i = 0; i <= accept_len; ++i) {
      out.logits.push_back(on.logits(node));
      out.token.push_back(choice[node]);
      text.push_back(choice[node]);
      if (i < accept_len) node = path[i];
    }
    ok(espalier_session_commit(on.session, path.data(), &accept_len));
    ++out.passes;
  }
  out.token.resize(count);
  out.logits.resize(count);
  on.destroy(seq);
  return out;
}

/** A tree of `nodes` drafts around the true continuation, most of them wrong, and the truth in places of its own. */
Draft around(const Tokens& truth, size_t prompt, int nodes, int32_t vocab, uint64_t seed) {
  const auto propose = [=](const Tokens& text, Tokens* token, Tokens* parent) {
    std::mt19937 random(static_cast<uint32_t>(seed + text.size()));
    int32_t on_path = 0;
    size_t next = text.size() - prompt;
    for (int i = 1; i <= nodes; ++i) {
      const bool right = i % 3 == 0 && next < truth.size();
      parent->push_back(right ? on_path : static_cast<int32_t>(random() % token->size()));
      token->push_back(right ? truth[next] : static_cast<int32_t>(random() % vocab));
      if (right) {
        on_path = i;
        ++next;
      }
    }
  };
  return {propose, {}};
}

/** Token recycling: behind each token the candidates that the target last had there, in a tree of 64 nodes. */
class TokenRecycling {
 public:
  Draft draft() {
    return {
        [this](const Tokens&, Tokens* token, Tokens* parent) { propose(token, parent); },
        [this](const Tokens& token, const Tokens& best) { observe(token, best); }};
  }

  void observe(const Tokens& token, const Tokens& best) {
    for (size_t i = 0; i < token.size(); ++i) {
      after_[token[i]].assign(best.begin() + i * kBest, best.begin() + (i + 1) * kBest);
    }
  }

 private:
  static constexpr size_t kNodes = 64;

  void propose(Tokens* token, Tokens* parent) const {
    Tokens depth = {0};
    for (size_t node = 0; node < token->size(); ++node) {
      const auto known = after_.find((*token)[node]);
      if (known == after_.end()) continue;
      const int children = std::max(1, 4 >> depth[node]);
      for (int i = 0; i < children && token->size() < kNodes; ++i) {
        token->push_back(known->second[i]);
        parent->push_back(static_cast<int32_t>(node));
        depth.push_back(depth[node] + 1);
      }
    }
  }

  std::map<int32_t, Tokens> after_;
};

/** A draft model: gamma tokens, one after the other, with the noise of the target. */
class DraftModel {
 public:
  DraftModel(espalier_context* ctx, const std::string& dir, const espalier_sampling& how)
      : q_(ctx, dir), seq_(q_.create(how)) {}

  Draft draft() {
    return {
        [this](const Tokens& text, Tokens* token, Tokens* parent) { propose(text, token, parent); },
        {}};
  }

 private:
  static constexpr int kGamma = 4;

  void propose(const Tokens& text, Tokens* token, Tokens* parent) {
    // What was accepted is in its cache; the rest of it goes.
    size_t same = 0;
    while (same < held_.size() && same + 1 < text.size() && held_[same] == text[same]) ++same;
    ok(espalier_sequence_rollback(q_.session, seq_, static_cast<int32_t>(same)));
    const Tokens rest(text.begin() + static_cast<int64_t>(same), text.end() - 1);
    if (!rest.empty()) q_.prefill(seq_, rest, rest.size());
    held_.assign(text.begin(), text.end() - 1);
    for (int i = 0; i < kGamma; ++i) {
      q_.forward(seq_, {token->back()}, {-1});
      int32_t choice = 0, path = 0, accept_len = 0;
      ok(espalier_session_verify(q_.session, &choice, &path, &accept_len));
      ok(espalier_session_commit(q_.session, &path, &accept_len));
      held_.push_back(token->back());
      token->push_back(choice);
      parent->push_back(i);
    }
  }

  Decoder q_;
  int32_t seq_;
  Tokens held_;  // tokens whose KV is in the draft's cache
};

void check_same(const Text& got, const Text& want, const char* what) {
  CHECK_MSG(got.token == want.token, "%s: other tokens than in plain decoding", what);
  for (size_t i = 0; i < want.logits.size(); ++i) {
    CHECK_MSG(
        std::memcmp(
            got.logits[i].data(), want.logits[i].data(), want.logits[i].size() * sizeof(float)) ==
            0,
        "%s: logits of token %zu are other bits than in plain decoding", what, i);
  }
}

/** norm(a - b) / norm(b). */
double distance(const Logits& a, const Logits& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    size += double{b[i]} * b[i];
  }
  return std::sqrt(difference / size);
}

/** The same text on the CPU, in one pass: the largest distance of the logits of a token. */
double distance_from_cpu(
    const std::string& dir, const Tokens& prompt, const Text& text, const espalier_sampling& how) {
  Decoder cpu(cpu_context(), dir);
  const int32_t seq = cpu.create(how);
  cpu.prefill(seq, prompt, prompt.size() - 1);
  Tokens token{prompt.back()}, parent{-1};
  for (size_t i = 0; i + 1 < text.token.size(); ++i) {
    token.push_back(text.token[i]);
    parent.push_back(static_cast<int32_t>(i));
  }
  cpu.forward(seq, token, parent);
  double most = 0;
  for (size_t i = 0; i < text.token.size(); ++i) {
    most = std::max(most, distance(text.logits[i], cpu.logits(static_cast<int32_t>(i))));
  }
  return most;
}

/**
 * Plain and drafted decoding, greedy and sampled, on the emulated device; and the CPU's logits of the same text. Drafts
 * are trees of `nodes` around the text, or by token recycling and a draft model where there is one.
 */
void check_model(
    const std::string& dir, const std::string& draft_dir, const Tokens& prompt, int count,
    int nodes, const espalier::CublasLtOptions& cublaslt = {}) {
  Decoder device(espalier_test::create_emulated_context(cublaslt), dir);
  for (const float temperature : {0.0f, 0.8f}) {
    const espalier_sampling how = sampled(temperature, 5);
    TokenRecycling recycling;
    Draft learn;
    learn.observe = [&](const Tokens& token, const Tokens& best) {
      recycling.observe(token, best);
    };
    const auto allocations = simt::emulated::counts().allocations;
    const Text plain = decode(device, prompt, count, how, learn);
    CHECK_EQ(plain.passes, count);
    CHECK_EQ(simt::emulated::counts().allocations, allocations);
    const auto check_draft = [&](const char* what, const Draft& draft) {
      const Text drafted = decode(device, prompt, count, how, draft);
      const std::string name =
          std::string(what) + ", temperature " + (temperature == 0 ? "0" : "0.8");
      check_same(drafted, plain, name.c_str());
      CHECK_MSG(
          drafted.passes < count, "%s: passes = %d, expected less than %d", name.c_str(),
          drafted.passes, count);
      std::printf("  %s: %d tokens in %d passes\n", name.c_str(), count, drafted.passes);
    };
    check_draft("a tree", around(plain.token, prompt.size(), nodes, device.vocab, 3));
    if (!draft_dir.empty()) {
      check_draft("token recycling", recycling.draft());
      DraftModel model(espalier_test::create_emulated_context(), draft_dir, how);
      check_draft("a draft model", model.draft());
    }
    const double most = distance_from_cpu(dir, prompt, plain, how);
    std::printf("  distance from the CPU %.1e\n", most);
    CHECK_MSG(most <= 1e-2, "distance from the CPU backend = %g, expected at most 1e-2", most);
  }
}

}  // namespace

TEST(a_random_model_decodes_and_drafts_change_nothing) {
  for (const bool tied : {true, false}) {
    espalier_test::RandomModel shape;
    shape.tied = tied;
    shape.hidden = 64;
    shape.head_dim = 64;
    shape.max_positions = 256;
    espalier_test::TemporaryFolder folder;
    espalier_test::write_random_model(shape, folder.path());
    Tokens prompt;
    for (int i = 0; i < 70; ++i) prompt.push_back((i * 7 + i / 9) % shape.vocab);
    check_model(folder.path(), "", prompt, 6, 15);
  }
}

TEST(tiny_java_decodes_and_drafts_change_nothing) {
  Tokens prompt;
  for (int i = 0; i < 20; ++i) prompt.push_back(100 + i * 13);
  check_model(
      (kModels / "tiny-java").string(), (kModels / "tiny-java-draft").string(), prompt, 6, 63);
}

TEST(tiny_java_reads_its_prompt_by_cublaslt_and_drafts_change_nothing) {
  espalier_test::fake_library().reset();
  Tokens prompt;
  for (int i = 0; i < 90; ++i) prompt.push_back(100 + i * 13);
  // A piece of 80 rows, and one of 9 for our own kernels.
  check_model(
      (kModels / "tiny-java").string(), "", prompt, 6, 15,
      {{espalier_test::kFakeFolder}, {80, 80, 0}});
  // q, k, v, o, gate, up, down of 8 layers, plain and drafted, greedy and sampled; four shapes.
  CHECK_EQ(espalier_test::fake_library().matmuls, 7 * 8 * 2 * 2);
  CHECK_EQ(espalier_test::fake_library().heuristics, 4);
  CHECK_EQ(espalier_test::fake_library().algorithm_rows, 80);
}

TEST(models_on_two_threads_do_not_disturb_each_other) {
  espalier_test::RandomModel shape;
  shape.hidden = 64;
  shape.head_dim = 64;
  shape.max_positions = 256;
  espalier_test::TemporaryFolder folder;
  espalier_test::write_random_model(shape, folder.path());
  constexpr int kThreads = 2, kTexts = 2;
  const auto decode_texts = [&](int thread) {
    Decoder device(espalier_test::create_emulated_context(), folder.path());
    std::vector<Text> texts;
    for (int i = 0; i < kTexts; ++i) {
      Tokens prompt;
      for (int k = 0; k < 12 + 5 * i; ++k) prompt.push_back((k * 7 + thread * 3 + i) % shape.vocab);
      const espalier_sampling how = sampled(i % 2 == 0 ? 0 : 0.8f, 7 + i);
      texts.push_back(
          decode(device, prompt, 4, how, around(Tokens(4, 1), prompt.size(), 9, shape.vocab, i)));
    }
    return texts;
  };
  std::vector<std::vector<Text>> alone(kThreads), together(kThreads);
  for (int i = 0; i < kThreads; ++i) alone[i] = decode_texts(i);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] { together[i] = decode_texts(i); });
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kThreads; ++i) {
    for (int k = 0; k < kTexts; ++k) check_same(together[i][k], alone[i][k], "two threads");
  }
}
