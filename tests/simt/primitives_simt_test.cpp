// The meaning of each primitive, against its definition computed directly.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <random>

#include "check.h"
#include "cpu/convert.h"
#include "orders.h"
#include "primitives.h"

using simt::emulated::Buffer;
using simt::emulated::for_each_order;

namespace {

std::vector<float> random_values(size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& value : x) value = normal(random);
  return x;
}

double rounded(float x, bool bf16) {
  if (bf16) {
    espalier::Bf16 value;
    espalier::from_float(x, &value);
    return espalier::to_float(value);
  }
  espalier::Fp16 value;
  espalier::from_float(x, &value);
  return espalier::to_float(value);
}

}  // namespace

// The products are exact in fp32; 16 sums of them round 16 times.
TEST(mma_is_the_matrix_product_within_the_error_of_sixteen_sums) {
  for (const bool bf16 : {true, false}) {
    for (const bool matrices : {false, true}) {
      for_each_order([&](const char* order) {
        const auto a = random_values(256, check::seed()), b = random_values(128, check::seed() + 1);
        const auto c = random_values(128, check::seed() + 2);
        const auto on_a = Buffer<float>::input("a", a), on_b = Buffer<float>::input("b", b);
        const Buffer<float> on_c("c", c);
        run_mma(on_a.data(), on_b.data(), on_c.data(), bf16, matrices);
        const auto got = on_c.values();
        double worst = 0;
        for (int i = 0; i < 16; ++i) {
          for (int j = 0; j < 8; ++j) {
            double want = c[i * 8 + j], magnitude = std::fabs(want);
            for (int k = 0; k < 16; ++k) {
              const double product = rounded(a[i * 16 + k], bf16) * rounded(b[k * 8 + j], bf16);
              want += product;
              magnitude += std::fabs(product);
            }
            worst = std::max(worst, std::fabs(got[i * 8 + j] - want) / (magnitude * 16 * 0x1p-24));
          }
        }
        CHECK_MSG(
            worst <= 1, "%s, %s, %s: error %.3f of the bound", bf16 ? "bf16" : "fp16",
            matrices ? "load_matrix" : "registers", order, worst);
      });
    }
  }
}

// One element of A and of B at a time finds every wrong place of a fragment.
TEST(mma_puts_each_element_where_the_layout_says) {
  for (int k = 0; k < 16; ++k) {
    for (int i = 0; i < 16; ++i) {
      std::vector<float> a(256), b(128), c(128);
      a[i * 16 + k] = 1.0f;
      for (int j = 0; j < 8; ++j) b[k * 8 + j] = static_cast<float>(j + 1);
      const auto on_a = Buffer<float>::input("a", a), on_b = Buffer<float>::input("b", b);
      const Buffer<float> on_c("c", c);
      run_mma(on_a.data(), on_b.data(), on_c.data(), true, k % 2 == 0);
      const auto got = on_c.values();
      for (int row = 0; row < 16; ++row) {
        for (int j = 0; j < 8; ++j)
          CHECK_EQ(got[row * 8 + j], row == i ? static_cast<float>(j + 1) : 0.0f);
      }
    }
  }
}

// Tokens are the columns: a kernel pads their number to 8, and a token stands at another column in another batch.
TEST(mma_gives_a_column_the_same_bits_at_any_place_and_in_any_company) {
  for (const bool bf16 : {true, false}) {
    const auto a = random_values(256, check::seed()), column = random_values(16, check::seed() + 1);
    const auto others = random_values(128, check::seed() + 2),
               c = random_values(16, check::seed() + 3);
    std::vector<float> alone;
    for (int at = 0; at < 8; ++at) {
      for (const char* beside : {"padding", "others", "NaN"}) {
        std::vector<float> b(128, 0.0f), sum(128, 0.0f);
        if (beside[0] == 'o') b = others;
        if (beside[0] == 'N') b.assign(128, std::nanf(""));
        for (int k = 0; k < 16; ++k) b[k * 8 + at] = column[k];
        for (int row = 0; row < 16; ++row) sum[row * 8 + at] = c[row];
        const auto on_a = Buffer<float>::input("a", a), on_b = Buffer<float>::input("b", b);
        const Buffer<float> on_c("c", sum);
        run_mma(on_a.data(), on_b.data(), on_c.data(), bf16, at % 2 == 0);
        const auto values = on_c.values();
        std::vector<float> got;
        for (int row = 0; row < 16; ++row) got.push_back(values[row * 8 + at]);
        if (alone.empty()) alone = got;
        CHECK_MSG(
            std::memcmp(got.data(), alone.data(), 16 * sizeof(float)) == 0,
            "%s, column %d beside %s", bf16 ? "bf16" : "fp16", at, beside);
      }
    }
  }
}

