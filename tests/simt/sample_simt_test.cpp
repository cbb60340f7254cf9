// sample: the kernels equal the CPU backend, bit for bit: tokens, probabilities, log-probabilities, bad rows.
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "launchers.h"
#include "ops/law.h"
#include "orders.h"

using namespace espalier;
using simt::emulated::Buffer;
using simt::emulated::for_each_order;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/** Rows with their options; each row's context is history[begin[r]] .. history[begin[r + 1] - 1]. */
struct Rows {
  int32_t vocab, k, noise;
  std::vector<float> logits;
  std::vector<int32_t> row, history, begin = {0}, position;
  std::vector<espalier_sampling> sampling;
  bool wants_prob = true, wants_log_prob = true;

  explicit Rows(int32_t of_vocab, int32_t of_k = 1, int32_t of_noise = ESPALIER_TARGET_NOISE)
      : vocab(of_vocab), k(of_k), noise(of_noise) {}

  int64_t size() const { return static_cast<int64_t>(position.size()); }

  void add(
      const std::vector<float>& l, const espalier_sampling& s,
      const std::vector<int32_t>& context = {}) {
    logits.insert(logits.end(), l.begin(), l.end());
    row.push_back(static_cast<int32_t>(row.size()));
    history.insert(history.end(), context.begin(), context.end());
    begin.push_back(static_cast<int32_t>(history.size()));
    position.push_back(static_cast<int32_t>(position.size()) * 3 + 1);
    sampling.push_back(s);
  }

  bool filtered() const {
    for (const auto& s : sampling) {
      if (has_filters(s)) return true;
    }
    return false;
  }
};

struct Result {
  std::vector<int32_t> token, bad;
  std::vector<uint32_t> log_prob, prob;
  bool operator==(const Result&) const = default;
};

std::vector<uint32_t> words(const float* x, size_t n) {
  std::vector<uint32_t> w(n);
  std::memcpy(w.data(), x, n * sizeof(float));
  return w;
}

Result on_cpu(const Rows& rows) {
  static const auto cpu = make_cpu_backend(1);
  const size_t n = rows.position.size(), k = rows.k;
  std::vector<int32_t> token(n * k), bad(n);
  std::vector<float> log_prob(n * k), prob(n * rows.vocab);
  cpu->sample(
      {rows.logits.data(), rows.row.data(), rows.history.data(), rows.begin.data(),
       rows.position.data(), rows.sampling.data(), rows.filtered(), rows.noise, token.data(),
       log_prob.data(), prob.data(), bad.data(), rows.size(), rows.vocab, rows.k});
  return {token, bad, words(log_prob.data(), n * k), words(prob.data(), n * rows.vocab)};
}

Result emulated(const Rows& rows) {
  const size_t n = rows.position.size(), k = rows.k;
  const auto logits = Buffer<float>::input("logits", rows.logits);
  const auto row = Buffer<int32_t>::input("row", rows.row);
  const auto history = Buffer<int32_t>::input("history", rows.history);
  const auto begin = Buffer<int32_t>::input("history_begin", rows.begin);
  const auto position = Buffer<int32_t>::input("position", rows.position);
  const auto sampling = Buffer<espalier_sampling>::input("sampling", rows.sampling);
  const auto token = Buffer<int32_t>::output("token", n * k),
             bad = Buffer<int32_t>::output("bad", n);
  const auto log_prob = Buffer<float>::output("log_prob", n * k);
  const auto prob = Buffer<float>::output("prob", n * rows.vocab);
  const SampleArgs args{
      logits.data(),
      row.data(),
      history.data(),
      begin.data(),
      position.data(),
      sampling.data(),
      rows.filtered(),
      rows.noise,
      token.data(),
      rows.wants_log_prob ? log_prob.data() : nullptr,
      rows.wants_prob ? prob.data() : nullptr,
      bad.data(),
      rows.size(),
      rows.vocab,
      rows.k};
  const auto workspace =
      Buffer<uint64_t>::output("workspace", sample_workspace_bytes(args) / 8 + 1);
  cuda_sample(args, workspace.data(), nullptr);
  return {
      token.values(), bad.values(), words(log_prob.data(), n * k),
      words(prob.data(), n * rows.vocab)};
}

