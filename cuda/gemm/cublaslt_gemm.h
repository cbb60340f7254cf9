// skinny_gemm of a prompt's rows by cuBLASLt: when it is taken, and what surrounds its products.
#ifndef ESPALIER_CUDA_GEMM_CUBLASLT_GEMM_H
#define ESPALIER_CUDA_GEMM_CUBLASLT_GEMM_H

#include <memory>
#include <string>
#include <vector>

#include "gemm/cublaslt.h"
#include "gemm/gemm.h"

namespace espalier {

/** Columns of a row-major operand: k, filled up to a whole number of blocks by zeros. */
SIMT_HOST_DEVICE int64_t operand_cols(int64_t k) { return num_groups(k) * kBlockCols; }

/** Rows first .. first + num - 1 of a packed weight to rows [num, operand_cols(k)]; first is a multiple of 8. */
void launch_unpack(
    const MatrixView& packed, int64_t first, int64_t num, uint16_t* rows, simt::Stream stream);

/** Products whose sums are complete: those of columns first .. first + num - 1 of a part, of all rows. */
struct Products {
  int64_t first, num;
  const float* y;  // [m, y_stride], the first column in front
  int64_t y_stride;
  const float* up;  // [m, num], or null without the gate
};

/** Bias, gate and residual of a part's products, to its out. y may lie there already. */
void launch_finish(const GemmView& view, int part, const Products& products, simt::Stream stream);

/**
 * skinny_gemm by cuBLASLt on one device. The library is loaded when the first op asks for its workspace that it would take, and algorithms
 * are chosen then: with a session, which plans its ops. Where it is not there or refuses, own kernels go on, and why is told
 * by cublaslt_state.
 */
class CublasLtGemm {
 public:
  CublasLtGemm(int device, CublasLtOptions options)
      : device_(device), options_(std::move(options)) {}

  /** Bytes of workspace, at a multiple of 256, that `run` needs; 0 where own kernels multiply. */
  size_t workspace_bytes(const SkinnyGemmArgs& args);

  /**
   * Enqueues the op; workspace_bytes was asked before. False when the library refuses a product: then own kernels are to do all of
   * it, and later ones as well. A refusal behind outputs that took the place of their own residual is an exception.
   */
  bool run(const SkinnyGemmArgs& args, void* workspace, simt::Stream stream);

 private:
  bool takes(const SkinnyGemmArgs& args) const;
  bool load();
  void give_up(const std::string& why);
  std::string multiply(const SkinnyGemmArgs& args, char* workspace, simt::Stream stream);

  const int device_;
  const CublasLtOptions options_;
  std::unique_ptr<CublasLt> library_;
  bool given_up_ = false;
};

}  // namespace espalier

#endif
