// rms_norm: root mean square norm.
//
// Math    out = x / sqrt(mean(x^2) + eps) * weight
// Shapes  x, out [rows, hidden] fp32, weight [hidden] fp32, bf16 or fp16; out may be x
// Launch  grid rows, block 32 to 512 threads by hidden alone: one block per row
// Rows    a row's squares are summed in one order, given by hidden alone: groups of 4 go to the
//         threads in turn, then lanes 16, 8, 4, 2, 1 apart, then warps in ascending order
// Bytes   8 * rows * hidden + the weight once: 16 rows of 4096 are 524 KB; x is read a second time
//         from L1 or L2
// Error   relative, each element: ((hidden / threads + 4 + 5 + warps) / 2 + 5) * 2^-24
#include "launchers.h"
#include "simt/simt.h"

namespace espalier {
namespace {

constexpr int kMostThreads = 512;
constexpr int kGroup = 4;  // elements that a thread takes at a time

/** Square sum of the thread's groups. kVector only loads otherwise: the order of the sum is the same. */
template <bool kVector>
__device__ float sum_of_squares(const float* x, int64_t hidden) {
  float sum = 0.0f;
  for (int64_t i = int64_t{simt::thread()} * kGroup; i < hidden;
       i += simt::num_threads() * kGroup) {
    if constexpr (kVector) {
      const auto group = *reinterpret_cast<const simt::Vec<float, kGroup>*>(x + i);
      for (int j = 0; j < kGroup; ++j) sum = simt::fma(group[j], group[j], sum);
    } else {
      for (int j = 0; j < kGroup && i + j < hidden; ++j) sum = simt::fma(x[i + j], x[i + j], sum);
    }
  }
  return sum;
}

/** Sum over the block, the same bits in all threads. */
__device__ float block_sum(float sum) {
  SIMT_SHARED(float[kMostThreads / simt::kWarp], of_warp);
  sum = simt::warp_sum(sum);
  if (simt::lane() == 0) of_warp[simt::warp()] = sum;
  simt::sync_block();
  float total = 0.0f;
  for (int w = 0; w < simt::num_warps(); ++w) total += of_warp[w];
  return total;
}

template <class WeightType, bool kVector>
__global__ void __launch_bounds__(kMostThreads) rms_norm_kernel(
    const float* x, const WeightType* weight, float eps, float* out, int64_t hidden) {
  x += simt::block() * hidden;
  out += simt::block() * hidden;
  const float sum = block_sum(sum_of_squares<kVector>(x, hidden));
  const float mean = simt::divide(sum, static_cast<float>(hidden));
  const float factor = simt::divide(1.0f, simt::sqrt(mean + eps));
  // out may be x: a thread writes only what it alone has read.
  for (int64_t i = int64_t{simt::thread()} * kGroup; i < hidden;
       i += simt::num_threads() * kGroup) {
    if constexpr (kVector) {
      auto group = *reinterpret_cast<const simt::Vec<float, kGroup>*>(x + i);
      for (int j = 0; j < kGroup; ++j) group[j] = group[j] * factor * simt::to_float(weight[i + j]);
      *reinterpret_cast<simt::Vec<float, kGroup>*>(out + i) = group;
    } else {
      for (int j = 0; j < kGroup && i + j < hidden; ++j) {
        out[i + j] = x[i + j] * factor * simt::to_float(weight[i + j]);
      }
    }
  }
}

/** 8 elements for a thread, as far as there are threads. */
int threads_for(int64_t hidden) {
  const int64_t warps = (hidden + 8 * simt::kWarp - 1) / (8 * simt::kWarp);
  return simt::kWarp *
         static_cast<int>(warps < kMostThreads / simt::kWarp ? warps : kMostThreads / simt::kWarp);
}

template <class WeightType>
void launch_rms_norm(const RmsNormArgs& args, simt::Stream stream) {
  const simt::Launch shape{
      .grid = {static_cast<int>(args.rows)}, .threads = threads_for(args.hidden), .stream = stream};
  const auto* weight = static_cast<const WeightType*>(args.weight);
  const auto bits = reinterpret_cast<uintptr_t>(args.x) | reinterpret_cast<uintptr_t>(args.out);
  if (args.hidden % kGroup == 0 && bits % (kGroup * sizeof(float)) == 0) {
    SIMT_LAUNCH(
        (rms_norm_kernel<WeightType, true>), shape, args.x, weight, args.eps, args.out,
        args.hidden);
  } else {
    SIMT_LAUNCH(
        (rms_norm_kernel<WeightType, false>), shape, args.x, weight, args.eps, args.out,
        args.hidden);
  }
}

}  // namespace

void cuda_rms_norm(const RmsNormArgs& args, simt::Stream stream) {
  if (args.hidden == 0) return;
  switch (args.weight_type) {
    case Type::kBf16:
      return launch_rms_norm<simt::Bf16>(args, stream);
    case Type::kFp16:
      return launch_rms_norm<simt::Fp16>(args, stream);
    default:
      return launch_rms_norm<float>(args, stream);
  }
}

}  // namespace espalier
