// What surrounds the products of cuBLASLt: weights as row-major matrices, rounded rows of x, and the end of an output.
#ifndef ESPALIER_CUDA_GEMM_CUBLASLT_GEMM_H
#define ESPALIER_CUDA_GEMM_CUBLASLT_GEMM_H

#include "gemm/gemm.h"

namespace espalier {

/** Columns of a row-major operand: k, filled up to a whole number of blocks by zeros. */
SIMT_HOST_DEVICE int64_t operand_cols(int64_t k) { return num_groups(k) * kBlockCols; }

/** Rows first .. first + num - 1 of a packed weight to rows [num, operand_cols(k)]; first is a multiple of 8. */
void launch_unpack(
    const MatrixView& packed, int64_t first, int64_t num, uint16_t* rows, simt::Stream stream);

/** view.x, normalised and rounded to `type`, to view.rounded [m, operand_cols(k)]. */
void launch_round_rows(const GemmView& view, Type type, simt::Stream stream);

/** Products whose sums are complete: those of columns first .. first + num - 1 of a part, of all rows. */
struct Products {
  int64_t first, num;
  const float* y;  // [m, y_stride], the first column in front
  int64_t y_stride;
  const float* up;  // [m, num], or null without the gate
};

/** Bias, gate and residual of a part's products, to its out. y may lie there already. */
void launch_finish(const GemmView& view, int part, const Products& products, simt::Stream stream);

}  // namespace espalier

#endif
