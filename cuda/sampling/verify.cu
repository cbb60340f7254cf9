// verify: follow the target's own choices down each draft tree.
//
// Math    node = 0; while a child i has token[i] == choice[node]: node = i, append i to path; the
//         first such child wins
// Shapes  token, parent, choice, path [num_nodes], tree_begin [batch + 1], accept_len [batch]; i32
// Needs   parent[i] < i; a tree that breaks this ends the walk early, it never loops
// Launch  grid batch, block 32: one warp per tree, no shared memory
// Rows    a tree reads and writes its own nodes only
// Bytes   reads 12 * tree_len, writes 4 * (accept_len + 1) per tree: 64 trees of 64 nodes are 49 KB,
//         so latency decides: 256 nodes are loaded at once, and the walk goes through registers
// Error   none: integers, equal to native/cpu/verify.cpp
// Source  SpecInfer, arXiv 2305.09781, token tree verification
#include "launchers.h"
#include "simt/simt.h"

namespace espalier {
namespace {

constexpr int kChunks = 8;  // of 32 nodes: a tree of 256 nodes is one tile

static_assert(kMostNodes <= INT32_MAX - kChunks * simt::kWarp);

__global__ void __launch_bounds__(simt::kWarp) verify_kernel(
    const int32_t* tree_begin, const int32_t* token, const int32_t* parent, const int32_t* choice,
    int32_t* path, int32_t* accept_len) {
  simt::wait_for_previous();
  const int first = tree_begin[simt::block()];
  const int tree_len = tree_begin[simt::block() + 1] - first;
  int node = 0, len = 0;
  int want = tree_len > 0 ? choice[first] : 0;  // the target's choice at `node`
  for (int tile = 0; tile < tree_len; tile += kChunks * simt::kWarp) {
    int tile_token[kChunks], tile_parent[kChunks], tile_choice[kChunks];
    SIMT_UNROLL
    for (int c = 0; c < kChunks; ++c) {
      const int i = tile + c * simt::kWarp + simt::lane();
      tile_token[c] = i < tree_len ? token[first + i] : 0;
      tile_parent[c] = i < tree_len ? parent[first + i] : -1;  // nobody's child
      tile_choice[c] = i < tree_len ? choice[first + i] : 0;
    }
    SIMT_UNROLL
    for (int c = 0; c < kChunks; ++c) {
      const int i = tile + c * simt::kWarp + simt::lane();
      for (;;) {  // the children of a node in this chunk may be in it, too
        const uint32_t hits =
            simt::ballot(i > node && tile_parent[c] == node && tile_token[c] == want);
        if (hits == 0) break;
        const int hit = simt::lowest(hits);  // the lowest index wins, as on the CPU
        node = tile + c * simt::kWarp + hit;
        want = simt::shuffle(tile_choice[c], hit);
        if (simt::lane() == 0) path[first + len] = node;
        ++len;
      }
    }
  }
  if (simt::lane() == 0) accept_len[simt::block()] = len;
}

}  // namespace

void cuda_verify(const VerifyArgs& args, simt::Stream stream) {
  const simt::Launch shape{
      .grid = {args.batch}, .threads = simt::kWarp, .stream = stream, .overlap = true};
  SIMT_LAUNCH(
      verify_kernel, shape, args.tree_begin, args.token, args.parent, args.choice, args.path,
      args.accept_len);
}

}  // namespace espalier
