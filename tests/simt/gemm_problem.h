// Inputs of skinny_gemm, a run of its kernels on the emulator, and what fp64 says of them.
#ifndef ESPALIER_TESTS_SIMT_GEMM_PROBLEM_H
#define ESPALIER_TESTS_SIMT_GEMM_PROBLEM_H

#include <cmath>
#include <cstring>
#include <random>

#include "check.h"
#include "cpu/convert.h"
#include "gemm/gemm.h"
#include "launchers.h"
#include "orders.h"

namespace gemm_test {

using espalier::SkinnyGemmArgs;
using espalier::Type;
using simt::emulated::Buffer;
using Vector = std::vector<float>;

constexpr float kEps = 1e-5f;
constexpr double kUlp = 0x1p-24;

inline float rounded(float x, Type type) {
  if (type == Type::kBf16) {
    espalier::Bf16 half;
    espalier::from_float(x, &half);
    return espalier::to_float(half);
  }
  if (type == Type::kFp16) {
    espalier::Fp16 half;
    espalier::from_float(x, &half);
    return espalier::to_float(half);
  }
  return x;
}

inline uint16_t bits_of(float x, Type type) {
  if (type == Type::kBf16) {
    espalier::Bf16 half;
    espalier::from_float(x, &half);
    return half.bits;
  }
  espalier::Fp16 half;
  espalier::from_float(x, &half);
  return half.bits;
}

struct Case {
  int64_t m;
  std::vector<int64_t> n;  // of each part
  int64_t k;
  Type type = Type::kBf16;
  bool gate = false, bias = false, residual = false, norm = false, packed = true, prompt = false;
};

/** Elements of a type on the device, 16-bit matrices packed on request. */
class Elements {
 public:
  Elements(const char* name, const Vector& values, Type type, int64_t n, int64_t k, bool packed)
      : fp32_(Buffer<float>::input(name, type == Type::kFp32 ? values : Vector())),
        half_(Buffer<uint16_t>::input(name, halves(values, type, n, k, packed))),
        data_(type == Type::kFp32 ? static_cast<const void*>(fp32_.data()) : half_.data()) {}

  const void* data() const { return data_; }

 private:
  static std::vector<uint16_t> halves(
      const Vector& values, Type type, int64_t n, int64_t k, bool packed) {
    std::vector<uint16_t> bits;
    if (type == Type::kFp32) return bits;
    for (const float x : values) bits.push_back(bits_of(x, type));
    if (!packed) return bits;
    std::vector<uint16_t> all(static_cast<size_t>(espalier::packed_bytes(n, k) / 2));
    espalier::pack(bits.data(), n, k, all.data());
    return all;
  }

  Buffer<float> fp32_;
  Buffer<uint16_t> half_;
  const void* data_;
};

struct Problem {
  Case c;
  Vector x, norm, up, up_bias, residual;
  std::vector<Vector> w, bias;

  Problem(const Case& shape, std::mt19937& random) : c(shape) {
    std::normal_distribution<float> normal(0.1f, 1.0f);
    const auto values = [&](int64_t count, Type type) {
      Vector v(static_cast<size_t>(count));
      for (float& value : v) value = rounded(normal(random), type);
      return v;
    };
    x = values(c.m * c.k, Type::kFp32);
    if (c.norm) norm = values(c.k, Type::kBf16);
    for (const int64_t n : c.n) {
      w.push_back(values(n * c.k, c.type));
      bias.push_back(c.bias ? values(n, c.type) : Vector());
    }
    if (c.gate) up = values(c.n[0] * c.k, c.type);
    if (c.gate && c.bias) up_bias = values(c.n[0], Type::kFp32);
    if (c.residual) residual = values(c.m * c.n[0], Type::kFp32);
  }

