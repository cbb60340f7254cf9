// skinny_gemm against fp64, and row independence bit for bit.
#include "check.h"
#include "ops.h"

namespace {

using namespace ops;
using Vector = std::vector<float>;

struct Case {
  int64_t m, n, k;
  int32_t type = ESPALIER_BF16;
  bool gate = false, bias = false, residual = false, norm = false;
};

constexpr float kEps = 1e-5f;

/** k, or the next one that the device takes: rows of 16 bits by eight elements where they are not packed. */
int64_t cols(int64_t k, int32_t type) {
  return espalier_test::on_cpu() || type == ESPALIER_FP32 ? k : (k + 7) / 8 * 8;
}

/** One product without a norm. */
espalier_status product(
    espalier_context* ctx, espalier_buffer* x, espalier_buffer* w, espalier_buffer* up,
    espalier_buffer* residual, espalier_buffer* out) {
  return espalier_skinny_gemm(
      ctx, x, nullptr, 0, w, nullptr, up, nullptr, residual, out, nullptr, nullptr, nullptr,
      nullptr, nullptr, nullptr);
}

/** The inputs of a case, as the op sees them after rounding to the types. */
struct Problem {
  Case c;
  Vector x, norm, w, up, bias, up_bias, residual;

  Problem(const Case& shape, Random& random) : c(shape) {
    x = random.normals(c.m * c.k);
    w = random.normals(c.n * c.k);
    if (c.gate) up = random.normals(c.n * c.k);
    if (c.bias) bias = random.normals(c.n);
    if (c.bias && c.gate) up_bias = random.normals(c.n);
    if (c.residual) residual = random.normals(c.m * c.n);
    if (c.norm) norm = random.normals(c.k);
  }

  Vector run(const Context& ctx) {
    Buffer w_buffer(ctx, c.type, {c.n, c.k}, &w),
        up_buffer(ctx, c.type, {c.n, c.k}, pad(&up, c.n * c.k));
    Buffer bias_buffer(ctx, c.type, {c.n}, pad(&bias, c.n)),
        up_bias_buffer(ctx, ESPALIER_FP32, {c.n}, pad(&up_bias, c.n));
    Buffer x_buffer(ctx, {c.m, c.k}, x),
        residual_buffer(ctx, ESPALIER_FP32, {c.m, c.n}, pad(&residual, c.m * c.n));
    Buffer out(ctx, ESPALIER_FP32, {c.m, c.n});
    Buffer norm_buffer(ctx, ESPALIER_BF16, {c.k}, pad(&norm, c.k));
    ok(espalier_skinny_gemm(
        ctx, x_buffer, norm_buffer.unless(!c.norm), kEps, w_buffer, bias_buffer.unless(!c.bias),
        up_buffer.unless(!c.gate), up_bias_buffer.unless(!c.bias || !c.gate),
        residual_buffer.unless(!c.residual), out, nullptr, nullptr, nullptr, nullptr, nullptr,
        nullptr));
    return out.read<float>(c.m * c.n);
  }

  /** x[m] . w[n] in fp64, and the sum of the magnitudes. */
  double dot(const Vector& weight, int64_t m, int64_t n, double* magnitude) const {
    double sum = 0;
    *magnitude = 0;
    for (int64_t i = 0; i < c.k; ++i) {
      const double product = static_cast<double>(x[m * c.k + i]) * weight[n * c.k + i];
      sum += product;
      *magnitude += std::fabs(product);
    }
    return sum;
  }

