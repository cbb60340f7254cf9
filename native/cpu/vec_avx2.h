// The AVX2 path's vector: eight floats. Included inside a namespace by each_path.h.

using Vec = __m256;
using Ints = int32_t __attribute__((vector_size(32)));
constexpr int kLanes = 8;

inline Vec load(const float* p) { return _mm256_loadu_ps(p); }

inline Vec load(const Bf16* p) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

inline Vec load(const Fp16* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }

inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }

/** acc += a * b, as fma. In assembler because g++ 12 runs out of registers when it may choose where the sum goes. */
inline void accumulate(Vec a, Vec b, Vec& acc) { __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b)); }

inline float sum(Vec v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
