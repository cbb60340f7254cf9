// What the kernels of skinny_gemm share: their view of the arguments, the norm of a row, and the end of an output.
#ifndef ESPALIER_CUDA_GEMM_GEMM_H
#define ESPALIER_CUDA_GEMM_GEMM_H

#include "gemm/layout.h"
#include "launchers.h"
#include "ops/elementary.h"
#include "ops/ops.h"
#include "simt/simt.h"

namespace espalier {

constexpr int kGemmThreads = 256;
constexpr int kGemmWarps = kGemmThreads / simt::kWarp;

using Words = simt::Vec<uint32_t, 4>;  // 8 elements of 16 bits

/** A weight of 16-bit elements. Its blocks of 8 rows x 32 columns are cut from rows, or lie packed. Strides in elements. */
struct MatrixView {
  const uint16_t* data;
  int64_t block_stride, row_stride, chunk_stride, group_stride;
  int64_t rows, cols;  // what lies beyond is zero
};

/** The view of n packed rows. */
SIMT_HOST_DEVICE MatrixView packed_view(const uint16_t* data, int64_t n, int64_t k) {
  const int64_t groups = num_groups(k);
  return {data, groups * kBlock, kChunkCols, kChunk, kBlock, n, groups * kBlockCols};
}

struct VectorView {
  const void* data;  // or null
  Type type;
};

struct PartView {
  MatrixView w;
  VectorView bias;
  float* out;
};

/** SkinnyGemmArgs as kernels take them. */
struct GemmView {
  const float* x;     // [m, k]
  uint16_t* rounded;  // x, normalised, rounded and packed; or null
  int32_t* turns;     // for the kernel that rounds x itself: kNumTurns zeros; or null
  int64_t m, k;
  bool prompt;
  bool aligned_x, aligned_norm;  // 4 elements of x, 8 of the norm lie on a multiple of 16 bytes
  VectorView norm;
  float eps;
  PartView part[SkinnyGemmArgs::kMostParts];
  int num_parts;
  bool own_weights;  // all packed: the backend's own, which no kernel writes
  MatrixView up;     // data is null without the gate
  VectorView up_bias;
  const float* residual;
};

/** 16-row tiles of a part. With the gate, even ones are of w and odd ones of up. */
SIMT_HOST_DEVICE int64_t num_tiles(const GemmView& view, int part) {
  const int64_t tiles = (view.part[part].w.rows + kTileRows - 1) / kTileRows;
  return view.up.data == nullptr ? tiles : 2 * tiles;
}

/** Blocks of a launch in which each has `tiles` tiles of one part. */
SIMT_HOST_DEVICE int64_t num_gemm_blocks(const GemmView& view, int tiles) {
  int64_t blocks = 0;
  for (int i = 0; i < view.num_parts; ++i) blocks += (num_tiles(view, i) + tiles - 1) / tiles;
  return blocks;
}

struct BlockPlace {
  int part;
  int64_t first_tile;
};

SIMT_DEVICE BlockPlace place_of_block(const GemmView& view, int tiles) {
  int64_t block = simt::block();
  int part = 0;
  for (; part + 1 < view.num_parts; ++part) {
    const int64_t blocks = (num_tiles(view, part) + tiles - 1) / tiles;
    if (block < blocks) break;
    block -= blocks;
  }
  return {part, block * tiles};
}

/** 16 bytes of each block along K of 8 rows: those of a lane. */
struct LaneSource {
  const uint16_t* from;
  int64_t cols;  // left behind `from`: none for a row that is not there

