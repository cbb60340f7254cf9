#include "primitives.h"
#include "simt/simt.h"
#include "simt/tensor_map.h"
#include "simt/wgmma.h"

namespace {

template <class T>
__device__ uint32_t pair_of(const float* x, int first, int second) {
  return simt::pack(simt::from_float<T>(x[first]), simt::from_float<T>(x[second]));
}

/** Fragments from global memory, by the layout that mma.h states. */
template <class T>
__device__ void fragments_from_global(
    const float* a, const float* b, simt::FragmentA* fa, simt::FragmentB* fb) {
  const int g = simt::lane() / 4, t = simt::lane() % 4;
  fa->r[0] = pair_of<T>(a, g * 16 + 2 * t, g * 16 + 2 * t + 1);
  fa->r[1] = pair_of<T>(a, (g + 8) * 16 + 2 * t, (g + 8) * 16 + 2 * t + 1);
  fa->r[2] = pair_of<T>(a, g * 16 + 2 * t + 8, g * 16 + 2 * t + 9);
  fa->r[3] = pair_of<T>(a, (g + 8) * 16 + 2 * t + 8, (g + 8) * 16 + 2 * t + 9);
  fb->r[0] = pair_of<T>(b, 2 * t * 8 + g, (2 * t + 1) * 8 + g);
  fb->r[1] = pair_of<T>(b, (2 * t + 8) * 8 + g, (2 * t + 9) * 8 + g);
}

/** The same fragments as kernels load them: A and B row major in shared memory. */
template <class T>
__device__ void fragments_from_shared(
    const float* a, const float* b, simt::FragmentA* fa, simt::FragmentB* fb) {
  SIMT_SHARED(T[16][16], shared_a);
  SIMT_SHARED(T[16][8], shared_b);
  const int lane = simt::lane();
  for (int i = lane; i < 256; i += 32) shared_a[i / 16][i % 16] = simt::from_float<T>(a[i]);
  for (int i = lane; i < 128; i += 32) shared_b[i / 8][i % 8] = simt::from_float<T>(b[i]);
  simt::sync_warp();
  simt::load_matrix<4>(fa->r, &shared_a[lane % 16][lane / 16 * 8]);
  simt::load_matrix<2, true>(fb->r, &shared_b[lane % 16][0]);
}

template <class T>
__global__ void mma_kernel(const float* a, const float* b, float* c, bool matrices) {
  simt::FragmentA fa;
  simt::FragmentB fb;
  if (matrices) {
    fragments_from_shared<T>(a, b, &fa, &fb);
  } else {
    fragments_from_global<T>(a, b, &fa, &fb);
  }
  const int g = simt::lane() / 4, t = simt::lane() % 4;
  simt::FragmentC fc;
  for (int i = 0; i < 4; ++i) fc.v[i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  simt::mma_16x8x16<T>(fc, fa, fb);
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fc.v[i];
}

/** Rows of x [rows, 16] as chunks: [row / 8][k / 8][row % 8][k % 8], or turned, [k % 8][row % 8]. */
template <class T>
SIMT_DEVICE void fill_chunks(const float* x, int rows, bool turned, T* chunks) {
  for (int i = simt::thread(); i < rows * 16; i += simt::num_threads()) {
    const int row = i / 16, k = i % 16;
    const int of_chunk = turned ? k % 8 * 8 + row % 8 : row % 8 * 8 + k % 8;
    chunks[row / 8 * 128 + k / 8 * 64 + of_chunk] = simt::from_float<T>(x[i]);
  }
}

/** c [64, columns] += a b^T, or = without kAdd; a in registers or in shared memory. */
template <class T, int kColumns, bool kAdd, bool kRegisters>
__global__ void product_kernel(const float* a, const float* b, float* c) {
  SIMT_SHARED(T[64 * 16], of_a);
  SIMT_SHARED(T[kColumns * 16], of_b);
  fill_chunks(a, 64, false, of_a);
  fill_chunks(b, kColumns, kRegisters, of_b);
  simt::publish_shared();
  simt::sync_block();
  const int row = simt::warp() * 16 + simt::lane() / 4, column = simt::lane() % 4 * 2;
  float sum[kColumns / 2];
  const auto at = [&](int i) {
    return (row + i / 2 % 2 * 8) * kColumns + i / 4 * 8 + column + i % 2;
  };
  SIMT_UNROLL
  for (int i = 0; i < kColumns / 2; ++i) sum[i] = c[at(i)];
  const simt::OperandMatrix right(of_b, 128, 256);
  if constexpr (kRegisters) {
    simt::FragmentA left;
    SIMT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const float* pair = a + (row + i % 2 * 8) * 16 + i / 2 * 8 + column;
      left.r[i] = simt::pack(simt::from_float<T>(pair[0]), simt::from_float<T>(pair[1]));
    }
    simt::begin_products(sum);
    simt::warpgroup_product<T, kAdd>(sum, left, right);
  } else {
    simt::begin_products(sum);
    simt::warpgroup_product<T, kAdd>(sum, simt::OperandMatrix(of_a, 128, 256), right);
  }
  simt::commit_products();
  simt::wait_products<0>(sum);
  SIMT_UNROLL
  for (int i = 0; i < kColumns / 2; ++i) c[at(i)] = sum[i];
}

__global__ void copy_box_kernel(
    const SIMT_GRID_CONSTANT simt::TensorMap map, int x, int y, int z, int len, uint16_t* out) {
  SIMT_SHARED(simt::Mbarrier, full);
  auto* box = simt::dynamic_shared<uint16_t, simt::kBoxAlignment>();
  if (simt::lane() == 0) full.init(1);
  simt::sync_block();
  if (simt::lane() == 0) {
    full.arrive_expecting(len * 2);
    simt::copy_box(box, map, x, y, z, &full);
  }
  full.wait(0);
  for (int i = simt::lane(); i < len; i += 32) out[i] = box[i];
}

/** c [64, columns] = a b^T of 16 k, from boxes of 64. */
template <class T, int kColumns, bool kTurned>
__global__ void box_product_kernel(
    const uint16_t* a, const SIMT_GRID_CONSTANT simt::TensorMap a_map,
    const SIMT_GRID_CONSTANT simt::TensorMap b_map, float* c, int k) {
  SIMT_SHARED(simt::Mbarrier, full);
  constexpr int kBox = 64 * simt::kBoxColumns, kEightBytes = 8 * simt::kBoxColumns * 2;
  auto* of_a = simt::dynamic_shared<uint16_t, simt::kBoxAlignment>();
  uint16_t* of_b = of_a + kBox;
  if (simt::thread() == 0) full.init(1);
  simt::sync_block();
  if (simt::thread() == 0) {
    full.arrive_expecting((kBox + kColumns * simt::kBoxColumns) * 2);
    simt::copy_box(of_a, a_map, 0, 0, 0, &full);
    for (int i = 0; i < kColumns; i += 64)
      simt::copy_box(of_b + i * 64, b_map, kTurned ? i : 0, 0, kTurned ? 0 : i, &full);
  }
  full.wait(0);
  const int row = simt::warp() * 16 + simt::lane() / 4, column = simt::lane() % 4 * 2;
  float sum[kColumns / 2];
  if constexpr (kTurned) {
    simt::FragmentA left;
    SIMT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint16_t* pair = a + (row + i % 2 * 8) * 64 + k + i / 2 * 8 + column;
      left.r[i] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
    }
    simt::begin_products();
    simt::warpgroup_product<T, false>(
        sum, left, simt::OperandMatrix::swizzled_columns(of_b + k * 64, kEightBytes, kBox * 2));
  } else {
    simt::begin_products();
    simt::warpgroup_product<T, false>(
        sum, simt::OperandMatrix::swizzled_rows(of_a + k, kEightBytes),
        simt::OperandMatrix::swizzled_rows(of_b + k, kEightBytes));
  }
  simt::commit_products();
  simt::wait_products<0>(sum);
  SIMT_UNROLL
  for (int i = 0; i < kColumns / 2; ++i)
    c[(row + i / 2 % 2 * 8) * kColumns + i / 4 * 8 + column + i % 2] = sum[i];
}

