// verify: follow the target's own choices down each draft tree.
//
// Math    node = 0; while a child i has token[i] == choice[node]: node = i, append i to path; the
//         first such child wins
// Shapes  token, parent, choice, path [num_nodes], tree_begin [batch + 1], accept_len [batch]
// Needs   parent[i] < i, so one pass over the nodes suffices
// Error   none: integers
// Source  SpecInfer, arXiv 2305.09781, token tree verification
#include "cpu/cpu_backend.h"

namespace espalier {

void CpuBackend::verify(const VerifyArgs& args) {
  for (int32_t b = 0; b < args.batch; ++b) {
    const int32_t first = args.tree_begin[b];
    const int32_t tree_len = args.tree_begin[b + 1] - first;
    int32_t node = 0, len = 0;
    for (int32_t i = 1; i < tree_len; ++i) {
      if (args.parent[first + i] == node && args.token[first + i] == args.choice[first + node]) {
        node = i;
        args.path[first + len++] = i;
      }
    }
    args.accept_len[b] = len;
  }
}

}  // namespace espalier
