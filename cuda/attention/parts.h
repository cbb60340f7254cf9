// Which keys of a row go together. A row at position p sees positions begin .. p; they are cut into parts by p and the
// window alone, never by what is committed, so that each part has the same bits in every pass (ADR 0104):
//
//   begin ...... first ............................... last ........ p
//     edge         whole tiles, cut into splits             tail
//
// A tile is done by the tensor cores when all of it is visible and ends kMargin or more before p. What is left at both
// ends is done key by key, in fp32. A part ends as the largest score, the sum of the weights and the sum of the
// weighted values; combine_parts_kernel adds the parts in the order of their positions.
#ifndef ESPALIER_CUDA_ATTENTION_PARTS_H
#define ESPALIER_CUDA_ATTENTION_PARTS_H

#include "ops/ops.h"
#include "simt/simt.h"

namespace espalier::attention {

// From a tile's end to the rows that may use it. Rows of one tree share tiles up to here at least; deeper trees are as
// exact, but their paths take turns at a tile (tiles.h).
constexpr int kMargin = 32;

/** Positions of a tile; 0 for no tiles. */
SIMT_HOST_DEVICE constexpr int tile_len(int head_dim) { return head_dim > 128 ? 32 : 64; }

constexpr int kSplit = 512;  // positions of the first splits
constexpr int kEvenSplits =
    16;  // of this length; from there on eight for each doubling of the position
constexpr int kEvenEnd = kEvenSplits * kSplit;

/** First position of a split. */
SIMT_HOST_DEVICE int split_begin(int split) {
  if (split < kEvenSplits) return split * kSplit;
  const int octave = (split - kEvenSplits) / 8, of_octave = (split - kEvenSplits) % 8;
  return (kEvenEnd / 8 << octave) * (8 + of_octave);
}

/** The split of a position below kMostPositions. */
SIMT_HOST_DEVICE int split_of(int position) {
  if (position < kEvenEnd) return position / kSplit;
  int octave = 0;
  while (position / (kEvenEnd / 8 << octave) >= 16) ++octave;
  return kEvenSplits + 8 * octave + position / (kEvenEnd / 8 << octave) - 8;
}

/** Positions of a row: edge begin .. first - 1, tiles first .. last - 1, tail last .. end - 1. */
struct Reach {
  int begin, first, last, end;
};

/** tile = 0: everything is cut into splits, without edge and tail. */
SIMT_HOST_DEVICE Reach reach_of(int position, int window, int tile) {
  Reach reach;
  reach.end = position + 1;
  reach.begin = window > 0 && window < reach.end ? reach.end - window : 0;
  if (tile == 0) return {reach.begin, reach.begin, reach.end, reach.end};
  reach.first = (reach.begin + tile - 1) / tile * tile;
  reach.last = position < kMargin ? 0 : (position - kMargin) / tile * tile;
  if (reach.last <= reach.first) reach.first = reach.last = reach.begin;
  return reach;
}

/** Indices of a row's parts in the workspace; a split's is kFirstSplit and its number. */
constexpr int kEdge = 0, kTail = 1, kFirstSplit = 2;

/** The parts of all rows and query heads, those that are empty never written. */
struct Parts {
  simt::Vec<float, 2>* max_sum;  // [rows, num_q_heads, num_parts] largest score, sum of weights
  float* value;                  // [rows, num_q_heads, num_parts, head_dim] sum of weight * value
  int num_parts;

  SIMT_HOST_DEVICE int64_t index(int64_t row_head, int part) const {
    return row_head * num_parts + part;
  }
};

/** Where the keys of a row lie. */
struct Keys {
  const int32_t* page_table;     // of its sequence
  const int32_t* ancestor_slot;  // of the row
  int kv_len, page_size;

  SIMT_DEVICE int32_t slot(int position) const {
    if (position >= kv_len) return ancestor_slot[position - kv_len];
    return page_table[position / page_size] * page_size + position % page_size;
  }
};

SIMT_DEVICE Keys keys_of(const TreeAttentionArgs& args, int64_t row, int seq) {
  return {
      args.page_table + int64_t{seq} * args.max_pages, args.ancestor_slot + row * args.max_depth,
      args.kv_len[seq], args.page_size};
}

/** From dot products to the exponents of 2 that weigh keys. */
struct Score {
  float scale;  // with a cap: from the dot product to the argument of tanh
  float cap;    // 0 for none

  template <int kNum>
  SIMT_DEVICE void apply(float (&x)[kNum]) const {
    SIMT_UNROLL
    for (int i = 0; i < kNum; ++i) x[i] *= scale;
    if (cap == 0.0f) return;
    // tanh(y) = 1 - 2 / (e^2y + 1); scale has the factor 2 / ln 2.
    SIMT_UNROLL
    for (int i = 0; i < kNum; ++i) {
      x[i] = cap * (1.0f - 2.0f * simt::reciprocal(simt::exp2(x[i]) + 1.0f));
    }
  }
};

inline Score score_of(const TreeAttentionArgs& args) {
  constexpr float kLog2E = 1.44269504f;
  if (args.soft_cap == 0) return {args.scale * kLog2E, 0.0f};
  return {args.scale * (2 * kLog2E) / args.soft_cap, args.soft_cap * kLog2E};
}

/** What scores are taken relative to: the largest, but 0 where all are -inf, so that their weights are 0. */
SIMT_DEVICE float base_of(float max) { return max == -INFINITY ? 0.0f : max; }

/** The larger; NaN counts as less than everything. */
SIMT_DEVICE float larger(float x, float y) { return x > y || y != y ? x : y; }

}  // namespace espalier::attention

namespace espalier {

/** Whether warpgroup_attention.cu attends: to more than 64 rows of a prompt whose pages are multiples of 8 keys, on a card of sm_90a
 *  whose driver makes tensor maps. Other bits: for prompts alone. */
bool takes_warpgroups(const TreeAttentionArgs& args);
size_t warpgroup_attention_workspace_bytes(const TreeAttentionArgs& args);
void launch_warpgroup_attention(
    const TreeAttentionArgs& args, void* workspace, simt::Stream stream);

}  // namespace espalier

#endif