template <int kNum, bool kTransposed>
__global__ void load_matrix_kernel(const uint16_t* element, uint32_t* out) {
  SIMT_SHARED(uint16_t[4 * 64], tile);
  for (int i = simt::lane(); i < 64 * kNum; i += 32) tile[i] = element[i];
  simt::sync_warp();
  uint32_t r[kNum];
  simt::load_matrix<kNum, kTransposed>(r, &tile[simt::lane() % (8 * kNum) * 8]);
  for (int m = 0; m < kNum; ++m) out[simt::lane() * 4 + m] = r[m];
}

__global__ void warp_kernel(const int32_t* x, int32_t* out) {
  const int lane = simt::lane();
  const int32_t mine = x[lane];
  out[0 * 32 + lane] = static_cast<int32_t>(simt::ballot(mine > 0));
  out[1 * 32 + lane] = simt::shuffle(mine, (lane * 7 + 3) % 32);
  out[2 * 32 + lane] = simt::shuffle_xor(mine, 5) + simt::shuffle_up(mine, 3);
  out[3 * 32 + lane] = static_cast<int32_t>(simt::match(mine));
  out[4 * 32 + lane] = simt::warp_add(mine);
  out[5 * 32 + lane] = simt::warp_min(mine);
  out[6 * 32 + lane] = simt::warp_max(mine);
  out[7 * 32 + lane] = 0;
  // Halves of a warp by themselves.
  const uint32_t half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  out[7 * 32 + lane] = simt::warp_add(mine, half) + (simt::any(mine == x[0], half) ? 1000 : 0);
}