TEST(product_is_the_matrix_product_within_the_error_of_sixteen_sums) {
  for (int i = 0; i < 16; ++i) {
    const bool bf16 = i % 2 == 0;
    const ProductForm form{i / 2 % 2 == 0 ? 64 : 128, i / 4 % 2 == 0, i / 8 == 0};
    for_each_order([&](const char* order) {
      const int n = form.columns;
      const auto a = random_values(64 * 16, check::seed()),
                 b = random_values(n * 16, check::seed() + 1);
      auto c = random_values(64 * n, check::seed() + 2);
      const auto on_a = Buffer<float>::input("a", a), on_b = Buffer<float>::input("b", b);
      const Buffer<float> on_c("c", c);
      if (!run_product(on_a.data(), on_b.data(), on_c.data(), bf16, form)) return;
      if (!form.add) c.assign(c.size(), 0);
      const auto got = on_c.values();
      double worst = 0;
      for (int row = 0; row < 64; ++row) {
        for (int j = 0; j < n; ++j) {
          double want = c[row * n + j], magnitude = std::fabs(want);
          for (int k = 0; k < 16; ++k) {
            const double product = rounded(a[row * 16 + k], bf16) * rounded(b[j * 16 + k], bf16);
            want += product;
            magnitude += std::fabs(product);
          }
          worst = std::max(worst, std::fabs(got[row * n + j] - want) / (magnitude * 16 * 0x1p-24));
        }
      }
      CHECK_MSG(
          worst <= 1, "%s, %s, %d columns, add %d, registers %d: error %.3f of the bound",
          bf16 ? "bf16" : "fp16", order, n, form.add, form.registers, worst);
    });
  }
}

TEST(a_box_lies_in_rows_of_128_bytes_whose_units_are_swizzled_with_zeros_outside_of_the_tensor) {
  // 70 columns of 80, 5 rows of 6, 9 matrices.
  const BoxForm form{{70, 5, 9}, {160, 960}, {64, 2, 5}};
  std::vector<uint16_t> x(80 * 6 * 9);
  std::iota(x.begin(), x.end(), uint16_t{1});
  const auto on_x = Buffer<uint16_t>::input("x", x);
  const int rows = form.box[1] * form.box[2];
  for (const int at_x : {0, 8, 64, -8, -64, 72}) {
    for (const int y : {0, 3, 4, -1, 5, -2}) {
      for (const int z : {0, 4, 6, 8, -3, -5, 9, 1 << 30}) {
        const auto out = Buffer<uint16_t>::output("out", rows * 64);
        if (!run_copy_box(on_x.data(), form, at_x, y, z, out.data())) return;
        const auto got = out.values();
        for (int row = 0; row < rows; ++row) {
          for (int column = 0; column < 64; ++column) {
            const int64_t from[3] = {at_x + column, y + row % 2, int64_t{z} + row / 2};
            bool inside = true;
            for (int i = 0; i < 3; ++i) inside &= from[i] >= 0 && from[i] < form.len[i];
            const uint16_t want = inside ? x[(from[2] * 6 + from[1]) * 80 + from[0]] : 0;
            const int unit = column / 8 ^ row % 8;
            CHECK_MSG(
                got[row * 64 + unit * 8 + column % 8] == want,
                "box at %d, %d, %d, row %d, column %d: %d, expected %d", at_x, y, z, row, column,
                got[row * 64 + unit * 8 + column % 8], want);
          }
        }
      }
    }
  }
}

