// Chi-square tests of the sampling ops. Seeds differ in every run, so the limits are far out.
#ifndef ESPALIER_TESTS_CONFORMANCE_STATISTICS_H
#define ESPALIER_TESTS_CONFORMANCE_STATISTICS_H

#include <cmath>
#include <cstdint>
#include <vector>

namespace statistics {

/**
 * A normal deviate above this has probability 1e-7: about one false alarm in 1e5 runs of a hundred
 * tests.
 */
constexpr double kLimit = 5.2;

/**
 * How far counts are from a law, as a normal deviate (Wilson and Hilferty's approximation of
 * chi-square). Cells with fewer than five expected are merged; a count where the law has nothing is
 * infinitely far.
 */
inline double deviate(const std::vector<int64_t>& count, const std::vector<double>& law) {
  double total = 0, mass = 0;
  for (const int64_t c : count) total += static_cast<double>(c);
  for (const double p : law) mass += p;
  double chi2 = 0, rest_expected = 0, rest_count = 0;
  int cells = 0;
  const auto add = [&](double c, double e) {
    chi2 += (c - e) * (c - e) / e;
    ++cells;
  };
  for (size_t i = 0; i < law.size(); ++i) {
    const double expected = law[i] / mass * total;
    if (law[i] == 0 && count[i] > 0) return HUGE_VAL;
    if (expected >= 5) {
      add(static_cast<double>(count[i]), expected);
    } else {
      rest_expected += expected;
      rest_count += static_cast<double>(count[i]);
    }
  }
  if (rest_expected > 0.5) add(rest_count, rest_expected);
  if (cells < 2) return 0;
  const double df = cells - 1;
  return (std::cbrt(chi2 / df) - (1 - 2 / (9 * df))) / std::sqrt(2 / (9 * df));
}

/** The same for one event of probability p. */
inline double deviate(int64_t hits, int64_t trials, double p) {
  const double expected = p * static_cast<double>(trials);
  if (p <= 0 || p >= 1) return static_cast<double>(hits) == expected ? 0 : HUGE_VAL;
  return std::fabs(static_cast<double>(hits) - expected) / std::sqrt(expected * (1 - p));
}

}  // namespace statistics

#endif
