// warpgroup_gemm: skinny_gemm with more than 256 rows on Hopper (sm_90a), by the products of warpgroups.
//
// Math    as skinny_gemm.cu; x comes rounded and packed from its round_rows_kernel
// Needs   packed weights
// Launch  grid (128 rows of x, 256 rows of the weight), block 288: two warpgroups that multiply, each 128 rows of the weight x
//         128 rows of x in 128 registers of sums, and a warp that copies. A stage of 64 columns is 32 + 16 pieces of 1 KB, as
//         they lie packed; four stages are on their way (192 KB). Barriers in shared memory say when a stage is there and
//         when it may be overwritten
// Order   blocks of one part of the weight run next to each other, so it passes from memory once
// Rows    a row of x is a column of its own in the products. A product is summed over k from begin to end, not in slices:
//         the bits are not those of the other kernels, which have up to 256 rows
// Bytes   the weight once for each 128 rows of x, x once for each 256 rows of the weight, from L2: 48 KB for 4.2 Mflop
// Error   of a product (k + 16) * 2^-24 * sum |x w| if every addition rounds one by one, as the emulator does; the hardware adds
//         16 products at once
#include "gemm/gemm.h"
#include "simt/mbarrier.h"
#include "simt/wgmma.h"

namespace espalier {
namespace {

constexpr int kStages = 4;
constexpr int kStageGroups = 2;  // blocks along K
constexpr int kWarpgroups = 2, kTilesOfGroup = 2;
constexpr int kTileOfProduct = 64;                                 // rows of the weight
constexpr int kTiles = kWarpgroups * kTilesOfGroup;                // of a block
constexpr int kTileBlocks = kTileOfProduct / kBlockRows;           // blocks of 8 rows
constexpr int kTokens = 128, kTokenBlocks = kTokens / kBlockRows;  // rows of x
constexpr int kStageBlocks =
    kTiles * kTileBlocks + kTokenBlocks;       // [tile][block], then [token block]
constexpr int kPiece = kStageGroups * kBlock;  // elements of 8 rows in a stage
constexpr int kCopyWarp = kWarpgroups * simt::kWarpgroup / simt::kWarp;
constexpr int kThreads = (kCopyWarp + 1) * simt::kWarp;
constexpr int kChunkBytes = kChunk * 2, kPieceBytes = kPiece * 2;

/** Tiles of 64 rows of a part; with the gate, even ones are of w and odd ones of up. */
SIMT_HOST_DEVICE int64_t num_product_tiles(const GemmView& view, int part) {
  const int64_t tiles = (view.part[part].w.rows + kTileOfProduct - 1) / kTileOfProduct;
  return view.up.data == nullptr ? tiles : 2 * tiles;
}

/** Where a block of 8 packed rows begins; behind the last one, the last: its sums are not kept. */
SIMT_DEVICE const uint16_t* packed_rows(const MatrixView& m, int64_t row) {
  const int64_t last = (m.rows - 1) / kBlockRows;
  const int64_t block = row / kBlockRows;
  return m.data + (block < last ? block : last) * m.block_stride;
}

/** The source of piece i of a stage. */
SIMT_DEVICE const uint16_t* source_of(
    const GemmView& view, const BlockPlace& place, int64_t first_row, int i) {
  if (i >= kTiles * kTileBlocks) {
    return packed_rows(
        packed_view(view.rounded, view.m, view.k),
        first_row + (i - kTiles * kTileBlocks) * kBlockRows);
  }
  const int64_t tile = place.first_tile + i / kTileBlocks;
  const int64_t row = i % kTileBlocks * kBlockRows;
  if (view.up.data == nullptr)
    return packed_rows(view.part[place.part].w, tile * kTileOfProduct + row);
  return packed_rows(
      tile % 2 == 1 ? view.up : view.part[place.part].w, tile / 2 * kTileOfProduct + row);
}

struct Barriers {
  simt::Mbarrier full[kStages], empty[kStages];
};

/** The warp that copies: fills stage after stage as they become free. */
SIMT_DEVICE void copy_stages(
    const GemmView& view, const BlockPlace& place, int64_t first_row, uint16_t* ring,
    Barriers& barriers) {
  const uint16_t* from[2];
  SIMT_UNROLL
  for (int j = 0; j < 2; ++j) {
    const int i = simt::lane() + j * simt::kWarp;
    from[j] = i < kStageBlocks ? source_of(view, place, first_row, i) : nullptr;
  }
  const int64_t groups = num_groups(view.k);
  for (int64_t group = 0, n = 0; group < groups; group += kStageGroups, ++n) {
    const int stage = static_cast<int>(n % kStages);
    if (n >= kStages) barriers.empty[stage].wait(static_cast<int>(n / kStages + 1) % 2);
    const int64_t left = groups - group;
    const auto bytes =
        static_cast<uint32_t>((left < kStageGroups ? left : kStageGroups) * kBlock * 2);
    if (simt::lane() == 0) barriers.full[stage].arrive_expecting(bytes * kStageBlocks);
    simt::sync_warp();
    SIMT_UNROLL
    for (int j = 0; j < 2; ++j) {
      const int i = simt::lane() + j * simt::kWarp;
      if (i >= kStageBlocks) continue;
      simt::copy_bulk(
          ring + (stage * kStageBlocks + i) * kPiece, from[j] + group * kBlock, bytes,
          &barriers.full[stage]);
    }
  }
}

/** The products of the first kGroups blocks along K of a stage. */
template <class T, int kGroups>
SIMT_DEVICE void multiply_stage(
    const uint16_t* weights, const uint16_t* x, float (&sum)[kTilesOfGroup][kTokens / 2]) {
  simt::begin_products();
  SIMT_UNROLL
  for (int i = 0; i < 2 * kGroups; ++i) {
    const int at = i * 2 * kChunk;
    const simt::OperandMatrix b(x + at, kChunkBytes, kPieceBytes);
    SIMT_UNROLL
    for (int tile = 0; tile < kTilesOfGroup; ++tile) {
      const simt::OperandMatrix a(
          weights + tile * kTileBlocks * kPiece + at, kChunkBytes, kPieceBytes);
      simt::warpgroup_product<T>(sum[tile], a, b);
    }
  }
  simt::commit_products();
}

/** A warpgroup that multiplies: its two tiles with all rows of x. */
template <class T>
SIMT_DEVICE void multiply_stages(
    int64_t groups, int warpgroup, const uint16_t* ring, Barriers& barriers,
    float (&sum)[kTilesOfGroup][kTokens / 2]) {
  const auto weights = [&](int64_t n) {
    return ring + (n % kStages * kStageBlocks + warpgroup * kTilesOfGroup * kTileBlocks) * kPiece;
  };
  const auto x = [&](int64_t n) {
    return ring + (n % kStages * kStageBlocks + kTiles * kTileBlocks) * kPiece;
  };
  const int64_t whole = groups / kStageGroups;
  for (int64_t n = 0; n < whole; ++n) {
    barriers.full[n % kStages].wait(static_cast<int>(n / kStages) % 2);
    multiply_stage<T, kStageGroups>(weights(n), x(n), sum);
    simt::wait_products<1>();
    if (n > 0) {
      simt::sync_warp();
      if (simt::lane() == 0) barriers.empty[(n - 1) % kStages].arrive();
    }
  }
  simt::wait_products<0>(sum[0], sum[1]);
  if (groups % kStageGroups != 0) {
    barriers.full[whole % kStages].wait(static_cast<int>(whole / kStages) % 2);
    multiply_stage<T, 1>(weights(whole), x(whole), sum);
    simt::wait_products<0>(sum[0], sum[1]);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1) warpgroup_gemm_kernel(GemmView view) {
  SIMT_SHARED(Barriers, barriers);
  auto* ring = simt::dynamic_shared<uint16_t>();  // [stage][piece][group][chunk][row][column]
  BlockPlace place{0, simt::block_y()};
  for (; place.part + 1 < view.num_parts; ++place.part) {
    const int64_t blocks = (num_product_tiles(view, place.part) + kTiles - 1) / kTiles;
    if (place.first_tile < blocks) break;
    place.first_tile -= blocks;
  }
  place.first_tile *= kTiles;
  const int64_t first_row = int64_t{simt::block()} * kTokens;
  if (simt::thread() == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      barriers.full[stage].init(1);
      barriers.empty[stage].init(kCopyWarp);
    }
  }
  simt::sync_block();
  simt::wait_for_previous();
  simt::allow_next();
  if (simt::warp() == kCopyWarp) return copy_stages(view, place, first_row, ring, barriers);

  const int warpgroup = simt::thread() / simt::kWarpgroup;
  float sum[kTilesOfGroup][kTokens / 2] = {};
  multiply_stages<T>(num_groups(view.k), warpgroup, ring, barriers, sum);

  const PartView& part = view.part[place.part];
  const bool gated = view.up.data != nullptr;
  const int64_t first_tile = place.first_tile + warpgroup * kTilesOfGroup;
  const int of_tile = simt::warp() % 4 * 16 + simt::lane() / 4;
  SIMT_UNROLL
  for (int i = 0; i < kTokens / 2; ++i) {
    const int64_t row = first_row + i / 4 * 8 + simt::lane() % 4 * 2 + i % 2;
    const int64_t n = of_tile + i / 2 % 2 * 8;
    if (row >= view.m) continue;
    SIMT_UNROLL
    for (int tile = 0; tile < kTilesOfGroup; ++tile) {
      if (gated && tile == 1) continue;
      const int64_t at = (gated ? first_tile / 2 : first_tile + tile) * kTileOfProduct + n;
      if (at < part.w.rows) finish(view, part, row, at, sum[tile][i], gated ? sum[1][i] : 0.0f);
    }
  }
}

template <class T>
void launch(const GemmView& view, simt::Stream stream) {
  int64_t blocks = 0;
  for (int i = 0; i < view.num_parts; ++i)
    blocks += (num_product_tiles(view, i) + kTiles - 1) / kTiles;
  const simt::Launch shape{
      .grid = {static_cast<int>((view.m + kTokens - 1) / kTokens), static_cast<int>(blocks)},
      .threads = kThreads,
      .shared_bytes = size_t{kStages} * kStageBlocks * kPieceBytes,
      .stream = stream,
      .overlap = true};
  SIMT_LAUNCH(warpgroup_gemm_kernel<T>, shape, view);
}

}  // namespace

void launch_warpgroup_gemm(const GemmView& view, Type type, simt::Stream stream) {
  if (type == Type::kBf16) return launch<simt::Bf16>(view, stream);
  launch<simt::Fp16>(view, stream);
}

}  // namespace espalier