 private:
  static Vector* pad(Vector* v, int64_t size) {
    v->resize(static_cast<size_t>(size));
    return v;
  }
};

/**
 * A sum of k products in one of `lanes` partial sums has k / lanes + lanes roundings in a row at
 * most; four lanes are the fewest. The statistical error is far below; the bound is for roundings
 * of one sign. Other backends round x to 16-bit types of weights first, and add up to 8 sums of slices.
 */
double product_error(const Case& c, double magnitude) {
  if (espalier_test::on_cpu()) return (c.k / 4.0 + 6) * kUlp * magnitude;
  const double u = c.type == ESPALIER_BF16 ? 0x1p-8 : c.type == ESPALIER_FP16 ? 0x1p-11 : 0;
  return (u + (c.k / 4.0 + 56) * kUlp) * magnitude;
}

void check_against_fp64(const Context& ctx, const Case& c, Random& random) {
  Problem p(c, random);
  const Vector out = p.run(ctx);
  double bound_square = 0, error_square = 0;
  for (int64_t m = 0; m < c.m; ++m) {
    for (int64_t n = 0; n < c.n; ++n) {
      double magnitude, up_magnitude = 0;
      double ref = p.dot(p.w, m, n, &magnitude) + (c.bias ? p.bias[n] : 0);
      double bound = product_error(c, magnitude) + 2 * kUlp * std::fabs(ref);
      if (c.gate) {
        const double up = p.dot(p.up, m, n, &up_magnitude) + (c.bias ? p.up_bias[n] : 0);
        const double up_error = product_error(c, up_magnitude) + 2 * kUlp * std::fabs(up);
        const double silu = ref / (1 + std::exp(-ref));
        // The slope of silu is below 1.1; its own roundings are 8 ulp at most.
        const double silu_error = 1.1 * bound + 8 * kUlp * std::fabs(silu);
        bound = silu_error * (std::fabs(up) + up_error) + std::fabs(silu) * up_error +
                2 * kUlp * std::fabs(silu * up);
        ref = silu * up;
      }
      if (c.residual) {
        ref += p.residual[m * c.n + n];
        bound += kUlp * (std::fabs(ref) + std::fabs(ref - p.residual[m * c.n + n]));
      }
      const double error = std::fabs(out[m * c.n + n] - ref);
      bound_square += bound * bound;
      error_square += error * error;
      CHECK_MSG(
          error <= bound,
          "m %lld of %lld, n %lld of %lld, k %lld, %s: out %g, ref %g, error %g, bound %g",
          static_cast<long long>(m), static_cast<long long>(c.m), static_cast<long long>(n),
          static_cast<long long>(c.n), static_cast<long long>(c.k), type_name(c.type),
          out[m * c.n + n], ref, error, bound);
    }
  }
  // Roundings of both signs cancel. Inputs are what the type holds, so this is so whatever the type.
  CHECK_MSG(
      !espalier_test::on_cpu() || 4 * std::sqrt(error_square) <= std::sqrt(bound_square),
      "m %lld, n %lld, k %lld, %s: norm of error %g, of bound %g", static_cast<long long>(c.m),
      static_cast<long long>(c.n), static_cast<long long>(c.k), type_name(c.type),
      std::sqrt(error_square), std::sqrt(bound_square));
}

/** Rows first .. first + count - 1 of a problem. */
Problem rows_of(const Problem& p, int64_t first, int64_t count) {
  Problem part = p;
  part.c.m = count;
  part.x.assign(p.x.begin() + first * p.c.k, p.x.begin() + (first + count) * p.c.k);
  if (p.c.residual) {
    part.residual.assign(
        p.residual.begin() + first * p.c.n, p.residual.begin() + (first + count) * p.c.n);
  }
  return part;
}

}  // namespace

TEST(products_are_within_the_bound_of_fp64) {
  const Context ctx;
  Random random(1);
  for (const int32_t type : kFloatTypes) {
    for (const int64_t k : {1, 3, 4, 7, 8, 15, 16, 17, 31, 64, 257, 1000}) {
      check_against_fp64(ctx, {3, 5, cols(k, type), type}, random);
    }
    for (const int64_t n : {1, 2, 23, 24, 25, 95, 96, 97, 300})
      check_against_fp64(ctx, {2, n, 40, type}, random);
    for (const int64_t m : kRowCounts) check_against_fp64(ctx, {m, 50, 72, type}, random);
  }
}

