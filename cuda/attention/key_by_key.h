// Attention of a part key by key, in fp32: one warp for a row and up to four query heads of a KV head. 32 positions at
// a time, cut at multiples of 32: a lane has the score of one of them, then a share of each value's dimensions.
#ifndef ESPALIER_CUDA_ATTENTION_KEY_BY_KEY_H
#define ESPALIER_CUDA_ATTENTION_KEY_BY_KEY_H

#include "attention/parts.h"

namespace espalier::attention {

constexpr int kWarpHeads = 4;  // query heads of a warp
constexpr int kMostHeadDim = 256;

/** A row, and some of the query heads of one KV head. */
struct RowHeads {
  int64_t row;
  int seq, kv_head;
  int first_head, num_heads;  // num_heads is at most kWarpHeads
};

/** Elements of a key or value that are loaded at once. kHeadDim = 0 is for any, at any address. */
template <class T, int kHeadDim>
SIMT_HOST_DEVICE constexpr int load_len() {
  return kHeadDim == 0 ? 1 : 16 / static_cast<int>(sizeof(T));
}

/** Dimensions of a value that a lane has. */
template <int kHeadDim>
SIMT_HOST_DEVICE constexpr int lane_dims() {
  return (kHeadDim == 0 ? kMostHeadDim : kHeadDim) / simt::kWarp;
}

/** dot[h] = q[h] . key, dimensions in order. q [kWarpHeads, head_dim] is shared memory. */
template <class T, int kHeadDim>
__device__ void dot_products(
    const T* key, const float* q, int head_dim, int num_heads, float (&dot)[kWarpHeads]) {
  constexpr int kLoad = load_len<T, kHeadDim>(), kWords = kLoad < 4 ? kLoad : 4;
  SIMT_UNROLL
  for (int h = 0; h < kWarpHeads; ++h) dot[h] = 0.0f;
  for (int d = 0; d < head_dim; d += kLoad) {
    const auto part = *reinterpret_cast<const simt::Vec<T, kLoad>*>(key + d);
    SIMT_UNROLL
    for (int h = 0; h < kWarpHeads; ++h) {
      if (h >= num_heads) break;
      SIMT_UNROLL
      for (int i = 0; i < kLoad; i += kWords) {
        const auto x = *reinterpret_cast<const simt::Vec<float, kWords>*>(q + h * head_dim + d + i);
        SIMT_UNROLL
        for (int j = 0; j < kWords; ++j) {
          dot[h] = simt::fma(x[j], simt::to_float(part[i + j]), dot[h]);
        }
      }
    }
  }
}

/** The part of positions begin .. end - 1, of which there is one at least. q_shared [kWarpHeads, head_dim] is the warp's. */
template <class T, int kHeadDim>
__device__ void attend_key_by_key(
    const TreeAttentionArgs& args, Score score, const RowHeads& of, int begin, int end, int part,
    const Parts& parts, float* q_shared) {
  constexpr int kDims = lane_dims<kHeadDim>();
  const int head_dim = kHeadDim == 0 ? args.head_dim : kHeadDim;
  const int64_t slot_len = int64_t{args.num_kv_heads} * head_dim;
  const T* k_cache = static_cast<const T*>(args.k_cache) + of.kv_head * head_dim;
  const T* v_cache = static_cast<const T*>(args.v_cache) + of.kv_head * head_dim;
  const Keys keys = keys_of(args, of.row, of.seq);
  const int64_t first = of.row * args.num_q_heads + of.first_head;
  const int lane = simt::lane(), first_dim = lane * kDims;

  simt::sync_warp();  // the part before is done with q_shared
  for (int i = lane; i < of.num_heads * head_dim; i += simt::kWarp) {
    q_shared[i] = args.q[first * head_dim + i];
  }
  simt::sync_warp();

  float max[kWarpHeads], sum[kWarpHeads], value[kWarpHeads][kDims];
  SIMT_UNROLL
  for (int h = 0; h < kWarpHeads; ++h) {
    max[h] = -INFINITY;
    sum[h] = 0.0f;
    SIMT_UNROLL
    for (int i = 0; i < kDims; ++i) value[h][i] = 0.0f;
  }

  SIMT_NO_UNROLL
  for (int chunk = begin / simt::kWarp * simt::kWarp; chunk < end; chunk += simt::kWarp) {
    const int position = chunk + lane;
    const bool visible = position >= begin && position < end;
    const int32_t slot = visible ? keys.slot(position) : 0;
    float weight[kWarpHeads] = {};
    if (visible) {
      dot_products<T, kHeadDim>(
          k_cache + slot * slot_len, q_shared, head_dim, of.num_heads, weight);
      score.apply(weight);
    }
    SIMT_UNROLL
    for (int h = 0; h < kWarpHeads; ++h) {
      if (h >= of.num_heads) break;
      const float x = visible ? weight[h] : -INFINITY;
      const float new_max = larger(simt::warp_max(x), max[h]), base = base_of(new_max);
      const float scale = simt::exp2(max[h] - base);
      max[h] = new_max;
      weight[h] = visible ? simt::exp2(x - base) : 0.0f;
      sum[h] = simt::fma(sum[h], scale, simt::warp_sum(weight[h]));
      SIMT_UNROLL
      for (int i = 0; i < kDims; ++i) value[h][i] *= scale;
    }
    const int last = end - chunk < simt::kWarp ? end - chunk : simt::kWarp;
    for (int key = begin > chunk ? begin - chunk : 0; key < last; ++key) {
      const T* from = v_cache + simt::shuffle(slot, key) * slot_len + first_dim;
      float element[kDims];
      if constexpr (kHeadDim == 0) {
        SIMT_UNROLL
        for (int i = 0; i < kDims; ++i) {
          element[i] = first_dim + i < head_dim ? simt::to_float(from[i]) : 0.0f;
        }
      } else {
        constexpr int kLoad = kDims < load_len<T, kHeadDim>() ? kDims : load_len<T, kHeadDim>();
        SIMT_UNROLL
        for (int i = 0; i < kDims; i += kLoad) {
          const auto loaded = *reinterpret_cast<const simt::Vec<T, kLoad>*>(from + i);
          SIMT_UNROLL
          for (int j = 0; j < kLoad; ++j) element[i + j] = simt::to_float(loaded[j]);
        }
      }
      SIMT_UNROLL
      for (int h = 0; h < kWarpHeads; ++h) {
        if (h >= of.num_heads) break;
        const float w = simt::shuffle(weight[h], key);
        SIMT_UNROLL
        for (int i = 0; i < kDims; ++i) value[h][i] = simt::fma(w, element[i], value[h][i]);
      }
    }
  }

  SIMT_UNROLL
  for (int h = 0; h < kWarpHeads; ++h) {
    if (h >= of.num_heads) break;
    const int64_t index = parts.index(first + h, part);
    if (lane == 0) parts.max_sum[index] = {max[h], sum[h]};
    SIMT_UNROLL
    for (int i = 0; i < kDims; ++i) {
      if (first_dim + i < head_dim) parts.value[index * head_dim + first_dim + i] = value[h][i];
    }
  }
}

}  // namespace espalier::attention

#endif
