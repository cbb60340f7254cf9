// rms_norm against fp64, and row independence bit for bit.
#include "check.h"
#include "ops.h"

namespace {

using namespace ops;
using Vector = std::vector<float>;

Vector run(
    const Context& ctx, const Vector& x, Vector* weight, int32_t type, int64_t hidden, float eps) {
  const int64_t rows = static_cast<int64_t>(x.size()) / hidden;
  Buffer x_buffer(ctx, {rows, hidden}, x), weight_buffer(ctx, type, {hidden}, weight);
  Buffer out(ctx, ESPALIER_FP32, {rows, hidden});
  ok(espalier_rms_norm(ctx, x_buffer, weight_buffer, eps, out));
  return out.read<float>(rows * hidden);
}

}  // namespace

TEST(rows_are_within_the_bound_of_fp64) {
  const Context ctx;
  Random random(1);
  for (const int32_t type : kFloatTypes) {
    for (const int64_t hidden : {1, 2, 15, 16, 17, 40, 256, 4096}) {
      Vector x = random.normals(3 * hidden, 3), weight = random.normals(hidden);
      for (const float eps : {0.0f, 1e-5f, 1.0f}) {
        const Vector out = run(ctx, x, &weight, type, hidden, eps);
        for (int64_t r = 0; r < 3; ++r) {
          double square = 0;
          for (int64_t i = 0; i < hidden; ++i)
            square += static_cast<double>(x[r * hidden + i]) * x[r * hidden + i];
          const double factor = 1 / std::sqrt(square / static_cast<double>(hidden) + eps);
          for (int64_t i = 0; i < hidden; ++i) {
            const double ref = x[r * hidden + i] * factor * weight[i];
            // Half of the sum's relative error, hidden / 16 + 4 roundings, then eight single ones.
            const double bound = ((hidden / 16.0 + 5) / 2 + 8) * kUlp * std::fabs(ref);
            CHECK_MSG(
                std::fabs(out[r * hidden + i] - ref) <= bound,
                "hidden %lld, element %lld, %s: %g, ref %g", static_cast<long long>(hidden),
                static_cast<long long>(i), type_name(type), out[r * hidden + i], ref);
          }
        }
      }
    }
  }
}

TEST(a_row_alone_and_among_others_has_the_same_bits) {
  const Context ctx, one_thread(1);
  Random random(2);
  for (const int64_t hidden : {33, 1000}) {
    const Vector x = random.normals(64 * hidden);
    Vector weight = random.normals(hidden);
    const Vector whole = run(ctx, x, &weight, ESPALIER_BF16, hidden, 1e-5f);
    CHECK(same_bits(
        run(one_thread, x, &weight, ESPALIER_BF16, hidden, 1e-5f).data(), whole.data(),
        64 * hidden));
    for (const int count : kRowCounts) {
      const int first = random.below(64 - count + 1);
      const Vector part(x.begin() + first * hidden, x.begin() + (first + count) * hidden);
      const Vector out = run(ctx, part, &weight, ESPALIER_BF16, hidden, 1e-5f);
      CHECK(same_bits(out.data(), whole.data() + first * hidden, count * hidden));
    }
  }
}

TEST(out_may_be_x_and_nan_stays_in_its_row) {
  const Context ctx;
  Random random(3);
  Vector x = random.normals(4 * 20), weight = random.normals(20);
  const Vector clean = run(ctx, x, &weight, ESPALIER_FP32, 20, 1e-5f);
  x[2 * 20 + 7] = kNan;
  Buffer in_place(ctx, {4, 20}, x), weight_buffer(ctx, {20}, weight);
  ok(espalier_rms_norm(ctx, in_place, weight_buffer, 1e-5f, in_place));
  const Vector out = in_place.read<float>(80);
  for (int i = 0; i < 80; ++i)
    CHECK(i / 20 == 2 ? std::isnan(out[i]) : same_bits(&out[i], &clean[i], 1));
}

TEST(bad_arguments_are_refused_and_out_is_untouched) {
  const Context ctx;
  Buffer x(ctx, ESPALIER_FP32, {2, 4}), weight(ctx, ESPALIER_FP32, {5}),
      out(ctx, {2, 4}, Vector(8, 7));
  Buffer good(ctx, ESPALIER_FP32, {4}), none(ctx, ESPALIER_FP32, {0, 4}),
      none_out(ctx, ESPALIER_FP32, {0, 4});
  const std::string name = "espalier_rms_norm: ";
  refused(
      espalier_rms_norm(ctx, x, weight, 0, out), ESPALIER_INVALID_ARGUMENT,
      name + "hidden of weight = 5, expected 4, as x has");
  refused(
      espalier_rms_norm(ctx, x, good, -1, out), ESPALIER_INVALID_ARGUMENT,
      name + "eps = -1, expected a finite number >= 0");
  CHECK(out.read<float>(8) == Vector(8, 7));
  ok(espalier_rms_norm(ctx, none, good, 0, none_out));
}
