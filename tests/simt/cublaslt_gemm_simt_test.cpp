// What surrounds the products of cuBLASLt: weights are unpacked bit by bit, x is rounded as for our own kernels, ends are theirs.
#include "gemm/cublaslt_gemm.h"
#include "gemm_problem.h"

using namespace gemm_test;
using espalier::operand_cols;

namespace {

std::mt19937 seeded() { return std::mt19937(static_cast<uint32_t>(check::seed())); }

/** x of a problem as launch_round_rows leaves it. */
std::vector<uint16_t> rounded_rows(const Problem& p) {
  const auto x = Buffer<float>::input("x", p.x);
  const Elements norm("norm", p.norm, Type::kBf16, 1, p.c.k, false);
  SkinnyGemmArgs args;
  args.x = x.data();
  if (p.c.norm) args.norm = {norm.data(), Type::kBf16, kEps};
  args.part[0].w = {nullptr, p.c.type, p.c.n[0], p.c.k, true};
  args.m = p.c.m;
  const auto rows =
      Buffer<uint16_t>::output("rounded", static_cast<size_t>(p.c.m * operand_cols(p.c.k)));
  espalier::GemmView view = espalier::gemm_view(args);
  view.rounded = rows.data();
  espalier::launch_round_rows(view, p.c.type, nullptr);
  return rows.values();
}

}  // namespace

TEST(unpacked_rows_are_the_packed_ones) {
  auto random = seeded();
  for (const int64_t n : {1, 7, 8, 9, 16, 17, 70}) {
    for (const int64_t k : {1, 8, 31, 32, 33, 72, 264}) {
      std::vector<uint16_t> rows(static_cast<size_t>(n * k));
      for (uint16_t& bits : rows) bits = static_cast<uint16_t>(random());
      std::vector<uint16_t> all(static_cast<size_t>(espalier::packed_bytes(n, k) / 2));
      espalier::pack(rows.data(), n, k, all.data());
      const auto packed = Buffer<uint16_t>::input("packed", all);
      const int64_t cols = operand_cols(k);
      for (const int64_t first : {0, 8, 64}) {
        for (const int64_t num : {n - first, int64_t{8}}) {
          if (num <= 0 || first + num > n) continue;
          simt::emulated::for_each_order([&](const char* order) {
            const auto got = Buffer<uint16_t>::output("rows", static_cast<size_t>(num * cols));
            espalier::launch_unpack(
                espalier::packed_view(packed.data(), n, k), first, num, got.data(), nullptr);
            for (int64_t i = 0; i < num * cols; ++i) {
              const int64_t row = first + i / cols, col = i % cols;
              const uint16_t want = col < k ? rows[row * k + col] : 0;
              CHECK_MSG(
                  got.data()[i] == want,
                  "%s: [%ld, %ld] from row %ld, element (%ld, %ld): %04x, expected %04x", order,
                  static_cast<long>(n), static_cast<long>(k), static_cast<long>(first),
                  static_cast<long>(row), static_cast<long>(col), got.data()[i], want);
            }
          });
        }
      }
    }
  }
}

TEST(x_is_rounded_as_for_our_own_kernels) {
  auto random = seeded();
  for (const Type type : {Type::kBf16, Type::kFp16}) {
    for (const bool norm : {false, true}) {
      for (const int64_t k : {1, 31, 32, 36, 1100}) {
        for (const int64_t m : {1, 9}) {
          const Problem p({m, {1}, k, type, false, false, false, norm}, random);
          const std::vector<uint16_t> got = rounded_rows(p);
          const int64_t cols = operand_cols(k);
          for (int64_t row = 0; row < m; ++row) {
            const Vector want = p.operand(row);
            for (int64_t col = 0; col < cols; ++col) {
              const uint16_t bits = col < k ? bits_of(want[col], type) : 0;
              CHECK_MSG(
                  got[row * cols + col] == bits,
                  "type %d, norm %d, [%ld, %ld], element (%ld, %ld): %04x, expected %04x",
                  static_cast<int>(type), norm, static_cast<long>(m), static_cast<long>(k),
                  static_cast<long>(row), static_cast<long>(col), got[row * cols + col], bits);
            }
          }
        }
      }
    }
  }
}

