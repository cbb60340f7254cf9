// skinny_gemm: within its bound of fp64, and no bit of a row depends on anything but the row.
#include "gemm_problem.h"

using namespace gemm_test;

namespace {

constexpr Type kTypes[] = {Type::kBf16, Type::kFp16, Type::kFp32};
const int64_t kMostRows = 256;

std::mt19937 seeded() { return std::mt19937(static_cast<uint32_t>(check::seed())); }

}  // namespace

TEST(within_the_bound_of_fp64_where_tiles_and_slices_end) {
  auto random = seeded();
  double worst = 0;
  for (const Type type : kTypes) {
    for (const int64_t k : {1, 7, 31, 32, 33, 260, 544, 1320})
      worst = std::max(worst, check_case({3, {19}, k, type}, random));
    for (const int64_t n : {1, 15, 16, 17, 32, 33, 70})
      worst = std::max(worst, check_case({2, {n}, 72, type}, random));
    for (const int64_t m : {1, 2, 7, 8, 9, 16, 17, 24, 32, 33, 64})
      worst = std::max(worst, check_case({m, {20}, 72, type}, random));
  }
  std::printf("  largest error: %.2f of the bound\n", worst);
}

TEST(blocks_that_round_x_together_wait_for_each_other) {
  auto random = seeded();
  simt::emulated::set_blocks_together(true);
  for (const int64_t m : {20, 40, 70}) {
    const Problem p({m, {70}, 40, Type::kBf16, false, false, false, true}, random);
    check_case(p.c, random);
  }
  simt::emulated::set_blocks_together(false);
}

TEST(norm_bias_gate_and_residual_are_within_the_bound) {
  auto random = seeded();
  for (const Type type : kTypes) {
    for (const int64_t m : {1, 9, 20, 40}) {
      for (const int64_t k : {20, 300}) {
        check_case({m, {35}, k, type, false, true, true, true}, random);
        check_case({m, {35}, k, type, true, true, false, true}, random);
        check_case({m, {17}, k, type, true, false, false, false}, random);
        check_case({m, {17}, k, type, false, false, true, false}, random);
      }
    }
    // A norm over k that is no multiple of 4, and one of which every warp has a part.
    for (const int64_t k : {22, 1100})
      check_case({3, {17}, k, type, false, false, false, true}, random);
  }
}

TEST(rows_of_the_folder_have_the_bits_of_packed_ones) {
  auto random = seeded();
  for (const Type type : {Type::kBf16, Type::kFp16}) {
    for (const int64_t k : {8, 40, 544}) {
      for (const bool gate : {false, true}) {
        Problem p({5, {41}, k, type, gate, true, false, true}, random);
        const Vector packed = p.run()[0];
        p.c.packed = false;
        CHECK_MSG(
            same_bits(p.run()[0], packed), "k %ld, type %d, gate %d", static_cast<long>(k),
            static_cast<int>(type), gate);
      }
    }
  }
}

TEST(a_row_alone_and_among_others_is_the_same_bits) {
  auto random = seeded();
  for (const Type type : kTypes) {
    for (const bool gate : {false, true}) {
      const int64_t n = 21;
      const Problem all({kMostRows, {n}, 296, type, gate, true, !gate, true}, random);
      const Vector want = all.run()[0];
      for (const int64_t count : {1, 2, 7, 8, 9, 16, 17, 33, 64, 65}) {
        const auto first = static_cast<int64_t>(random() % (kMostRows - count));
        const Vector got = all.rows(first, count).run()[0];
        CHECK_MSG(
            same_bits(got.data(), want.data() + first * n, count * n),
            "type %d, gate %d: %ld rows from row %ld", static_cast<int>(type), gate,
            static_cast<long>(count), static_cast<long>(first));
      }
    }
  }
}

TEST(products_that_share_an_x_have_the_bits_of_each_alone) {
  auto random = seeded();
  for (const Type type : kTypes) {
    for (const int64_t m : {1, 9, 40}) {
      for (const std::vector<int64_t>& n :
           {std::vector<int64_t>{70, 33, 16}, {1, 64, 5}, {20, 40}, {0, 20, 0}}) {
        const Problem p({m, n, 104, type, false, true, false, true}, random);
        const auto together = p.run();
        for (size_t i = 0; i < n.size(); ++i) {
          CHECK_MSG(
              same_bits(together[i], p.alone(i).run()[0]), "type %d, %ld rows, part %zu of %zu",
              static_cast<int>(type), static_cast<long>(m), i, n.size());
        }
      }
    }
  }
}

