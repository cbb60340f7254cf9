// embed: exact rows of the table.
#include "check.h"
#include "ops.h"

using namespace ops;

TEST(rows_are_the_tables) {
  const Context ctx;
  Random random(1);
  for (const int32_t type : kFloatTypes) {
    for (const int64_t hidden : {1, 7, 64}) {
      std::vector<float> table = random.normals(11 * hidden);
      table[3 * hidden] = kInf;
      Buffer table_buffer(ctx, type, {11, hidden}, &table);  // rounds the numbers to the type
      for (const int rows : kRowCounts) {
        std::vector<int32_t> token;
        for (int r = 0; r < rows; ++r) token.push_back(random.below(11));
        Buffer token_buffer(ctx, {rows}, token), out(ctx, ESPALIER_FP32, {rows, hidden});
        ok(espalier_embed(ctx, table_buffer, token_buffer, out));
        const std::vector<float> got = out.read<float>(rows * hidden);
        for (int r = 0; r < rows; ++r)
          CHECK(same_bits(&got[r * hidden], &table[token[r] * hidden], hidden));
      }
    }
  }
}

TEST(halves_become_floats_exactly) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const espalier::Fp16 half{static_cast<uint16_t>(bits)};
    const int exponent = static_cast<int>(bits >> 10 & 31),
              mantissa = static_cast<int>(bits & 1023);
    double value = exponent == 0    ? std::ldexp(mantissa, -24)
                   : exponent == 31 ? (mantissa == 0 ? kInf : kNan)
                                    : std::ldexp(1024 + mantissa, exponent - 25);
    if (bits & 0x8000) value = -value;
    const float got = espalier::to_float(half);
    CHECK_MSG(
        std::isnan(value) ? std::isnan(got)
                          : got == value && std::signbit(got) == std::signbit(value),
        "fp16 %04x: %g, expected %g", bits, got, value);
    espalier::Fp16 back;
    espalier::from_float(got, &back);
    CHECK_MSG(
        std::isnan(value) || back.bits == bits, "fp16 %04x came back as %04x", bits, back.bits);
  }
}

TEST(floats_become_the_nearest_half_ties_to_even) {
  Random random(2);
  for (uint32_t bits = 0; bits + 1 < 0x7c00; ++bits) {
    const float low = espalier::to_float(espalier::Fp16{static_cast<uint16_t>(bits)});
    const float high = espalier::to_float(espalier::Fp16{static_cast<uint16_t>(bits + 1)});
    if (std::isinf(high)) break;
    const float middle = low + (high - low) / 2;
    const auto half_of = [](float x) {
      espalier::Fp16 half;
      espalier::from_float(x, &half);
      return static_cast<uint32_t>(half.bits);
    };
    CHECK_EQ(half_of(middle), bits + bits % 2);
    CHECK_EQ(half_of(std::nextafter(middle, 0.0f)), bits);
    CHECK_EQ(half_of(std::nextafter(middle, kInf)), bits + 1);
  }
  espalier::Fp16 half;
  espalier::from_float(65519.996f, &half);
  CHECK_EQ(half.bits, 0x7bff);
  espalier::from_float(65520.0f, &half);
  CHECK_EQ(half.bits, 0x7c00);
  for (int i = 0; i < 100000; ++i) {
    const uint32_t bits = static_cast<uint32_t>(random.bits());
    const float x = std::bit_cast<float>(bits);
    if (std::isnan(x)) continue;
    espalier::Bf16 b;
    espalier::from_float(x, &b);
    const uint32_t down = bits & 0xffff0000, rest = bits & 0xffff;
    const bool up = rest > 0x8000 || (rest == 0x8000 && (down & 0x10000) != 0);
    CHECK_EQ(static_cast<uint32_t>(b.bits) << 16, down + (up ? 0x10000 : 0));
  }
  espalier::Bf16 nan;
  espalier::from_float(std::bit_cast<float>(0x7f800001u), &nan);
  CHECK(std::isnan(espalier::to_float(nan)));
}

TEST(bad_arguments_are_refused_and_out_is_untouched) {
  const Context ctx;
  Buffer table(ctx, ESPALIER_BF16, {5, 3}), token(ctx, {2}, std::vector<int32_t>{4, 5});
  Buffer out(ctx, {2, 3}, std::vector<float>(6, 7)), none(ctx, ESPALIER_I32, {0}),
      empty(ctx, ESPALIER_FP32, {0, 3});
  if (espalier_test::on_cpu()) {  // a GPU's memory is not read for checks
    refused(
        espalier_embed(ctx, table, token, out), ESPALIER_INVALID_ARGUMENT,
        "espalier_embed: token[1] = 5, expected 0 <= token < vocab = 5");
    token.write(std::vector<int32_t>{-1, 0});
    refused(
        espalier_embed(ctx, table, token, out), ESPALIER_INVALID_ARGUMENT,
        "espalier_embed: token[0] = -1, expected 0 <= token < vocab = 5");
  }
  refused(
      espalier_embed(ctx, table, none, out), ESPALIER_INVALID_ARGUMENT,
      "espalier_embed: rows of out = 2, expected 0, as token has");
  CHECK(out.read<float>(6) == std::vector<float>(6, 7));
  ok(espalier_embed(ctx, table, none, empty));
}