  /** The outputs of the parts; x begins `offset` elements behind an aligned address. */
  std::vector<Vector> run(int offset = 0, bool in_place = false) const {
    Vector shifted(static_cast<size_t>(offset));
    shifted.insert(shifted.end(), x.begin(), x.end());
    const auto on_x = Buffer<float>::input("x", shifted);
    const Elements on_norm("norm", norm, Type::kBf16, 1, c.k, false);
    SkinnyGemmArgs args;
    args.x = on_x.data() + offset;
    if (c.norm) args.norm = {on_norm.data(), Type::kBf16, kEps};
    std::vector<Elements> weights, biases;
    std::vector<Buffer<float>> outs;
    for (size_t i = 0; i < c.n.size(); ++i) {
      weights.emplace_back("w", w[i], c.type, c.n[i], c.k, c.packed);
      biases.emplace_back("bias", bias[i], c.type, 1, c.n[i], false);
      if (in_place) {
        outs.emplace_back("out", residual);
      } else {
        outs.push_back(Buffer<float>::output("out", static_cast<size_t>(c.m * c.n[i])));
      }
      args.part[i].w = {weights[i].data(), c.type, c.n[i], c.k, c.packed && c.type != Type::kFp32};
      if (c.bias) args.part[i].bias = {biases[i].data(), c.type, 1, c.n[i]};
      args.part[i].out = outs[i].data();
    }
    const Elements on_up("up", up, c.type, c.gate ? c.n[0] : 0, c.k, c.packed);
    const auto on_up_bias = Buffer<float>::input("up_bias", up_bias),
               on_residual = Buffer<float>::input("residual", residual);
    if (c.gate) {
      args.up = {on_up.data(), c.type, c.n[0], c.k, c.packed && c.type != Type::kFp32};
      if (c.bias) args.up_bias = {on_up_bias.data(), Type::kFp32, 1, c.n[0]};
    }
    if (c.residual) args.residual = in_place ? outs[0].data() : on_residual.data();
    args.num_parts = static_cast<int32_t>(c.n.size());
    args.m = c.m;
    args.prompt = c.prompt;
    const auto workspace = Buffer<uint32_t>::output(
        "workspace", espalier::cuda_skinny_gemm_workspace(args) / sizeof(uint32_t));
    const Buffer<int32_t> turns("turns", std::vector<int32_t>(espalier::kNumTurns));
    espalier::cuda_skinny_gemm(args, workspace.data(), turns.data(), nullptr);
    CHECK(turns.values() == std::vector<int32_t>(espalier::kNumTurns));
    std::vector<Vector> result;
    for (const auto& out : outs) result.push_back(out.values());
    return result;
  }

  /** Rows first .. first + count - 1. */
  Problem rows(int64_t first, int64_t count) const {
    Problem part = *this;
    part.c.m = count;
    part.x.assign(x.begin() + first * c.k, x.begin() + (first + count) * c.k);
    if (c.residual) {
      part.residual.assign(
          residual.begin() + first * c.n[0], residual.begin() + (first + count) * c.n[0]);
    }
    return part;
  }

  /** One of the parts alone. */
  Problem alone(size_t i) const {
    Problem part = *this;
    part.c.n = {c.n[i]};
    part.w = {w[i]};
    part.bias = {bias[i]};
    return part;
  }

  /** Row m of x as the instructions see it: the norm in the kernel's order of roundings, then rounded to the type. */
  Vector operand(int64_t m) const {
    const float* row = x.data() + m * c.k;
    float factor = 1;
    if (c.norm) {
      float of_thread[256] = {};
      for (int64_t i = 0; i < c.k; ++i)
        of_thread[i / 4 % 256] = std::fma(row[i], row[i], of_thread[i / 4 % 256]);
      float sum = 0;
      for (int warp = 0; warp < 8; ++warp) {
        float lane[32];
        std::copy_n(of_thread + warp * 32, 32, lane);
        for (int width = 16; width > 0; width /= 2) {
          for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
        }
        sum += lane[0];
      }
      factor = 1.0f / std::sqrt(sum / static_cast<float>(c.k) + kEps);
    }
    Vector operand(static_cast<size_t>(c.k));
    for (int64_t i = 0; i < c.k; ++i)
      operand[i] = rounded(c.norm ? row[i] * factor * norm[i] : row[i], c.type);
    return operand;
  }

  /** Roundings of a product, one after the other: as the headers of skinny_gemm.cu and warpgroup_gemm.cu derive them. */
  double roundings() const {
    if (c.prompt) return c.k + 16.0;
    return c.type == Type::kFp32 ? c.k / 32.0 + 10 : c.k / 8.0 + 40;
  }

  /** Compares all outputs with fp64; returns the largest error as a share of the bound. */
  double check(const std::vector<Vector>& got, const char* order) const {
    double worst = 0;
    for (int64_t m = 0; m < c.m; ++m) {
      const Vector row = operand(m);
      for (size_t i = 0; i < c.n.size(); ++i) {
        for (int64_t n = 0; n < c.n[i]; ++n) {
          double bound;
          const double want = output(row, i, m, n, &bound);
          const double error = std::fabs(got[i][m * c.n[i] + n] - want);
          if (bound > 0) worst = std::max(worst, error / bound);
          CHECK_MSG(
              error <= bound,
              "%s: row %ld of %ld, part %zu, column %ld of %ld, k %ld, type %d: %.9g, expected "
              "%.9g, bound %.3g",
              order, static_cast<long>(m), static_cast<long>(c.m), i, static_cast<long>(n),
              static_cast<long>(c.n[i]), static_cast<long>(c.k), static_cast<int>(c.type),
              got[i][m * c.n[i] + n], want, bound);
        }
      }
    }
    return worst;
  }

