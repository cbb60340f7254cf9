// sample: the k most favoured next tokens of each row.
//
// Math    l = logits after the penalties of the row's history; z = (l - max l) / temperature; kept
//         tokens: the top_k largest z, of those the fewest with mass >= top_p, of those the ones
//         with exp(z) >= min_p; law = exp(z) over its sum. A draw is the largest z + noise, k draws
//         are the k largest: without replacement, in order. Greedy (temperature <= 1e-5 or top_k =
//         1): the k largest l; the law is all on the first, log_prob is that of the softmax of l
// Shapes  logits [rows, vocab], history_begin [rows + 1], position [rows], token, log_prob [rows,
//         k], prob [rows, vocab]
// Rows    the noise of a token is keyed by seed, stream, position and token; see ops/philox.h
// Ties    every order is by value, then by the lower id
// Error   prob: relative 2^-24 * (6 (|z| + 10) + 8 / temperature + 4). A token of less than e^-87
//         times the largest probability is not kept, so that no kept token has a probability of 0
//         in fp32
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/best_k.h"
#include "cpu/cpu_backend.h"
#include "ops/law.h"
#include "ops/philox.h"

namespace espalier {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/** Works on one row after the other; keeps its memory between them. */
class Sampler {
 public:
  explicit Sampler(const SampleArgs& args)
      : args_(args), vocab_(args.vocab), unit_(mass_unit(args.vocab)) {}

  void run(int64_t r) {
    const espalier_sampling& s = args_.sampling[r];
    int32_t* token = args_.token + r * args_.k;
    float* log_prob = args_.log_prob == nullptr ? nullptr : args_.log_prob + r * args_.k;
    float* prob = args_.prob == nullptr ? nullptr : args_.prob + r * vocab_;
    std::fill_n(token, args_.k, -1);
    if (log_prob != nullptr) std::fill_n(log_prob, args_.k, -kInfinity);
    if (prob != nullptr) std::fill_n(prob, vocab_, 0.0f);

    const float* raw = args_.logits + (args_.row == nullptr ? r : args_.row[r]) * vocab_;
    float max = largest(raw);
    args_.bad[r] = max < kInfinity && max > -kInfinity ? 0 : 1;  // false for NaN too
    if (args_.bad[r] != 0) return;
    const float* l = raw;
    if (has_penalties(s) && args_.history_begin[r] < args_.history_begin[r + 1]) {
      l = penalize(raw, s, r);
      max = largest(l);
    }
    if (is_greedy(s)) {
      choose_greedily(l, max, s, token, log_prob, prob);
    } else {
      keep(l, max, s);
      draw(s, args_.position[r], token, log_prob);
      if (prob != nullptr) write_law(prob);
    }
  }

 private:
  /** NaN when there is one; never -0. */
  float largest(const float* x) const {
    constexpr int kLanes = 16;
    float max[kLanes], nan[kLanes];
    std::fill_n(max, kLanes, -kInfinity);
    std::fill_n(nan, kLanes, 0.0f);
    int32_t i = 0;
    for (; i + kLanes <= vocab_; i += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) {
        max[lane] = x[i + lane] > max[lane] ? x[i + lane] : max[lane];
        nan[lane] += x[i + lane] != x[i + lane] ? 1.0f : 0.0f;
      }
    }
    for (int lane = 0; i + lane < vocab_; ++lane) {
      max[lane] = x[i + lane] > max[lane] ? x[i + lane] : max[lane];
      nan[lane] += x[i + lane] != x[i + lane] ? 1.0f : 0.0f;
    }
    float all = -kInfinity, any_nan = 0;
    for (int lane = 0; lane < kLanes; ++lane) {
      all = std::max(all, max[lane]);
      any_nan += nan[lane];
    }
    return any_nan > 0 ? std::numeric_limits<float>::quiet_NaN() : all + 0.0f;
  }

  const float* penalize(const float* raw, const espalier_sampling& s, int64_t r) {
    penalized_.assign(raw, raw + vocab_);
    count_.resize(vocab_);
    const int32_t* begin = args_.history + args_.history_begin[r];
    const int32_t* end = args_.history + args_.history_begin[r + 1];
    for (const int32_t* t = begin; t < end; ++t) ++count_[*t];
    for (const int32_t* t = begin; t < end; ++t) {
      const int32_t count = count_[*t];
      if (count == 0) continue;  // done at its first occurrence
      count_[*t] = 0;
      penalized_[*t] = penalized(penalized_[*t], count, s);
    }
    return penalized_.data();
  }

  void choose_greedily(
      const float* l, float max, const espalier_sampling& s, int32_t* token, float* log_prob,
      float* prob) {
    best_.clear(args_.k);
    offer_row(l, vocab_, &best_);
    while_kept(token, [&](int32_t x) { return l[x] > -kInfinity; });
    if (prob != nullptr) prob[token[0]] = 1;
    if (log_prob == nullptr) return;
    rate(l, max, s);
    int64_t mass = 0;
    for (int32_t x = 0; x < vocab_; ++x) mass += units_of(weight_of(z_[x]), unit_);
    write_log_prob(token, mass, log_prob);
  }

