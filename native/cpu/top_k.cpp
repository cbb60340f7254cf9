// top_k: the k largest entries of each row.
//
// Math    best first, ties to the lowest index, NaN below everything
// Shapes  x [rows, vocab], idx [rows, k], value [rows, k]
// Error   none: entries are only compared
#include "cpu/best_k.h"
#include "cpu/cpu_backend.h"

namespace espalier {

void CpuBackend::top_k(const TopKArgs& args) {
  pool_.parallel_for(args.rows, 1, [&](int64_t begin, int64_t end) {
    static thread_local BestK best;
    for (int64_t r = begin; r < end; ++r) {
      const float* x = args.x + r * args.vocab;
      int32_t* idx = args.idx + r * args.k;
      best.clear(args.k);
      offer_row(x, args.vocab, &best);
      for (int32_t i = 0; i < best.size(); ++i) idx[i] = best.idx(i);
      // Fewer numbers than k: NaN entries follow, the lowest index first.
      for (int32_t i = best.size(), next = 0; i < args.k; ++next) {
        if (x[next] != x[next]) idx[i++] = next;
      }
      for (int32_t i = 0; args.value != nullptr && i < args.k; ++i)
        args.value[r * args.k + i] = x[idx[i]];
    }
  });
}

}  // namespace espalier
