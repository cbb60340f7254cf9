// embed: rows of an embedding table.
//
// Math    out[r] = table[token[r]]
// Shapes  table [vocab, hidden], token [rows], out [rows, hidden]
// Error   none: every type widens to fp32 exactly
#include "cpu/convert.h"
#include "cpu/cpu_backend.h"

namespace espalier {

void CpuBackend::embed(const EmbedArgs& args) {
  const int64_t hidden = args.table.k;
  with_type(args.table.type, [&](const auto* type) {
    const auto* table = static_cast<decltype(type)>(args.table.data);
    pool_.parallel_for(args.rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const auto* from = table + args.token[r] * hidden;
        float* out = args.out + r * hidden;
        for (int64_t i = 0; i < hidden; ++i) out[i] = to_float(from[i]);
      }
    });
  });
}

}  // namespace espalier
