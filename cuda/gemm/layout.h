// How 16-bit matrices lie in memory for the matrix units, and how a sum over K is cut. Host and device.
//
// Packed   blocks of 8 rows x 32 columns, 512 bytes: first the blocks along K of rows 0 to 7, then those of rows 8 to 15,
//          and so on. A block is 4 chunks of 8 rows x 8 columns, row major: first the one of columns 0 to 7, and so on.
//          Rows are filled up to a multiple of 16 and columns to one of 32, by zeros
// Why      lane l of a warp reads 16 bytes of a block: 8 elements of row l / 4, of chunk l % 4. They are its part of the
//          fragments of two matrix instructions, so a block goes from memory to registers as it lies. The instructions
//          sum over K; which k of the 32 they call which does not matter, as long as both operands agree. And a chunk
//          is what the matrix instructions of a warpgroup read from shared memory (simt/wgmma.h)
// Slices   K is cut in 8 slices of whole blocks (the last ones may be shorter or missing). A slice is summed from its
//          first block to its last, block by block, then slices are added in ascending order: fixed by K alone
#ifndef ESPALIER_CUDA_GEMM_LAYOUT_H
#define ESPALIER_CUDA_GEMM_LAYOUT_H

#include <algorithm>

#include "simt/target.h"

namespace espalier {

constexpr int kBlockRows = 8, kBlockCols = 32;
constexpr int kChunkCols = 8;
constexpr int kChunk = kBlockRows * kChunkCols;  // elements
constexpr int kBlock = kBlockRows * kBlockCols;  // elements
constexpr int kTileRows = 16;                    // rows of a weight in a matrix instruction
constexpr int kSlices = 8;

/** Blocks along K. */
SIMT_HOST_DEVICE int64_t num_groups(int64_t k) { return (k + kBlockCols - 1) / kBlockCols; }

/** Blocks along K of a slice, the last one excepted. */
SIMT_HOST_DEVICE int64_t slice_groups(int64_t k) { return (num_groups(k) + kSlices - 1) / kSlices; }

/** Slices that are not empty. */
SIMT_HOST_DEVICE int num_slices(int64_t k) {
  const int64_t len = slice_groups(k);
  return len == 0 ? 0 : static_cast<int>((num_groups(k) + len - 1) / len);
}

/** Where element (row, col) of a packed matrix with k columns lies, in elements. */
SIMT_HOST_DEVICE int64_t packed_offset(int64_t row, int64_t col, int64_t k) {
  return (row / kBlockRows * num_groups(k) + col / kBlockCols) * kBlock +
         col % kBlockCols / kChunkCols * kChunk + row % kBlockRows * kChunkCols + col % kChunkCols;
}

/** Bytes of a packed [n, k]. */
inline int64_t packed_bytes(int64_t n, int64_t k) {
  return (n + kTileRows - 1) / kTileRows * kTileRows * num_groups(k) * kBlockCols * 2;
}

/**
 * Packs [n, k], row major, of 16-bit elements, on the host; packed_bytes(n, k) are written. A large matrix may be packed
 * in pieces of a multiple of 16 rows, one behind the other.
 */
inline void pack(const void* rows, int64_t n, int64_t k, void* packed) {
  const auto* from = static_cast<const uint16_t*>(rows);
  auto* to = static_cast<uint16_t*>(packed);
  std::fill_n(to, packed_bytes(n, k) / 2, uint16_t{0});
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t col = 0; col < k; col += kChunkCols) {
      std::copy_n(
          from + row * k + col, std::min<int64_t>(k - col, kChunkCols),
          to + packed_offset(row, col, k));
    }
  }
}

}  // namespace espalier

#endif
