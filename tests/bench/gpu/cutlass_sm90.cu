// Products of CUTLASS with TMA and wgmma: tiles of 128 rows of the weight, cut along K too where they are few (Stream-K).
#include "cutlass/cutlass.h"
#include "cutlass/epilogue/collective/collective_builder.hpp"
#include "cutlass/gemm/collective/collective_builder.hpp"
#include "cutlass/gemm/device/gemm_universal_adapter.h"
#include "cutlass/gemm/kernel/gemm_universal.hpp"
#include "cutlass/gemm/kernel/tile_scheduler.hpp"
#include "cutlass/util/packed_stride.hpp"
#include "cutlass_peer.h"
#include "cutlass_run.h"

namespace espalier_bench {
namespace {

using cute::Int;
using Half = cutlass::bfloat16_t;
using Rows = cutlass::layout::RowMajor;
using Columns = cutlass::layout::ColumnMajor;
constexpr int kAligned = 8;  // elements

/** y^T [n, m] = w [n, k] x^T: tiles of 128 rows of the weight and kTokens tokens. */
template <int kTokens>
struct Product {
  using Tile = cute::Shape<Int<128>, Int<kTokens>, Int<64>>;
  using Cluster = cute::Shape<Int<1>, Int<1>, Int<1>>;
  using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Tile, Cluster,
      cutlass::epilogue::collective::EpilogueTileAuto, float, float, void, Columns, kAligned, Half,
      Columns, kAligned, cutlass::epilogue::TmaWarpSpecializedCooperative>::CollectiveOp;
  using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Half, Rows, kAligned, Half, Columns,
      kAligned, float, Tile, Cluster,
      cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(
          sizeof(typename Epilogue::SharedStorage))>,
      cutlass::gemm::KernelTmaWarpSpecializedCooperative>::CollectiveOp;
  using Kernel = cutlass::gemm::kernel::GemmUniversal<
      cute::Shape<int, int, int, int>, Mainloop, Epilogue, cutlass::gemm::StreamKScheduler>;
  using Gemm = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;
};

}  // namespace

std::string cutlass_sm90_multiply(
    const void* x, const void* w, void* y, int64_t m, int64_t n, int64_t k, void* workspace,
    size_t workspace_bytes, cudaStream_t stream) {
  const auto run = [&]<int kTokens>(Int<kTokens>) {
    using Kernel = typename Product<kTokens>::Kernel;
    using Gemm = typename Product<kTokens>::Gemm;
    const int rows = static_cast<int>(n), tokens = static_cast<int>(m), depth = static_cast<int>(k);
    typename Gemm::Arguments arguments{
        cutlass::gemm::GemmUniversalMode::kGemm,
        {rows, tokens, depth, 1},
        {static_cast<const Half*>(w),
         cutlass::make_cute_packed_stride(typename Kernel::StrideA{}, {rows, depth, 1}),
         static_cast<const Half*>(x),
         cutlass::make_cute_packed_stride(typename Kernel::StrideB{}, {tokens, depth, 1})},
        {{},
         nullptr,
         cutlass::make_cute_packed_stride(typename Kernel::StrideC{}, {rows, tokens, 1}),
         static_cast<Half*>(y),
         cutlass::make_cute_packed_stride(typename Kernel::StrideD{}, {rows, tokens, 1})}};
    arguments.epilogue.thread.alpha = 1;
    return cutlass_run<Gemm>(arguments, workspace, workspace_bytes, stream);
  };
  if (m <= 16) return run(Int<16>{});
  if (m <= 64) return run(Int<64>{});
  return run(Int<128>{});
}

}  // namespace espalier_bench
