// Products of rows n_begin .. n_end - 1 of a weight with rows of x. Included inside a namespace by
// each_path.h.

constexpr int kStep = 2 * kLanes;  // elements of k that are read at a time, as a pair of vectors
constexpr bool kManyRegisters = kLanes == 16;  // 32 vector registers, otherwise 16

/** The first or the second vector of a pair: elements 0 .. kLanes - 1, or kLanes .. kStep - 1. */
template <int HALF, class T>
inline Vec load_half(const T* p) {
  return load(p + HALF * kLanes);
}

/**
 * Of bf16 the even elements or the odd ones: one instruction, where widening in order takes two.
 */
template <int HALF>
inline Vec load_half(const Bf16* p) {
  Ints words;
  __builtin_memcpy(&words, p, sizeof words);
  return HALF == 0 ? (Vec)(words << 16) : (Vec)(words & static_cast<int32_t>(0xffff0000));
}

/**
 * Rows of x in a tile: as many as there are, rounded up to a width that tiles exist for. More rows
 *      take several tiles.
 */
inline int tile_rows(int64_t num_x) {
  if (num_x <= 2) return num_x <= 1 ? 1 : 2;
  return num_x <= 4 || !kManyRegisters ? 4 : 8;
}

/** Floats of the packed form of num_x rows of x. */
int64_t packed_len(int64_t k, int64_t num_x) {
  const int rows = tile_rows(num_x);
  return (k + kStep - 1) / kStep * kStep * ((num_x + rows - 1) / rows * rows);
}

/**
 * The rows of x as a tile reads them: the first vector of the pair of each row, then the second
 * ones, in the order of the pairs of the weight's type. So they lie in memory order, and away from
 * the cache lines that rows a power of two apart would share. Missing rows and the end of the last
 * pair are 0.
 */
void pack_rows(const float* x, int64_t k, int64_t num_x, Type weight_type, float* packed) {
  const int rows = tile_rows(num_x);
  for (int64_t first = 0; first < num_x; first += rows) {
    for (int64_t i = 0; i < k; i += kStep, packed += rows * kStep) {
      for (int m = 0; m < rows; ++m) {
        float step[kStep] = {};
        const float* row = x + (first + m) * k + i;
        for (int64_t j = 0; first + m < num_x && j < kStep && i + j < k; ++j) {
          step[weight_type == Type::kBf16 ? j % 2 * kLanes + j / 2 : j] = row[j];
        }
        store(packed + m * kLanes, load(step));
        store(packed + (rows + m) * kLanes, load(step + kLanes));
      }
    }
  }
}

/** acc[n][m] += w[n] * x[m], for half of a pair. */
template <int HALF, int NT, int MT, class T>
inline void gemm_half(const T* const* w, int64_t i, const float* packed, Vec (&acc)[NT][MT]) {
  Vec wv[NT];
#pragma GCC unroll 16
  for (int n = 0; n < NT; ++n) wv[n] = load_half<HALF>(w[n] + i);
#pragma GCC unroll 16
  for (int m = 0; m < MT; ++m) {
    Vec x = load(packed + (HALF * MT + m) * kLanes);
#pragma GCC unroll 16
    for (int n = 0; n < NT; ++n) accumulate(wv[n], x, acc[n][m]);
  }
  // The other half is loaded after this one was used: both together do not fit into the registers.
  __asm__ volatile("" ::: "memory");
}

/**
 * out[m * NT + n] = w[n] . x[m], over k elements. One accumulator of kLanes sums for each product,
 * filled in ascending pairs, then sum(): fixed by k and the type alone, whatever NT and MT are.
 */
