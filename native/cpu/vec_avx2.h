// The AVX2 path's vector: eight floats. Included inside a namespace by each_path.h.

using Vec = __m256;
using Ints = int32_t __attribute__((vector_size(32)));
constexpr int kLanes = 8;

inline Vec load(const float* p) { return _mm256_loadu_ps(p); }

inline Vec load(const Bf16* p) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

inline Vec load(const Fp16* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }

inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }

/**
 * acc += a * b, as fma. In assembler because g++ 12 runs out of registers when it may choose where
 * the sum goes.
 */
inline void accumulate(Vec a, Vec b, Vec& acc) {
  __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
}

/** Lane l is added to lane l + 4, then l + 2 and l + 1. */
inline float sum(Vec v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/** out[i] = sum(v_i), the same bits, in fewer instructions. */
inline void store_sums(Vec v0, Vec v1, Vec v2, Vec v3, float* out) {
  const Vec four01 = _mm256_permute2f128_ps(v0, v1, 0x20) + _mm256_permute2f128_ps(v0, v1, 0x31);
  const Vec four23 = _mm256_permute2f128_ps(v2, v3, 0x20) + _mm256_permute2f128_ps(v2, v3, 0x31);
  const Vec two = _mm256_shuffle_ps(four01, four23, 0x44) + _mm256_shuffle_ps(four01, four23, 0xee);
  const Vec one = two + _mm256_permute_ps(two, 0xb1);  // [v0, v0, v2, v2, v1, v1, v3, v3]
  const __m256i firsts = _mm256_setr_epi32(0, 4, 2, 6, 0, 0, 0, 0);
  _mm_storeu_ps(out, _mm256_castps256_ps128(_mm256_permutevar8x32_ps(one, firsts)));
}
