// skinny_gemm of a prompt's rows on Hopper: within its bound of fp64, each row alone. On other cards the kernel is another one.
#include "gemm_problem.h"

using namespace gemm_test;

namespace {

std::mt19937 seeded() { return std::mt19937(static_cast<uint32_t>(check::seed())); }

Case prompt(Case c) {
  c.prompt = true;
  return c;
}

}  // namespace

TEST(within_the_bound_of_fp64_where_tiles_and_stages_end) {
  auto random = seeded();
  double worst = 0;
  for (const Type type : {Type::kBf16, Type::kFp16}) {
    for (const int64_t k : {1, 32, 33, 64, 72, 264, 330})
      worst = std::max(worst, check_case(prompt({65, {19}, k, type}), random));
    for (const int64_t n : {1, 63, 65, 130, 257})
      worst = std::max(worst, check_case(prompt({66, {n}, 40, type}), random));
    for (const int64_t m : {127, 128, 129, 257})
      worst = std::max(worst, check_case(prompt({m, {20}, 40, type}), random));
  }
  std::printf("  largest error: %.2f of the bound\n", worst);
}

TEST(norm_bias_gate_and_residual_are_within_the_bound) {
  auto random = seeded();
  for (const Type type : {Type::kBf16, Type::kFp16}) {
    check_case(prompt({70, {35}, 72, type, false, true, true, true}), random);
    check_case(prompt({70, {139}, 72, type, true, true, false, true}), random);
    check_case(prompt({70, {64}, 40, type, true, false, false, false}), random);
  }
}

TEST(a_row_is_the_same_beside_others) {
  auto random = seeded();
  const int64_t m = 200, n = 70;
  const Problem all(prompt({m, {n}, 296, Type::kBf16, true, true, false, true}), random);
  const Vector want = all.run()[0];
  for (const int64_t first : {0, 65, 128}) {
    const int64_t rows = std::min<int64_t>(m - first, 100);
    CHECK_MSG(
        same_bits(all.rows(first, rows).run()[0].data(), want.data() + first * n, rows * n),
        "rows %ld .. %ld", static_cast<long>(first), static_cast<long>(first + rows - 1));
  }
}

TEST(products_that_share_an_x_have_the_bits_of_each_alone) {
  auto random = seeded();
  const std::vector<int64_t> n = {270, 33, 16};
  const Problem p(prompt({70, n, 72, Type::kBf16, false, true, false, true}), random);
  const auto together = p.run();
  for (size_t i = 0; i < n.size(); ++i) {
    CHECK_MSG(same_bits(together[i], p.alone(i).run()[0]), "part %zu", i);
  }
}

TEST(nan_stays_in_its_row) {
  auto random = seeded();
  Problem p(prompt({130, {18}, 40, Type::kBf16, false, false, false, true}), random);
  const Vector clean = p.run()[0];
  p.x[100 * 40 + 39] = std::numeric_limits<float>::quiet_NaN();
  const Vector got = p.run()[0];
  for (int64_t i = 0; i < 130 * 18; ++i) {
    CHECK_EQ(std::isnan(got[i]), i / 18 == 100);
    if (i / 18 != 100) CHECK(same_bits(&got[i], &clean[i], 1));
  }
}

TEST(no_k_is_the_bias) {
  auto random = seeded();
  const Problem p(prompt({70, {5}, 0, Type::kBf16, false, true}), random);
  const Vector got = p.run()[0];
  for (int64_t i = 0; i < 70 * 5; ++i) CHECK_EQ(got[i], p.bias[0][i % 5]);
}

TEST(rows_beyond_2_to_31_elements) {
  auto random = seeded();
  check_last_of(4193920, prompt({70, {520}, 520, Type::kBf16, false, false, true, true}), random);
}
