#include "cpu/instructions.h"

#include <cstdlib>
#include <cstring>

#include "runtime/status.h"

namespace espalier {
namespace {

const char* name(Instructions path) {
  switch (path) {
    case Instructions::kAvx512:
      return "avx512";
    case Instructions::kAvx2:
      return "avx2";
    default:
      return "plain";
  }
}

Instructions best_path() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  if (avx512) return Instructions::kAvx512;
  if (avx2) return Instructions::kAvx2;
#endif
  return Instructions::kPlain;
}

}  // namespace

Instructions cpu_path() {
  static const Instructions best = best_path();
  const char* wanted = std::getenv("ESPALIER_CPU_INSTRUCTIONS");
  if (wanted == nullptr || *wanted == '\0') return best;
  for (const Instructions path :
       {Instructions::kPlain, Instructions::kAvx2, Instructions::kAvx512}) {
    if (std::strcmp(wanted, name(path)) == 0 && path <= best) return path;
  }
  fail(
      ESPALIER_UNAVAILABLE, "ESPALIER_CPU_INSTRUCTIONS = %s, expected one of %s on this processor",
      wanted,
      best == Instructions::kAvx512 ? "avx512, avx2, plain"
      : best == Instructions::kAvx2 ? "avx2, plain"
                                    : "plain");
}

const char* cpu_instructions() { return name(cpu_path()); }

}  // namespace espalier
