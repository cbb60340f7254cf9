// The AVX-512 path's vector: sixteen floats. Included inside a namespace by each_path.h.

using Vec = __m512;
using Ints = int32_t __attribute__((vector_size(64)));
constexpr int kLanes = 16;

inline Vec load(const float* p) { return _mm512_loadu_ps(p); }

inline Vec load(const Bf16* p) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

inline Vec load(const Fp16* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }

inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }

/**
 * acc += a * b, as fma. In assembler because g++ 12 runs out of registers when it may choose where
 * the sum goes.
 */
inline void accumulate(Vec a, Vec b, Vec& acc) {
  __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
}

/** Lane l is added to lane l + 8, then l + 4, l + 2 and l + 1. */
inline float sum(Vec v) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/** out[i] = sum(v_i), the same bits, in a third of the instructions. */
inline void store_sums(Vec v0, Vec v1, Vec v2, Vec v3, float* out) {
  const Vec eight01 = _mm512_shuffle_f32x4(v0, v1, 0x44) + _mm512_shuffle_f32x4(v0, v1, 0xee);
  const Vec eight23 = _mm512_shuffle_f32x4(v2, v3, 0x44) + _mm512_shuffle_f32x4(v2, v3, 0xee);
  const Vec four =
      _mm512_shuffle_f32x4(eight01, eight23, 0x88) + _mm512_shuffle_f32x4(eight01, eight23, 0xdd);
  const Vec two = four + _mm512_permute_ps(four, 0x4e);
  const Vec one = two + _mm512_permute_ps(two, 0xb1);
  const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one)));
}