 private:
  double dot(const Vector& row, const Vector& weight, int64_t n, double* bound) const {
    double sum = 0, magnitude = 0;
    for (int64_t i = 0; i < c.k; ++i) {
      const double product = static_cast<double>(row[i]) * weight[n * c.k + i];
      sum += product;
      magnitude += std::fabs(product);
    }
    *bound = roundings() * kUlp * magnitude;
    return sum;
  }

  double output(const Vector& row, size_t part, int64_t m, int64_t n, double* bound) const {
    double want = dot(row, w[part], n, bound);
    if (c.bias) {
      want += bias[part][n];
      *bound += kUlp * (std::fabs(want) + *bound);
    }
    if (c.gate) {
      double up_error;
      double of_up = dot(row, up, n, &up_error);
      if (c.bias) of_up += up_bias[n];
      up_error += kUlp * (std::fabs(of_up) + up_error);
      const double silu = want / (1 + std::exp(-want));
      // The slope of silu is below 1.1; the exponential is within 4 ulp, three roundings follow.
      const double silu_error = 1.1 * *bound + 8 * kUlp * std::fabs(silu) + 1e-36;
      *bound = silu_error * (std::fabs(of_up) + up_error) + std::fabs(silu) * up_error;
      want = silu * of_up;
      *bound += kUlp * (std::fabs(want) + *bound);
    }
    if (c.residual) {
      want += residual[m * c.n[0] + n];
      *bound += kUlp * (std::fabs(want) + *bound);
    }
    return want;
  }
};

inline bool same_bits(const float* a, const float* b, int64_t count) {
  return count == 0 || std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

inline bool same_bits(const Vector& a, const Vector& b) {
  return a.size() == b.size() && same_bits(a.data(), b.data(), static_cast<int64_t>(a.size()));
}

/** Runs under three orders of threads; every output is checked, and the bits are one. */
inline double check_case(const Case& c, std::mt19937& random) {
  const Problem p(c, random);
  double worst = 0;
  std::vector<Vector> first;
  simt::emulated::for_each_order([&](const char* order) {
    const auto got = p.run();
    worst = std::max(worst, p.check(got, order));
    if (first.empty()) first = got;
    for (size_t i = 0; i < got.size(); ++i)
      CHECK_MSG(same_bits(got[i], first[i]), "%s: other bits than forward", order);
  });
  return worst;
}

/**
 * Rows behind so many others that they lie beyond 2^31 elements of x, its rounded form and the output: the bits of the same
 * rows among few. The emulator runs the last blocks alone, so the last 8 rows and columns are looked at.
 */
inline void check_last_of(int64_t m, const Case& few, std::mt19937& random) {
  constexpr int64_t kLast = 8;
  const Problem p(few, random);
  const int64_t k = few.k, n = few.n[0], first = m - few.m;
  const Vector want = p.run()[0];
  const Elements w("w", p.w[0], few.type, n, k, few.packed),
      norm("norm", p.norm, Type::kBf16, 1, k, false);
  const auto x = Buffer<float>::sparse("x", static_cast<size_t>(m * k)),
             out = Buffer<float>::sparse("out", static_cast<size_t>(m * n));
  std::copy(p.x.begin(), p.x.end(), x.data() + first * k);
  std::copy(p.residual.begin(), p.residual.end(), out.data() + first * n);
  SkinnyGemmArgs args;
  args.x = x.data();
  args.norm = {norm.data(), Type::kBf16, kEps};
  args.part[0] = {{w.data(), few.type, n, k, few.type != Type::kFp32}, {}, out.data()};
  args.residual = out.data();
  args.m = m;
  args.prompt = few.prompt;
  const auto workspace = Buffer<uint32_t>::sparse(
      "workspace", espalier::cuda_skinny_gemm_workspace(args) / sizeof(uint32_t));
  const Buffer<int32_t> turns("turns", std::vector<int32_t>(espalier::kNumTurns));
  simt::emulated::set_last_blocks(16);
  espalier::cuda_skinny_gemm(args, workspace.data(), turns.data(), nullptr);
  simt::emulated::set_last_blocks(0);
  for (int64_t row = 1; row <= kLast; ++row) {
    CHECK_MSG(
        same_bits(
            out.data() + (m - row + 1) * n - kLast, want.data() + (few.m - row + 1) * n - kLast,
            kLast),
        "row %ld of %ld, k %ld, n %ld, type %d", static_cast<long>(m - row), static_cast<long>(m),
        static_cast<long>(k), static_cast<long>(n), static_cast<int>(few.type));
  }
}

}  // namespace gemm_test

#endif
