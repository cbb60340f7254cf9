// commit_kv: copies KV rows between slots, in the given order.
//
// Shapes  from, to [num_moves], k_cache, v_cache [num_layers, num_slots, row_bytes]
// Needs   the moves in order: a later one may read what an earlier one wrote over
#include <cstring>

#include "cpu/cpu_backend.h"

namespace espalier {

void CpuBackend::commit_kv(const CommitKvArgs& args) {
  pool_.parallel_for(
      args.num_moves > 0 ? 2 * args.num_layers : 0, 8, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          char* cache = static_cast<char*>(i % 2 == 0 ? args.k_cache : args.v_cache);
          char* layer = cache + i / 2 * args.num_slots * args.row_bytes;
          for (int64_t m = 0; m < args.num_moves; ++m) {
            if (args.from[m] == args.to[m]) continue;
            std::memcpy(
                layer + args.to[m] * args.row_bytes, layer + args.from[m] * args.row_bytes,
                args.row_bytes);
          }
        }
      });
}

}  // namespace espalier
