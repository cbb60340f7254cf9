// rms_norm: within its bound of fp64, and no row depends on another.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "cpu/convert.h"
#include "cpu/cpu_backend.h"
#include "launchers.h"
#include "orders.h"

using espalier::RmsNormArgs;
using espalier::Type;
using simt::emulated::Buffer;
using simt::emulated::for_each_order;

namespace {

constexpr float kEps = 1e-5f;
const int64_t kHidden[] = {1,   3,   4,   5,    31,   32,   33,   127, 128,
                           129, 256, 260, 1000, 1024, 4096, 4100, 5001};

std::vector<float> random_values(int64_t n, std::mt19937& random) {
  std::normal_distribution<float> normal(0.1f, 2.0f);
  std::vector<float> x(n);
  for (float& value : x) value = normal(random);
  return x;
}

/** Weights of a type, and what they stand for. */
struct WeightValues {
  std::vector<float> value;
  std::vector<float> fp32;
  std::vector<uint16_t> half;

  WeightValues(int64_t hidden, Type type, std::mt19937& random)
      : value(random_values(hidden, random)) {
    for (float& v : value) {
      if (type == Type::kBf16) {
        espalier::Bf16 rounded;
        espalier::from_float(v, &rounded);
        half.push_back(rounded.bits);
        v = espalier::to_float(rounded);
      } else if (type == Type::kFp16) {
        espalier::Fp16 rounded;
        espalier::from_float(v, &rounded);
        half.push_back(rounded.bits);
        v = espalier::to_float(rounded);
      } else {
        fp32.push_back(v);
      }
    }
  }
};

/** Rows of x through the kernel; x begins `offset` elements behind an aligned address. */
std::vector<float> emulated(
    const std::vector<float>& x, const WeightValues& weight, Type type, int64_t hidden, int offset,
    bool in_place) {
  std::vector<float> shifted(offset, 0.0f);
  shifted.insert(shifted.end(), x.begin(), x.end());
  const auto on_fp32 = Buffer<float>::input("weight", weight.fp32);
  const auto on_half = Buffer<uint16_t>::input("weight", weight.half);
  const void* on_weight =
      type == Type::kFp32 ? static_cast<const void*>(on_fp32.data()) : on_half.data();
  const Buffer<float> on_x("x", shifted);
  const auto out = Buffer<float>::output("out", shifted.size());
  float* to = (in_place ? on_x : out).data() + offset;
  const auto rows = static_cast<int64_t>(x.size()) / hidden;
  espalier::cuda_rms_norm(
      RmsNormArgs{on_x.data() + offset, on_weight, type, kEps, to, rows, hidden}, nullptr);
  return std::vector<float>(to, to + x.size());
}

bool same_bits(const float* a, const float* b, int64_t n) {
  return std::memcmp(a, b, n * sizeof(float)) == 0;
}

/** As the header of rms_norm.cu derives it. */
double bound(int64_t hidden) {
  const int64_t warps = std::min<int64_t>(16, (hidden + 255) / 256);
  return ((hidden / (32.0 * warps) + 4 + 5 + warps) / 2 + 5) * 0x1p-24;
}

}  // namespace

TEST(within_the_bound_of_fp64_for_every_shape_and_type) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  double worst = 0;
  for (const int64_t hidden : kHidden) {
    for (const Type type : {Type::kFp32, Type::kBf16, Type::kFp16}) {
      const WeightValues weight(hidden, type, random);
      const auto x = random_values(3 * hidden, random);
      for_each_order([&](const char* order) {
        const auto got = emulated(x, weight, type, hidden, 0, false);
        for (int r = 0; r < 3; ++r) {
          double sum = 0;
          for (int64_t i = 0; i < hidden; ++i)
            sum += static_cast<double>(x[r * hidden + i]) * x[r * hidden + i];
          const double factor = 1 / std::sqrt(sum / hidden + static_cast<double>(kEps));
          for (int64_t i = 0; i < hidden; ++i) {
            const double want = x[r * hidden + i] * factor * weight.value[i];
            const double share =
                std::fabs(got[r * hidden + i] - want) / (std::fabs(want) * bound(hidden));
            worst = std::max(worst, want == 0 ? 0 : share);
            CHECK_MSG(
                want == 0 ? got[r * hidden + i] == 0 : share <= 1,
                "%s: hidden %ld, row %d, element %ld: %.9g, expected %.9g", order,
                static_cast<long>(hidden), r, static_cast<long>(i), got[r * hidden + i], want);
          }
        }
      });
    }
  }
  std::printf("  largest error: %.2f of the bound\n", worst);
}

