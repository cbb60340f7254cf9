// recycle_update: each token's row of the table becomes the likely tokens after the node that it was at.
//
// Math    table[token[i]] = top[i] for the nodes of each tree in order, then for its accepted ones again: node 0 and its
//         path in order. Trees one after the other; so of the nodes with one token a single one counts
// Shapes  tree_begin [batch + 1], token, path [num_nodes], accept_len [batch], top [num_nodes, k], table [vocab, k]; i32
// Needs   what breaks its rule is left out: nodes outside of their tree, tokens outside of the vocabulary
// Launch  grid (batch, 8), block 256: a warp per node looks for a node that writes the same row later, and writes the row
//         when there is none. No order of threads, no atomic, no workspace
// Rows    a row of the table is written by one warp, or by none
// Bytes   reads 4 * num_nodes * (1 + k), writes 4 * k for each token; the tokens behind a node, on average half of those
//         of the batch, are read by its warp from L1 and L2: 64 trees of 81 nodes are 54 MB of that
// Error   none: integers, equal to native/cpu/recycle_update.cpp
// Source  Token Recycling, arXiv 2408.08696
#include "launchers.h"
#include "simt/simt.h"

namespace espalier {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * simt::kWarp;
constexpr int kBlocks = 8;  // of a tree: 64 nodes at once

static_assert(kMostNodes <= INT32_MAX - kBlocks * kWarps);

/** A tree of the batch, cut to the nodes that there are. */
struct Tree {
  int first, len;
  int num_accepted;  // node 0 not counted
};

SIMT_DEVICE int within(int x, int least, int most) {
  return x < least ? least : x > most ? most : x;
}

SIMT_DEVICE Tree tree_of(const RecycleUpdateArgs& args, int b) {
  const int first = within(args.tree_begin[b], 0, args.num_nodes);
  const int len = within(args.tree_begin[b + 1], first, args.num_nodes) - first;
  return {first, len, within(args.accept_len[b], 0, len)};
}

/** Whether a later write of the order above meets the row that node `node` of the tree writes. */
SIMT_DEVICE bool written_later(const RecycleUpdateArgs& args, const Tree& tree, int node) {
  const int32_t* token = args.token + tree.first;
  const int32_t* path = args.path + tree.first;
  const int32_t mine = token[node];
  bool on_path = node == 0;
  for (int p = simt::lane(); p < tree.num_accepted; p += simt::kWarp) on_path |= path[p] == node;
  const bool accepted = simt::any(on_path);
  bool later = !accepted && token[0] == mine;
  for (int p = simt::lane(); p < tree.num_accepted; p += simt::kWarp) {
    const int other = path[p];
    const bool in_tree = other > 0 && other < tree.len;
    later |= in_tree && (other > node || !accepted) && token[other] == mine;
  }
  // Nodes of later trees, and those behind in the tree unless this one is accepted.
  const int end = within(args.tree_begin[args.batch], 0, args.num_nodes) - tree.first;
  for (int i = (accepted ? tree.len : node + 1) + simt::lane(); i < end; i += simt::kWarp) {
    later |= token[i] == mine;
  }
  return simt::any(later);
}

__global__ void __launch_bounds__(kThreads) recycle_update_kernel(RecycleUpdateArgs args) {
  simt::wait_for_previous();
  const Tree tree = tree_of(args, simt::block());
  for (int node = simt::block_y() * kWarps + simt::warp(); node < tree.len;
       node += kBlocks * kWarps) {
    const int32_t token = args.token[tree.first + node];
    if (token < 0 || token >= args.vocab || written_later(args, tree, node)) continue;
    const int32_t* from = args.top + (tree.first + int64_t{node}) * args.k;
    int32_t* to = args.table + int64_t{token} * args.k;
    for (int j = simt::lane(); j < args.k; j += simt::kWarp) to[j] = from[j];
  }
}

}  // namespace

void cuda_recycle_update(const RecycleUpdateArgs& args, simt::Stream stream) {
  const simt::Launch shape{
      .grid = {args.batch, kBlocks}, .threads = kThreads, .stream = stream, .overlap = true};
  SIMT_LAUNCH(recycle_update_kernel, shape, args);
}

}  // namespace espalier
