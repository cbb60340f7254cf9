// recycle_update: each token's row of the table becomes the likely tokens after the node that it was at.
//
// Math    for each tree b: table[token[i]] = top[i] for its nodes in order, then for the accepted ones again: node 0 and
//         its path in order. -1 has no row
// Shapes  tree_begin [batch + 1], token, path [num_nodes], accept_len [batch], top [num_nodes, k], table [vocab, k]
// Error   none: integers
// Source  Token Recycling, arXiv 2408.08696
#include <algorithm>

#include "cpu/cpu_backend.h"

namespace espalier {

void CpuBackend::recycle_update(const RecycleUpdateArgs& args) {
  const auto learn = [&](int64_t i) {
    if (args.token[i] < 0) return;
    std::copy_n(args.top + i * args.k, args.k, args.table + int64_t{args.token[i]} * args.k);
  };
  for (int32_t b = 0; b < args.batch; ++b) {
    const int32_t first = args.tree_begin[b];
    for (int32_t i = first; i < args.tree_begin[b + 1]; ++i) learn(i);
    learn(first);
    for (int32_t i = 0; i < args.accept_len[b]; ++i) learn(first + args.path[first + i]);
  }
}

}  // namespace espalier
