// skinny_gemm: product of few rows with a large weight, 16-bit weights on the matrix units.
//
// Math    out = x w^T (+ bias) (+ residual), or silu(x w^T (+ bias)) * (x up^T (+ up_bias)); up to three products
//         w, bias, out share an x; with a norm, x / sqrt(mean(x^2) + eps) * norm stands in the place of x
// Shapes  x [m, k], norm [k], w, up [n, k], bias, up_bias [n], residual, out [m, n]; residual may be out
// Needs   w and up packed (gemm/layout.h), or rows with k a multiple of 8 at a multiple of 16 bytes
// Launch  up to 64 rows: grid (32 rows of the weight, 8, 16, 32 or 64 rows of x), block 256; a warp for each slice of k.
//         A lane copies the 16 bytes of a block that it will multiply itself, four steps ahead (64 KB under way in a
//         block; of packed weights begun before the kernel before has ended), so no barrier is met until all products are there. Weights are
//         the 16-row side of the instruction, rows of x the 8-row side: one row or eight cost the same. A warp works
//         on two tiles of the weight for each fragment of x. Up to 16 rows, x is normalised and rounded on the way; more
//         rows are rounded and packed once, row by row by whichever block is there (gemm.h); from 257 on by
//         round_rows_kernel. From 65 rows on: prefill_gemm.cu, with the same bits
// Rows    a product is summed as gemm/layout.h cuts k, two matrix instructions for a block; a row is a column of its own in
//         them. The norm's sum follows k alone. Which kernel takes how many rows changes no bit
// Bytes   the weight once, for each 64 rows: n k 2. x 2 k (4 k up to 16 rows) for each row and 32 rows of the weight, from L2: at 64
//         rows twice the weight, which stays below L2's speed
// Error   of a product (k / 8 + 48) * 2^-24 * sum |x w| (a slice has at most k / 8 + 32 terms, and there are 8), x and w as rounded
//         to the weight's type; fp16: x beyond 65504 becomes infinite. fp32 weights (k / 32 + 10) * 2^-24 * sum |x w|
#include "gemm/gemm.h"
#include "launchers.h"

namespace espalier {
namespace {

constexpr int kTiles = 2;   // of the weight, for a block
constexpr int kStages = 4;  // blocks along K under way
constexpr int kMostFusedRows = 16, kMostSlicedRows = 64, kMostRowsInTurns = 256;

// ------------------------------------------------------------------------------------------------ rounding before

/** One row for each block. */
template <class T, bool kPacked>
__global__ void __launch_bounds__(kGemmThreads) round_rows_kernel(GemmView view) {
  SIMT_SHARED(float[1][kGemmWarps], of_warp);
  SIMT_SHARED(float[1], factor);
  simt::wait_for_previous();
  simt::allow_next();
  round_row<T, kPacked>(view, simt::block(), of_warp, factor);
}

// -------------------------------------------------------------------------------------------------------- sliced

/** Where the partial sum of a slice lies; 36 spreads the lanes' stores over all banks. */
template <int kRows>
SIMT_DEVICE int partial_at(int slice, int row, int n) {
  return (slice * kRows + row) * (kTiles * kTileRows + 4) + n;
}

/** A lane's part of the fragments of x, for kTokens tiles of 8 rows. */
template <class T, int kTokens, bool kRounded>
class Fragments {
 public:
  SIMT_DEVICE Fragments(const GemmView& view, int64_t first_row, const float* factor)
      : view_(view), row_(first_row + simt::lane() / 4), col_(simt::lane() % 4 * 8) {
    if constexpr (!kRounded) {
      SIMT_UNROLL
      for (int i = 0; i < kTokens; ++i)
        factor_[i] = view.norm.data == nullptr ? 1.0f : factor[i * 8 + simt::lane() / 4];
    }
  }

