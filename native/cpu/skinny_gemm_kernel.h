// Products of rows n_begin .. n_end - 1 of a weight with rows of x. Included inside a namespace by each_path.h.
#include "cpu/dot_tile.h"

/** Products of MT rows of x with the weight's rows, NT at a time; out[m][n - n_begin], `ld` apart. */
template <int NT, int MT, class T>
void gemm_strip(
    const T* w, int64_t k, int64_t n_begin, int64_t n_end, const float* const* x, int64_t num_x, float* out, int64_t ld) {
  for (int64_t n = n_begin; n < n_end; n += NT) {
    const T* rows[NT];
    for (int i = 0; i < NT; ++i) rows[i] = w + (n + i < n_end ? n + i : n_end - 1) * k;
    float tile[MT * NT];
    dot_tile<NT, MT>(rows, x, k, tile);
    for (int64_t m = 0; m < num_x; ++m) {
      for (int i = 0; i < NT && n + i < n_end; ++i) out[m * ld + n + i - n_begin] = tile[m * NT + i];
    }
  }
}

/** At most kMaxRows rows of x at once. Tiles are as large as the registers allow; rows that lack are repeated. */
template <class T>
void gemm_rows(
    const T* w, int64_t k, int64_t n_begin, int64_t n_end, const float* x, int64_t num_x, float* out, int64_t ld) {
  const float* rows[kMaxRows];
  for (int64_t m = 0; m < kMaxRows; ++m) rows[m] = x + (m < num_x ? m : num_x - 1) * k;
  constexpr bool kManyRegisters = kLanes == 16;  // 32 vector registers, otherwise 16
  if (num_x == 1) {
    gemm_strip<kManyRegisters ? 8 : 6, 1>(w, k, n_begin, n_end, rows, num_x, out, ld);
  } else if (num_x == 2) {
    gemm_strip<kManyRegisters ? 8 : 4, 2>(w, k, n_begin, n_end, rows, num_x, out, ld);
  } else if (num_x <= 4) {
    gemm_strip<kManyRegisters ? 6 : 3, 4>(w, k, n_begin, n_end, rows, num_x, out, ld);
  } else if (num_x <= 6) {
    gemm_strip<kManyRegisters ? 4 : 2, 6>(w, k, n_begin, n_end, rows, num_x, out, ld);
  } else {
    gemm_strip<kManyRegisters ? 3 : 1, 8>(w, k, n_begin, n_end, rows, num_x, out, ld);
  }
}

/** The products of all rows of the weight in a range with num_x <= kMaxRows rows of x. */
void gemm_products(
    const Weight& w, int64_t n_begin, int64_t n_end, const float* x, int64_t num_x, float* out, int64_t ld) {
  switch (w.type) {
    case Type::kBf16:
      return gemm_rows(static_cast<const Bf16*>(w.data), w.k, n_begin, n_end, x, num_x, out, ld);
    case Type::kFp16:
      return gemm_rows(static_cast<const Fp16*>(w.data), w.k, n_begin, n_end, x, num_x, out, ld);
    default:
      return gemm_rows(static_cast<const float*>(w.data), w.k, n_begin, n_end, x, num_x, out, ld);
  }
}

/** y / (1 + exp(-y)), by the exponential that cannot overflow. */
inline Vec silu(Vec y) {
  const Vec e = exp_of_negative(y > 0.0f ? -y : y);
  return (y > 0.0f ? y : y * e) / (e + 1.0f);
}

/** gate = silu(gate) * up. */
void apply_gate(float* gate, const float* up, int64_t len) {
  int64_t i = 0;
  for (; i + kLanes <= len; i += kLanes) store(gate + i, silu(load(gate + i)) * load(up + i));
  if (i == len) return;
  const int rest = static_cast<int>(len - i);
  store_part(gate + i, silu(load_part(gate + i, rest)) * load_part(up + i, rest), rest);
}
