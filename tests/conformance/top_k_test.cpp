// top_k against a sort.
#include <algorithm>
#include <numeric>

#include "check.h"
#include "ops.h"

namespace {

using namespace ops;
using Vector = std::vector<float>;
using Ints = std::vector<int32_t>;

/** The order of the op: larger first, NaN last, ties to the lower index. */
Ints sorted(const float* x, int vocab) {
  Ints idx(vocab);
  std::iota(idx.begin(), idx.end(), 0);
  std::stable_sort(idx.begin(), idx.end(), [x](int32_t a, int32_t b) {
    if (std::isnan(x[a]) || std::isnan(x[b])) return !std::isnan(x[a]) && std::isnan(x[b]);
    return x[a] > x[b];
  });
  return idx;
}

void check_rows(const Context& ctx, const Vector& x, int vocab, int k) {
  const int64_t rows = static_cast<int64_t>(x.size()) / vocab;
  Buffer x_buffer(ctx, {rows, vocab}, x), idx(ctx, ESPALIER_I32, {rows, k}),
      value(ctx, ESPALIER_FP32, {rows, k});
  ok(espalier_top_k(ctx, x_buffer, idx, value));
  const Ints got = idx.read<int32_t>(rows * k);
  const Vector values = value.read<float>(rows * k);
  for (int64_t r = 0; r < rows; ++r) {
    const Ints expected = sorted(&x[r * vocab], vocab);
    for (int i = 0; i < k; ++i) {
      CHECK_MSG(
          got[r * k + i] == expected[i], "row %lld, vocab %d, k %d, rank %d: index %d, expected %d",
          static_cast<long long>(r), vocab, k, i, got[r * k + i], expected[i]);
      CHECK(same_bits(&values[r * k + i], &x[r * vocab + expected[i]], 1));
    }
  }
}

}  // namespace

TEST(the_best_come_first_ties_to_the_lower_index) {
  const Context ctx;
  Random random(1);
  for (const int vocab : {1, 2, 15, 16, 17, 100, 1000}) {
    for (const int k : {1, 2, 8, 63, 64}) {
      if (k > vocab) continue;
      for (const int rows : {1, 2, 9}) {
        check_rows(ctx, random.normals(int64_t{rows} * vocab), vocab, k);
        Vector ties(static_cast<size_t>(rows) * vocab);
        for (float& v : ties) v = static_cast<float>(random.below(3));
        check_rows(ctx, ties, vocab, k);
      }
    }
  }
}

TEST(infinities_signed_zeros_and_nan_have_their_places) {
  const Context ctx;
  Random random(2);
  check_rows(ctx, {kNan, -kInf, 1, kNan, kInf, 0, -0.0f, kInf, -kInf}, 9, 9);
  check_rows(ctx, Vector(40, kNan), 20, 20);
  check_rows(ctx, Vector(40, -kInf), 20, 7);
  check_rows(ctx, {-0.0f, 0, -0.0f, 0}, 4, 3);
  for (int i = 0; i < 50; ++i) {
    Vector x = random.normals(40);
    for (int j = 0; j < i; ++j) x[random.below(40)] = j % 3 == 0 ? -kInf : kNan;
    check_rows(ctx, x, 40, 17);
  }
}

TEST(bad_arguments_are_refused_and_outputs_are_untouched) {
  const Context ctx;
  Buffer x(ctx, ESPALIER_FP32, {2, 4}), idx(ctx, {2, 5}, Ints(10, 7)),
      value(ctx, {2, 5}, Vector(10, 7));
  Buffer one(ctx, ESPALIER_FP32, {2, 1});
  refused(
      espalier_top_k(ctx, x, idx, value), ESPALIER_INVALID_ARGUMENT,
      "espalier_top_k: k = 5, expected 1 to 4");
  refused(
      espalier_top_k(ctx, x, idx, one), ESPALIER_INVALID_ARGUMENT,
      "espalier_top_k: k of value = 1, expected 5, as idx has");
  CHECK(idx.read<int32_t>(10) == Ints(10, 7));
}
