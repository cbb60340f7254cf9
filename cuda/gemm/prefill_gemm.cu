// prefill_gemm: skinny_gemm with more than 64 rows, in tiles. The same bits as with fewer.
//
// Math    as skinny_gemm.cu; x is rounded and packed as there
// Launch  grid (128 rows of the weight, 128 rows of x), block 256: eight warps, each 32 rows of the weight x 64 rows of x.
//         Blocks of both operands pass through shared memory, four steps of 32 columns deep; they lie there as they lie
//         packed in memory, and a lane reads its part of a fragment in one go, without a conflict of banks
// Rows    a product is summed as gemm/layout.h cuts k, as in skinny_gemm.cu: the sum of a slice ends where the slice does,
//         and joins those before. So the bits are those of fewer rows
// Bytes   the weight once for each 128 rows of x, x once for each 128 rows of the weight: from 2 * 128 * 128 flops for
//         4 * 128 bytes on arithmetic decides
// Error   as skinny_gemm.cu
#include "gemm/gemm.h"

namespace espalier {
namespace {

constexpr int kStages = 4;
constexpr int kTiles = 8;    // of 16 rows of the weight
constexpr int kTokens = 16;  // tiles of 8 rows of x
constexpr int kWarpTiles = 2, kWarpTokens = 8;
constexpr int kWarpsAlongN = kTiles / kWarpTiles;
constexpr int kStageBlocks = 2 * kTiles + kTokens;  // [tile][half], then [token tile]
constexpr int kStageWords = kStageBlocks * simt::kWarp;
constexpr int kCopies = kStageBlocks / kGemmWarps;  // blocks that a warp copies for a stage

static_assert(kStageBlocks % kGemmWarps == 0);
static_assert(kMostGemmRows <= int64_t{simt::kMostBlocks} * kTokens * 8);
static_assert(kTiles / kWarpTiles * (kTokens / kWarpTokens) == kGemmWarps);

/** The source of block i of a stage. */
SIMT_DEVICE LaneSource source_of(
    const GemmView& view, const PartView& part, int64_t first_tile, int64_t first_row, int i,
    int64_t* group_stride) {
  if (i >= 2 * kTiles) {
    const int64_t rows = (view.m + kBlockRows - 1) / kBlockRows * kBlockRows;  // packed ones
    const MatrixView x = packed_view(view.rounded, rows, view.k);
    *group_stride = kBlock;
    return lane_source(x, first_row + (i - 2 * kTiles) * kBlockRows, 0);
  }
  const int64_t tile = first_tile + i / 2;
  const bool of_up = view.up.data != nullptr && tile % 2 == 1;
  const MatrixView& w = of_up ? view.up : part.w;
  *group_stride = w.group_stride;
  return lane_source(w, (view.up.data != nullptr ? tile / 2 : tile) * kTileRows, i % 2);
}

template <class T>
__global__ void __launch_bounds__(kGemmThreads, 1) prefill_gemm_kernel(GemmView view) {
  auto* ring = reinterpret_cast<Words*>(simt::dynamic_shared<float>());  // [stage][block][lane]
  const BlockPlace place = place_of_block(view, kTiles);
  const PartView& part = view.part[place.part];
  const int64_t first_row = int64_t{simt::block_y()} * kTokens * 8;
  LaneSource source[kCopies];
  int64_t stride[kCopies];
  SIMT_UNROLL
  for (int i = 0; i < kCopies; ++i) {
    source[i] = source_of(
        view, part, place.first_tile, first_row, i * kGemmWarps + simt::warp(), &stride[i]);
  }
  const int64_t groups = num_groups(view.k), slice = slice_groups(view.k);
  const auto copy = [&](int64_t group) {
    if (group < groups) {
      Words* to = ring + group % kStages * kStageWords + simt::thread();
      SIMT_UNROLL
      for (int i = 0; i < kCopies; ++i) source[i].copy(to + i * kGemmThreads, group, stride[i]);
    }
    simt::commit_async();
  };

  simt::wait_for_previous();
  simt::allow_next();
  if (view.turns != nullptr) round_in_turns<T>(view);
  for (int stage = 0; stage < kStages - 1; ++stage) copy(stage);
  const int warp_tile = simt::warp() % kWarpsAlongN * kWarpTiles;
  const int warp_token = simt::warp() / kWarpsAlongN * kWarpTokens;
  simt::FragmentC sum[kWarpTiles][kWarpTokens] = {}, total[kWarpTiles][kWarpTokens] = {};
  int64_t slice_end = slice;
  for (int64_t group = 0; group < groups; ++group) {
    simt::wait_async<kStages - 2>();
    simt::
        sync_block();  // the stage is there, and nobody reads any more what the next copy overwrites
    copy(group + kStages - 1);
    const Words* stage = ring + group % kStages * kStageWords + simt::lane();
    Words w[kWarpTiles][2];
    SIMT_UNROLL
    for (int tile = 0; tile < kWarpTiles; ++tile) {
      SIMT_UNROLL
      for (int half = 0; half < 2; ++half)
        w[tile][half] = stage[((warp_tile + tile) * 2 + half) * simt::kWarp];
    }
    SIMT_UNROLL
    for (int i = 0; i < kWarpTokens; ++i) {
      const Words x = stage[(2 * kTiles + warp_token + i) * simt::kWarp];
      SIMT_UNROLL
      for (int half = 0; half < 2; ++half) {
        SIMT_UNROLL
        for (int tile = 0; tile < kWarpTiles; ++tile) {
          const Words &low = w[tile][0], &high = w[tile][1];
          simt::mma_16x8x16<T>(
              sum[tile][i],
              {{low[2 * half], high[2 * half], low[2 * half + 1], high[2 * half + 1]}},
              {{x[2 * half], x[2 * half + 1]}});
        }
      }
    }
    if (group + 1 == slice_end || group + 1 == groups) {
      const bool first = slice_end == slice;
      SIMT_UNROLL
      for (int tile = 0; tile < kWarpTiles; ++tile) {
        SIMT_UNROLL
        for (int i = 0; i < kWarpTokens; ++i) {
          SIMT_UNROLL
          for (int v = 0; v < 4; ++v) {
            float& of_slices = total[tile][i].v[v];
            of_slices = first ? sum[tile][i].v[v] : of_slices + sum[tile][i].v[v];
            sum[tile][i].v[v] = 0.0f;
          }
        }
      }
      slice_end += slice;
    }
  }

  const bool gated = view.up.data != nullptr;
  const int64_t tile = place.first_tile + warp_tile;
  SIMT_UNROLL
  for (int i = 0; i < kWarpTokens; ++i) {
    SIMT_UNROLL
    for (int v = 0; v < 4; ++v) {
      const int64_t row = first_row + (warp_token + i) * 8 + simt::lane() % 4 * 2 + v % 2;
      const int of_tile = simt::lane() / 4 + v / 2 * 8;
      if (row >= view.m) continue;
      if (gated) {
        const int64_t n = tile / 2 * kTileRows + of_tile;
        if (n < part.w.rows) finish(view, part, row, n, total[0][i].v[v], total[1][i].v[v]);
      } else {
        SIMT_UNROLL
        for (int j = 0; j < kWarpTiles; ++j) {
          const int64_t n = (tile + j) * kTileRows + of_tile;
          if (n < part.w.rows) finish(view, part, row, n, total[j][i].v[v], 0.0f);
        }
      }
    }
  }
}

template <class T>
void launch(const GemmView& view, simt::Stream stream) {
  constexpr int64_t kRows = kTokens * 8;
  const simt::Launch shape{
      .grid =
          {static_cast<int>(num_gemm_blocks(view, kTiles)),
           static_cast<int>((view.m + kRows - 1) / kRows)},
      .threads = kGemmThreads,
      .shared_bytes = size_t{kStages} * kStageWords * sizeof(Words),
      .stream = stream,
      .overlap = true};
  SIMT_LAUNCH(prefill_gemm_kernel<T>, shape, view);
}

}  // namespace

void launch_prefill_gemm(const GemmView& view, Type type, simt::Stream stream) {
  if (type == Type::kBf16) return launch<simt::Bf16>(view, stream);
  launch<simt::Fp16>(view, stream);
}

}  // namespace espalier
