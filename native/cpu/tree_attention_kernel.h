// Attention of a block of rows of one sequence, for the query heads of one KV head. Included inside
// a namespace by each_path.h. A pair is a row and a query head: pair = (row - row_begin) *
// group_size + head of the group.

constexpr int kPairs = kLanes == 16 ? 4 : 2;  // pairs of a tile: 32 vector registers, otherwise 16
constexpr int kKeys = 4;                      // keys of a tile of scores
constexpr int kVecs = 4;                      // vectors of a tile of outputs
constexpr int64_t kLine = 64;                 // bytes that are fetched at a time
constexpr int64_t kAhead = 48;  // keys from the one that is read to the one that is fetched

/**
 * Keys or values of a chunk as fp32, [num_keys, padded_dim], the padding 0. Pages lie anywhere, so
 * that the processor cannot foresee what is read next: later ones of the num_ahead keys from slot
 * on are fetched meanwhile.
 */
template <class T>
void widen(
    const AttentionBlock& block, const T* cache, const int32_t* slot, int64_t num_keys,
    int64_t num_ahead) {
  for (int64_t j = 0; j < num_keys; ++j) {
    const T* from = cache + slot[j] * block.slot_len;
    float* to = block.wide + j * block.padded_dim;
    if (j + kAhead < num_ahead) {
      const T* ahead = cache + slot[j + kAhead] * block.slot_len;
      for (int64_t d = 0; d < block.head_dim; d += kLine / static_cast<int64_t>(sizeof(T))) {
        __builtin_prefetch(ahead + d, 0, 2);
      }
    }
    int64_t d = 0;
    for (; d + kLanes <= block.head_dim; d += kLanes) store(to + d, load(from + d));
    if (d < block.head_dim) {
      store(to + d, load_part(from + d, static_cast<int>(block.head_dim - d)));
      d += kLanes;
    }
    for (; d < block.padded_dim; d += kLanes) store(to + d, Vec{});
  }
}

/**
 * score[p * stride + i] = key[i] . q[p] for kKeys keys and MP pairs. One accumulator of kLanes sums
 * for each product, element d in sum d mod kLanes in ascending order, then sum(): fixed by head_dim
 * alone.
 */
