// rms_norm: root mean square norm.
//
// Math    out = x / sqrt(mean(x^2) + eps) * weight
// Shapes  x, out [rows, hidden], weight [hidden]; out may be x
// Rows    the squares of a row are summed in sixteen partial sums, element i in sum i mod 16, then
//         pairwise
// Error   relative, each element: half of the sum's, (hidden / 16 + 5) / 2 * 2^-24, and 8 * 2^-24
#include "cpu/rms_norm.h"

#include <cmath>

#include "cpu/convert.h"
#include "cpu/cpu_backend.h"

namespace espalier {
namespace {

float sum_of_squares(const float* x, int64_t hidden) {
  constexpr int kSums = 16;
  float sum[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= hidden; i += kSums) {
    for (int lane = 0; lane < kSums; ++lane) sum[lane] += x[i + lane] * x[i + lane];
  }
  for (int lane = 0; i + lane < hidden; ++lane) sum[lane] += x[i + lane] * x[i + lane];
  for (int width = kSums / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) sum[lane] += sum[lane + width];
  }
  return sum[0];
}

}  // namespace

void norm_row(const Norm& norm, const float* x, int64_t len, float* out) {
  with_type(norm.type, [&](const auto* type) {
    const auto* weight = static_cast<decltype(type)>(norm.weight);
    const float factor =
        1.0f / std::sqrt(sum_of_squares(x, len) / static_cast<float>(len) + norm.eps);
    for (int64_t i = 0; i < len; ++i) out[i] = x[i] * factor * to_float(weight[i]);
  });
}

void CpuBackend::rms_norm(const RmsNormArgs& args) {
  const int64_t hidden = args.hidden;
  const Norm norm{args.weight, args.weight_type, args.eps};
  pool_.parallel_for(args.rows, 1 + 16384 / (hidden + 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      norm_row(norm, args.x + r * hidden, hidden, args.out + r * hidden);
  });
}

}  // namespace espalier