TEST(a_row_alone_and_among_others_is_the_same_bits) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int64_t hidden : {5, 128, 1000, 4096}) {
    const WeightValues weight(hidden, Type::kBf16, random);
    const auto x = random_values(64 * hidden, random);
    const auto all = emulated(x, weight, Type::kBf16, hidden, 0, false);
    for (const int rows : {1, 2, 7, 8, 9, 16, 33}) {
      const int first = static_cast<int>(random() % (64 - rows));
      const std::vector<float> part(
          x.begin() + first * hidden, x.begin() + (first + rows) * hidden);
      const auto got = emulated(part, weight, Type::kBf16, hidden, 0, false);
      CHECK_MSG(
          same_bits(got.data(), all.data() + first * hidden, rows * hidden),
          "hidden %ld, %d rows from row %d", static_cast<long>(hidden), rows, first);
    }
  }
}

TEST(neither_place_nor_order_of_lanes_changes_a_bit) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  for (const int64_t hidden : {4, 128, 1000, 4096}) {
    const WeightValues weight(hidden, Type::kFp16, random);
    const auto x = random_values(2 * hidden, random);
    simt::emulated::set_order(simt::emulated::Order::kForward);
    const auto want = emulated(x, weight, Type::kFp16, hidden, 0, false);
    for_each_order([&](const char* order) {
      for (const int offset : {0, 1, 2, 3}) {
        for (const bool in_place : {false, true}) {
          const auto got = emulated(x, weight, Type::kFp16, hidden, offset, in_place);
          CHECK_MSG(
              same_bits(got.data(), want.data(), 2 * hidden), "%s: hidden %ld, offset %d, %s",
              order, static_cast<long>(hidden), offset, in_place ? "in place" : "apart");
        }
      }
    });
  }
}

TEST(nan_and_infinity_stay_in_their_row) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  constexpr int64_t kWidth = 300;
  const WeightValues weight(kWidth, Type::kFp32, random);
  const auto x = random_values(3 * kWidth, random);
  const auto want = emulated(x, weight, Type::kFp32, kWidth, 0, false);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto with_bad = x;
    with_bad[kWidth + 17] = bad;
    const auto got = emulated(with_bad, weight, Type::kFp32, kWidth, 0, false);
    CHECK(same_bits(got.data(), want.data(), kWidth));
    CHECK(same_bits(got.data() + 2 * kWidth, want.data() + 2 * kWidth, kWidth));
    CHECK(std::isnan(got[kWidth + 17]));
  }
}

TEST(a_row_of_zeros_is_zeros) {
  std::mt19937 random(static_cast<uint32_t>(check::seed()));
  const WeightValues weight(64, Type::kFp32, random);
  for (const float value : emulated(std::vector<float>(64), weight, Type::kFp32, 64, 0, false))
    CHECK_EQ(value, 0.0f);
}

TEST(offsets_beyond_2_to_31_elements) {
  // The last of rows that are together more than 2^31 elements; groups of 4 elements, and single ones.
  for (const int64_t hidden : {4096, 4098}) {
    const int64_t rows = (int64_t{1} << 31) / hidden + 3, at = (rows - 1) * hidden;
    std::mt19937 random(static_cast<uint32_t>(check::seed()));
    const WeightValues weight(hidden, Type::kFp32, random);
    const auto row = random_values(hidden, random);
    const auto want = emulated(row, weight, Type::kFp32, hidden, 0, false);
    const auto x = Buffer<float>::sparse("x", rows * hidden);
    const auto out = Buffer<float>::sparse("out", rows * hidden);
    std::copy(row.begin(), row.end(), x.data() + at);
    const auto on_weight = Buffer<float>::input("weight", weight.fp32);
    simt::emulated::set_last_blocks(1);
    espalier::cuda_rms_norm(
        {x.data(), on_weight.data(), Type::kFp32, kEps, out.data(), rows, hidden}, nullptr);
    simt::emulated::set_last_blocks(0);
    CHECK_MSG(
        same_bits(out.data() + at, want.data(), hidden), "hidden %ld", static_cast<long>(hidden));
  }
}
