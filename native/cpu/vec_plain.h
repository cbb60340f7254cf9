// The plain path's vector: four floats, in terms that every compiler has. Included inside a
// namespace by each_path.h.

using Vec = float __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));
constexpr int kLanes = 4;

inline Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

inline Vec load(const Bf16* p) {
  using Words = uint32_t __attribute__((vector_size(16)));
  const Words words = {p[0].bits, p[1].bits, p[2].bits, p[3].bits};
  return (Vec)(words << 16);
}

inline Vec load(const Fp16* p) {
  return Vec{to_float(p[0]), to_float(p[1]), to_float(p[2]), to_float(p[3])};
}

inline void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof v); }

/** Two roundings: there is no fused instruction to rely on. */
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }

inline void accumulate(Vec a, Vec b, Vec& acc) { acc = fma(a, b, acc); }

inline float sum(Vec v) { return (v[0] + v[2]) + (v[1] + v[3]); }

inline void store_sums(Vec v0, Vec v1, Vec v2, Vec v3, float* out) {
  out[0] = sum(v0);
  out[1] = sum(v1);
  out[2] = sum(v2);
  out[3] = sum(v3);
}
