// rope_and_append: rotates q and k by their rows' angles, appends k and v to a paged cache.
//
// Math    each head of q and k is normalised first where q_norm and k_norm are given, as rms_norm; then
//         (a, b) = (x[i], x[i + head_dim / 2]) becomes (a cos_i - b sin_i, b cos_i + a sin_i)
// Shapes  q [rows, num_q_heads, head_dim], k, v [rows, num_kv_heads, head_dim], cos_sin [rows, 2,
//         head_dim / 2], slot [rows], k_cache, v_cache [num_pages, page_size, num_kv_heads,
//         head_dim]
// Error   three roundings of fp32: 2^-23 (|a| + |b|), a and b with rms_norm's error where there is a
//         norm; then one rounding to the type of the cache
#include <vector>

#include "cpu/convert.h"
#include "cpu/cpu_backend.h"
#include "cpu/rms_norm.h"

namespace espalier {
namespace {

/** out may be x. */
template <class T>
void rotate(const float* x, const float* cos, const float* sin, int head_dim, T* out) {
  const int half = head_dim / 2;
  for (int i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half];
    from_float(a * cos[i] - b * sin[i], &out[i]);
    from_float(b * cos[i] + a * sin[i], &out[i + half]);
  }
}

/** head is room for one. */
template <class T>
void append_row(
    const RopeAndAppendArgs& args, int64_t r, T* k_cache, T* v_cache, std::vector<float>* head) {
  const int head_dim = args.head_dim;
  const float* cos = args.cos_sin + r * head_dim;
  const float* sin = cos + head_dim / 2;
  for (int h = 0; h < args.num_q_heads; ++h) {
    float* q = args.q + (r * args.num_q_heads + h) * head_dim;
    if (args.q_norm.weight != nullptr) norm_row(args.q_norm, q, head_dim, q);
    rotate(q, cos, sin, head_dim, q);
  }
  const int64_t kv_dim = int64_t{args.num_kv_heads} * head_dim;
  T* k_out = k_cache + args.slot[r] * kv_dim;
  T* v_out = v_cache + args.slot[r] * kv_dim;
  for (int64_t i = 0; i < kv_dim; i += head_dim) {
    const float* k = args.k + r * kv_dim + i;
    if (args.k_norm.weight != nullptr) {
      norm_row(args.k_norm, k, head_dim, head->data());
      k = head->data();
    }
    rotate(k, cos, sin, head_dim, k_out + i);
  }
  for (int64_t i = 0; i < kv_dim; ++i) from_float(args.v[r * kv_dim + i], &v_out[i]);
}

}  // namespace

void CpuBackend::rope_and_append(const RopeAndAppendArgs& args) {
  with_type(args.kv_type, [&]<class T>(const T*) {
    pool_.parallel_for(args.rows, 4, [&](int64_t begin, int64_t end) {
      static thread_local std::vector<float> head;
      head.resize(static_cast<size_t>(args.head_dim));
      for (int64_t r = begin; r < end; ++r) {
        append_row(args, r, static_cast<T*>(args.k_cache), static_cast<T*>(args.v_cache), &head);
      }
    });
  });
}

}  // namespace espalier