template <int NT, int MT, class T>
inline void gemm_tile(const T* const* w, const float* packed, int64_t k, float* out) {
  Vec acc[NT][MT] = {};
  int64_t i = 0;
  for (; i + kStep <= k; i += kStep, packed += MT * kStep) {
#pragma GCC unroll 16
    for (int n = 0; n < NT; ++n)
      __builtin_prefetch(w[n] + i + NT * k, 0, 2);  // the next tile's rows
    gemm_half<0>(w, i, packed, acc);
    gemm_half<1>(w, i, packed, acc);
  }
  if (i < k) {
    T last[NT][kStep] = {};
    const T* last_rows[NT];
    for (int n = 0; n < NT; ++n) {
      for (int64_t j = i; j < k; ++j) last[n][j - i] = w[n][j];
      last_rows[n] = last[n];
    }
    gemm_half<0>(last_rows, 0, packed, acc);
    gemm_half<1>(last_rows, 0, packed, acc);
  }
#pragma GCC unroll 16
  for (int m = 0; m < MT; ++m) {
    int n = 0;
#pragma GCC unroll 16
    for (; n + 4 <= NT; n += 4) {
      store_sums(acc[n][m], acc[n + 1][m], acc[n + 2][m], acc[n + 3][m], out + m * NT + n);
    }
#pragma GCC unroll 16
    for (; n < NT; ++n) out[m * NT + n] = sum(acc[n][m]);
  }
}

/**
 * Products of packed rows, MT in a tile, with the weight's rows, NT at a time; out[m][n - n_begin],
 * `ld` apart. The weight's rows are in the cache when the second tile reads them.
 */
template <int NT, int MT, class T>
void gemm_strip(
    const T* w, int64_t k, int64_t n_begin, int64_t n_end, const float* packed, int64_t num_x,
    float* out, int64_t ld) {
  const int64_t block_len = packed_len(k, MT);
  for (int64_t n = n_begin; n < n_end; n += NT) {
    const T* rows[NT];
    for (int i = 0; i < NT; ++i) rows[i] = w + (n + i < n_end ? n + i : n_end - 1) * k;
    for (int64_t first = 0; first < num_x; first += MT) {
      float tile[MT * NT];
      gemm_tile<NT, MT>(rows, packed + first / MT * block_len, k, tile);
      for (int64_t m = first; m < num_x && m < first + MT; ++m) {
        for (int i = 0; i < NT && n + i < n_end; ++i)
          out[m * ld + n + i - n_begin] = tile[(m - first) * NT + i];
      }
    }
  }
}

/** Tiles are as large as the registers allow. */
template <class T>
void gemm_rows(
    const T* w, int64_t k, int64_t n_begin, int64_t n_end, const float* packed, int64_t num_x,
    float* out, int64_t ld) {
  switch (tile_rows(num_x)) {
    case 1:
      return gemm_strip<kManyRegisters ? 8 : 6, 1>(w, k, n_begin, n_end, packed, num_x, out, ld);
    case 2:
      return gemm_strip<kManyRegisters ? 8 : 4, 2>(w, k, n_begin, n_end, packed, num_x, out, ld);
    case 8:
      if constexpr (kManyRegisters) {
        return gemm_strip<3, 8>(w, k, n_begin, n_end, packed, num_x, out, ld);
      }
      [[fallthrough]];
    default:
      return gemm_strip<kManyRegisters ? 6 : 3, 4>(w, k, n_begin, n_end, packed, num_x, out, ld);
  }
}

/** The products of the weight's rows in a range with num_x <= kMaxRows packed rows of x. */
void gemm_products(
    const Weight& w, int64_t n_begin, int64_t n_end, const float* packed, int64_t num_x, float* out,
    int64_t ld) {
  switch (w.type) {
    case Type::kBf16:
      return gemm_rows(
          static_cast<const Bf16*>(w.data), w.k, n_begin, n_end, packed, num_x, out, ld);
    case Type::kFp16:
      return gemm_rows(
          static_cast<const Fp16*>(w.data), w.k, n_begin, n_end, packed, num_x, out, ld);
    default:
      return gemm_rows(
          static_cast<const float*>(w.data), w.k, n_begin, n_end, packed, num_x, out, ld);
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