TEST(neither_address_nor_memory_in_place_changes_a_bit) {
  auto random = seeded();
  for (const Type type : kTypes) {
    for (const int64_t m : {3, 20}) {
      const Problem p({m, {37}, 68, type, false, false, true, true}, random);
      const Vector want = p.run()[0];
      for (const int offset : {1, 2, 4}) CHECK(same_bits(p.run(offset)[0], want));
      CHECK(same_bits(p.run(0, true)[0], want));
    }
  }
}

TEST(nan_and_infinity_stay_in_their_row) {
  auto random = seeded();
  for (const Type type : kTypes) {
    for (const int64_t m : {9, 40}) {
      for (const bool norm : {false, true}) {
        Problem p({m, {18}, 40, type, false, false, false, norm}, random);
        const Vector clean = p.run()[0];
        p.x[2 * 40 + 39] = std::numeric_limits<float>::quiet_NaN();
        p.x[7 * 40 + 3] = std::numeric_limits<float>::infinity();
        const Vector got = p.run()[0];
        for (int64_t row = 0; row < m; ++row) {
          for (int64_t n = 0; n < 18; ++n) {
            const float y = got[row * 18 + n];
            if (row == 2 || (row == 7 && norm)) {
              CHECK(std::isnan(y));
            } else if (row == 7) {
              CHECK_EQ(std::isinf(y) && (y > 0) == (p.w[0][n * 40 + 3] > 0), true);
            } else {
              CHECK(same_bits(&y, &clean[row * 18 + n], 1));
            }
          }
        }
      }
    }
  }
}

TEST(weights_that_are_no_numbers_stay_in_their_column) {
  auto random = seeded();
  Problem p({5, {40}, 40}, random);
  const Vector clean = p.run()[0];
  p.w[0][17 * 40 + 20] = std::numeric_limits<float>::quiet_NaN();
  const Vector got = p.run()[0];
  for (int64_t i = 0; i < 5 * 40; ++i) {
    CHECK_EQ(std::isnan(got[i]), i % 40 == 17);
    if (i % 40 != 17) CHECK(same_bits(&got[i], &clean[i], 1));
  }
}

TEST(the_gate_holds_far_out) {
  auto random = seeded();
  for (const Type type : kTypes) {
    Problem p({1, {12}, 8, type, true}, random);
    const float gate[] = {-1000, -100, -88, -87, -20, -1e-4f, 0, 1e-4f, 20, 88, 1000, -87.5f};
    std::fill(p.w[0].begin(), p.w[0].end(), 0.0f);
    std::fill(p.up.begin(), p.up.end(), 0.0f);
    p.x.assign(8, 1);
    for (int n = 0; n < 12; ++n) {
      p.w[0][n * 8 + n % 8] = rounded(gate[n], type);
      p.up[n * 8 + 3] = 2;
    }
    p.check(p.run(), "forward");
  }
}

TEST(no_rows_no_columns_no_k) {
  auto random = seeded();
  for (const Type type : kTypes) {
    CHECK(Problem({0, {5}, 40, type}, random).run()[0].empty());
    CHECK(Problem({3, {0}, 40, type}, random).run()[0].empty());
    const Problem no_k({3, {5}, 0, type, false, true}, random);
    const Vector got = no_k.run()[0];
    for (int64_t i = 0; i < 15; ++i) CHECK_EQ(got[i], no_k.bias[0][i % 5]);
  }
}

TEST(rows_that_a_lane_cannot_copy_are_refused) {
  auto random = seeded();
  Problem p({2, {5}, 12}, random);
  p.c.packed = false;
  std::string text;
  try {
    p.run();
  } catch (const espalier::Unsupported& e) {
    text = e.what();
  }
  CHECK_EQ(text, std::string("k = 12 of a row-major 16-bit weight, expected a multiple of 8"));
}

