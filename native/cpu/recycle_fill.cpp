// recycle_fill: a tree of tokens for each sequence, from the table of each token's likely successors.
//
// Math    token[0] = root; token[i] = table[token[parent[i]]][rank[i]], or -1 where the parent has none or the entry is
//         outside of the vocabulary or repeats the row's first one
// Shapes  table [vocab, k], parent, rank [tree_len], root [batch], token [batch, tree_len]
// Needs   parent[i] < i, so one pass over the nodes suffices
// Error   none: integers
// Source  Token Recycling, arXiv 2408.08696
#include "cpu/cpu_backend.h"

namespace espalier {

void CpuBackend::recycle_fill(const RecycleFillArgs& args) {
  const auto is_token = [&](int32_t x) { return x >= 0 && x < args.vocab; };
  for (int64_t b = 0; b < args.batch; ++b) {
    int32_t* token = args.token + b * args.tree_len;
    token[0] = is_token(args.root[b]) ? args.root[b] : -1;
    for (int32_t i = 1; i < args.tree_len; ++i) {
      const int32_t above = token[args.parent[i]];
      token[i] = -1;
      if (above < 0) continue;
      const int32_t* row = args.table + int64_t{above} * args.k;
      const int32_t next = row[args.rank[i]];
      const bool first_again = args.rank[i] > 0 && next == row[0];
      if (is_token(next) && !first_again) token[i] = next;
    }
  }
}

}  // namespace espalier
