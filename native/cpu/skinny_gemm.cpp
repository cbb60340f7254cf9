// skinny_gemm: product of few rows with a large weight.
//
// Math    out = x w^T (+ bias) (+ residual), or silu(x w^T (+ bias)) * (x up^T (+ up_bias)); up to
//         three products w, bias, out share an x; with a norm, x is normalised first, as rms_norm
// Shapes  x [m, k], w, up [n, k], bias, up_bias [n], residual, out [m, n]; residual may be out
// Rows    an output has one accumulator of 4, 8 or 16 partial sums (plain, AVX2, AVX-512), filled
//         in ascending k and added up in a fixed tree: fixed by k alone. Only m and n are tiled and
//         split over threads
// Bytes   reads the weight once for each 8 rows, the first time from memory, then from the cache
// Error   of a product (k / 4 + 6) * 2^-24 * sum |x w|: a partial sum has k / lanes products, each
//         rounded twice without fma, and the tree adds log2(lanes) roundings; all of one sign
#include <algorithm>
#include <vector>

#include "cpu/convert.h"
#include "cpu/cpu_backend.h"

namespace espalier {
namespace {

constexpr int64_t kMaxRows = 8;    // rows of x in a tile
constexpr int64_t kMaxRange = 96;  // rows of the weight in a range, and their products on the stack

}  // namespace
}  // namespace espalier

#define ESPALIER_KERNEL "cpu/skinny_gemm_kernel.h"
#include "cpu/each_path.h"

namespace espalier {
namespace {

/** The functions of a path. */
struct Kernels {
  decltype(&plain::packed_len) packed_len;
  decltype(&plain::pack_rows) pack_rows;
  decltype(&plain::gemm_products) products;
  decltype(&plain::apply_gate) apply_gate;
};

Kernels kernels_of(Instructions path) {
#if defined(__x86_64__)
  if (path == Instructions::kAvx2)
    return {avx2::packed_len, avx2::pack_rows, avx2::gemm_products, avx2::apply_gate};
  if (path == Instructions::kAvx512)
    return {avx512::packed_len, avx512::pack_rows, avx512::gemm_products, avx512::apply_gate};
#endif
  return {plain::packed_len, plain::pack_rows, plain::gemm_products, plain::apply_gate};
}

/** y[i] += bias[begin + i]. */
void add_bias(const Weight& bias, int64_t begin, int64_t len, float* y) {
  if (bias.data == nullptr) return;
  with_type(bias.type, [&](const auto* type) {
    const auto* b = static_cast<decltype(type)>(bias.data) + begin;
    for (int64_t i = 0; i < len; ++i) y[i] += to_float(b[i]);
  });
}

/** Outputs n_begin .. n_end - 1 of all rows of x; packed [m / kMaxRows, packed_len of kMaxRows]. */
void gemm_range(
    const SkinnyGemmArgs& args, const GemmPart& part, const Kernels& kernels, const float* packed,
    int64_t n_begin, int64_t n_end) {
  const int64_t width = n_end - n_begin;
  const bool gated = args.up.data != nullptr;
  float product[kMaxRows * kMaxRange], up[kMaxRows * kMaxRange];
  for (int64_t m = 0; m < args.m; m += kMaxRows) {
    const int64_t num_x = std::min(args.m - m, kMaxRows);
    kernels.products(part.w, n_begin, n_end, packed, num_x, product, width);
    if (gated) kernels.products(args.up, n_begin, n_end, packed, num_x, up, width);
    packed += kernels.packed_len(part.w.k, kMaxRows);
    for (int64_t r = 0; r < num_x; ++r) {
      float* y = product + r * width;
      add_bias(part.bias, n_begin, width, y);
      if (gated) {
        add_bias(args.up_bias, n_begin, width, up + r * width);
        kernels.apply_gate(y, up + r * width, width);
      }
      const int64_t at = (m + r) * part.w.n + n_begin;
      if (args.residual != nullptr) {
        for (int64_t i = 0; i < width; ++i) y[i] += args.residual[at + i];
      }
      std::copy_n(y, width, part.out + at);
    }
  }
}

}  // namespace

void CpuBackend::skinny_gemm(const SkinnyGemmArgs& args) {
  const Kernels kernels = kernels_of(path_);
  const Weight& first = args.part[0].w;
  const int64_t k = first.k, packed_len = kernels.packed_len(k, kMaxRows);
  static thread_local std::vector<float> normed, packed;
  const float* x = args.x;
  if (args.norm.weight != nullptr) {
    normed.resize(static_cast<size_t>(args.m * k));
    rms_norm({x, args.norm.weight, args.norm.type, args.norm.eps, normed.data(), args.m, k});
    x = normed.data();
  }
  packed.resize((args.m + kMaxRows - 1) / kMaxRows * packed_len);
  float* const packed_rows = packed.data();
  pool_.parallel_for(args.m, kMaxRows, [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; m += kMaxRows) {
      kernels.pack_rows(
          x + m * k, k, std::min(end - m, kMaxRows), first.type,
          packed_rows + m / kMaxRows * packed_len);
    }
  });
  // Ranges in whole tiles of every size (24 rows), no larger than the scratch: of at least 128 K
  // products, and large where every thread gets several, as the first rows of a range are not
  // prefetched.
  constexpr int64_t kTile = 24;
  const int64_t products = args.m * k * (args.up.data == nullptr ? 1 : 2);
  const int64_t threads = pool_.num_threads();
  for (int32_t i = 0; i < args.num_parts; ++i) {
    const GemmPart& part = args.part[i];
    const int64_t rows = std::max((int64_t{1} << 17) / (products + 1), part.w.n / (8 * threads));
    const int64_t grain = std::clamp(rows / kTile * kTile, kTile, kMaxRange);
    pool_.parallel_for(args.m == 0 ? 0 : part.w.n, grain, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; n += kMaxRange)
        gemm_range(args, part, kernels, packed_rows, n, std::min(n + kMaxRange, end));
    });
  }
}

}  // namespace espalier
