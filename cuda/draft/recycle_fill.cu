// recycle_fill: a tree of tokens for each sequence, from the table of each token's likely successors.
//
// Math    token[0] = root; token[i] = table[token[parent[i]]][rank[i]], or -1 where the parent has none or the entry is
//         outside of the vocabulary or repeats the row's first one
// Shapes  table [vocab, k], parent, rank [tree_len], root [batch], token [batch, tree_len]; i32
// Needs   parent[i] < i and 0 <= rank[i] < k; a node that breaks this has no token
// Launch  grid batch, block 32: one warp per tree, 32 nodes at a time. A node waits in a register until its parent's
//         token is known: from memory when the parent is of earlier 32, else by a shuffle
// Rows    a tree is written by its own warp, from the table alone
// Bytes   reads 8 * tree_len and 4 to 8 a node of the table, writes 4 * tree_len; latency decides: one dependent load
//         of the table for each level of the tree, and one more where 32 nodes end within a level
// Error   none: integers, equal to native/cpu/recycle_fill.cpp
// Source  Token Recycling, arXiv 2408.08696
#include "launchers.h"
#include "simt/simt.h"

namespace espalier {
namespace {

constexpr int32_t kNoToken = -1;

static_assert(kMostNodes <= INT32_MAX - simt::kWarp);

SIMT_DEVICE int32_t token_or_none(int32_t x, int32_t vocab) {
  return x >= 0 && x < vocab ? x : kNoToken;
}

SIMT_DEVICE int32_t
successor(const int32_t* table, int32_t token, int32_t rank, int32_t vocab, int32_t k) {
  if (token == kNoToken || rank < 0 || rank >= k) return kNoToken;
  const int32_t* row = table + int64_t{token} * k;
  const int32_t next = row[rank];
  return rank > 0 && next == row[0] ? kNoToken : token_or_none(next, vocab);
}

__global__ void __launch_bounds__(simt::kWarp) recycle_fill_kernel(
    const int32_t* table, const int32_t* parent, const int32_t* rank, const int32_t* root,
    int32_t* token, int32_t vocab, int32_t k, int32_t tree_len) {
  simt::wait_for_previous();
  token += simt::block() * int64_t{tree_len};
  for (int base = 0; base < tree_len; base += simt::kWarp) {
    const int i = base + simt::lane();
    const int up = i > 0 && i < tree_len ? parent[i] : -1;
    const bool has_parent = up >= 0 && up < i;
    int32_t mine = i == 0 ? token_or_none(root[simt::block()], vocab) : kNoToken;
    if (has_parent && up < base) mine = successor(table, token[up], rank[i], vocab, k);
    bool known = !has_parent || up < base;
    for (uint32_t all_known; (all_known = simt::ballot(known)) != simt::kAllLanes;) {
      const int lane_above = known ? 0 : up - base;
      const int32_t above = simt::shuffle(mine, lane_above);
      if (!known && (all_known >> lane_above & 1) != 0) {
        mine = successor(table, above, rank[i], vocab, k);
        known = true;
      }
    }
    if (i < tree_len) token[i] = mine;
    simt::sync_warp();  // for the 32 behind
  }
}

}  // namespace

void cuda_recycle_fill(const RecycleFillArgs& args, simt::Stream stream) {
  const simt::Launch shape{
      .grid = {args.batch}, .threads = simt::kWarp, .stream = stream, .overlap = true};
  SIMT_LAUNCH(
      recycle_fill_kernel, shape, args.table, args.parent, args.rank, args.root, args.token,
      args.vocab, args.k, args.tree_len);
}

}  // namespace espalier