  /** Begins to load a block along K. */
  SIMT_DEVICE void load(int64_t group) {
    const int64_t col = group * kBlockCols + col_;
    if constexpr (kRounded) {
      SIMT_UNROLL
      for (int i = 0; i < kTokens; ++i) {
        const int64_t row = row_ + i * 8;
        words_[i] =
            row / 8 * 8 < view_.m
                ? *reinterpret_cast<const Words*>(view_.rounded + packed_offset(row, col, view_.k))
                : Words{};
      }
    } else {
      SIMT_UNROLL
      for (int i = 0; i < kTokens; ++i) {
        const int64_t row = row_ + i * 8;
        if (row < view_.m) {
          load_x(view_, row, col, x_[i]);
        } else {
          SIMT_UNROLL
          for (float& x : x_[i]) x = 0.0f;
        }
      }
      if (view_.norm.data != nullptr) {
        load_norm(view_, col, weight_);
      } else {
        SIMT_UNROLL
        for (float& weight : weight_) weight = 1.0f;
      }
    }
  }

  /** What was loaded, as the instructions take it. */
  SIMT_DEVICE Words get(int tokens) const {
    if constexpr (kRounded) {
      return words_[tokens];
    } else {
      return round_x<T>(x_[tokens], factor_[tokens], weight_);
    }
  }