TEST(bias_residual_and_gate_are_within_the_bound_of_fp64) {
  const Context ctx;
  Random random(2);
  for (const int32_t type : kFloatTypes) {
    for (const int64_t m : {1, 2, 5, 9}) {
      check_against_fp64(ctx, {m, 27, cols(33, type), type, false, true, false}, random);
      check_against_fp64(ctx, {m, 27, cols(33, type), type, false, false, true}, random);
      check_against_fp64(ctx, {m, 27, cols(33, type), type, false, true, true}, random);
      check_against_fp64(ctx, {m, 27, cols(33, type), type, true, false, false}, random);
      check_against_fp64(ctx, {m, 27, cols(33, type), type, true, true, false}, random);
    }
  }
}

TEST(a_row_alone_and_among_others_has_the_same_bits) {
  const Context ctx, one_thread(1);
  Random random(3);
  for (const int32_t type : kFloatTypes) {
    for (const bool gate : {false, true}) {
      for (const int64_t k : {48, 77, 515}) {
        Problem all({64, 131, cols(k, type), type, gate, true, !gate}, random);
        const Vector whole = all.run(ctx);
        CHECK(same_bits(all.run(one_thread).data(), whole.data(), 64 * 131));
        for (const int count : kRowCounts) {
          for (int first = 0; first + count <= 64; first += 1 + count / 2) {
            const Vector part = rows_of(all, first, count).run(ctx);
            CHECK_MSG(
                same_bits(part.data(), whole.data() + first * 131, count * 131),
                "rows %d .. %d of 64, k %lld, %s, gate %d differ from the same rows among 64",
                first, first + count - 1, static_cast<long long>(k), type_name(type), gate);
          }
        }
      }
    }
  }
}

TEST(a_norm_on_the_way_has_the_bits_of_a_norm_before) {
  if (!espalier_test::on_cpu())
    return;  // elsewhere its squares are summed in an order of their own
  const Context ctx;
  Random random(6);
  for (const int32_t type : kFloatTypes) {
    for (const bool gate : {false, true}) {
      for (const int64_t m : {1, 9}) {
        for (const int64_t given : {1, 40, 333}) {
          const int64_t k = cols(given, type);
          Problem p({m, 27, k, type, gate, true, !gate, true}, random);
          const Vector out = p.run(ctx);
          Problem before = p;
          before.c.norm = false;
          Buffer x(ctx, {m, k}, p.x), norm(ctx, ESPALIER_BF16, {k}, &p.norm);
          ok(espalier_rms_norm(ctx, x, norm, kEps, x));
          before.x = x.read<float>(m * k);
          CHECK_MSG(
              same_bits(out.data(), before.run(ctx).data(), m * 27), "m %lld, k %lld, %s, gate %d",
              static_cast<long long>(m), static_cast<long long>(k), type_name(type), gate);
          CHECK(
              k == 1 || !same_bits(
                            out.data(),
                            [&] {
                              before.x = p.x;
                              return before.run(ctx);
                            }()
                                .data(),
                            m * 27));
        }
      }
    }
  }
}