void check_equal(const Rows& rows, const char* what) {
  const Result want = on_cpu(rows);
  for_each_order([&](const char* order) {
    const Result got = emulated(rows);
    CHECK_MSG(got.token == want.token, "%s, %s, vocab %d: tokens differ", what, order, rows.vocab);
    CHECK_MSG(got.bad == want.bad, "%s, %s, vocab %d: bad rows differ", what, order, rows.vocab);
    CHECK_MSG(
        got.log_prob == want.log_prob, "%s, %s, vocab %d: log_prob differs", what, order,
        rows.vocab);
    CHECK_MSG(got.prob == want.prob, "%s, %s, vocab %d: prob differs", what, order, rows.vocab);
  });
}

espalier_sampling options(float temperature, std::mt19937& random) {
  espalier_sampling s{};
  s.size = sizeof s;
  s.temperature = temperature;
  s.top_p = 1;
  s.repetition_penalty = 1;
  s.seed = uint64_t{random()} << 32 | random();
  s.stream = random();
  return s;
}

std::vector<float> normals(int64_t n, float scale, std::mt19937& random) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> x(n);
  for (float& value : x) value = normal(random);
  return x;
}

std::vector<int32_t> context(int len, int32_t vocab, std::mt19937& random) {
  std::vector<int32_t> tokens(len);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab % 97);
  return tokens;
}

/** Rows of unlike options: each filter alone, all together, greedy, penalties. */
Rows unlike(int32_t vocab, int32_t k, std::mt19937& random) {
  Rows rows(vocab, k);
  for (int kind = 0; kind < 9; ++kind) {
    espalier_sampling s = options(kind == 0 ? 0.0f : 0.8f, random);
    if (kind == 2 || kind == 5) s.top_k = 1 + static_cast<int32_t>(random() % (vocab + 2));
    if (kind == 3 || kind == 5 || kind == 6) s.top_p = 0.3f + 0.1f * static_cast<float>(kind);
    if (kind == 4 || kind == 5) s.min_p = 0.02f;
    if (kind == 7) s.top_p = 1e-6f;
    std::vector<int32_t> tokens;
    if (kind >= 5) {
      s.repetition_penalty = 1.3f;
      s.presence_penalty = 0.2f;
      s.frequency_penalty = kind == 6 ? -0.1f : 0.1f;
      tokens = context(40 * (kind - 5), vocab, random);
      if (kind == 8) s.temperature = 0;
    }
    rows.add(normals(vocab, kind % 2 == 0 ? 0.5f : 4.0f, random), s, tokens);
  }
  return rows;
}

}  // namespace

TEST(equals_the_cpu_for_unlike_rows_of_every_vocabulary) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int32_t vocab : {1, 2, 31, 33, 1000, 2048, 4096, 4099}) {
    for (const int32_t k : {1, 5, 40}) {
      if (k > vocab || (vocab > 2000 && k == 5)) continue;
      check_equal(unlike(vocab, k, random), "unlike rows");
    }
  }
}

TEST(equals_the_cpu_for_large_vocabularies) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int32_t vocab : {50257, 128256}) {
    Rows rows(vocab);
    espalier_sampling s = options(0.7f, random);
    s.top_k = 1000;
    s.top_p = 0.95f;
    rows.add(normals(vocab, 3, random), s);
    CHECK_MSG(emulated(rows) == on_cpu(rows), "vocab %d", vocab);
  }
}

TEST(equals_the_cpu_for_ties) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int32_t vocab : {40, 5000}) {
    Rows rows(vocab, 3);
    for (int kind = 0; kind < 8; ++kind) {
      espalier_sampling s = options(1, random);
      if (kind % 2 == 0) s.top_k = 2 + static_cast<int32_t>(random() % (vocab - 2));
      if (kind % 4 >= 1) s.top_p = 0.05f + 0.3f * static_cast<float>(kind % 4);
      if (kind == 7) s = options(0, random);
      std::vector<float> l(vocab);
      for (float& x : l) x = static_cast<float>(random() % (kind < 4 ? 3 : 1));
      for (int i = 0; i < 5; ++i) l[random() % vocab] = -0.0f;
      rows.add(l, s);
    }
    check_equal(rows, "ties");
  }
}