 private:
  const GemmView& view_;
  const int64_t row_;
  const int col_;
  Words words_[kRounded ? kTokens : 1];
  float x_[kRounded ? 1 : kTokens][8], factor_[kRounded ? 1 : kTokens], weight_[8];
};

template <class T, int kTokens, bool kRounded>
__global__ void __launch_bounds__(kGemmThreads, kTokens <= 4 ? 2 : 1)
    skinny_gemm_kernel(GemmView view) {
  constexpr int kRows = kTokens * 8;
  SIMT_SHARED(float[kRows][kGemmWarps], of_warp);
  SIMT_SHARED(float[kRows], factor);
  float* shared = simt::dynamic_shared<float>();
  auto* ring = reinterpret_cast<Words*>(shared) + simt::thread();  // [stage][tile][half][thread]

  const BlockPlace place = place_of_block(view, kTiles);
  const PartView& part = view.part[place.part];
  const bool gated = view.up.data != nullptr;
  const int64_t tile_row = gated ? place.first_tile / 2 * kTileRows : place.first_tile * kTileRows;
  const MatrixView& second = gated ? view.up : part.w;
  LaneSource source[kTiles][2];
  SIMT_UNROLL
  for (int half = 0; half < 2; ++half) {
    source[0][half] = lane_source(part.w, tile_row, half);
    source[1][half] = lane_source(second, gated ? tile_row : tile_row + kTileRows, half);
  }
  const int64_t group_stride = part.w.group_stride, second_stride = second.group_stride;
  const int64_t first_row = int64_t{simt::block_y()} * kRows;

  const int slice = simt::warp();
  const int64_t groups = num_groups(view.k), len = slice_groups(view.k);
  const int64_t begin = slice * len < groups ? slice * len : groups;
  const int64_t end = begin + len < groups ? begin + len : groups;
  const auto copy = [&](int64_t group) {
    if (group < end) {
      Words* to = ring + (group - begin) % kStages * kTiles * 2 * kGemmThreads;
      SIMT_UNROLL
      for (int half = 0; half < 2; ++half) {
        source[0][half].copy(to + half * kGemmThreads, group, group_stride);
        source[1][half].copy(to + (2 + half) * kGemmThreads, group, second_stride);
      }
    }
    simt::commit_async();
  };
  // The backend's weights are there before the kernel before has ended; a caller's may be what that kernel writes.
  if (!view.own_weights) simt::wait_for_previous();
  for (int stage = 0; stage < kStages; ++stage) copy(begin + stage);
  simt::wait_for_previous();
  simt::allow_next();
  if constexpr (!kRounded) {
    if (view.norm.data != nullptr) norm_factors(view, first_row, of_warp, factor);
  } else {
    round_in_turns<T>(view);
  }

  simt::FragmentC sum[kTiles][kTokens] = {};
  Fragments<T, kTokens, kRounded> fragments(view, first_row, factor);
  if (begin < end) fragments.load(begin);
  for (int64_t group = begin; group < end; ++group) {
    Words x[kTokens];
    SIMT_UNROLL
    for (int i = 0; i < kTokens; ++i) x[i] = fragments.get(i);
    if (group + 1 < end) fragments.load(group + 1);
    simt::wait_async<kStages - 1>();
    const Words* from = ring + (group - begin) % kStages * kTiles * 2 * kGemmThreads;
    SIMT_UNROLL
    for (int tile = 0; tile < kTiles; ++tile) {
      const Words low = from[tile * 2 * kGemmThreads], high = from[(tile * 2 + 1) * kGemmThreads];
      SIMT_UNROLL
      for (int half = 0; half < 2; ++half) {
        const simt::FragmentA a{
            {low[2 * half], high[2 * half], low[2 * half + 1], high[2 * half + 1]}};
        SIMT_UNROLL
        for (int i = 0; i < kTokens; ++i) {
          simt::mma_16x8x16<T>(sum[tile][i], a, {{x[i][2 * half], x[i][2 * half + 1]}});
        }
      }
    }
    copy(group + kStages);
  }

  // Slices meet, in ascending order.
  simt::sync_block();
  SIMT_UNROLL
  for (int tile = 0; tile < kTiles; ++tile) {
    SIMT_UNROLL
    for (int i = 0; i < kTokens; ++i) {
      SIMT_UNROLL
      for (int v = 0; v < 4; ++v) {
        const int row = i * 8 + simt::lane() % 4 * 2 + v % 2;
        const int n = tile * kTileRows + simt::lane() / 4 + v / 2 * 8;
        shared[partial_at<kRows>(slice, row, n)] = sum[tile][i].v[v];
      }
    }
  }
  simt::sync_block();
  const int slices = num_slices(view.k);
  const auto total = [&](int row, int n) {
    float y = shared[partial_at<kRows>(0, row, n)];
    for (int s = 1; s < slices; ++s) y += shared[partial_at<kRows>(s, row, n)];
    return y;
  };
  const int width = gated ? kTileRows : kTiles * kTileRows;
  for (int i = simt::thread(); i < kRows * width; i += kGemmThreads) {
    const int row = i / width, n = i % width;
    if (first_row + row >= view.m || tile_row + n >= part.w.rows) continue;
    finish(
        view, part, first_row + row, tile_row + n, total(row, n),
        gated ? total(row, n + kTileRows) : 0.0f);
  }
}

// ---------------------------------------------------------------------------------------------------------- fp32

constexpr int kRowsFp32 = 8;  // rows of x for a block; each warp has one row of the weight

static_assert(kMostGemmRows <= int64_t{simt::kMostBlocks} * kRowsFp32);

/** w[row] . x[m] of 8 rows of x: groups of 4 go to the lanes in turn, then lanes 16, 8, 4, 2, 1 apart. */
SIMT_DEVICE void dot_fp32(
    const GemmView& view, const float* w, int64_t first_row, const float* factor,
    float (&sum)[kRowsFp32]) {
  for (float& s : sum) s = 0.0f;
  for (int64_t i = simt::lane() * 4; i < view.k; i += simt::kWarp * 4) {
    for (int j = 0; j < 4 && i + j < view.k; ++j) {
      const float weight = w[i + j];
      const float norm = view.norm.data == nullptr ? 1.0f : load_element(view.norm, i + j);
      SIMT_UNROLL
      for (int r = 0; r < kRowsFp32; ++r) {
        if (first_row + r >= view.m) continue;
        const float x = view.x[(first_row + r) * view.k + i + j];
        sum[r] = simt::fma(view.norm.data == nullptr ? x : x * factor[r] * norm, weight, sum[r]);
      }
    }
  }
  SIMT_UNROLL
  for (float& s : sum) s = simt::warp_sum(s);
}

/** The parts' data are fp32 here; row major. */
__global__ void __launch_bounds__(kGemmThreads) skinny_gemm_fp32_kernel(GemmView view) {
  SIMT_SHARED(float[kRowsFp32][kGemmWarps], of_warp);
  SIMT_SHARED(float[kRowsFp32], factor);
  simt::wait_for_previous();
  simt::allow_next();
  const int64_t first_row = int64_t{simt::block_y()} * kRowsFp32;
  if (view.norm.data != nullptr) norm_factors(view, first_row, of_warp, factor);
  int64_t n = int64_t{simt::block()} * kGemmWarps + simt::warp();
  int p = 0;
  while (p < view.num_parts && n >= view.part[p].w.rows) n -= view.part[p++].w.rows;
  if (p == view.num_parts) return;
  const PartView& part = view.part[p];
  float sum[kRowsFp32], up[kRowsFp32] = {};
  dot_fp32(view, reinterpret_cast<const float*>(part.w.data) + n * view.k, first_row, factor, sum);
  if (view.up.data != nullptr) {
    dot_fp32(
        view, reinterpret_cast<const float*>(view.up.data) + n * view.k, first_row, factor, up);
  }
  SIMT_UNROLL
  for (int r = 0; r < kRowsFp32; ++r) {
    if (simt::lane() == r && first_row + r < view.m)
      finish(view, part, first_row + r, n, sum[r], up[r]);
  }
}

// ------------------------------------------------------------------------------------------------------ launches

bool aligned(const void* p, int64_t k, int64_t multiple) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0 && k % multiple == 0;
}

MatrixView view_of(const Weight& w) {
  const auto* data = static_cast<const uint16_t*>(w.data);
  if (w.packed) {
    return packed_view(data, w.n, w.k);
  }
  if (w.data != nullptr && w.type != Type::kFp32) {
    const char* const what = " of a row-major 16-bit weight";
    const auto address = reinterpret_cast<uintptr_t>(w.data);
    if (w.k % 8 != 0) {
      throw Unsupported("k = " + std::to_string(w.k) + what + ", expected a multiple of 8");
    }
    if (address % 16 != 0) {
      throw Unsupported(
          "address" + std::string(what) + " = " + std::to_string(address) +
          ", expected a multiple of 16");
    }
  }
  return {data, kBlockRows * w.k, w.k, kChunkCols, kBlockCols, w.n, w.k};
}

VectorView view_of_vector(const Weight& w) { return {w.data, w.type}; }

simt::Launch shape_of(
    int64_t blocks, int64_t row_blocks, size_t shared_bytes, simt::Stream stream) {
  return {
      .grid = {static_cast<int>(blocks), static_cast<int>(row_blocks)},
      .threads = kGemmThreads,
      .shared_bytes = shared_bytes,
      .stream = stream,
      .overlap = true};
}

template <class T, bool kPacked>
void round_rows(const GemmView& view, simt::Stream stream) {
  const int64_t rows = kPacked ? num_rounded_rows(view) : view.m;
  SIMT_LAUNCH((round_rows_kernel<T, kPacked>), shape_of(rows, 1, 0, stream), view);
}

template <class T, int kTokens, bool kRounded>
void launch_sliced(const GemmView& view, simt::Stream stream) {
  constexpr size_t kRing = size_t{kStages} * kTiles * 2 * kGemmThreads * sizeof(Words);
  constexpr size_t kPartial =
      size_t{kSlices} * kTokens * 8 * (kTiles * kTileRows + 4) * sizeof(float);
  constexpr int64_t kRows = kTokens * 8;
  SIMT_LAUNCH(
      (skinny_gemm_kernel<T, kTokens, kRounded>),
      shape_of(
          num_gemm_blocks(view, kTiles), (view.m + kRows - 1) / kRows, std::max(kRing, kPartial),
          stream),
      view);
}

bool all_packed(const GemmView& view) {
  bool all = view.up.data == nullptr || view.up.chunk_stride == kChunk;
  for (int i = 0; i < view.num_parts; ++i) all &= view.part[i].w.chunk_stride == kChunk;
  return all;
}

template <class T>
void launch_16_bit(
    GemmView view, Type type, uint16_t* workspace, int32_t* turns, simt::Stream stream) {
  if (view.m <= 8) return launch_sliced<T, 1, false>(view, stream);
  if (view.m <= kMostFusedRows) return launch_sliced<T, 2, false>(view, stream);
  const bool by_warpgroups = view.prompt && view.m > kMostSlicedRows && all_packed(view) &&
                             simt::device_capability() == 90;
  view.rounded = workspace;
  if (by_warpgroups || view.m > kMostRowsInTurns) {
    round_rows<T, true>(view, stream);
  } else {
    view.turns = turns;
  }
  if (view.m <= 32) return launch_sliced<T, 4, true>(view, stream);
  if (view.m <= kMostSlicedRows) return launch_sliced<T, 8, true>(view, stream);
  if (by_warpgroups) return launch_warpgroup_gemm(view, type, stream);
  launch_prefill_gemm(view, type, stream);
}

void launch_fp32(const GemmView& view, simt::Stream stream) {
  int64_t n = 0;
  for (int i = 0; i < view.num_parts; ++i) n += view.part[i].w.rows;
  SIMT_LAUNCH(
      skinny_gemm_fp32_kernel,
      shape_of((n + kGemmWarps - 1) / kGemmWarps, (view.m + kRowsFp32 - 1) / kRowsFp32, 0, stream),
      view);
}

}  // namespace

