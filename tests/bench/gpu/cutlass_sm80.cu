// Products of CUTLASS with mma.sync and cp.async, cut along K too where tiles are few (Stream-K).
#include "cutlass/cutlass.h"
#include "cutlass/gemm/device/gemm_universal.h"
#include "cutlass/gemm/threadblock/threadblock_swizzle_streamk.h"
#include "cutlass_peer.h"
#include "cutlass_run.h"

namespace espalier_bench {
namespace {

using Half = cutlass::bfloat16_t;
constexpr int kAligned = 8;  // elements

/** Tiles of kRows tokens and 128 rows of the weight, four warps. */
template <int kRows, class Warp, int kStages>
using Gemm = cutlass::gemm::device::GemmUniversal<
    Half, cutlass::layout::RowMajor, Half, cutlass::layout::ColumnMajor, Half,
    cutlass::layout::RowMajor, float, cutlass::arch::OpClassTensorOp, cutlass::arch::Sm80,
    cutlass::gemm::GemmShape<kRows, 128, 64>, Warp, cutlass::gemm::GemmShape<16, 8, 16>,
    cutlass::epilogue::thread::LinearCombination<Half, kAligned, float, float>,
    cutlass::gemm::threadblock::ThreadblockSwizzleStreamK, kStages, kAligned, kAligned>;

}  // namespace

std::string cutlass_sm80_multiply(
    const void* x, const void* w, void* y, int64_t m, int64_t n, int64_t k, void* workspace,
    size_t workspace_bytes, cudaStream_t stream) {
  const auto run = [&]<class G>(G*) {
    const typename G::Arguments arguments(
        cutlass::gemm::GemmUniversalMode::kGemm,
        {static_cast<int>(m), static_cast<int>(n), static_cast<int>(k)}, 1, {1.0f, 0.0f}, x, w, y,
        y, m * k, n * k, m * n, m * n, k, k, n, n);
    return cutlass_run<G>(arguments, workspace, workspace_bytes, stream);
  };
  using cutlass::gemm::GemmShape;
  if (m <= 16) return run(static_cast<Gemm<16, GemmShape<16, 32, 64>, 4>*>(nullptr));
  if (m <= 64) return run(static_cast<Gemm<64, GemmShape<32, 64, 64>, 4>*>(nullptr));
  return run(static_cast<Gemm<128, GemmShape<64, 64, 64>, 3>*>(nullptr));
}

}  // namespace espalier_bench
