// commit_kv: copies KV rows between slots of all layers in one launch, in the given order.
//
// Math    for m = 0, 1, ...: row to[m] = row from[m], in K and V of each layer
// Shapes  from, to [num_moves], k_cache, v_cache [num_layers, num_slots, row_bytes]
// Needs   the moves in order: a later one may read what an earlier one wrote; row_bytes even
// Launch  grid (row_bytes / (16 * 128), 2 * num_layers), block 128: a thread owns 16 bytes of the row
//         in one cache of one layer, and does all moves there, so that no thread waits for another
// Rows    a byte of a row depends on the same byte of other rows only
// Bytes   2 * num_moves * row_bytes per cache and layer; 8 moves of a row are loaded before the first
//         is stored, so latency is paid once for every 8
// Error   none: bytes
#include "launchers.h"
#include "simt/simt.h"

namespace espalier {
namespace {

constexpr int kThreads = 128;
constexpr int kMoves = 8;  // loaded at once

static_assert(2 * kMostLayers <= simt::kMostBlocks);

/** Unit is what a thread owns: the widest of 16, 4 and 2 bytes that divides rows and addresses. */
template <class Unit>
__global__ void __launch_bounds__(kThreads) commit_kv_kernel(
    const int32_t* from, const int32_t* to, Unit* k_cache, Unit* v_cache, int64_t num_moves,
    int64_t num_slots, int64_t row_units) {
  const int64_t unit = int64_t{simt::block()} * kThreads + simt::thread();
  if (unit >= row_units) return;
  const int layer = simt::block_y() / 2;
  Unit* cache = simt::block_y() % 2 == 0 ? k_cache : v_cache;
  Unit* column = cache + layer * num_slots * row_units + unit;
  for (int64_t begin = 0; begin < num_moves; begin += kMoves) {
    const int num = static_cast<int>(num_moves - begin < kMoves ? num_moves - begin : kMoves);
    Unit row[kMoves];
    int32_t row_to[kMoves];
    SIMT_UNROLL
    for (int m = 0; m < kMoves; ++m) {
      if (m >= num) break;
      const int32_t row_from = from[begin + m];
      row_to[m] = to[begin + m];
      row[m] = column[row_from * row_units];
      SIMT_UNROLL
      for (int earlier = 0; earlier < m; ++earlier) {
        if (row_to[earlier] == row_from) row[m] = row[earlier];  // written by then, the last time
      }
    }
    SIMT_UNROLL
    for (int m = 0; m < kMoves; ++m) {
      if (m < num) column[row_to[m] * row_units] = row[m];
    }
  }
}

template <class Unit>
void launch_commit_kv(const CommitKvArgs& args, simt::Stream stream) {
  const int64_t row_units = args.row_bytes / static_cast<int64_t>(sizeof(Unit));
  const simt::Launch shape{
      .grid =
          {static_cast<int>((row_units + kThreads - 1) / kThreads),
           static_cast<int>(2 * args.num_layers)},
      .threads = kThreads,
      .stream = stream};
  SIMT_LAUNCH(
      commit_kv_kernel<Unit>, shape, args.from, args.to, static_cast<Unit*>(args.k_cache),
      static_cast<Unit*>(args.v_cache), args.num_moves, args.num_slots, row_units);
}

}  // namespace

void cuda_commit_kv(const CommitKvArgs& args, simt::Stream stream) {
  if (args.num_moves == 0) return;
  const auto bits = reinterpret_cast<uintptr_t>(args.k_cache) |
                    reinterpret_cast<uintptr_t>(args.v_cache) |
                    static_cast<uintptr_t>(args.row_bytes);
  if (bits % 16 == 0) {
    launch_commit_kv<simt::Vec<uint32_t, 4>>(args, stream);
  } else if (bits % 4 == 0) {
    launch_commit_kv<uint32_t>(args, stream);
  } else {
    launch_commit_kv<uint16_t>(args, stream);
  }
}

}  // namespace espalier