GemmView gemm_view(const SkinnyGemmArgs& args) {
  GemmView view{};
  view.x = args.x;
  view.m = args.m;
  view.k = args.part[0].w.k;
  view.prompt = args.prompt;
  view.aligned_x = aligned(args.x, view.k, 4);
  view.aligned_norm = aligned(args.norm.weight, view.k, 8);
  view.norm = {args.norm.weight, args.norm.type};
  view.eps = args.norm.eps;
  view.num_parts = args.num_parts;
  view.own_weights = args.up.data == nullptr || args.up.packed;
  for (int i = 0; i < args.num_parts; ++i) {
    const GemmPart& part = args.part[i];
    view.own_weights &= part.w.packed;
    view.part[i] = {view_of(part.w), view_of_vector(part.bias), part.out};
  }
  view.up = view_of(args.up);
  view.up_bias = view_of_vector(args.up_bias);
  view.residual = args.residual;
  return view;
}

size_t cuda_skinny_gemm_workspace(const SkinnyGemmArgs& args) {
  const Weight& w = args.part[0].w;
  if (w.type == Type::kFp32 || args.m <= kMostFusedRows) return 0;
  return static_cast<size_t>(packed_bytes(args.m, w.k));
}

void launch_round_rows(const GemmView& view, Type type, simt::Stream stream) {
  if (type == Type::kBf16) {
    round_rows<simt::Bf16, false>(view, stream);
  } else {
    round_rows<simt::Fp16, false>(view, stream);
  }
}

void launch_skinny_gemm(
    const GemmView& view, Type type, void* workspace, int32_t* turns, simt::Stream stream) {
  auto* rounded = static_cast<uint16_t*>(workspace);
  switch (type) {
    case Type::kBf16:
      return launch_16_bit<simt::Bf16>(view, type, rounded, turns, stream);
    case Type::kFp16:
      return launch_16_bit<simt::Fp16>(view, type, rounded, turns, stream);
    default:
      return launch_fp32(view, stream);
  }
}

void cuda_skinny_gemm(
    const SkinnyGemmArgs& args, void* workspace, int32_t* turns, simt::Stream stream) {
  launch_skinny_gemm(gemm_view(args), args.part[0].w.type, workspace, turns, stream);
}

}  // namespace espalier
