// Products of rows n_begin .. n_end - 1 of a weight with rows of x. Included inside a namespace by each_path.h.

/** Rows of x in a tile: those that there are, rounded up to a width that tiles exist for. */
inline int tile_rows(int64_t num_x) { return num_x <= 2 ? static_cast<int>(num_x) : num_x <= 8 ? (static_cast<int>(num_x) + 1) / 2 * 2 : 8; }

/** Floats of the packed form of num_x rows of x. */
int64_t packed_len(int64_t k, int64_t num_x) { return (k + kLanes - 1) / kLanes * kLanes * tile_rows(num_x); }

/**
 * The rows of x as a tile reads them, one vector of each row after the other: in memory order, and away from the cache lines
 * that rows a power of two apart would share. Missing rows and the end of the last vectors are 0.
 */
void pack_rows(const float* x, int64_t k, int64_t num_x, float* packed) {
  const int rows = tile_rows(num_x);
  for (int64_t i = 0; i < k; i += kLanes) {
    const int len = k - i < kLanes ? static_cast<int>(k - i) : kLanes;
    for (int m = 0; m < rows; ++m, packed += kLanes) {
      store(packed, m >= num_x ? Vec{} : len == kLanes ? load(x + m * k + i) : load_part(x + m * k + i, len));
    }
  }
}

/** acc[n][m] += w[n] * x[m], for one vector of each. */
template <int NT, int MT>
inline void gemm_step(const Vec* w, const float* packed, Vec (&acc)[NT][MT]) {
#pragma GCC unroll 16
  for (int m = 0; m < MT; ++m) {
    Vec x = load(packed + m * kLanes);
    keep(x);
#pragma GCC unroll 16
    for (int n = 0; n < NT; ++n) acc[n][m] = fma(w[n], x, acc[n][m]);
  }
}

/**
 * out[m * NT + n] = w[n] . x[m], over k elements. One accumulator of kLanes sums for each product, element i in sum
 * i mod kLanes in ascending order, then sum(): fixed by k alone, whatever NT and MT are.
 */
template <int NT, int MT, class T>
inline void gemm_tile(const T* const* w, const float* packed, int64_t k, float* out) {
  Vec acc[NT][MT] = {};
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes, packed += MT * kLanes) {
    Vec wv[NT];
#pragma GCC unroll 16
    for (int n = 0; n < NT; ++n) wv[n] = load(w[n] + i);
    gemm_step<NT, MT>(wv, packed, acc);
  }
  if (i < k) {
    Vec wv[NT];
#pragma GCC unroll 16
    for (int n = 0; n < NT; ++n) wv[n] = load_part(w[n] + i, static_cast<int>(k - i));
    gemm_step<NT, MT>(wv, packed, acc);
  }
#pragma GCC unroll 16
  for (int m = 0; m < MT; ++m) {
#pragma GCC unroll 16
    for (int n = 0; n < NT; ++n) out[m * NT + n] = sum(acc[n][m]);
  }
}

/** Products of MT packed rows with the weight's rows, NT at a time; out[m][n - n_begin], `ld` apart. */
template <int NT, int MT, class T>
void gemm_strip(
    const T* w, int64_t k, int64_t n_begin, int64_t n_end, const float* packed, int64_t num_x, float* out, int64_t ld) {
  for (int64_t n = n_begin; n < n_end; n += NT) {
    const T* rows[NT];
    for (int i = 0; i < NT; ++i) rows[i] = w + (n + i < n_end ? n + i : n_end - 1) * k;
    float tile[MT * NT];
    gemm_tile<NT, MT>(rows, packed, k, tile);
    for (int64_t m = 0; m < num_x; ++m) {
      for (int i = 0; i < NT && n + i < n_end; ++i) out[m * ld + n + i - n_begin] = tile[m * NT + i];
    }
  }
}

/** Tiles are as large as the registers allow. */
template <class T>
void gemm_rows(
    const T* w, int64_t k, int64_t n_begin, int64_t n_end, const float* packed, int64_t num_x, float* out, int64_t ld) {
  constexpr bool kManyRegisters = kLanes == 16;  // 32 vector registers, otherwise 16
  switch (tile_rows(num_x)) {
    case 1:
      return gemm_strip<kManyRegisters ? 8 : 6, 1>(w, k, n_begin, n_end, packed, num_x, out, ld);
    case 2:
      return gemm_strip<kManyRegisters ? 8 : 4, 2>(w, k, n_begin, n_end, packed, num_x, out, ld);
    case 4:
      return gemm_strip<kManyRegisters ? 6 : 3, 4>(w, k, n_begin, n_end, packed, num_x, out, ld);
    case 6:
      return gemm_strip<kManyRegisters ? 4 : 2, 6>(w, k, n_begin, n_end, packed, num_x, out, ld);
    default:
      return gemm_strip<kManyRegisters ? 3 : 1, 8>(w, k, n_begin, n_end, packed, num_x, out, ld);
  }
}

/** The products of the weight's rows in a range with num_x <= kMaxRows packed rows of x. */
void gemm_products(
    const Weight& w, int64_t n_begin, int64_t n_end, const float* packed, int64_t num_x, float* out, int64_t ld) {
  switch (w.type) {
    case Type::kBf16:
      return gemm_rows(static_cast<const Bf16*>(w.data), w.k, n_begin, n_end, packed, num_x, out, ld);
    case Type::kFp16:
      return gemm_rows(static_cast<const Fp16*>(w.data), w.k, n_begin, n_end, packed, num_x, out, ld);
    default:
      return gemm_rows(static_cast<const float*>(w.data), w.k, n_begin, n_end, packed, num_x, out, ld);
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