  SIMT_DEVICE void copy(void* to_shared, int64_t group, int64_t group_stride) const {
    simt::copy_async<16>(to_shared, from + group * group_stride, group * kBlockCols < cols);
  }
};

/** The lane's source in rows 8 half .. 8 half + 7 of a tile. */
SIMT_DEVICE LaneSource lane_source(const MatrixView& w, int64_t tile_row, int half) {
  const int64_t row = tile_row + half * kBlockRows + simt::lane() / 4;
  const int chunk = simt::lane() % 4;
  const uint16_t* from = w.data + row / kBlockRows * w.block_stride +
                         row % kBlockRows * w.row_stride + chunk * w.chunk_stride;
  return {row < w.rows ? from : w.data, row < w.rows ? w.cols - chunk * kChunkCols : 0};
}

SIMT_DEVICE float load_element(const VectorView& v, int64_t i) {
  switch (v.type) {
    case Type::kBf16:
      return simt::to_float(static_cast<const simt::Bf16*>(v.data)[i]);
    case Type::kFp16:
      return simt::to_float(static_cast<const simt::Fp16*>(v.data)[i]);
    default:
      return static_cast<const float*>(v.data)[i];
  }
}

/** Elements col .. col + 7 of a row of x; those from k on are 0. */
SIMT_DEVICE void load_x(const GemmView& view, int64_t row, int64_t col, float (&x)[8]) {
  const float* from = view.x + row * view.k + col;
  SIMT_UNROLL
  for (int half = 0; half < 8; half += 4) {
    if (view.aligned_x) {
      if (col + half < view.k) {
        const auto four = *reinterpret_cast<const simt::Vec<float, 4>*>(from + half);
        SIMT_UNROLL
        for (int i = 0; i < 4; ++i) x[half + i] = four[i];
      } else {
        SIMT_UNROLL
        for (int i = 0; i < 4; ++i) x[half + i] = 0.0f;
      }
    } else {
      SIMT_UNROLL
      for (int i = half; i < half + 4; ++i) x[i] = col + i < view.k ? from[i] : 0.0f;
    }
  }
}

/** Elements col .. col + 7 of the norm's weight; those from k on are 0. */
SIMT_DEVICE void load_norm(const GemmView& view, int64_t col, float (&weight)[8]) {
  if (view.aligned_norm && view.norm.type != Type::kFp32) {
    const auto* from = static_cast<const uint16_t*>(view.norm.data) + col;
    const Words words = col < view.k ? *reinterpret_cast<const Words*>(from) : Words{};
    SIMT_UNROLL
    for (int i = 0; i < 8; ++i) {
      const auto bits = static_cast<uint16_t>(words[i / 2] >> (16 * (i % 2)));
      weight[i] = view.norm.type == Type::kBf16 ? simt::to_float(simt::Bf16{bits})
                                                : simt::to_float(simt::Fp16{bits});
    }
  } else {
    SIMT_UNROLL
    for (int i = 0; i < 8; ++i)
      weight[i] = col + i < view.k ? load_element(view.norm, col + i) : 0.0f;
  }
}

/** 8 elements rounded to T; factor and weight are the norm's, 1 without one. */
template <class T>
SIMT_DEVICE Words round_x(const float (&x)[8], float factor, const float (&weight)[8]) {
  Words words;
  SIMT_UNROLL
  for (int i = 0; i < 8; i += 2) {
    words[i / 2] = simt::pack(
        simt::from_float<T>(x[i] * factor * weight[i]),
        simt::from_float<T>(x[i + 1] * factor * weight[i + 1]));
  }
  return words;
}

/**
 * factor[i] = 1 / sqrt(mean(x^2) + eps) of rows first .. first + kRows - 1, by the whole block; 0 for rows behind the
 * last. Squares are summed in one order, fixed by k: groups of 4 go to the 256 threads in turn, then lanes 16, 8, 4, 2, 1
 * apart, then warps in ascending order.
 */
template <int kRows>
SIMT_DEVICE void norm_factors(
    const GemmView& view, int64_t first, float (&of_warp)[kRows][kGemmWarps],
    float (&factor)[kRows]) {
  for (int r = 0; r < kRows && first + r < view.m; ++r) {
    const float* x = view.x + (first + r) * view.k;
    float sum = 0.0f;
    for (int64_t i = int64_t{simt::thread()} * 4; i < view.k; i += kGemmThreads * 4) {
      if (view.aligned_x) {
        const auto four = *reinterpret_cast<const simt::Vec<float, 4>*>(x + i);
        SIMT_UNROLL
        for (int j = 0; j < 4; ++j) sum = simt::fma(four[j], four[j], sum);
      } else {
        for (int j = 0; j < 4 && i + j < view.k; ++j) sum = simt::fma(x[i + j], x[i + j], sum);
      }
    }
    sum = simt::warp_sum(sum);
    if (simt::lane() == 0) of_warp[r][simt::warp()] = sum;
  }
  simt::sync_block();
  const int r = simt::thread();
  if (r < kRows) {
    float value = 0.0f;
    if (first + r < view.m) {
      float sum = 0.0f;
      for (int w = 0; w < kGemmWarps; ++w) sum += of_warp[r][w];
      value =
          simt::divide(1.0f, simt::sqrt(simt::divide(sum, static_cast<float>(view.k)) + view.eps));
    }
    factor[r] = value;
  }
  simt::sync_block();
}

/**
 * A row of x to where its rounded form lies, packed or row after row of num_groups(k) blocks, by the whole block; a row from
 * m on is zeros.
 */
template <class T, bool kPacked = true>
SIMT_DEVICE void round_row(
    const GemmView& view, int64_t row, float (&of_warp)[1][kGemmWarps], float (&factor)[1]) {
  const bool normed = view.norm.data != nullptr;
  if (normed) norm_factors(view, row, of_warp, factor);
  const int64_t cols = num_groups(view.k) * kBlockCols;
  for (int64_t col = simt::thread() * 8; col < cols; col += kGemmThreads * 8) {
    float x[8] = {}, weight[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    if (row < view.m) load_x(view, row, col, x);
    if (normed) load_norm(view, col, weight);
    const int64_t at = kPacked ? packed_offset(row, col, view.k) : row * cols + col;
    *reinterpret_cast<Words*>(view.rounded + at) = round_x<T>(x, normed ? factor[0] : 1.0f, weight);
  }
}

/** Rows of the rounded x. */
SIMT_HOST_DEVICE int64_t num_rounded_rows(const GemmView& view) {
  return (view.m + kBlockRows - 1) / kBlockRows * kBlockRows;
}

/**
 * Rounds all of x by all blocks of the launch together, then every block may read it. Whoever comes takes the next row
 * until none is left, and then waits for rows that running blocks have taken: no block waits for one that may never
 * begin. Turns are the next row, rows done, blocks gone; the last block leaves zeros.
 */
template <class T>
SIMT_DEVICE void round_in_turns(const GemmView& view) {
  SIMT_SHARED(float[1][kGemmWarps], of_warp);
  SIMT_SHARED(float[1], factor);
  SIMT_SHARED(int32_t[1], turn);
  const auto rows = static_cast<int32_t>(num_rounded_rows(view));
  for (;;) {
    if (simt::thread() == 0) turn[0] = simt::atomic_add(&view.turns[0], 1);
    simt::sync_block();
    const int32_t row = turn[0];
    if (row >= rows) break;
    round_row<T>(view, row, of_warp, factor);
    simt::sync_block();  // the row is written, and the turn is read
    if (simt::thread() == 0) {
      simt::fence();
      simt::atomic_add(&view.turns[1], 1);
    }
  }
  if (simt::thread() == 0) {
    while (simt::load_flag(&view.turns[1]) < rows) {
    }
    simt::fence();
    if (simt::atomic_add(&view.turns[2], 1) == simt::num_blocks() * simt::num_blocks_y() - 1) {
      for (int i = 0; i < kNumTurns; ++i) simt::store_flag(&view.turns[i], 0);
    }
  }
  simt::sync_block();
}

/** y / (1 + exp(-y)), by the exponential that cannot overflow; below -87 it is cut to 0. */
SIMT_DEVICE float silu(float y) {
  const float a = y > 0.0f ? -y : y;
  const float e = a >= -87.0f ? exp_fp32(a) : (y != y ? y : 0.0f);
  return simt::divide(y > 0.0f ? y : y * e, e + 1.0f);
}

/** Writes the output of row m and column n of a part, whose products are complete. */
SIMT_DEVICE void finish(
    const GemmView& view, const PartView& part, int64_t m, int64_t n, float y, float up) {
  if (part.bias.data != nullptr) y += load_element(part.bias, n);
  const int64_t at = m * part.w.rows + n;
  if (view.up.data != nullptr) {
    if (view.up_bias.data != nullptr) up += load_element(view.up_bias, n);
    y = silu(y) * up;
  }
  if (view.residual != nullptr) y += view.residual[at];
  part.out[at] = y;
}

GemmView gemm_view(const SkinnyGemmArgs& args);
/** Chooses by type and rows. workspace: cuda_skinny_gemm_workspace bytes; turns: kNumTurns zeros. */
void launch_skinny_gemm(
    const GemmView& view, Type type, void* workspace, int32_t* turns, simt::Stream stream);
/** view.x, normalised and rounded to `type`, to view.rounded, not packed: [m, num_groups(k) * kBlockCols]. */
void launch_round_rows(const GemmView& view, Type type, simt::Stream stream);
/** 16-bit weights, view.rounded and maybe view.turns; for more than 64 rows. */
void launch_prefill_gemm(const GemmView& view, Type type, simt::Stream stream);
/** The same for packed weights on a card of sm_90a. Other bits: for prompts alone. */
void launch_warpgroup_gemm(const GemmView& view, Type type, simt::Stream stream);

}  // namespace espalier

#endif
