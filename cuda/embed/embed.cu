// embed: rows of an embedding table.
//
// Math    out[r] = table[token[r]]
// Shapes  table [vocab, hidden] fp32, bf16 or fp16, row major or packed (gemm/layout.h); token [rows] i32, out [rows, hidden] fp32
// Launch  grid rows, block 32 to 256 threads by hidden: a thread takes 4 elements at a time, one where
//         rows or addresses are no multiple of 4
// Rows    a row reads its token's row of the table
// Packed  a tied embedding is the LM head's weight, too. A row of it is pieces of 16 bytes, 128 apart, so of each sector
//         of memory half is read in vain
// Bytes   (table's element + 4) * rows * hidden: 16 rows of 4096 in bf16 are 393 KB
// Error   none: every type widens to fp32 exactly
#include "gemm/layout.h"
#include "launchers.h"
#include "simt/simt.h"

namespace espalier {
namespace {

constexpr int kMostThreads = 256;

template <class T, int kGroup, bool kPacked>
__global__ void __launch_bounds__(kMostThreads)
    embed_kernel(const T* table, const int32_t* token, float* out, int64_t hidden) {
  simt::wait_for_previous();
  const T* from = table + token[simt::block()] * hidden;
  float* to = out + simt::block() * hidden;
  for (int64_t i = int64_t{simt::thread()} * kGroup; i < hidden;
       i += simt::num_threads() * kGroup) {
    const T* at = kPacked ? table + packed_offset(token[simt::block()], i, hidden) : from + i;
    const auto group = *reinterpret_cast<const simt::Vec<T, kGroup>*>(at);
    simt::Vec<float, kGroup> wide;
    SIMT_UNROLL
    for (int j = 0; j < kGroup; ++j) wide[j] = simt::to_float(group[j]);
    *reinterpret_cast<simt::Vec<float, kGroup>*>(to + i) = wide;
  }
}

template <class T, bool kPacked>
void launch_embed(const EmbedArgs& args, simt::Stream stream) {
  const int64_t hidden = args.table.k;
  const auto* table = static_cast<const T*>(args.table.data);
  const int64_t warps = (hidden / 4 + simt::kWarp - 1) / simt::kWarp;
  const int most_warps = kMostThreads / simt::kWarp;
  simt::Launch shape{
      .grid = {static_cast<int>(args.rows)},
      .threads = simt::kWarp * static_cast<int>(
                                   warps < 1            ? 1
                                   : warps < most_warps ? warps
                                                        : most_warps),
      .stream = stream,
      .overlap = true};
  const bool aligned = reinterpret_cast<uintptr_t>(table) % (4 * sizeof(T)) == 0 &&
                       reinterpret_cast<uintptr_t>(args.out) % 16 == 0;
  if (hidden % 4 == 0 && aligned) {
    SIMT_LAUNCH((embed_kernel<T, 4, kPacked>), shape, table, args.token, args.out, hidden);
  } else {
    SIMT_LAUNCH((embed_kernel<T, 1, kPacked>), shape, table, args.token, args.out, hidden);
  }
}

template <class T>
void launch_embed(const EmbedArgs& args, simt::Stream stream) {
  args.table.packed ? launch_embed<T, true>(args, stream) : launch_embed<T, false>(args, stream);
}

}  // namespace

void cuda_embed(const EmbedArgs& args, simt::Stream stream) {
  switch (args.table.type) {
    case Type::kBf16:
      return launch_embed<simt::Bf16>(args, stream);
    case Type::kFp16:
      return launch_embed<simt::Fp16>(args, stream);
    default:
      return launch_embed<float>(args, stream);
  }
}

}  // namespace espalier