template <int MP>
inline void score_tile(
    const float* key, const float* q, int64_t dim, float* score, int64_t stride) {
  Vec acc[kKeys][MP] = {};
  for (int64_t d = 0; d < dim; d += kLanes) {
    Vec k[kKeys];
#pragma GCC unroll 16
    for (int i = 0; i < kKeys; ++i) k[i] = load(key + i * dim + d);
#pragma GCC unroll 16
    for (int p = 0; p < MP; ++p) {
      const Vec x = load(q + p * dim + d);
#pragma GCC unroll 16
      for (int i = 0; i < kKeys; ++i) accumulate(k[i], x, acc[i][p]);
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < MP; ++p)
    store_sums(acc[0][p], acc[1][p], acc[2][p], acc[3][p], score + p * stride);
}

/**
 * Scores of the keys at slot[0 .. num_keys - 1] for num_pairs pairs; score[pair * stride + key]. Up
 * to kKeys - 1 scores behind the last are overwritten.
 */
template <class T>
void score_keys(
    const AttentionBlock& block, const T* cache, const int32_t* slot, int64_t num_keys,
    const float* q, int64_t num_pairs, float* score) {
  const int64_t dim = block.padded_dim;
  for (int64_t begin = 0; begin < num_keys; begin += kChunk) {
    const int64_t len = num_keys - begin < kChunk ? num_keys - begin : kChunk;
    widen(block, cache, slot + begin, len, num_keys - begin);
    int64_t p = 0;
    for (; p + kPairs <= num_pairs; p += kPairs) {
      for (int64_t j = 0; j < len; j += kKeys) {
        score_tile<kPairs>(
            block.wide + j * dim, q + p * dim, dim, score + p * block.stride + begin + j,
            block.stride);
      }
    }
    for (; p < num_pairs; ++p) {
      for (int64_t j = 0; j < len; j += kKeys) {
        score_tile<1>(
            block.wide + j * dim, q + p * dim, dim, score + p * block.stride + begin + j,
            block.stride);
      }
    }
  }
}

/**
 * Scores to weights exp(score - max), in place; their sum. There is room for kLanes more behind the
 * last.
 */
inline float soften(float* score, int64_t len, float scale, float soft_cap) {
  for (int64_t j = 0; j < len; ++j) score[j] *= scale;
  if (soft_cap > 0) {
    for (int64_t j = 0; j < len; ++j) score[j] = soft_cap * __builtin_tanhf(score[j] / soft_cap);
  }
  for (int i = 0; i < kLanes; ++i) score[len + i] = -__builtin_inff();
  Vec largest = broadcast(-__builtin_inff());
  for (int64_t j = 0; j < len; j += kLanes) {
    const Vec s = load(score + j);
    largest = s > largest ? s : largest;
  }
  float max = -__builtin_inff();
  for (int i = 0; i < kLanes; ++i) max = largest[i] > max ? largest[i] : max;
  Vec total = {};
  for (int64_t j = 0; j < len; j += kLanes) {
    const Vec weight = exp_of_negative(load(score + j) - max);
    store(score + j, weight);
    total += weight;
  }
  return sum(total);
}

/** out[p] += weight[p][key] * value[key] for MP pairs and DV vectors, keys in order. */
template <int MP, int DV>
inline void add_tile(
    const float* value, int64_t dim, int64_t num_keys, const float* weight, int64_t stride,
    float* out) {
  Vec acc[MP][DV];
#pragma GCC unroll 16
  for (int p = 0; p < MP; ++p) {
#pragma GCC unroll 16
    for (int i = 0; i < DV; ++i) acc[p][i] = load(out + p * dim + i * kLanes);
  }
  for (int64_t j = 0; j < num_keys; ++j) {
    Vec v[DV];
#pragma GCC unroll 16
    for (int i = 0; i < DV; ++i) v[i] = load(value + j * dim + i * kLanes);
#pragma GCC unroll 16
    for (int p = 0; p < MP; ++p) {
      const Vec w = broadcast(weight[p * stride + j]);
#pragma GCC unroll 16
      for (int i = 0; i < DV; ++i) accumulate(w, v[i], acc[p][i]);
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < MP; ++p) {
#pragma GCC unroll 16
    for (int i = 0; i < DV; ++i) store(out + p * dim + i * kLanes, acc[p][i]);
  }
}

/** The values of a chunk for MP pairs, all dimensions. */
template <int MP>
inline void add_chunk(
    const AttentionBlock& block, int64_t num_keys, const float* weight, float* out) {
  const int64_t dim = block.padded_dim;
  int64_t d = 0;
  for (; d + kVecs * kLanes <= dim; d += kVecs * kLanes) {
    add_tile<MP, kVecs>(block.wide + d, dim, num_keys, weight, block.stride, out + d);
  }
  for (; d < dim; d += kLanes)
    add_tile<MP, 1>(block.wide + d, dim, num_keys, weight, block.stride, out + d);
}

/** Adds the values of the keys at slot[0 .. num_keys - 1] to the outputs of num_pairs pairs. */
template <class T>
void add_values(
    const AttentionBlock& block, const T* cache, const int32_t* slot, int64_t num_keys,
    const float* weight, int64_t num_pairs, float* out) {
  for (int64_t begin = 0; begin < num_keys; begin += kChunk) {
    const int64_t len = num_keys - begin < kChunk ? num_keys - begin : kChunk;
    widen(block, cache, slot + begin, len, num_keys - begin);
    int64_t p = 0;
    for (; p + kPairs <= num_pairs; p += kPairs) {
      add_chunk<kPairs>(block, len, weight + p * block.stride + begin, out + p * block.padded_dim);
    }
    for (; p < num_pairs; ++p) {
      add_chunk<1>(block, len, weight + p * block.stride + begin, out + p * block.padded_dim);
    }
  }
}

template <class T>
void attend_typed(const AttentionBlock& block, const TreeAttentionArgs& args) {
  const int64_t head_offset = int64_t{block.kv_head} * block.head_dim;
  const T* k = static_cast<const T*>(args.k_cache) + head_offset;
  const T* v = static_cast<const T*>(args.v_cache) + head_offset;
  const int64_t group = block.group_size, num_pairs = block.num_rows * group;
  const auto scores_of = [&](int64_t r) { return block.score + r * group * block.stride; };
  const auto out_of = [&](int64_t r) { return block.out + r * group * block.padded_dim; };

  score_keys(block, k, block.shared_slot, block.num_shared, block.q, num_pairs, block.score);
  for (int64_t r = 0; r < block.num_rows; ++r) {
    score_keys(
        block, k, block.row[r].own_slot, block.row[r].num_own,
        block.q + r * group * block.padded_dim, group, scores_of(r) + block.num_shared);
  }

  for (int64_t pair = 0; pair < num_pairs; ++pair) {
    const AttentionRow& row = block.row[pair / group];
    block.total[pair] = soften(
        block.score + pair * block.stride + row.skip, block.num_shared + row.num_own - row.skip,
        args.scale, args.soft_cap);
  }
  for (int64_t i = 0; i < num_pairs * block.padded_dim; i += kLanes) store(block.out + i, Vec{});

  // Keys before the window of some row, row by row; then the keys that all rows see; then each
  // row's own.
  int64_t common = 0;
  for (int64_t r = 0; r < block.num_rows; ++r) {
    const int64_t skip =
        block.row[r].skip < block.num_shared ? block.row[r].skip : block.num_shared;
    common = skip > common ? skip : common;
  }
  for (int64_t r = 0; r < block.num_rows; ++r) {
    const int64_t skip = block.row[r].skip;
    add_values(
        block, v, block.shared_slot + skip, common - skip, scores_of(r) + skip, group, out_of(r));
  }
  add_values(
      block, v, block.shared_slot + common, block.num_shared - common, block.score + common,
      num_pairs, block.out);
  for (int64_t r = 0; r < block.num_rows; ++r) {
    const AttentionRow& row = block.row[r];
    const int64_t skip = row.skip > block.num_shared ? row.skip - block.num_shared : 0;
    add_values(
        block, v, row.own_slot + skip, row.num_own - skip, scores_of(r) + block.num_shared + skip,
        group, out_of(r));
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
