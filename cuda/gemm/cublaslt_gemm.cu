// What surrounds the products of cuBLASLt (gemm/cublaslt.h): it wants row-major operands, and gives sums without our ends.
//
// Math    as skinny_gemm.cu; the products themselves are cuBLASLt's
// Shapes  unpacked [num, operand_cols(k)] of a packed weight's rows; rounded x [m, operand_cols(k)]; y, up [m, ...] sums in fp32
// Launch  unpack: a warp for each packed block of 8 rows x 32 columns, a lane for 16 bytes of it: it reads 512 bytes in one piece and
//         writes 64 in each of 8 rows. round_rows: a block for each row, as skinny_gemm.cu's. finish: a thread for each column
// Rows    unpack knows no rows of x; round_rows and finish take a row's own
// Bytes   unpack n k 4; round_rows m k 6; finish m n 12, with the gate m n 12 more than the products' own 4
#include <algorithm>

#include "gemm/cublaslt_gemm.h"

namespace espalier {
namespace {

/** The packed rows begin at packed.data. */
__global__ void __launch_bounds__(kGemmThreads)
    unpack_kernel(MatrixView packed, int64_t num, uint16_t* rows) {
  simt::wait_for_previous();
  simt::allow_next();
  const int64_t groups = num_groups(packed.cols);
  const int64_t block = int64_t{simt::block()} * kGemmWarps + simt::warp();
  const int64_t row = block / groups * kBlockRows + simt::lane() % kBlockRows;
  const int64_t col = block % groups * kBlockCols + simt::lane() / kBlockRows * kChunkCols;
  if (row >= num) return;
  *reinterpret_cast<Words*>(rows + row * groups * kBlockCols + col) =
      *reinterpret_cast<const Words*>(packed.data + packed_offset(row, col, packed.cols));
}

template <class T>
__global__ void __launch_bounds__(kGemmThreads) round_rows_kernel(GemmView view) {
  SIMT_SHARED(float[1][kGemmWarps], of_warp);
  SIMT_SHARED(float[1], factor);
  simt::wait_for_previous();
  simt::allow_next();
  round_row<T, false>(view, simt::block(), of_warp, factor);
}

__global__ void __launch_bounds__(kGemmThreads)
    finish_kernel(GemmView view, int part, Products products) {
  simt::wait_for_previous();
  simt::allow_next();
  const int64_t col = int64_t{simt::block()} * kGemmThreads + simt::thread();
  if (col >= products.num) return;
  for (int64_t row = simt::block_y(); row < view.m; row += simt::num_blocks_y()) {
    const float up = products.up == nullptr ? 0.0f : products.up[row * products.num + col];
    finish(
        view, view.part[part], row, products.first + col, products.y[row * products.y_stride + col],
        up);
  }
}

simt::Launch shape_of(int64_t blocks, int64_t row_blocks, simt::Stream stream) {
  return {
      .grid = {static_cast<int>(blocks), static_cast<int>(row_blocks)},
      .threads = kGemmThreads,
      .stream = stream,
      .overlap = true};
}

}  // namespace

void launch_unpack(
    const MatrixView& packed, int64_t first, int64_t num, uint16_t* rows, simt::Stream stream) {
  MatrixView from = packed;
  from.data += first / kBlockRows * packed.block_stride;
  const int64_t blocks = (num + kBlockRows - 1) / kBlockRows * num_groups(packed.cols);
  SIMT_LAUNCH(
      unpack_kernel, shape_of((blocks + kGemmWarps - 1) / kGemmWarps, 1, stream), from, num, rows);
}

void launch_round_rows(const GemmView& view, Type type, simt::Stream stream) {
  const simt::Launch shape = shape_of(view.m, 1, stream);
  if (type == Type::kBf16) {
    SIMT_LAUNCH(round_rows_kernel<simt::Bf16>, shape, view);
  } else {
    SIMT_LAUNCH(round_rows_kernel<simt::Fp16>, shape, view);
  }
}

void launch_finish(const GemmView& view, int part, const Products& products, simt::Stream stream) {
  const int64_t blocks = (products.num + kGemmThreads - 1) / kGemmThreads;
  const int64_t rows = std::min<int64_t>(view.m, simt::kMostBlocks);
  SIMT_LAUNCH(finish_kernel, shape_of(blocks, rows, stream), view, part, products);
}

}  // namespace espalier
