// Dot products of NT rows of w with MT rows of x. Included inside a namespace by the kernels that use it.

/**
 * out[m * NT + n] = w[n] . x[m], over k elements. One accumulator of kLanes sums for each product, element i in sum
 * i mod kLanes in ascending order, then sum(): fixed by k alone, whatever NT and MT are.
 */
template <int NT, int MT, class T>
inline void dot_tile(const T* const* w, const float* const* x, int64_t k, float* out) {
  Vec acc[NT][MT] = {};
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    Vec wv[NT];
#pragma GCC unroll 16
    for (int n = 0; n < NT; ++n) wv[n] = load(w[n] + i);
#pragma GCC unroll 16
    for (int m = 0; m < MT; ++m) {
      Vec xv = load(x[m] + i);
      keep(xv);
#pragma GCC unroll 16
      for (int n = 0; n < NT; ++n) acc[n][m] = fma(wv[n], xv, acc[n][m]);
    }
  }
  if (i < k) {
    const int len = static_cast<int>(k - i);
    Vec wv[NT];
#pragma GCC unroll 16
    for (int n = 0; n < NT; ++n) wv[n] = load_part(w[n] + i, len);
#pragma GCC unroll 16
    for (int m = 0; m < MT; ++m) {
      const Vec xv = load_part(x[m] + i, len);
#pragma GCC unroll 16
      for (int n = 0; n < NT; ++n) acc[n][m] = fma(wv[n], xv, acc[n][m]);
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < MT; ++m) {
#pragma GCC unroll 16
    for (int n = 0; n < NT; ++n) out[m * NT + n] = sum(acc[n][m]);
  }
}