TEST(products_that_share_an_x_have_the_bits_of_each_alone) {
  const Context ctx;
  Random random(7);
  for (const int32_t type : kFloatTypes) {
    for (const int64_t m : {1, 8, 33}) {
      const int64_t k = cols(77, type);
      std::vector<Problem> parts;
      for (const int64_t n : {100, 25, 1})
        parts.emplace_back(Case{m, n, k, type, false, n != 25, false, true}, random);
      for (Problem& p : parts) {
        p.x = parts[0].x;
        p.norm = parts[0].norm;
      }
      std::vector<Vector> alone;
      for (Problem& p : parts) alone.push_back(p.run(ctx));
      Buffer x(ctx, {m, k}, parts[0].x), norm(ctx, ESPALIER_BF16, {k}, &parts[0].norm);
      Buffer w(ctx, type, {100, k}, &parts[0].w), w2(ctx, type, {25, k}, &parts[1].w),
          w3(ctx, type, {1, k}, &parts[2].w);
      Buffer bias(ctx, type, {100}, &parts[0].bias), bias3(ctx, type, {1}, &parts[2].bias);
      Buffer out(ctx, ESPALIER_FP32, {m, 100}), out2(ctx, ESPALIER_FP32, {m, 25}),
          out3(ctx, ESPALIER_FP32, {m, 1});
      ok(espalier_skinny_gemm(
          ctx, x, norm, kEps, w, bias, nullptr, nullptr, nullptr, out, w2, nullptr, out2, w3, bias3,
          out3));
      CHECK(same_bits(out.read<float>(m * 100).data(), alone[0].data(), m * 100));
      CHECK(same_bits(out2.read<float>(m * 25).data(), alone[1].data(), m * 25));
      CHECK(same_bits(out3.read<float>(m).data(), alone[2].data(), m));
      out2.write(Vector(static_cast<size_t>(m * 25)));
      ok(espalier_skinny_gemm(
          ctx, x, norm, kEps, w, bias, nullptr, nullptr, nullptr, out, w2, nullptr, out2, nullptr,
          nullptr, nullptr));
      CHECK(same_bits(out2.read<float>(m * 25).data(), alone[1].data(), m * 25));
    }
  }
}

TEST(large_rows_that_are_split_over_threads_have_the_same_bits) {
  const Context ctx, one_thread(1);
  Random random(4);
  Problem all({9, 700, 2048, ESPALIER_BF16}, random);
  const Vector whole = all.run(one_thread);
  CHECK(same_bits(all.run(ctx).data(), whole.data(), 9 * 700));
  for (int m = 0; m < 9; ++m) {
    CHECK(same_bits(rows_of(all, m, 1).run(ctx).data(), whole.data() + m * 700, 700));
  }
}

TEST(nan_and_infinity_stay_in_their_row) {
  const Context ctx;
  Random random(5);
  Problem p({9, 30, 20, ESPALIER_FP32}, random);
  const Vector clean = p.run(ctx);
  p.x[4 * 20 + 19] = kNan;
  p.x[6 * 20 + 3] = kInf;
  const Vector out = p.run(ctx);
  for (int m = 0; m < 9; ++m) {
    for (int n = 0; n < 30; ++n) {
      const float y = out[m * 30 + n];
      if (m == 4) {
        CHECK(std::isnan(y));
      } else if (m == 6) {
        CHECK_EQ(y, p.w[n * 20 + 3] > 0 ? kInf : -kInf);
      } else {
        CHECK(same_bits(&y, &clean[m * 30 + n], 1));
      }
    }
  }
}

TEST(the_gate_holds_far_out) {
  const Context ctx;
  const Vector gate = {-1000, -100, -88, -87, -20, -1e-30f, 0, 1e-30f, 20, 88, 1000};
  const int64_t n = static_cast<int64_t>(gate.size());
  Buffer x(ctx, {1, 1}, Vector{1}), w(ctx, {n, 1}, gate), up(ctx, {n, 1}, Vector(gate.size(), 2));
  Buffer out(ctx, ESPALIER_FP32, {1, n});
  ok(product(ctx, x, w, up, nullptr, out));
  const Vector y = out.read<float>(n);
  for (size_t i = 0; i < gate.size(); ++i) {
    const double ref = 2 * (gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))));
    // Below -87 the exponential is cut to zero: e^-87 is 1.6e-38.
    const double bound = 10 * kUlp * std::fabs(ref) + 1e-33;
    CHECK_MSG(std::fabs(y[i] - ref) <= bound, "gate %g: %g, expected %g", gate[i], y[i], ref);
  }
}

