// Attention of a block of rows of one sequence, for the query heads of one KV head. Included inside a namespace by
// each_path.h. A pair is a row and a query head: pair = (row - row_begin) * group_size + head of the group.
#include "cpu/dot_tile.h"

constexpr int kKeys = 4;                          // keys of a tile of scores
constexpr int kPairs = 4;                         // pairs of a tile of scores
constexpr int kOutPairs = kLanes == 16 ? 4 : 2;   // pairs of a tile of outputs
constexpr int kOutVecs = 4;                       // vectors of a tile of outputs
constexpr int64_t kChunk = 64;                    // keys whose V is kept in the first cache

/** Scores of the keys at slot[0 .. num_keys - 1] for num_pairs pairs; score[pair * stride + key]. */
template <class T>
void score_keys(
    const AttentionBlock& block, const T* cache, const int32_t* slot, int64_t num_keys, const float* const* q,
    int64_t num_pairs, float* score) {
  for (int64_t j = 0; j < num_keys; j += kKeys) {
    const T* key[kKeys];
    for (int i = 0; i < kKeys; ++i) key[i] = cache + slot[j + i < num_keys ? j + i : num_keys - 1] * block.slot_len;
    const int64_t keys = num_keys - j < kKeys ? num_keys - j : kKeys;
    for (int64_t pair = 0; pair < num_pairs; pair += kPairs) {
      float tile[kPairs * kKeys];
      const int64_t pairs = num_pairs - pair < kPairs ? num_pairs - pair : kPairs;
      if (pairs == 1) {
        dot_tile<kKeys, 1>(key, q + pair, block.head_dim, tile);
      } else if (pairs == 2) {
        dot_tile<kKeys, 2>(key, q + pair, block.head_dim, tile);
      } else if (pairs == 3) {
        dot_tile<kKeys, 3>(key, q + pair, block.head_dim, tile);
      } else {
        dot_tile<kKeys, kPairs>(key, q + pair, block.head_dim, tile);
      }
      for (int64_t p = 0; p < pairs; ++p) {
        for (int64_t i = 0; i < keys; ++i) score[(pair + p) * block.stride + j + i] = tile[p * kKeys + i];
      }
    }
  }
}

/** Scores to weights exp(score - max), in place; their sum. There is room for kLanes more behind the last. */
inline float soften(float* score, int64_t len, float scale, float soft_cap) {
  for (int64_t j = 0; j < len; ++j) score[j] *= scale;
  if (soft_cap > 0) {
    for (int64_t j = 0; j < len; ++j) score[j] = soft_cap * __builtin_tanhf(score[j] / soft_cap);
  }
  for (int i = 0; i < kLanes; ++i) score[len + i] = -__builtin_inff();
  float max = -__builtin_inff();
  for (int64_t j = 0; j < len; ++j) max = score[j] > max ? score[j] : max;
  Vec total = {};
  for (int64_t j = 0; j < len; j += kLanes) {
    const Vec weight = exp_of_negative(load(score + j) - max);
    store(score + j, weight);
    total += weight;
  }
  return sum(total);
}

