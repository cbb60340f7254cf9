#include "runtime/checks.h"

#include <cmath>

#include "runtime/status.h"

namespace espalier {
namespace {

void check(bool good, const char* name, double value, const char* rule) {
  if (!good) fail(ESPALIER_INVALID_ARGUMENT, "%s = %g, expected %s", name, value, rule);
}

}  // namespace

void check_sampling(const espalier_sampling& s) {
  if (s.size != sizeof s)
    fail(ESPALIER_INVALID_ARGUMENT, "sampling.size = %u, expected %zu", s.size, sizeof s);
  check(std::isfinite(s.temperature) && s.temperature >= 0, "temperature", s.temperature, ">= 0");
  check(s.top_k >= 0, "top_k", s.top_k, ">= 0; 0 is off");
  check(s.top_p > 0 && s.top_p <= 1, "top_p", s.top_p, "more than 0 and at most 1");
  check(s.min_p >= 0 && s.min_p < 1, "min_p", s.min_p, ">= 0 and less than 1");
  check(
      std::isfinite(s.repetition_penalty) && s.repetition_penalty > 0, "repetition_penalty",
      s.repetition_penalty, "more than 0");
  check(
      std::isfinite(s.presence_penalty), "presence_penalty", s.presence_penalty, "a finite number");
  check(
      std::isfinite(s.frequency_penalty), "frequency_penalty", s.frequency_penalty,
      "a finite number");
}

}  // namespace espalier