__global__ void convert_kernel(
    const float* x, uint16_t* bf16, uint16_t* fp16, float* from_bf16, float* from_fp16, int n) {
  const int i = simt::block() * simt::num_threads() + simt::thread();
  if (i >= n) return;
  bf16[i] = simt::from_float<simt::Bf16>(x[i]).bits;
  fp16[i] = simt::from_float<simt::Fp16>(x[i]).bits;
  from_bf16[i] = simt::to_float(simt::Bf16{bf16[i]});
  from_fp16[i] = simt::to_float(simt::Fp16{fp16[i]});
}

__global__ void atomics_kernel(int32_t* out) {
  const int i = simt::block() * simt::num_threads() + simt::thread();
  simt::atomic_add(&out[0], 1);
  simt::atomic_min(&out[1], -i);
  simt::atomic_max(&out[2], i);
  simt::atomic_or(&out[3], 1 << i % 31);
  int seen = simt::load_flag(&out[4]);
  while (true) {  // out[4] += 2, by compare and exchange
    const int before = simt::atomic_compare_exchange(&out[4], seen, seen + 2);
    if (before == seen) break;
    seen = before;
  }
  simt::atomic_exchange(&out[5], 7);
}

__global__ void indices_kernel(int32_t* out) {
  const int block =
      (simt::block_z() * simt::num_blocks_y() + simt::block_y()) * simt::num_blocks() +
      simt::block();
  const int i = block * simt::num_threads() + simt::warp() * 32 + simt::lane();
  out[i] = simt::block() + 10 * simt::block_y() + 100 * simt::block_z() + 1000 * simt::thread() +
           100000 * simt::num_blocks_z();
}

__global__ void pipeline_kernel(const float* x, float* out, int n) {
  SIMT_SHARED(float[2][256], tile);
  const int i = 4 * simt::thread();
  const int tiles = (n + 255) / 256;
  const auto start = [&](int t) {
    const int at = t * 256 + i;
    simt::copy_async<16>(&tile[t % 2][i], at < n ? &x[at] : x, at < n);
    simt::commit_async();
  };
  start(0);
  for (int t = 0; t < tiles; ++t) {
    if (t + 1 < tiles) {
      start(t + 1);
    } else {
      simt::commit_async();
    }
    simt::wait_async<1>();
    simt::sync_block();
    for (int j = 0; j < 4; ++j) {
      const int from = 255 - (i + j);  // another thread's
      if (t * 256 + from < n) out[t * 256 + from] = tile[t % 2][from];
    }
    simt::sync_block();
  }
}

}  // namespace

void run_mma(const float* a, const float* b, float* c, bool bf16, bool matrices) {
  const simt::Launch shape{.grid = {1}, .threads = 32};
  if (bf16) {
    SIMT_LAUNCH(mma_kernel<simt::Bf16>, shape, a, b, c, matrices);
  } else {
    SIMT_LAUNCH(mma_kernel<simt::Fp16>, shape, a, b, c, matrices);
  }
}

namespace {

template <class T, int kColumns>
void run_product(const float* a, const float* b, float* c, const ProductForm& form) {
  const simt::Launch shape{.grid = {1}, .threads = simt::kWarpgroup};
  if (form.add && form.registers) {
    SIMT_LAUNCH((product_kernel<T, kColumns, true, true>), shape, a, b, c);
  } else if (form.registers) {
    SIMT_LAUNCH((product_kernel<T, kColumns, false, true>), shape, a, b, c);
  } else if (form.add) {
    SIMT_LAUNCH((product_kernel<T, kColumns, true, false>), shape, a, b, c);
  } else {
    SIMT_LAUNCH((product_kernel<T, kColumns, false, false>), shape, a, b, c);
  }
}

}  // namespace

bool run_product(const float* a, const float* b, float* c, bool bf16, const ProductForm& form) {
  if (simt::device_capability() != 90) return false;
  if (form.columns == 64) {
    bf16 ? run_product<simt::Bf16, 64>(a, b, c, form) : run_product<simt::Fp16, 64>(a, b, c, form);
  } else {
    bf16 ? run_product<simt::Bf16, 128>(a, b, c, form)
         : run_product<simt::Fp16, 128>(a, b, c, form);
  }
  return true;
}