TEST(no_rows_no_columns_no_k) {
  const Context ctx;
  Buffer x(ctx, ESPALIER_FP32, {0, 8}), w(ctx, ESPALIER_BF16, {3, 8}),
      out(ctx, ESPALIER_FP32, {0, 3});
  ok(product(ctx, x, w, nullptr, nullptr, out));
  Buffer x2(ctx, ESPALIER_FP32, {2, 8}), w2(ctx, ESPALIER_BF16, {0, 8}),
      out2(ctx, ESPALIER_FP32, {2, 0});
  ok(product(ctx, x2, w2, nullptr, nullptr, out2));
  Buffer x3(ctx, ESPALIER_FP32, {2, 0}), w3(ctx, ESPALIER_BF16, {3, 0}),
      out3(ctx, {2, 3}, Vector(6, 7));
  ok(product(ctx, x3, w3, nullptr, nullptr, out3));
  for (const float y : out3.read<float>(6)) CHECK_EQ(y, 0.0f);
}

TEST(residual_may_be_out) {
  const Context ctx;
  Buffer x(ctx, {1, 2}, Vector{1, 2}), w(ctx, {2, 2}, Vector{1, 0, 0, 1}),
      out(ctx, {1, 2}, Vector{10, 20});
  ok(product(ctx, x, w, nullptr, out, out));
  CHECK(out.read<float>(2) == (Vector{11, 22}));
}

TEST(bad_arguments_are_refused_and_out_is_untouched) {
  const Context ctx, other;
  Buffer x(ctx, ESPALIER_FP32, {2, 4}), w(ctx, ESPALIER_BF16, {3, 4}),
      out(ctx, {2, 3}, Vector(6, 7));
  Buffer narrow(ctx, ESPALIER_BF16, {3, 5}), ints(ctx, ESPALIER_I32, {3, 4}),
      flat(ctx, ESPALIER_FP32, {4});
  Buffer up(ctx, ESPALIER_FP16, {3, 4}), elsewhere(other, ESPALIER_FP32, {2, 4}),
      same_up(ctx, ESPALIER_BF16, {3, 4});
  const auto call = [&](espalier_buffer* x_, espalier_buffer* w_, espalier_buffer* up_,
                        espalier_buffer* residual_) {
    return product(ctx, x_, w_, up_, residual_, out);
  };
  const std::string name = "espalier_skinny_gemm: ";
  refused(
      call(nullptr, w, nullptr, nullptr), ESPALIER_INVALID_ARGUMENT,
      name + "x = NULL, expected a pointer");
  refused(
      call(x, narrow, nullptr, nullptr), ESPALIER_INVALID_ARGUMENT,
      name + "k of w = 5, expected 4, as x has");
  refused(
      call(x, ints, nullptr, nullptr), ESPALIER_INVALID_ARGUMENT,
      name + "type of w = i32, expected fp32, bf16 or fp16");
  refused(
      call(flat, w, nullptr, nullptr), ESPALIER_INVALID_ARGUMENT,
      name + "rank of x = 1, expected 2: [m, k]");
  refused(
      call(x, w, up, nullptr), ESPALIER_INVALID_ARGUMENT,
      name + "type of up = fp16, expected bf16, as w has");
  refused(
      call(x, w, same_up, out), ESPALIER_INVALID_ARGUMENT,
      name + "residual = a buffer, expected NULL where up is given");
  refused(
      call(elsewhere, w, nullptr, nullptr), ESPALIER_INVALID_ARGUMENT,
      name + "context of x = another one, expected ctx");
  refused(
      product(nullptr, x, w, nullptr, nullptr, out), ESPALIER_INVALID_ARGUMENT,
      name + "ctx = NULL, expected a pointer");
  Buffer square(ctx, ESPALIER_FP32, {2, 2}), weight(ctx, ESPALIER_FP32, {2, 2});
  refused(
      product(ctx, square, weight, nullptr, nullptr, square), ESPALIER_INVALID_ARGUMENT,
      name + "memory of out = memory of x, expected them apart");
  CHECK(out.read<float>(6) == Vector(6, 7));
}