  template <class Kept>
  void while_kept(int32_t* token, Kept&& kept) {
    for (int32_t i = 0; i < best_.size() && kept(best_.idx(i)); ++i) token[i] = best_.idx(i);
  }

  void rate(const float* l, float max, const espalier_sampling& s) {
    z_.resize(vocab_);
    for (int32_t x = 0; x < vocab_; ++x) z_[x] = z_of(l[x], max, s);
  }

  /** Fills kept_ with the tokens of the law in ascending order, and z_. */
  void keep(const float* l, float max, const espalier_sampling& s) {
    rate(l, max, s);
    kept_.clear();
    for (int32_t x = 0; x < vocab_; ++x) {
      if (z_[x] >= kLeastZ) kept_.push_back(x);
    }
    const auto before = [this](int32_t a, int32_t b) {
      return z_[a] > z_[b] || (z_[a] == z_[b] && a < b);
    };
    if (s.top_k > 0 && s.top_k < static_cast<int32_t>(kept_.size())) {
      std::nth_element(kept_.begin(), kept_.begin() + s.top_k - 1, kept_.end(), before);
      kept_.resize(s.top_k);
    }
    if (s.top_p < 1) keep_mass(s.top_p, before);
    if (s.min_p > 0) {
      std::erase_if(kept_, [&](int32_t x) { return weight_of(z_[x]) < s.min_p; });
    }
    if (has_filters(s)) std::sort(kept_.begin(), kept_.end());
  }

  /** Keeps the fewest tokens, best first, whose mass is at least top_p of all. */
  template <class Before>
  void keep_mass(float top_p, Before&& before) {
    const int64_t wanted = wanted_units(mass(), top_p);
    int64_t sum = 0;
    size_t len = 0, sorted = 0;
    for (; len < kept_.size() && (len == 0 || sum < wanted); ++len) {
      if (len == sorted) {  // a part at a time: mostly a few tokens are enough
        sorted = std::min(kept_.size(), std::max<size_t>(256, 8 * sorted));
        std::nth_element(kept_.begin() + len, kept_.begin() + (sorted - 1), kept_.end(), before);
        std::sort(kept_.begin() + len, kept_.begin() + sorted, before);
      }
      sum += units_of(weight_of(z_[kept_[len]]), unit_);
    }
    kept_.resize(len);
  }

  void draw(const espalier_sampling& s, int32_t position, int32_t* token, float* log_prob) {
    const Purpose purpose =
        args_.noise == ESPALIER_DRAFT_NOISE ? Purpose::kDraft : Purpose::kTarget;
    best_.clear(args_.k);
    PhiloxBlock block = {};
    int32_t block_idx = -1;
    for (const int32_t x : kept_) {
      if (!best_.wants(z_[x] + kGumbelMax)) continue;
      if (x / 4 != block_idx) {
        block_idx = x / 4;
        block = noise_block(s.seed, s.stream, position, x, purpose);
      }
      const uint32_t word = block[x & 3];
      if (best_.wants(z_[x] + gumbel_bound(word))) best_.offer(z_[x] + gumbel(word), x);
    }
    while_kept(token, [](int32_t) { return true; });
    if (log_prob != nullptr) write_log_prob(token, mass(), log_prob);
  }

  /** Units of the kept tokens. */
  int64_t mass() const {
    int64_t sum = 0;
    for (const int32_t x : kept_) sum += units_of(weight_of(z_[x]), unit_);
    return sum;
  }

  void write_log_prob(const int32_t* token, int64_t mass, float* log_prob) const {
    const float log_mass = log_fp32(mass_of(mass, unit_));
    for (int32_t i = 0; i < args_.k && token[i] >= 0; ++i) log_prob[i] = z_[token[i]] - log_mass;
  }

  void write_law(float* prob) const {
    const float all = mass_of(mass(), unit_);
    for (const int32_t x : kept_) prob[x] = weight_of(z_[x]) / all;
  }

  const SampleArgs& args_;
  const int32_t vocab_;
  const float unit_;  // of masses
  // Of this thread, so that a call allocates nothing once they have their size.
  static thread_local BestK best_;
  static thread_local std::vector<float> penalized_, z_;
  static thread_local std::vector<int32_t> count_, kept_;
};

thread_local BestK Sampler::best_;
thread_local std::vector<float> Sampler::penalized_, Sampler::z_;
thread_local std::vector<int32_t> Sampler::count_, Sampler::kept_;

}  // namespace

void CpuBackend::sample(const SampleArgs& args) {
  pool_.parallel_for(args.rows, 1, [&](int64_t begin, int64_t end) {
    Sampler sampler(args);
    for (int64_t r = begin; r < end; ++r) sampler.run(r);
  });
}

}  // namespace espalier