TEST(product_of_boxes_is_the_matrix_product) {
  for (int i = 0; i < 32; ++i) {
    const bool bf16 = i % 2 == 0, turned = i / 2 % 2 == 0;
    const int n = i / 4 % 2 == 0 ? 64 : 128, k = i / 8 * 16;
    const auto bits_of = [&](const std::vector<float>& values) {
      std::vector<uint16_t> bits;
      for (const float value : values) {
        espalier::Bf16 b;
        espalier::Fp16 f;
        espalier::from_float(value, &b);
        espalier::from_float(value, &f);
        bits.push_back(bf16 ? b.bits : f.bits);
      }
      return bits;
    };
    for_each_order([&](const char* order) {
      const auto a = random_values(64 * 64, check::seed()),
                 b = random_values(n * 64, check::seed() + 1);
      const auto on_a = Buffer<uint16_t>::input("a", bits_of(a)),
                 on_b = Buffer<uint16_t>::input("b", bits_of(b));
      const auto on_c = Buffer<float>::output("c", 64 * n);
      if (!run_box_product(on_a.data(), on_b.data(), on_c.data(), bf16, n, turned, k)) return;
      const auto got = on_c.values();
      double worst = 0;
      for (int row = 0; row < 64; ++row) {
        for (int j = 0; j < n; ++j) {
          double want = 0, magnitude = 0;
          for (int step = k; step < k + 16; ++step) {
            const float right = turned ? b[step * n + j] : b[j * 64 + step];
            const double product = rounded(a[row * 64 + step], bf16) * rounded(right, bf16);
            want += product;
            magnitude += std::fabs(product);
          }
          worst = std::max(worst, std::fabs(got[row * n + j] - want) / (magnitude * 16 * 0x1p-24));
        }
      }
      CHECK_MSG(
          worst <= 1, "%s, %s, %d columns, turned %d, k from %d on: error %.3f of the bound",
          bf16 ? "bf16" : "fp16", order, n, turned, k, worst);
    });
  }
}

TEST(load_matrix_hands_each_lane_its_two_elements) {
  std::vector<uint16_t> element(256);
  std::iota(element.begin(), element.end(), 0);
  const auto on_element = Buffer<uint16_t>::input("element", element);
  for (const int num : {1, 2, 4}) {
    for (const bool transposed : {false, true}) {
      for_each_order([&](const char*) {
        const auto out = Buffer<uint32_t>::output("out", 128);
        run_load_matrix(on_element.data(), out.data(), num, transposed);
        for (int lane = 0; lane < 32; ++lane) {
          for (int m = 0; m < num; ++m) {
            const int g = lane / 4, t = lane % 4;
            const uint32_t low = transposed ? m * 64 + 2 * t * 8 + g : m * 64 + g * 8 + 2 * t;
            const uint32_t high = transposed ? low + 8 : low + 1;
            CHECK_EQ(out.data()[lane * 4 + m], low | high << 16);
          }
        }
      });
    }
  }
}

TEST(votes_shuffles_and_reductions) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  std::vector<int32_t> x(32);
  for (int32_t& value : x) value = static_cast<int32_t>(random() % 9) - 4;
  uint32_t votes = 0;
  for (int i = 0; i < 32; ++i) votes |= static_cast<uint32_t>(x[i] > 0) << i;
  for_each_order([&](const char*) {
    const auto on_x = Buffer<int32_t>::input("x", x);
    const auto out = Buffer<int32_t>::output("out", 8 * 32);
    run_warp(on_x.data(), out.data());
    for (int i = 0; i < 32; ++i) {
      uint32_t same = 0;
      for (int j = 0; j < 32; ++j) same |= static_cast<uint32_t>(x[j] == x[i]) << j;
      const int up = i >= 3 ? i - 3 : i;
      const auto half = x.begin() + i / 16 * 16;
      CHECK_EQ(static_cast<uint32_t>(out.data()[i]), votes);
      CHECK_EQ(out.data()[32 + i], x[(i * 7 + 3) % 32]);
      CHECK_EQ(out.data()[64 + i], x[i ^ 5] + x[up]);
      CHECK_EQ(static_cast<uint32_t>(out.data()[96 + i]), same);
      CHECK_EQ(out.data()[128 + i], std::accumulate(x.begin(), x.end(), 0));
      CHECK_EQ(out.data()[160 + i], *std::min_element(x.begin(), x.end()));
      CHECK_EQ(out.data()[192 + i], *std::max_element(x.begin(), x.end()));
      const bool has_first = std::find(half, half + 16, x[0]) != half + 16;
      CHECK_EQ(out.data()[224 + i], std::accumulate(half, half + 16, 0) + (has_first ? 1000 : 0));
    }
  });
}

