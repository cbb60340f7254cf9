// sample: the processed law against fp64, draws against the law, the noise against known answers.
#include <algorithm>
#include <map>
#include <numeric>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "ops.h"
#include "ops/philox.h"
#include "statistics.h"

namespace {

using namespace ops;
using Vector = std::vector<float>;
using Ints = std::vector<int32_t>;

espalier_sampling sampling(float temperature, uint64_t seed = 1) {
  espalier_sampling s{};
  s.size = sizeof s;
  s.temperature = temperature;
  s.top_p = 1;
  s.repetition_penalty = 1;
  s.seed = seed;
  return s;
}

struct Result {
  Ints token;
  Vector prob;
};

/** Runs the op on rows of logits; histories are empty, or the same for every row. */
Result run(
    const Context& ctx, const Vector& logits, int vocab, const espalier_sampling& s, int k = 1,
    const Ints& history = {}, const Ints& positions = {}, int32_t noise = ESPALIER_TARGET_NOISE) {
  const int64_t rows = static_cast<int64_t>(logits.size()) / vocab;
  Ints position = positions, all, begin = {0};
  if (position.empty()) position.assign(rows, 5);
  for (int64_t r = 0; r < rows; ++r) {
    all.insert(all.end(), history.begin(), history.end());
    begin.push_back(static_cast<int32_t>(all.size()));
  }
  Buffer logits_buffer(ctx, {rows, vocab}, logits),
      history_buffer(ctx, {static_cast<int64_t>(all.size())}, all);
  Buffer begin_buffer(ctx, {rows + 1}, begin), position_buffer(ctx, {rows}, position);
  Buffer token(ctx, ESPALIER_I32, {rows, k}), prob(ctx, ESPALIER_FP32, {rows, vocab});
  ok(espalier_sample(
      ctx, logits_buffer, history_buffer, begin_buffer, position_buffer, &s, noise, token, prob));
  return {token.read<int32_t>(rows * k), prob.read<float>(rows * vocab)};
}

/** The documented order, in fp64: penalties, temperature, top_k, top_p, min_p, softmax. */
std::vector<double> processed(
    const Vector& logits, const espalier_sampling& s, const Ints& history) {
  const size_t vocab = logits.size();
  std::vector<double> l(logits.begin(), logits.end());
  for (size_t x = 0; x < vocab; ++x) {
    const auto count = std::count(history.begin(), history.end(), static_cast<int32_t>(x));
    if (count == 0) continue;
    l[x] = l[x] > 0 ? l[x] / s.repetition_penalty : l[x] * s.repetition_penalty;
    l[x] -= s.presence_penalty + s.frequency_penalty * static_cast<double>(count);
  }
  std::vector<size_t> order(vocab);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return l[a] > l[b]; });
  size_t keep = s.top_k > 0 ? std::min<size_t>(s.top_k, vocab) : vocab;
  if (s.temperature <= 1e-5f) keep = 1;
  const double temperature = s.temperature <= 1e-5f ? 1 : s.temperature;
  std::vector<double> weight(vocab);
  double mass = 0;
  for (size_t i = 0; i < keep; ++i)
    mass += weight[order[i]] = std::exp((l[order[i]] - l[order[0]]) / temperature);
  double sum = 0, kept_mass = 0;
  for (size_t i = 0; i < keep; ++i) {
    double& w = weight[order[i]];
    const bool kept = (s.top_p == 1 || sum < static_cast<double>(s.top_p) * mass) && w >= s.min_p;
    sum += w;
    if (!kept) w = 0;
    kept_mass += w;
  }
  for (double& w : weight) w /= kept_mass;
  return weight;
}

void check_law(
    const Context& ctx, const Vector& logits, const espalier_sampling& s, const Ints& history) {
  const std::vector<double> law = processed(logits, s, history);
  const Result result = run(ctx, logits, static_cast<int>(logits.size()), s, 1, history);
  double sum = 0;
  for (size_t x = 0; x < law.size(); ++x) {
    // z is rounded to fp32 after a few operations, each within 2^-24 of it; z is below 100 here.
    const double z = law[x] > 0 ? std::fabs(std::log(law[x])) + 10 : 0;
    const double bound = law[x] * (6 * kUlp * z + 8 * kUlp / s.temperature + 4 * kUlp) + 1e-38;
    CHECK_MSG(
        std::fabs(result.prob[x] - law[x]) <= bound,
        "token %zu of %zu: %g, expected %g; temperature %g, top_k %d, top_p %g, min_p %g", x,
        law.size(), result.prob[x], law[x], s.temperature, s.top_k, s.top_p, s.min_p);
    sum += result.prob[x];
  }
  CHECK_MSG(
      std::fabs(sum - 1) <= 1e-6 * std::sqrt(static_cast<double>(law.size())),
      "sum of the law = %g", sum);
  CHECK(result.prob[result.token[0]] > 0);
}

}  // namespace

