// skinny_gemm of many rows: within its bound of fp64, with the bits of few rows.
#include "gemm_problem.h"

using namespace gemm_test;

namespace {

std::mt19937 seeded() { return std::mt19937(static_cast<uint32_t>(check::seed())); }

}  // namespace

TEST(within_the_bound_of_fp64_where_tiles_and_slices_end) {
  auto random = seeded();
  double worst = 0;
  for (const Type type : {Type::kBf16, Type::kFp16}) {
    for (const int64_t k : {1, 33, 72, 544})
      worst = std::max(worst, check_case({65, {19}, k, type}, random));
    for (const int64_t n : {1, 16, 127, 128, 130})
      worst = std::max(worst, check_case({66, {n}, 40, type}, random));
    for (const int64_t m : {127, 128, 129, 257})
      worst = std::max(worst, check_case({m, {20}, 40, type}, random));
  }
  std::printf("  largest error: %.2f of the bound\n", worst);
}

TEST(norm_bias_gate_and_residual_are_within_the_bound) {
  auto random = seeded();
  for (const Type type : {Type::kBf16, Type::kFp16}) {
    check_case({70, {35}, 72, type, false, true, true, true}, random);
    check_case({70, {75}, 72, type, true, true, false, true}, random);
    check_case({70, {64}, 40, type, true, false, false, false}, random);
  }
}

TEST(many_rows_have_the_bits_of_few) {
  auto random = seeded();
  for (const Type type : {Type::kBf16, Type::kFp16}) {
    for (const bool gate : {false, true}) {
      for (const int64_t k : {40, 296, 1100}) {
        const int64_t m = 140, n = 50;
        const Problem all({m, {n}, k, type, gate, true, !gate, true}, random);
        const Vector want = all.run()[0];
        for (const int64_t count : {64, 8}) {
          for (int64_t first = 0; first < m; first += count) {
            const int64_t rows = std::min(count, m - first);
            if (count == 8 && first % 56 != 0) continue;
            CHECK_MSG(
                same_bits(all.rows(first, rows).run()[0].data(), want.data() + first * n, rows * n),
                "type %d, gate %d, k %ld: rows %ld .. %ld", static_cast<int>(type), gate,
                static_cast<long>(k), static_cast<long>(first),
                static_cast<long>(first + rows - 1));
          }
        }
      }
    }
  }
}

TEST(products_that_share_an_x_have_the_bits_of_each_alone) {
  auto random = seeded();
  const std::vector<int64_t> n = {150, 33, 16};
  const Problem p({70, n, 72, Type::kBf16, false, true, false, true}, random);
  const auto together = p.run();
  for (size_t i = 0; i < n.size(); ++i) {
    CHECK_MSG(same_bits(together[i], p.alone(i).run()[0]), "part %zu", i);
  }
}

TEST(rows_of_the_folder_have_the_bits_of_packed_ones) {
  auto random = seeded();
  for (const bool gate : {false, true}) {
    Problem p({70, {41}, 72, Type::kFp16, gate}, random);
    const Vector packed = p.run()[0];
    p.c.packed = false;
    CHECK(same_bits(p.run()[0], packed));
  }
}

TEST(nan_stays_in_its_row) {
  auto random = seeded();
  Problem p({130, {18}, 40, Type::kBf16, false, false, false, true}, random);
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
  const Problem p({70, {5}, 0, Type::kBf16, false, true}, random);
  const Vector got = p.run()[0];
  for (int64_t i = 0; i < 70 * 5; ++i) CHECK_EQ(got[i], p.bias[0][i % 5]);
}

TEST(rows_beyond_2_to_31_elements) {
  auto random = seeded();
  check_last_of(4193920, {70, {520}, 520, Type::kBf16, false, false, true, true}, random);
}