TEST(bad_norms_and_parts_are_refused_and_outputs_are_untouched) {
  const Context ctx;
  Buffer x(ctx, ESPALIER_FP32, {2, 4}), w(ctx, ESPALIER_BF16, {3, 4}),
      norm(ctx, ESPALIER_FP32, {4}), out(ctx, {2, 3}, Vector(6, 7)),
      out2(ctx, {2, 3}, Vector(6, 7)), out3(ctx, {2, 3}, Vector(6, 7));
  Buffer short_norm(ctx, ESPALIER_FP32, {3}), fp16(ctx, ESPALIER_FP16, {3, 4}),
      narrow(ctx, ESPALIER_BF16, {3, 5}), wide(ctx, ESPALIER_FP32, {2, 4}),
      bias(ctx, ESPALIER_FP32, {3});
  struct Call {
    espalier_buffer *norm = nullptr, *up = nullptr, *residual = nullptr, *out, *w2 = nullptr,
                    *bias2 = nullptr, *out2 = nullptr, *w3 = nullptr, *bias3 = nullptr,
                    *out3 = nullptr;
    float eps = 1;
  };
  const auto refuses = [&](const Call& c, const std::string& text) {
    refused(
        espalier_skinny_gemm(
            ctx, x, c.norm, c.eps, w, nullptr, c.up, nullptr, c.residual, c.out, c.w2, c.bias2,
            c.out2, c.w3, c.bias3, c.out3),
        ESPALIER_INVALID_ARGUMENT, "espalier_skinny_gemm: " + text);
  };
  refuses({.norm = short_norm, .out = out}, "k of norm = 3, expected 4, as x has");
  refuses({.norm = w, .out = out}, "rank of norm = 2, expected 1: [k]");
  refuses({.norm = norm, .out = out, .eps = -1}, "eps = -1, expected a finite number >= 0");
  refuses({.norm = norm, .out = norm}, "rank of out = 1, expected 2: [m, n]");
  refuses({.out = out, .w2 = w}, "out2 = NULL, expected a pointer");
  refuses({.out = out, .w2 = fp16, .out2 = out2}, "type of w2 = fp16, expected bf16, as w has");
  refuses({.out = out, .w2 = narrow, .out2 = out2}, "k of w2 = 5, expected 4, as x has");
  refuses({.out = out, .w2 = w, .out2 = wide}, "n2 of out2 = 4, expected 3, as w2 has");
  refuses(
      {.out = out, .w2 = w, .out2 = out}, "memory of out = memory of out2, expected them apart");
  refuses(
      {.out = out, .w2 = w, .out2 = out2, .w3 = fp16, .out3 = out3},
      "type of w3 = fp16, expected bf16, as w has");
  refuses(
      {.out = out, .w2 = w, .out2 = out2, .w3 = w, .out3 = out2},
      "memory of out2 = memory of out3, expected them apart");
  refuses(
      {.up = w, .out = out, .w2 = w, .out2 = out2},
      "up = a buffer, expected NULL where w2 is given");
  refuses(
      {.residual = out, .out = out, .w2 = w, .out2 = out2},
      "residual = a buffer, expected NULL where w2 is given");
  refuses({.out = out, .bias2 = bias}, "bias2 = a buffer, expected NULL where w2 is NULL");
  refuses({.out = out, .out2 = out2}, "out2 = a buffer, expected NULL where w2 is NULL");
  refuses({.out = out, .w3 = w, .out3 = out3}, "w3 = a buffer, expected NULL where w2 is NULL");
  refuses(
      {.out = out, .w2 = w, .out2 = out2, .bias3 = bias},
      "bias3 = a buffer, expected NULL where w3 is NULL");
  refuses(
      {.out = out, .w2 = w, .out2 = out2, .out3 = out3},
      "out3 = a buffer, expected NULL where w3 is NULL");
  for (const Buffer* b : {&out, &out2, &out3}) CHECK(b->read<float>(6) == Vector(6, 7));
}