TEST(conversions_round_as_the_cpu_backend_does) {
  std::vector<float> x = {
      0.0f,
      -0.0f,
      1.0f,
      65504.0f,
      65519.9f,
      65520.0f,
      1e38f,
      3.4e38f,
      1e-8f,
      6e-8f,
      5.9e-8f,
      6.1e-5f,
      std::numeric_limits<float>::infinity(),
      -std::numeric_limits<float>::infinity()};
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  while (x.size() < 5000) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (value == value) x.push_back(value);
  }
  const size_t n = x.size();
  const auto on_x = Buffer<float>::input("x", x);
  const auto bf16 = Buffer<uint16_t>::output("bf16", n), fp16 = Buffer<uint16_t>::output("fp16", n);
  const auto from_bf16 = Buffer<float>::output("from_bf16", n),
             from_fp16 = Buffer<float>::output("from_fp16", n);
  run_convert(
      on_x.data(), bf16.data(), fp16.data(), from_bf16.data(), from_fp16.data(),
      static_cast<int>(n));
  for (size_t i = 0; i < n; ++i) {
    espalier::Bf16 want_bf16;
    espalier::Fp16 want_fp16;
    espalier::from_float(x[i], &want_bf16);
    espalier::from_float(x[i], &want_fp16);
    CHECK_EQ(bf16.data()[i], want_bf16.bits);
    CHECK_EQ(fp16.data()[i], want_fp16.bits);
    CHECK_EQ(from_bf16.data()[i], espalier::to_float(want_bf16));
    CHECK_EQ(from_fp16.data()[i], espalier::to_float(want_fp16));
  }
}

TEST(atomics_of_many_blocks) {
  for_each_order([&](const char*) {
    const Buffer<int32_t> out("out", {0, 0, 0, 0, 0, 0});
    run_atomics(out.data(), 3);
    CHECK(out.values() == std::vector<int32_t>({192, -191, 191, 0x7fffffff, 384, 7}));
  });
}

TEST(indices_of_three_axes) {
  for_each_order([&](const char*) {
    const auto out = Buffer<int32_t>::output("out", 3 * 2 * 4 * 96);
    run_indices(out.data(), 3, 2, 4, 96);
    int i = 0;
    for (int z = 0; z < 4; ++z) {
      for (int y = 0; y < 2; ++y) {
        for (int x = 0; x < 3; ++x) {
          for (int t = 0; t < 96; ++t)
            CHECK_EQ(out.data()[i++], x + 10 * y + 100 * z + 1000 * t + 400000);
        }
      }
    }
  });
}

TEST(copies_beside_the_thread_bring_every_element) {
  for (const int n : {4, 252, 256, 260, 1020, 1024, 2000}) {
    for_each_order([&](const char*) {
      const auto x = random_values(n, check::seed());
      const auto on_x = Buffer<float>::input("x", x);
      const auto out = Buffer<float>::output("out", n);
      run_pipeline(on_x.data(), out.data(), n);
      CHECK_MSG(out.values() == x, "n = %d", n);
    });
  }
}

TEST(elements_beyond_2_to_31_are_reached) {
  constexpr size_t kMany = (size_t{1} << 31) + 64;
  const auto x = Buffer<float>::sparse("x", kMany);
  const auto out = Buffer<float>::output("out", 64);
  x.data()[kMany - 1] = 5.0f;
  run_pipeline(x.data() + kMany - 64, out.data(), 64);
  CHECK_EQ(out.data()[63], 5.0f);
}