TEST(offsets_beyond_2_to_31_elements) {
  // Rows of the weight 2^27 elements apart: the last of 40 begins at 39 * 2^27.
  constexpr int64_t kStride = int64_t{1} << 27, kN = 40, kK = 8;
  for (const int64_t m : {1, 70}) {
    const auto w = Buffer<uint16_t>::sparse("w", kN * kStride, true);
    for (int64_t n = 0; n < kN; ++n)
      w.data()[n * kStride + n % kK] = bits_of(static_cast<float>(n + 1), Type::kBf16);
    Vector ones(m * kK, 1);
    const auto x = Buffer<float>::input("x", ones);
    const auto out = Buffer<float>::output("out", m * kN);
    SkinnyGemmArgs args;
    args.x = x.data();
    args.part[0] = {{w.data(), Type::kBf16, kN, kK}, {}, out.data()};
    args.m = m;
    espalier::GemmView view = espalier::gemm_view(args);
    view.part[0].w.row_stride = kStride;
    view.part[0].w.block_stride = 8 * kStride;
    const auto workspace =
        Buffer<uint32_t>::output("workspace", espalier::cuda_skinny_gemm_workspace(args) / 4);
    const Buffer<int32_t> turns("turns", std::vector<int32_t>(espalier::kNumTurns));
    espalier::launch_skinny_gemm(view, Type::kBf16, workspace.data(), turns.data(), nullptr);
    const Vector got = out.values();
    for (int64_t i = 0; i < m * kN; ++i) CHECK_EQ(got[i], static_cast<float>(i % kN + 1));
  }
  CHECK_EQ(espalier::packed_offset(1 << 20, 32, 4096), (int64_t{1} << 32) + 256);
}

TEST(packed_weights_beyond_2_to_31_elements) {
  // Blocks of 8 rows 2^30 elements apart: the last of 40 rows begins behind 2^32.
  constexpr int64_t kStride = int64_t{1} << 30, kN = 40, kK = 32;
  const auto w = Buffer<uint16_t>::sparse("w", kN / 8 * kStride, true);
  for (int64_t n = 0; n < kN; ++n)
    w.data()[n / 8 * kStride + n % 8 * 8 + n % 8] = bits_of(static_cast<float>(n + 1), Type::kBf16);
  for (const auto& [m, prompt] : {std::pair{1, false}, {70, false}, {70, true}}) {
    const auto x = Buffer<float>::input("x", Vector(m * kK, 1));
    const auto out = Buffer<float>::output("out", m * kN);
    SkinnyGemmArgs args;
    args.x = x.data();
    args.part[0] = {{w.data(), Type::kBf16, kN, kK, true}, {}, out.data()};
    args.m = m;
    args.prompt = prompt;
    espalier::GemmView view = espalier::gemm_view(args);
    view.part[0].w.block_stride = kStride;
    const auto workspace =
        Buffer<uint32_t>::output("workspace", espalier::cuda_skinny_gemm_workspace(args) / 4);
    const Buffer<int32_t> turns("turns", std::vector<int32_t>(espalier::kNumTurns));
    espalier::launch_skinny_gemm(view, Type::kBf16, workspace.data(), turns.data(), nullptr);
    const Vector got = out.values();
    for (int64_t i = 0; i < m * kN; ++i) CHECK_EQ(got[i], static_cast<float>(i % kN + 1));
  }
}

TEST(rows_beyond_2_to_31_elements_in_fp32) {
  auto random = seeded();
  check_last_of(524280, {70, {8}, 4100, Type::kFp32, false, false, true, true}, random);
}

TEST(a_matrix_is_packed_in_pieces_as_in_one) {
  auto random = seeded();
  for (const int64_t k : {5, 32, 70}) {
    const int64_t n = 41;
    std::vector<uint16_t> rows(n * k);
    for (uint16_t& x : rows) x = static_cast<uint16_t>(random());
    std::vector<uint16_t> whole(espalier::packed_bytes(n, k) / 2), pieces(whole.size());
    espalier::pack(rows.data(), n, k, whole.data());
    espalier::pack(rows.data(), 16, k, pieces.data());
    espalier::pack(
        rows.data() + 16 * k, n - 16, k, pieces.data() + espalier::packed_bytes(16, k) / 2);
    CHECK(whole == pieces);
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t col = 0; col < k; ++col)
        CHECK_EQ(whole[espalier::packed_offset(row, col, k)], rows[row * k + col]);
    }
  }
}
