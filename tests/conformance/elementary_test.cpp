// exp and log of ops/elementary.h against fp64, and the units of masses.
#include "ops/elementary.h"

#include "check.h"
#include "ops.h"
#include "ops/law.h"
#include "ops/philox.h"

using namespace espalier;

namespace {

/** Largest error of f against fp64, relative, over numbers that are evenly spread in [from, to]. */
template <class F, class Exact>
double worst(double from, double to, F&& f, Exact&& exact) {
  ops::Random random(1);
  double most = 0;
  for (int i = 0; i < 400000; ++i) {
    const auto x = static_cast<float>(from + (to - from) * random.uniform());
    const double want = exact(static_cast<double>(x));
    if (want != 0) most = std::max(most, std::fabs(f(x) - want) / std::fabs(want));
  }
  return most;
}

}  // namespace

TEST(exp_is_within_its_bound) {
  const auto exact = [](double x) { return std::exp(x); };
  for (const double least : {-87.0, -10.0, -1.0, -1e-3}) {
    const double error = worst(least, 0, exp_fp32, exact);
    CHECK_MSG(error <= 0x1p-22, "from %g to 0: error 2^%g", least, std::log2(error));
    std::printf("  exp from %g: largest error 2^%.2f\n", least, std::log2(error));
  }
  CHECK_EQ(exp_fp32(0.0f), 1.0f);
  CHECK_EQ(exp_fp32(-0.0f), 1.0f);
  CHECK(exp_fp32(kLeastZ) >= std::numeric_limits<float>::min());
  for (float x = kLeastZ, before = 0; x <= 0; x += 0x1p-8f) {
    CHECK(exp_fp32(x) > before);
    before = exp_fp32(x);
  }
}

TEST(log_is_within_its_bound) {
  const auto exact = [](double x) { return std::log(x); };
  for (const double most : {1e-30, 1e-3, 0.6, 1e6}) {
    const double error = worst(most / 1000, most, log_fp32, exact);
    CHECK_MSG(error <= 0x1p-22, "to %g: error 2^%g", most, std::log2(error));
    std::printf("  log to %g: largest error 2^%.2f\n", most, std::log2(error));
  }
  const double near_1 = worst(
      0.5, 2, [](float x) { return 1 + (log_fp32(x) - std::log(static_cast<double>(x))); },
      [](double) { return 1.0; });
  CHECK_MSG(near_1 <= 0x1p-24, "near 1: error 2^%g", std::log2(near_1));
  CHECK_EQ(log_fp32(1.0f), 0.0f);
  const double small = worst(-0.25, 0.4, log1p_fp32, [](double x) { return std::log1p(x); });
  CHECK_MSG(small <= 0x1p-22, "log1p: error 2^%g", std::log2(small));
}

TEST(gumbel_noise_is_that_of_its_word) {
  ops::Random random(2);
  for (int i = 0; i < 400000; ++i) {
    const auto word = static_cast<uint32_t>(random.bits() >> (32 + i % 32));
    const double u = (word + 0.5) * 0x1p-32;
    const double want = -std::log(-std::log1p(-u));
    CHECK_MSG(
        std::fabs(gumbel(word) - want) <= 0x1p-21 * (1 + std::fabs(want)), "word %u: %.9g, %.9g",
        word, gumbel(word), want);
  }
}

TEST(masses_of_whole_vocabularies_fit_and_are_precise) {
  for (const int64_t vocab : {1LL, 2LL, 3LL, 1LL << 17, 128256LL, 262144LL, 0x7fffffffLL}) {
    const float unit = mass_unit(static_cast<int32_t>(vocab));
    CHECK(static_cast<double>(unit) * static_cast<double>(vocab) <= 0x1p62);
    CHECK(static_cast<double>(unit) * static_cast<double>(vocab) > 0x1p61);
    CHECK_EQ(units_of(1.0f, unit), static_cast<int64_t>(unit));
    CHECK_EQ(mass_of(units_of(1.0f, unit), unit), 1.0f);
  }
  CHECK_EQ(mass_unit(1 << 17), 0x1p45f);
}