TEST(offsets_beyond_2_to_31_elements) {
  // The last rows of a weight and of an x.
  constexpr int64_t kCols = 1024, kRows = (int64_t{1} << 31) / kCols + 40,
                    kLast = kRows * kCols - 1;
  const auto packed = Buffer<uint16_t>::sparse("packed", static_cast<size_t>(kRows * kCols), true),
             rows = Buffer<uint16_t>::sparse("rows", static_cast<size_t>(kRows * kCols));
  for (int64_t col = 0; col < kCols; ++col)
    packed.data()[espalier::packed_offset(kRows - 1, col, kCols)] = static_cast<uint16_t>(col + 1);
  const auto x = Buffer<float>::sparse("x", static_cast<size_t>(kRows * kCols));
  x.data()[kLast] = 1.5f;
  SkinnyGemmArgs args;
  args.x = x.data();
  args.part[0].w = {nullptr, Type::kFp16, 1, kCols, true};
  args.m = kRows;
  espalier::GemmView view = espalier::gemm_view(args);
  view.rounded = rows.data();
  const espalier::MatrixView all = espalier::packed_view(packed.data(), kRows, kCols);
  simt::emulated::set_last_blocks(4);
  espalier::launch_unpack(all, 0, kRows, rows.data(), nullptr);
  espalier::launch_unpack(all, kRows - 8, 8, rows.data(), nullptr);
  const uint16_t unpacked = rows.data()[kLast];
  espalier::launch_round_rows(view, Type::kFp16, nullptr);
  simt::emulated::set_last_blocks(0);
  CHECK_EQ(unpacked, kCols);
  CHECK_EQ(rows.data()[8 * kCols - 1], kCols);
  CHECK_EQ(rows.data()[kLast], 0x3e00);
}

TEST(ends_are_those_of_our_own_kernels) {
  auto random = seeded();
  std::normal_distribution<float> normal;
  for (const bool gate : {false, true}) {
    for (const bool residual : {false, true}) {
      // Columns in two pieces; rows and columns past what a block has.
      const int64_t m = 3, n = 300, first = 16, num = n - first, stride = 290;
      const auto values = [&](int64_t count) {
        Vector v(static_cast<size_t>(count));
        for (float& value : v) value = normal(random);
        return v;
      };
      const Vector y = values(m * stride), up = values(m * num), bias = values(n),
                   up_bias = values(n), of_residual = values(m * n);
      const auto on_y = Buffer<float>::input("y", y), on_up = Buffer<float>::input("up", up),
                 on_bias = Buffer<float>::input("bias", bias),
                 on_up_bias = Buffer<float>::input("up_bias", up_bias);
      const Buffer<float> out("out", of_residual);
      SkinnyGemmArgs args;
      args.part[0] = {
          {nullptr, Type::kBf16, n, 8, true}, {on_bias.data(), Type::kFp32, 1, n}, out.data()};
      if (gate) {
        args.up = {on_y.data(), Type::kBf16, n, 8, true};
        args.up_bias = {on_up_bias.data(), Type::kFp32, 1, n};
      }
      if (residual) args.residual = out.data();
      args.m = m;
      espalier::launch_finish(
          espalier::gemm_view(args), 0,
          {first, num, on_y.data(), stride, gate ? on_up.data() : nullptr}, nullptr);
      for (int64_t i = 0; i < m * n; ++i) {
        const int64_t row = i / n, col = i % n;
        double want = of_residual[i];
        if (col >= first) {
          want = y[row * stride + col - first] + double{bias[col]};
          if (gate)
            want =
                want / (1 + std::exp(-want)) * (up[row * num + col - first] + double{up_bias[col]});
          if (residual) want += of_residual[i];
        }
        CHECK_MSG(
            std::fabs(out.data()[i] - want) <= 1e-5 * (1 + std::fabs(want)),
            "gate %d, residual %d, element (%ld, %ld): %.9g, expected %.9g", gate, residual,
            static_cast<long>(row), static_cast<long>(col), out.data()[i], want);
      }
    }
  }
}

TEST(ends_of_more_rows_than_a_grid_has) {
  constexpr int64_t kRows = 2 * int64_t{simt::kMostBlocks};
  const auto y = Buffer<float>::sparse("y", kRows), out = Buffer<float>::sparse("out", kRows);
  y.data()[kRows - 1] = 2.5f;
  SkinnyGemmArgs args;
  args.part[0] = {{nullptr, Type::kBf16, 1, 8, true}, {}, out.data()};
  args.m = kRows;
  simt::emulated::set_last_blocks(2);
  espalier::launch_finish(espalier::gemm_view(args), 0, {0, 1, y.data(), 1, nullptr}, nullptr);
  simt::emulated::set_last_blocks(0);
  CHECK_EQ(out.data()[kRows - 1], 2.5f);
}