TEST(equals_the_cpu_for_masked_and_bad_rows) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int32_t vocab : {17, 4100}) {
    Rows rows(vocab, 4);
    for (const float temperature : {0.0f, 1.0f}) {
      for (int kind = 0; kind < 6; ++kind) {
        espalier_sampling s = options(temperature, random);
        if (kind % 2 == 1) s.top_p = 0.9f;
        std::vector<float> l = normals(vocab, 2, random);
        if (kind == 0) l[vocab - 1] = kNan;
        if (kind == 1) l[vocab - 2] = kInf;
        if (kind == 2) std::fill(l.begin(), l.end(), -kInf);
        if (kind == 3) {
          std::fill(l.begin(), l.end(), -kInf);
          l[vocab - 1] = 3;
        }
        if (kind == 4) l[0] = 3e38f, l[1] = -3e38f;
        if (kind == 5) l[0] = -kNan;
        rows.add(l, s);
      }
    }
    check_equal(rows, "masked");
  }
}

TEST(equals_the_cpu_for_extreme_options) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  Rows rows(300, 8, ESPALIER_DRAFT_NOISE);
  for (const float temperature : {1e-5f, 2e-5f, 1e-3f, 50.0f, 1e30f}) {
    for (const float top_p : {1e-30f, 0.5f, 0.99999994f}) {
      espalier_sampling s = options(temperature, random);
      s.top_p = top_p;
      s.repetition_penalty = top_p == 0.5f ? 1e-30f : 1;
      s.presence_penalty = top_p == 0.5f ? 1e38f : 0;
      rows.add(normals(300, 5, random), s, context(50, 300, random));
    }
  }
  check_equal(rows, "extreme");
}

TEST(a_row_alone_and_among_others_has_the_same_bits) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  const Rows all = unlike(4100, 3, random);
  const Result whole = emulated(all);
  for (int r = 0; r < all.size(); ++r) {
    Rows one(all.vocab, all.k);
    one.add(
        std::vector<float>(
            all.logits.begin() + r * all.vocab, all.logits.begin() + (r + 1) * all.vocab),
        all.sampling[r],
        std::vector<int32_t>(
            all.history.begin() + all.begin[r], all.history.begin() + all.begin[r + 1]));
    one.position[0] = all.position[r];
    const Result got = emulated(one);
    CHECK(std::equal(got.token.begin(), got.token.end(), whole.token.begin() + r * all.k));
    CHECK(std::equal(got.log_prob.begin(), got.log_prob.end(), whole.log_prob.begin() + r * all.k));
    CHECK(std::equal(got.prob.begin(), got.prob.end(), whole.prob.begin() + r * all.vocab));
  }
}

TEST(outputs_may_be_left_out) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  Rows rows = unlike(5000, 2, random);
  const Result want = on_cpu(rows);
  for (const bool prob : {false, true}) {
    rows.wants_prob = prob;
    rows.wants_log_prob = !prob;
    const Result got = emulated(rows);
    CHECK(got.token == want.token && got.bad == want.bad);
    CHECK(prob ? got.prob == want.prob : got.log_prob == want.log_prob);
  }
}

TEST(offsets_beyond_2_to_31_elements) {
  constexpr int32_t kVocab = 4096, kRow = (int64_t{3} << 30) / kVocab;
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  const auto logits = Buffer<float>::sparse("logits", (int64_t{kRow} + 1) * kVocab);
  const auto l = normals(kVocab, 2, random);
  std::copy(l.begin(), l.end(), logits.data() + int64_t{kRow} * kVocab);
  espalier_sampling s = options(0.9f, random);
  Rows rows(kVocab);
  rows.add(l, s);
  const auto row = Buffer<int32_t>::input("row", {kRow});
  const auto begin = Buffer<int32_t>::input("history_begin", {0, 0});
  const auto position = Buffer<int32_t>::input("position", rows.position);
  const auto sampling = Buffer<espalier_sampling>::input("sampling", {s});
  const auto token = Buffer<int32_t>::output("token", 1), bad = Buffer<int32_t>::output("bad", 1);
  const SampleArgs args{logits.data(),   row.data(), nullptr, begin.data(), position.data(),
                        sampling.data(), false,      0,       token.data(), nullptr,
                        nullptr,         bad.data(), 1,       kVocab,       1};
  const auto workspace =
      Buffer<uint64_t>::output("workspace", sample_workspace_bytes(args) / 8 + 1);
  cuda_sample(args, workspace.data(), nullptr);
  CHECK_EQ(token.values()[0], on_cpu(rows).token[0]);
}
