// rope_and_append: rotates q and k by their rows' angles, appends k and v to a paged cache.
//
// Math    each head of q and k is normalised first where q_norm and k_norm are given, as rms_norm; then
//         (a, b) = (x[i], x[i + head_dim / 2]) becomes (a cos_i - b sin_i, b cos_i + a sin_i)
// Shapes  q [rows, num_q_heads, head_dim], k, v [rows, num_kv_heads, head_dim], cos_sin [rows, 2,
//         head_dim / 2], slot [rows], k_cache, v_cache [num_pages, page_size, num_kv_heads, head_dim]
// Needs   slots all different
// Launch  grid rows * (num_q_heads + 2 * num_kv_heads) / 4, block 128: a warp for each head of a row
// Rows    a head reads and writes its own elements only; the squares of a norm are summed in an order
//         given by head_dim: elements i and i + head_dim / 2 to lane i % 32, then lanes 16, 8, 4, 2, 1 apart
// Bytes   8 * num_q_heads * head_dim + (4 + the cache's type) * 2 * num_kv_heads * head_dim + 4 * head_dim
//         a row: 64 rows of Llama-3.1-8B are 2.9 MB
// Error   without norms the same bits as native/cpu/rope_and_append.cpp: three roundings of fp32, then
//         one to the type of the cache. A norm adds ((head_dim / 32 + 2 + 5) / 2 + 5) * 2^-24, relative
#include "launchers.h"
#include "simt/simt.h"

namespace espalier {
namespace {

constexpr int kWarps = 4;  // of a block

static_assert(kMostRopeDim <= INT32_MAX - simt::kWarp);

SIMT_DEVICE float weight_of(const Norm& norm, int i) {
  if (norm.type == Type::kBf16)
    return simt::to_float(static_cast<const simt::Bf16*>(norm.weight)[i]);
  if (norm.type == Type::kFp16)
    return simt::to_float(static_cast<const simt::Fp16*>(norm.weight)[i]);
  return static_cast<const float*>(norm.weight)[i];
}

/** One head, by a warp. Lane l has elements i and i + head_dim / 2 for i = l, l + 32, ...; out may be x. */
template <class T>
__device__ void rotate_head(
    const float* x, const Norm& norm, const float* cos, int head_dim, T* out) {
  const int half = head_dim / 2;
  const float* sin = cos + half;
  float factor = 1.0f;
  if (norm.weight != nullptr) {
    float sum = 0.0f;
    for (int i = simt::lane(); i < half; i += simt::kWarp) {
      sum = simt::fma(x[i], x[i], sum);
      sum = simt::fma(x[i + half], x[i + half], sum);
    }
    const float mean = simt::divide(simt::warp_sum(sum), static_cast<float>(head_dim));
    factor = simt::divide(1.0f, simt::sqrt(mean + norm.eps));
  }
  for (int i = simt::lane(); i < half; i += simt::kWarp) {
    float a = x[i], b = x[i + half];
    if (norm.weight != nullptr) {
      a = a * factor * weight_of(norm, i);
      b = b * factor * weight_of(norm, i + half);
    }
    out[i] = simt::from_float<T>(a * cos[i] - b * sin[i]);
    out[i + half] = simt::from_float<T>(b * cos[i] + a * sin[i]);
  }
}

/** T is what the cache holds. */
template <class T>
__global__ void __launch_bounds__(kWarps* simt::kWarp)
    rope_and_append_kernel(const RopeAndAppendArgs args) {
  simt::wait_for_previous();
  simt::allow_next();
  const int64_t heads = args.num_q_heads + 2 * int64_t{args.num_kv_heads};
  const int64_t item = int64_t{simt::block()} * kWarps + simt::warp();
  const int64_t row = item / heads;
  if (row >= args.rows) return;
  const int head_dim = args.head_dim;
  const float* cos = args.cos_sin + row * head_dim;
  int head = static_cast<int>(item % heads);
  if (head < args.num_q_heads) {
    float* q = args.q + (row * args.num_q_heads + head) * head_dim;
    return rotate_head(q, args.q_norm, cos, head_dim, q);
  }
  head -= args.num_q_heads;
  const bool is_k = head < args.num_kv_heads;
  if (!is_k) head -= args.num_kv_heads;
  const int64_t from = (row * args.num_kv_heads + head) * head_dim;
  const int64_t to = (int64_t{args.slot[row]} * args.num_kv_heads + head) * head_dim;
  if (is_k) {
    return rotate_head(
        args.k + from, args.k_norm, cos, head_dim, static_cast<T*>(args.k_cache) + to);
  }
  for (int i = simt::lane(); i < head_dim; i += simt::kWarp) {
    static_cast<T*>(args.v_cache)[to + i] = simt::from_float<T>(args.v[from + i]);
  }
}

template <class T>
void launch_rope_and_append(const RopeAndAppendArgs& args, simt::Stream stream) {
  const int64_t warps = args.rows * (args.num_q_heads + 2 * int64_t{args.num_kv_heads});
  const simt::Launch shape{
      .grid = {static_cast<int>((warps + kWarps - 1) / kWarps)},
      .threads = kWarps * simt::kWarp,
      .stream = stream,
      .overlap = true};
  SIMT_LAUNCH(rope_and_append_kernel<T>, shape, args);
}

}  // namespace

void cuda_rope_and_append(const RopeAndAppendArgs& args, simt::Stream stream) {
  switch (args.kv_type) {
    case Type::kBf16:
      return launch_rope_and_append<simt::Bf16>(args, stream);
    case Type::kFp16:
      return launch_rope_and_append<simt::Fp16>(args, stream);
    default:
      return launch_rope_and_append<float>(args, stream);
  }
}

}  // namespace espalier
