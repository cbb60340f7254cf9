// rms_norm: root mean square norm.
//
// Math    out = x / sqrt(mean(x^2) + eps) * weight
// Shapes  x, out [rows, hidden], weight [hidden]; out may be x
// Rows    the squares of a row are summed in sixteen partial sums, element i in sum i mod 16, then
//         pairwise
// Error   relative, each element: half of the sum's, (hidden / 16 + 5) / 2 * 2^-24, and 8 * 2^-24
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

void CpuBackend::rms_norm(const RmsNormArgs& args) {
  const int64_t hidden = args.hidden;
  with_type(args.weight_type, [&](const auto* type) {
    const auto* weight = static_cast<decltype(type)>(args.weight);
    pool_.parallel_for(args.rows, 1 + 16384 / (hidden + 1), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const float* x = args.x + r * hidden;
        float* out = args.out + r * hidden;
        const float factor =
            1.0f / std::sqrt(sum_of_squares(x, hidden) / static_cast<float>(hidden) + args.eps);
        for (int64_t i = 0; i < hidden; ++i) out[i] = x[i] * factor * to_float(weight[i]);
      }
    });
  });
}

}  // namespace espalier