/** out[pair] += weight[pair][key] * V[key] for dimensions d .. d + DV * kLanes - 1, keys in order. */
template <int MP, int DV, class T>
inline void add_tile(
    const T* const* value, int64_t num_keys, const float* weight, int64_t stride, float* out, int64_t ld) {
  Vec acc[MP][DV];
#pragma GCC unroll 16
  for (int p = 0; p < MP; ++p) {
#pragma GCC unroll 16
    for (int d = 0; d < DV; ++d) acc[p][d] = load(out + p * ld + d * kLanes);
  }
  for (int64_t j = 0; j < num_keys; ++j) {
    Vec v[DV];
#pragma GCC unroll 16
    for (int d = 0; d < DV; ++d) v[d] = load(value[j] + d * kLanes);
#pragma GCC unroll 16
    for (int p = 0; p < MP; ++p) {
      const Vec w = broadcast(weight[p * stride + j]);
#pragma GCC unroll 16
      for (int d = 0; d < DV; ++d) acc[p][d] = fma(w, v[d], acc[p][d]);
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < MP; ++p) {
#pragma GCC unroll 16
    for (int d = 0; d < DV; ++d) store(out + p * ld + d * kLanes, acc[p][d]);
  }
}

/** The same for the last dimensions, fewer than kLanes. */
template <class T>
void add_last(
    const T* const* value, int64_t num_keys, const float* weight, int64_t stride, float* out, int64_t ld,
    int64_t num_pairs, int len) {
  for (int64_t p = 0; p < num_pairs; ++p) {
    Vec acc = load(out + p * ld);
    for (int64_t j = 0; j < num_keys; ++j) acc = fma(broadcast(weight[p * stride + j]), load_part(value[j], len), acc);
    store(out + p * ld, acc);
  }
}

template <int MP, class T>
inline void add_dims(
    const T** value, int64_t num_keys, int head_dim, const float* weight, int64_t stride, float* out, int64_t ld) {
  int d = 0;
  for (; d + kOutVecs * kLanes <= head_dim; d += kOutVecs * kLanes) {
    add_tile<MP, kOutVecs>(value, num_keys, weight, stride, out + d, ld);
    for (int64_t j = 0; j < num_keys; ++j) value[j] += kOutVecs * kLanes;
  }
  for (; d + kLanes <= head_dim; d += kLanes) {
    add_tile<MP, 1>(value, num_keys, weight, stride, out + d, ld);
    for (int64_t j = 0; j < num_keys; ++j) value[j] += kLanes;
  }
  if (d < head_dim) add_last(value, num_keys, weight, stride, out + d, ld, MP, head_dim - d);
  for (int64_t j = 0; j < num_keys; ++j) value[j] -= d;
}

/** Adds the values of the keys at slot[0 .. num_keys - 1] to the outputs of num_pairs pairs. */
template <class T>
void add_values(
    const AttentionBlock& block, const T* cache, const int32_t* slot, int64_t num_keys, const float* weight,
    int64_t num_pairs, float* out) {
  for (int64_t begin = 0; begin < num_keys; begin += kChunk) {
    const int64_t len = num_keys - begin < kChunk ? num_keys - begin : kChunk;
    const T* value[kChunk];
    for (int64_t j = 0; j < len; ++j) value[j] = cache + slot[begin + j] * block.slot_len;
    int64_t p = 0;
    for (; p + kOutPairs <= num_pairs; p += kOutPairs) {
      add_dims<kOutPairs>(
          value, len, block.head_dim, weight + p * block.stride + begin, block.stride, out + p * block.out_len,
          block.out_len);
    }
    for (; p < num_pairs; ++p) {
      add_dims<1>(
          value, len, block.head_dim, weight + p * block.stride + begin, block.stride, out + p * block.out_len,
          block.out_len);
    }
  }
}

template <class T>
void attend_typed(const AttentionBlock& block, const TreeAttentionArgs& args) {
  const int64_t head_offset = int64_t{block.kv_head} * block.head_dim;
  const T* k = static_cast<const T*>(args.k_cache) + head_offset;
  const T* v = static_cast<const T*>(args.v_cache) + head_offset;
  const int64_t group = block.group_size, num_pairs = block.num_rows * group;

  score_keys(block, k, block.shared_slot, block.num_shared, block.q, num_pairs, block.score);
  for (int64_t r = 0; r < block.num_rows; ++r) {
    const AttentionRow& row = block.row[r];
    score_keys(
        block, k, row.own_slot, row.num_own, block.q + r * group, group,
        block.score + r * group * block.stride + block.num_shared);
  }

  for (int64_t pair = 0; pair < num_pairs; ++pair) {
    const AttentionRow& row = block.row[pair / group];
    block.total[pair] = soften(
        block.score + pair * block.stride + row.skip, block.num_shared + row.num_own - row.skip, args.scale,
        args.soft_cap);
    for (int64_t d = 0; d < block.out_len; ++d) block.out[pair * block.out_len + d] = 0;
  }

  // Keys before the window of some row, row by row; then the keys that all rows see; then each row's own.
  int64_t common = 0;
  for (int64_t r = 0; r < block.num_rows; ++r) {
    const int64_t skip = block.row[r].skip < block.num_shared ? block.row[r].skip : block.num_shared;
    common = skip > common ? skip : common;
  }
  for (int64_t r = 0; r < block.num_rows; ++r) {
    const int64_t skip = block.row[r].skip;
    add_values(
        block, v, block.shared_slot + skip, common - skip, block.score + r * group * block.stride + skip, group,
        block.out + r * group * block.out_len);
  }
  add_values(
      block, v, block.shared_slot + common, block.num_shared - common, block.score + common, num_pairs, block.out);
  for (int64_t r = 0; r < block.num_rows; ++r) {
    const AttentionRow& row = block.row[r];
    const int64_t skip = row.skip > block.num_shared ? row.skip - block.num_shared : 0;
    add_values(
        block, v, row.own_slot + skip, row.num_own - skip,
        block.score + r * group * block.stride + block.num_shared + skip, group,
        block.out + r * group * block.out_len);
  }
}

void attend(const AttentionBlock& block, const TreeAttentionArgs& args) {
  switch (args.kv_type) {
    case Type::kBf16:
      return attend_typed<Bf16>(block, args);
    case Type::kFp16:
      return attend_typed<Fp16>(block, args);
    default:
      return attend_typed<float>(block, args);
  }
}
