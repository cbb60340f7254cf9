// Whole models on the emulated device: every kernel of a step together. A token's logits are the same bits alone and in
// a tree, drafted text is plain text, and the CPU backend agrees within the rounding of activations to bf16.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>

#include "check.h"
#include "emulated_device.h"
#include "emulator.h"
#include "espalier.h"
#include "support/random_model.h"

namespace {

using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;

const std::filesystem::path kTinyJava =
    std::filesystem::path(__FILE__).parent_path().parent_path() / "models" / "tiny-java";

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
  void forward(int32_t seq, const Tokens& token, const Tokens& parent) {
    const int32_t begin[] = {0, static_cast<int32_t>(token.size())};
    ok(espalier_session_forward(session, 1, &seq, begin, token.data(), parent.data(), 0, nullptr));
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

using Draft = std::function<void(const Tokens& text, Tokens* token, Tokens* parent)>;

Text decode(
    Decoder& on, const Tokens& prompt, int count, const espalier_sampling& how,
    const Draft& draft) {
  const int32_t seq = on.create(how);
  on.prefill(seq, prompt, prompt.size() - 1);
  Text out;
  Tokens text = prompt;
  while (static_cast<int>(out.token.size()) < count) {
    Tokens token{text.back()}, parent{-1};
    draft(text, &token, &parent);
    on.forward(seq, token, parent);
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

void no_draft(const Tokens&, Tokens*, Tokens*) {}

/** A tree of `nodes` drafts around the true continuation, most of them wrong, and the truth in places of its own. */
Draft around(const Tokens& truth, size_t prompt, int nodes, int32_t vocab, uint64_t seed) {
  return [=](const Tokens& text, Tokens* token, Tokens* parent) {
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
}

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

/** Plain and drafted decoding, greedy and sampled, on the emulated device; and the CPU's logits of the same text. */
void check_model(const std::string& dir, const Tokens& prompt, int count, int nodes) {
  Decoder device(espalier_test::create_emulated_context(), dir);
  Decoder cpu(cpu_context(), dir);
  for (const float temperature : {0.0f, 0.8f}) {
    const espalier_sampling how = sampled(temperature, 5);
    const Text plain = decode(device, prompt, count, how, no_draft);
    CHECK_EQ(plain.passes, count);
    const Text drafted = decode(
        device, prompt, count, how, around(plain.token, prompt.size(), nodes, device.vocab, 3));
    check_same(drafted, plain, temperature == 0 ? "greedy" : "temperature 0.8");
    CHECK_MSG(drafted.passes < count, "passes = %d, expected less than %d", drafted.passes, count);

    // The same text on the CPU, in one pass.
    const int32_t seq = cpu.create(how);
    cpu.prefill(seq, prompt, prompt.size() - 1);
    Tokens token{prompt.back()}, parent{-1};
    for (int i = 0; i + 1 < count; ++i) {
      token.push_back(plain.token[i]);
      parent.push_back(i);
    }
    cpu.forward(seq, token, parent);
    double most = 0;
    for (int i = 0; i < count; ++i) {
      most = std::max(most, distance(plain.logits[i], cpu.logits(i)));
    }
    std::printf(
        "  temperature %.1f: %d tokens in %d passes of %d nodes; distance from the CPU %.1e\n",
        temperature, count, drafted.passes, nodes + 1, most);
    CHECK_MSG(most <= 1e-2, "distance from the CPU backend = %g, expected at most 1e-2", most);
    cpu.destroy(seq);
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
    check_model(folder.path(), prompt, 6, 15);
  }
}

TEST(tiny_java_decodes_and_drafts_change_nothing) {
  Tokens prompt;
  for (int i = 0; i < 20; ++i) prompt.push_back(100 + i * 13);
  check_model(kTinyJava.string(), prompt, 4, 63);
  const auto counts = simt::emulated::counts();
  std::printf("  %lld threads in all\n", static_cast<long long>(counts.threads));
}