TEST(philox_gives_the_known_answers) {
  using espalier::philox;
  using Block = espalier::PhiloxBlock;
  CHECK(philox({0, 0, 0, 0}, 0, 0) == (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t f = 0xffffffff;
  CHECK(philox({f, f, f, f}, f, f) == (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK(
      philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0) ==
      (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(gumbel_noise_is_finite_and_falls_with_its_word) {
  float before = espalier::gumbel(0);
  CHECK(before < espalier::kGumbelMax && before > 22.8f && before <= espalier::gumbel_bound(0));
  for (uint64_t word = 1; word < (uint64_t{1} << 32); word += 1 + word / 7) {
    const float g = espalier::gumbel(static_cast<uint32_t>(word));
    CHECK(std::isfinite(g) && g <= before);
    CHECK(g <= espalier::gumbel_bound(static_cast<uint32_t>(word)));
    before = g;
  }
  CHECK(std::isfinite(espalier::gumbel(0xffffffff)) && espalier::gumbel(0xffffffff) > -3.3f);
}

TEST(noise_depends_on_every_part_of_its_key) {
  using espalier::Purpose;
  std::map<float, int> seen;
  int total = 0;
  const auto add = [&](uint64_t seed, uint64_t stream, int32_t position, int32_t token,
                       Purpose purpose) {
    ++seen[espalier::noise(seed, stream, position, token, purpose)];
    ++total;
  };
  for (uint64_t bit = 1; bit != 0; bit <<= 1) add(bit, 0, 0, 0, Purpose::kTarget);
  for (uint64_t bit = 1; bit != 0; bit <<= 1) add(0, bit, 0, 0, Purpose::kTarget);
  for (int32_t bit = 1; bit > 0; bit <<= 1) add(0, 0, bit, 0, Purpose::kTarget);
  for (int32_t bit = 1; bit > 0; bit <<= 1) add(0, 0, 0, bit, Purpose::kTarget);
  for (const Purpose p : {Purpose::kTarget, Purpose::kDraft, Purpose::kAccept, Purpose::kResidual})
    add(0, 0, 0, 0, p);
  CHECK_EQ(static_cast<int>(seen.size()), total);
}

TEST(penalties_and_top_p_of_known_numbers) {
  const Context ctx;
  espalier_sampling s = sampling(1);
  s.repetition_penalty = 2;
  const auto near = [](const Vector& got, const Vector& expected) {
    for (size_t i = 0; i < got.size(); ++i)
      CHECK_MSG(std::fabs(got[i] - expected[i]) < 5e-5f, "%g, expected %g", got[i], expected[i]);
  };
  near(run(ctx, {2, 1, -1}, 3, s, 1, {0}).prob, {0.4683f, 0.4683f, 0.0634f});
  near(run(ctx, {2, 1, -1}, 3, s, 1, {0, 1}).prob, {0.5741f, 0.3482f, 0.0777f});
  s = sampling(1);
  s.top_p = 0.7f;
  near(run(ctx, {std::log(0.5f), std::log(0.3f), std::log(0.2f)}, 3, s).prob, {0.625f, 0.375f, 0});
}

TEST(laws_are_within_the_bound_of_fp64) {
  const Context ctx;
  Random random(1);
  for (const int vocab : {1, 2, 5, 64, 500, 3000}) {
    for (int round = 0; round < 60; ++round) {
      const Vector logits = random.normals(vocab, round % 3 == 0 ? 0.3f : 3);
      espalier_sampling s =
          sampling(0.3f + 1.5f * static_cast<float>(random.uniform()), random.bits());
      if (round % 2 == 0) s.top_k = 2 + random.below(vocab + 3);
      if (round % 4 < 2) s.top_p = 0.05f + 0.949f * static_cast<float>(random.uniform());
      if (round % 8 < 4) s.min_p = 0.3f * static_cast<float>(random.uniform());
      Ints history;
      if (round % 5 == 0) {
        s.repetition_penalty = 1.3f;
        s.presence_penalty = 0.2f;
        s.frequency_penalty = 0.1f;
        for (int i = 0; i < 20; ++i) history.push_back(random.below(vocab));
      }
      check_law(ctx, logits, s, history);
    }
  }
}

TEST(top_k_and_top_p_break_ties_to_the_lowest_ids) {
  const Context ctx;
  espalier_sampling s = sampling(1);
  s.top_k = 3;
  CHECK(run(ctx, {0, 1, 0, 1, 0, 0}, 6, s).prob[0] > 0);
  CHECK(run(ctx, {0, 1, 0, 1, 0, 0}, 6, s).prob[2] == 0);
  s.top_k = 0;
  s.top_p = 0.5f;
  const Vector law = run(ctx, Vector(8, 2), 8, s).prob;
  for (int x = 0; x < 8; ++x) CHECK_EQ(law[x], x < 4 ? 0.25f : 0.0f);
  s.top_p = 1e-6f;
  CHECK_EQ(run(ctx, {0, 3, 3, 1}, 4, s).prob[1], 1.0f);
}

TEST(greedy_takes_the_largest_after_penalties_ties_to_the_lowest_id) {
  const Context ctx;
  const Vector logits = {1, 5, 3, 5, -kInf, 4};
  for (espalier_sampling s : {sampling(0), sampling(1e-5f), sampling(3)}) {
    if (s.temperature == 3) s.top_k = 1;
    Result r = run(ctx, logits, 6, s, 6);
    CHECK(r.token == (Ints{1, 3, 5, 2, 0, -1}));
    CHECK(r.prob == (Vector{0, 1, 0, 0, 0, 0}));
    s.repetition_penalty = 2;
    r = run(ctx, logits, 6, s, 1, {1});
    CHECK_EQ(r.token[0], 3);
    s.repetition_penalty = 1;
    s.frequency_penalty = 0.6f;
    r = run(ctx, logits, 6, s, 2, {1, 3, 3});
    CHECK(r.token == (Ints{1, 5}));  // 5 - 0.6, 4, 5 - 1.2
  }
}

TEST(draws_have_the_processed_law) {
  const Context ctx;
  Random random(2);
  for (int round = 0; round < 4; ++round) {
    const int vocab = 40, draws = 20000;
    const Vector logits = random.normals(vocab, 1.5f);
    espalier_sampling s = sampling(0.9f, random.bits());
    s.stream = random.bits();
    if (round == 1) s.top_k = 10;
    if (round == 2) s.top_p = 0.8f;
    if (round == 3) s.min_p = 0.1f;
    Vector rows;
    Ints positions(draws);
    for (int i = 0; i < draws; ++i) rows.insert(rows.end(), logits.begin(), logits.end());
    std::iota(positions.begin(), positions.end(), 0);
    for (const int32_t noise : {ESPALIER_TARGET_NOISE, ESPALIER_DRAFT_NOISE}) {
      const Result r = run(ctx, rows, vocab, s, 1, {}, positions, noise);
      std::vector<int64_t> count(vocab);
      for (const int32_t t : r.token) ++count[t];
      const double z = statistics::deviate(count, processed(logits, s, {}));
      CHECK_MSG(z < statistics::kLimit, "round %d, noise %d: deviate %g", round, noise, z);
      // The test can fail: a law at a total variation of about 0.05 is seen.
      std::vector<double> other = processed(logits, s, {});
      const auto kept = std::count_if(other.begin(), other.end(), [](double p) { return p > 0; });
      if (kept == 1) continue;  // a law of one token has no neighbour among its tokens
      *std::max_element(other.begin(), other.end()) -= 0.05;
      for (double& p : other) p += p > 0 ? 0.05 / static_cast<double>(kept) : 0;
      CHECK(statistics::deviate(count, other) > statistics::kLimit);
    }
  }
}

TEST(k_draws_are_without_replacement_in_order) {
  const Context ctx;
  Random random(3);
  const int vocab = 5, draws = 60000;
  const Vector logits = {0.5f, -0.2f, 1, 0, -1};
  const espalier_sampling s = sampling(0.8f, random.bits());
  Vector rows;
  Ints positions(draws);
  for (int i = 0; i < draws; ++i) rows.insert(rows.end(), logits.begin(), logits.end());
  std::iota(positions.begin(), positions.end(), 0);
  const Ints token = run(ctx, rows, vocab, s, 3, {}, positions).token;
  const std::vector<double> p = processed(logits, s, {});
  std::vector<int64_t> count(vocab * vocab * vocab);
  std::vector<double> law(count.size());
  for (int i = 0; i < draws; ++i)
    ++count[(token[3 * i] * vocab + token[3 * i + 1]) * vocab + token[3 * i + 2]];
  for (int a = 0; a < vocab; ++a) {
    for (int b = 0; b < vocab; ++b) {
      for (int c = 0; c < vocab; ++c) {
        if (a == b || b == c || a == c) continue;
        law[(a * vocab + b) * vocab + c] = p[a] * p[b] / (1 - p[a]) * p[c] / (1 - p[a] - p[b]);
      }
    }
  }
  const double z = statistics::deviate(count, law);
  CHECK_MSG(z < statistics::kLimit, "deviate %g", z);
}

TEST(a_law_of_fewer_tokens_than_k_ends_with_minus_one) {
  const Context ctx;
  espalier_sampling s = sampling(1);
  s.top_k = 2;
  const Ints token = run(ctx, {1, 2, 3, 4}, 4, s, 4).token;
  CHECK((token[0] == 3 && token[1] == 2) || (token[0] == 2 && token[1] == 3));
  CHECK(token[2] == -1 && token[3] == -1);
  const Ints masked = run(ctx, {-kInf, 2, -kInf, -kInf}, 4, sampling(1), 3).token;
  CHECK(masked == (Ints{1, -1, -1}));
}

TEST(every_drawn_token_has_a_probability_above_zero) {
  const Context ctx;
  Random random(4);
  // At low temperatures the law's tail is below the smallest fp32; drawn tokens must stay
  // verifiable.
  for (const float temperature : {0.01f, 0.05f, 0.2f}) {
    const Vector logits = random.normals(300, 4);
    const Result r = run(ctx, logits, 300, sampling(temperature, random.bits()), 64);
    for (const int32_t t : r.token) CHECK(t < 0 || r.prob[t] > 0);
  }
}

TEST(a_row_alone_and_among_others_has_the_same_bits) {
  const Context ctx, one_thread(1);
  Random random(5);
  const int vocab = 501;
  const Vector logits = random.normals(64 * vocab, 2);
  espalier_sampling s = sampling(0.7f, random.bits());
  s.top_p = 0.95f;
  Ints positions;
  for (int r = 0; r < 64; ++r) positions.push_back(random.below(1000));
  const Result whole = run(ctx, logits, vocab, s, 4, {1, 2, 3}, positions);
  const Result single = run(one_thread, logits, vocab, s, 4, {1, 2, 3}, positions);
  CHECK(whole.token == single.token && whole.prob == single.prob);
  for (const int count : kRowCounts) {
    const int first = random.below(64 - count + 1);
    const Vector part(logits.begin() + first * vocab, logits.begin() + (first + count) * vocab);
    const Ints at(positions.begin() + first, positions.begin() + first + count);
    const Result r = run(ctx, part, vocab, s, 4, {1, 2, 3}, at);
    CHECK(std::equal(r.token.begin(), r.token.end(), whole.token.begin() + first * 4));
    CHECK(same_bits(r.prob.data(), &whole.prob[first * vocab], count * vocab));
  }
}

TEST(the_shortcut_past_hopeless_tokens_changes_nothing) {
  // The draw as it is defined: the largest z + noise over all tokens, without leaving any out.
  const Context ctx;
  Random random(6);
  for (int round = 0; round < 50; ++round) {
    const int vocab = 300;
    const Vector logits = random.normals(vocab, 0.5f + static_cast<float>(round));
    const espalier_sampling s = sampling(1, random.bits());
    const int32_t got = run(ctx, logits, vocab, s).token[0];
    const float max = *std::max_element(logits.begin(), logits.end());
    int32_t best = -1;
    float best_key = -kInf;
    for (int x = 0; x < vocab; ++x) {
      if (logits[x] - max < -87) continue;
      const float key =
          (logits[x] - max) + espalier::noise(s.seed, s.stream, 5, x, espalier::Purpose::kTarget);
      if (key > best_key) {
        best_key = key;
        best = x;
      }
    }
    CHECK_EQ(got, best);
  }
}

TEST(log_probabilities_are_those_of_the_law) {
  // Through the op table: log_prob is an output of sessions only.
  const auto backend = espalier::make_cpu_backend(2);
  Random random(7);
  const int vocab = 200, k = 5;
  const Vector logits = random.normals(vocab, 2);
  for (const float temperature : {0.0f, 0.6f}) {
    const espalier_sampling s = sampling(temperature, random.bits());
    const Ints begin = {0, 0}, position = {3};
    Ints token(k), bad(1);
    Vector log_prob(k), prob(vocab);
    espalier::SampleArgs args{};
    args.logits = logits.data();
    args.history = begin.data();
    args.history_begin = begin.data();
    args.position = position.data();
    args.sampling = &s;
    args.token = token.data();
    args.log_prob = log_prob.data();
    args.prob = prob.data();
    args.bad = bad.data();
    args.rows = 1;
    args.vocab = vocab;
    args.k = k;
    backend->sample(args);
    const std::vector<double> law =
        processed(logits, sampling(temperature == 0 ? 1 : temperature), {});
    for (int i = 0; i < k; ++i) {
      const double expected = std::log(law[token[i]]);
      CHECK_MSG(
          std::fabs(log_prob[i] - expected) <= 1e-5 + 4 * kUlp * std::fabs(expected),
          "temperature %g, rank %d: %g, expected %g", temperature, i, log_prob[i], expected);
    }
  }
}

TEST(logits_that_are_no_numbers_are_named) {
  const Context ctx;
  const espalier_sampling s = sampling(1);
  Buffer history(ctx, ESPALIER_I32, {0}), begin(ctx, {3}, Ints{0, 0, 0}),
      position(ctx, {2}, Ints{0, 0});
  Buffer token(ctx, ESPALIER_I32, {2, 1});
  const auto refuses = [&](const Vector& logits) {
    Buffer logits_buffer(ctx, {2, 17}, logits);
    refused(
        espalier_sample(
            ctx, logits_buffer, history, begin, position, &s, ESPALIER_TARGET_NOISE, token,
            nullptr),
        ESPALIER_NOT_A_NUMBER,
        "espalier_sample: logits of row 1 = NaN, +inf or nothing finite, expected numbers");
    CHECK_EQ(token.read<int32_t>(2)[1], -1);
  };
  for (const int at : {17, 20, 33}) {
    for (const float bad : {kNan, kInf}) {
      Vector logits(34, 1);
      logits[at] = bad;
      refuses(logits);
    }
  }
  Vector masked(34, 1);
  std::fill(masked.begin() + 17, masked.end(), -kInf);
  refuses(masked);
}

TEST(extreme_logits_stay_numbers) {
  const Context ctx;
  espalier_sampling s = sampling(1e-4f);
  CHECK_EQ(run(ctx, {3e38f, -3e38f, 1}, 3, s).prob[0], 1.0f);
  s.repetition_penalty = 1e-30f;
  s.presence_penalty = 1e38f;
  for (const float p : run(ctx, {3e38f, -3e38f, 1}, 3, s, 1, {0, 1, 2}).prob)
    CHECK(std::isfinite(p));
}

TEST(bad_arguments_are_refused_and_outputs_are_untouched) {
  const Context ctx;
  Buffer logits(ctx, ESPALIER_FP32, {2, 4}), history(ctx, {2}, Ints{0, 4}),
      begin(ctx, {3}, Ints{0, 1, 2});
  Buffer position(ctx, {2}, Ints{0, 0}), token(ctx, {2, 1}, Ints{7, 7});
  espalier_sampling s = sampling(1);
  const auto refuses = [&](const std::string& text) {
    refused(
        espalier_sample(
            ctx, logits, history, begin, position, &s, ESPALIER_TARGET_NOISE, token, nullptr),
        ESPALIER_INVALID_ARGUMENT, "espalier_sample: " + text);
  };
  if (espalier_test::on_cpu()) {  // a GPU's memory is not read for checks
    refuses("history[1] = 4, expected 0 <= history < vocab = 4");
    history.write(Ints{0, 3});
    begin.write(Ints{0, 2, 1});
    refuses("history_begin[2] = 1, expected at least history_begin[1] = 2");
    begin.write(Ints{0, 1, 3});
    refuses("history_begin[2] = 3, expected 0 <= history_begin < history_len + 1 = 3");
    begin.write(Ints{0, 1, 2});
    position.write(Ints{0, -1});
    refuses("position[1] = -1, expected 0 <= position < the largest position = 2147483647");
    position.write(Ints{0, 0});
  }
  s.top_p = 0;
  refuses("top_p = 0, expected more than 0 and at most 1");
  CHECK(token.read<int32_t>(2) == (Ints{7, 7}));
}