bool run_copy_box(const uint16_t* x, const BoxForm& form, int at_x, int y, int z, uint16_t* out) {
  if (simt::device_capability() < 90) return false;
  simt::Tensor tensor{x, {}, {}, {}};
  for (int i = 0; i < 3; ++i) tensor.len[i] = form.len[i], tensor.box[i] = form.box[i];
  for (int i = 0; i < 2; ++i) tensor.stride_bytes[i] = form.stride_bytes[i];
  const int len = form.box[0] * form.box[1] * form.box[2];
  SIMT_LAUNCH(
      copy_box_kernel,
      (simt::Launch{.grid = {1}, .threads = 32, .shared_bytes = static_cast<size_t>(len) * 2}),
      simt::tensor_map_of(tensor), at_x, y, z, len, out);
  return true;
}

namespace {

template <class T, int kColumns, bool kTurned>
void run_box_product(const uint16_t* a, const uint16_t* b, float* c, int k) {
  const int64_t rows = kTurned ? 64 : kColumns, columns = kTurned ? kColumns : 64;
  const simt::Tensor of_a{a, {64, 1, 64}, {128, 128}, {64, 1, 64}};
  const simt::Tensor of_b{b, {columns, 1, rows}, {columns * 2, columns * 2}, {64, 1, 64}};
  SIMT_LAUNCH(
      (box_product_kernel<T, kColumns, kTurned>),
      (simt::Launch{
          .grid = {1}, .threads = simt::kWarpgroup, .shared_bytes = (64 + kColumns) * 128}),
      a, simt::tensor_map_of(of_a), simt::tensor_map_of(of_b), c, k);
}

template <class T>
void run_box_product(
    const uint16_t* a, const uint16_t* b, float* c, int columns, bool turned, int k) {
  if (columns == 64) {
    turned ? run_box_product<T, 64, true>(a, b, c, k) : run_box_product<T, 64, false>(a, b, c, k);
  } else {
    turned ? run_box_product<T, 128, true>(a, b, c, k) : run_box_product<T, 128, false>(a, b, c, k);
  }
}

}  // namespace

bool run_box_product(
    const uint16_t* a, const uint16_t* b, float* c, bool bf16, int columns, bool turned, int k) {
  if (simt::device_capability() != 90) return false;
  bf16 ? run_box_product<simt::Bf16>(a, b, c, columns, turned, k)
       : run_box_product<simt::Fp16>(a, b, c, columns, turned, k);
  return true;
}

void run_load_matrix(const uint16_t* element, uint32_t* out, int num, bool transposed) {
  const simt::Launch shape{.grid = {1}, .threads = 32};
  if (num == 1 && !transposed) SIMT_LAUNCH((load_matrix_kernel<1, false>), shape, element, out);
  if (num == 2 && !transposed) SIMT_LAUNCH((load_matrix_kernel<2, false>), shape, element, out);
  if (num == 4 && !transposed) SIMT_LAUNCH((load_matrix_kernel<4, false>), shape, element, out);
  if (num == 1 && transposed) SIMT_LAUNCH((load_matrix_kernel<1, true>), shape, element, out);
  if (num == 2 && transposed) SIMT_LAUNCH((load_matrix_kernel<2, true>), shape, element, out);
  if (num == 4 && transposed) SIMT_LAUNCH((load_matrix_kernel<4, true>), shape, element, out);
}

void run_warp(const int32_t* x, int32_t* out) {
  SIMT_LAUNCH(warp_kernel, (simt::Launch{.grid = {1}, .threads = 32}), x, out);
}

void run_convert(
    const float* x, uint16_t* bf16, uint16_t* fp16, float* from_bf16, float* from_fp16, int n) {
  SIMT_LAUNCH(
      convert_kernel, (simt::Launch{.grid = {(n + 255) / 256}, .threads = 256}), x, bf16, fp16,
      from_bf16, from_fp16, n);
}

void run_atomics(int32_t* out, int blocks) {
  SIMT_LAUNCH(atomics_kernel, (simt::Launch{.grid = {blocks}, .threads = 64}), out);
}

void run_indices(int32_t* out, int x, int y, int z, int threads) {
  SIMT_LAUNCH(indices_kernel, (simt::Launch{.grid = {x, y, z}, .threads = threads}), out);
}

void run_pipeline(const float* x, float* out, int n) {
  SIMT_LAUNCH(pipeline_kernel, (simt::Launch{.grid = {1}, .threads = 64}), x, out, n);
}
