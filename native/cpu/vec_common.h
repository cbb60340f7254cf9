// What all vectors have, in terms of Vec, kLanes, load and store. Included inside a namespace by
// each_path.h.

inline Vec broadcast(float x) { return Vec{} + x; }

/**
 * The first `len` elements, the other lanes 0: the same lanes as load, whatever follows in memory.
 */
template <class T>
inline Vec load_part(const T* p, int len) {
  T padded[kLanes] = {};
  for (int i = 0; i < len; ++i) padded[i] = p[i];
  return load(padded);
}

inline void store_part(float* p, Vec v, int len) {
  float padded[kLanes];
  store(padded, v);
  for (int i = 0; i < len; ++i) p[i] = padded[i];
}

/**
 * exp(x) for x <= 0, within 2 units of the last place; 0 below -87, NaN for NaN. x = n log(2) + r,
 * |r| <= log(2) / 2, and the Taylor polynomial of exp(r) up to r^7, whose next term is below 2^-27.
 */
inline Vec exp_of_negative(Vec x) {
  constexpr float kRound =
      0x1.8p23f;  // adding it rounds to an integer, which is then in the low bits
  const Vec rounded = fma(x, broadcast(0x1.715476p+0f), broadcast(kRound));
  const Vec n = rounded - kRound;
  // log(2) in two parts; the products with n of the first are exact: it has 15 bits, and n at most
  // 7.
  Vec r = fma(n, broadcast(-0x1.62e4p-1f), x);
  r = fma(n, broadcast(-0x1.7f7d1cp-20f), r);
  constexpr float kTerms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 1.0f / 2, 1, 1};
  Vec e = broadcast(1.0f / 5040);
  for (const float term : kTerms) e = fma(e, r, broadcast(term));
  const Vec power = (Vec)(((Ints)rounded << 23) + (127 << 23));  // 2^n
  return x < -87.0f ? Vec{} : e * power;
}
