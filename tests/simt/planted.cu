// Kernels with a planted bug; planted_test.cpp runs them. The emulator's word, not a result, is what is tested.
#include <memory>

#include "planted.h"
#include "simt/simt.h"
#include "simt/tensor_map.h"
#include "simt/wgmma.h"

using simt::emulated::Buffer;
using simt::emulated::Defect;

namespace {

std::vector<float> numbers(int n) {
  std::vector<float> x(n);
  for (int i = 0; i < n; ++i) x[i] = static_cast<float>(i);
  return x;
}

// ------------------------------------------------------------------------------------------------- bounds

__global__ void read_behind_kernel(const float* x, float* out, bool bug) {
  const int i = simt::thread();
  out[i] = x[i + (bug ? 1 : 0)];  // BUG read_behind
}

__global__ void read_before_kernel(const float* x, float* out, bool bug) {
  const int i = simt::thread();
  out[i] = x[i - (bug ? 1 : 0)];  // BUG read_before
}

__global__ void write_far_kernel(float* out, bool bug) {
  const int64_t i = simt::thread();
  out[bug && i == 31 ? int64_t{1} << 30 : i] = 1.0f;  // BUG write_far
}

__global__ void shared_overrun_kernel(float* out, bool bug) {
  SIMT_SHARED(float[32], low);
  SIMT_SHARED(float[32], high);
  const int i = simt::lane();
  float* const row = low;
  high[i] = 0.0f;
  row[i + (bug ? 1 : 0)] = 1.0f;  // BUG shared_overrun
  if (!bug) out[i] = low[i] + high[i];
}

struct Rows {
  float first[32], second[32];
};

__global__ void member_overrun_kernel(float* out, bool bug) {
  SIMT_SHARED(Rows, rows);
  const int i = simt::lane();
  rows.second[i] = 0.0f;
  simt::sync_warp();
  rows.first[i + (bug ? 1 : 0)] = 1.0f;  // BUG member_overrun
  out[i] = rows.second[i];
}

__global__ void dynamic_overrun_kernel(float* out, int n) {
  float* x = simt::dynamic_shared<float>();
  for (int i = simt::thread(); i < n; i += simt::num_threads()) x[i] = 1.0f;  // BUG dynamic_overrun
  simt::sync_block();
  out[simt::thread()] = x[simt::thread()];
}

__global__ void stale_pointer_kernel(const float* x, float* out) {
  out[simt::thread()] = x[simt::thread()];  // BUG stale_pointer
}

using Four = simt::Vec<float, 4>;

__global__ void vector_misaligned_kernel(const float* x, float* out, bool bug) {
  const float* at = x + 4 * simt::lane() + (bug ? 2 : 0);
  const Four v = simt::load_readonly(reinterpret_cast<const Four*>(at));  // BUG vector_misaligned
  out[simt::lane()] = v[0];
}

__global__ void plain_misaligned_kernel(const float* x, Four* out, bool bug) {
  const float* at = x + 4 * simt::lane() + (bug ? 2 : 0);
  out[simt::lane()] = *reinterpret_cast<const Four*>(at);  // BUG plain_misaligned
}

__global__ void write_input_kernel(const float* x, float* out, bool bug) {
  float* to = bug ? const_cast<float*>(x) : out;
  to[simt::lane()] = 1.0f;  // BUG write_input
}

// -------------------------------------------------------------------------------------------------- races

__global__ void missing_barrier_kernel(float* out, bool bug) {
  SIMT_SHARED(float[64], x);
  const int i = simt::thread();
  x[i] = 0.0f;
  simt::sync_block();
  x[i] = 1.0f;  // BUG missing_barrier
  if (!bug) simt::sync_block();
  out[i] = x[(i + 32) % 64];  // BUG missing_barrier
}

__global__ void missing_second_barrier_kernel(float* out, bool bug) {
  SIMT_SHARED(float[64], x);
  const int i = simt::thread();
  float sum = 0.0f;
  for (int round = 0; round < 3; ++round) {
    x[i] = static_cast<float>(round);  // BUG missing_second_barrier
    simt::sync_block();
    sum += x[63 - i];  // BUG missing_second_barrier
    if (!bug) simt::sync_block();
  }
  out[i] = sum;
}

__global__ void two_writers_kernel(float* out, bool bug) {
  SIMT_SHARED(float[32], x);
  const int i = simt::thread();
  if (bug || i < 32) x[i % 32] = 1.0f;  // BUG two_writers
  simt::sync_block();
  out[i] = x[i % 32];
}

__global__ void missing_warp_barrier_kernel(float* out, bool bug) {
  SIMT_SHARED(float[32], x);
  x[simt::lane()] = 0.0f;
  simt::sync_warp();
  x[simt::lane()] = 1.0f;  // BUG missing_warp_barrier
  if (!bug) simt::sync_warp();
  const int everybody = simt::count(simt::ballot(true));  // exchanges registers, orders no memory
  out[simt::lane()] = x[31 - simt::lane()] + everybody;   // BUG missing_warp_barrier
}

__global__ void warp_barrier_for_a_block_kernel(float* out, bool bug) {
  SIMT_SHARED(float[64], x);
  const int i = simt::thread();
  x[i] = 0.0f;
  simt::sync_block();
  x[i] = 1.0f;  // BUG warp_barrier_for_a_block
  simt::sync_warp();
  if (!bug) simt::sync_block();
  out[i] = x[63 - i];  // BUG warp_barrier_for_a_block
}

__global__ void narrow_neighbours_kernel(float* out, bool bug) {
  SIMT_SHARED(simt::Bf16[64], x);  // two threads write the two halves of a word: no race
  const int i = simt::thread();
  x[i] = simt::from_float<simt::Bf16>(1.0f);                     // BUG narrow_neighbours
  if (bug && i == 0) x[1] = simt::from_float<simt::Bf16>(2.0f);  // BUG narrow_neighbours
  x[i] = simt::from_float<simt::Bf16>(1.0f);                     // BUG narrow_neighbours
  simt::sync_block();
  out[i] = simt::to_float(x[63 - i]);
}

__global__ void global_race_kernel(float* x, float* out, bool bug) {
  const int i = simt::thread();
  x[i] = 1.0f;  // BUG global_race
  if (!bug) simt::sync_block();
  out[i] = x[63 - i];  // BUG global_race
}

__global__ void blocks_race_kernel(float* out, bool bug) {
  out[simt::thread() + (bug ? 0 : simt::block() * 32)] = 1.0f;  // BUG blocks_race
}

/** The block that counts last adds the parts of all. */
__global__ void last_block_kernel(
    float* part, int* arrived, float* out, bool without_fence, bool without_barrier) {
  SIMT_SHARED(int, rank);
  const int i = simt::thread();
  part[simt::block() * 64 + i] = 1.0f;  // BUG last_block_barrier
  if (!without_fence) simt::fence();
  if (!without_barrier) simt::sync_block();
  if (i == 0) {
    if (!without_fence) simt::fence();
    rank = simt::atomic_add(arrived, 1);
    if (!without_fence) simt::fence();
  }
  simt::sync_block();
  if (rank != simt::num_blocks() - 1) return;
  float sum = 0.0f;
  for (int b = 0; b < simt::num_blocks(); ++b)
    sum += part[b * 64 + i];  // BUG last_block_fence // BUG last_block_barrier
  out[i] = sum;
}

__global__ void grid_race_kernel(float* x, float* out, bool bug) {
  const int i = simt::block() * 32 + simt::lane();
  x[i] = 1.0f;  // BUG grid_race
  if (!bug) simt::sync_grid();
  out[i] = x[(i + 32) % (32 * simt::num_blocks())];  // BUG grid_race
}

__global__ void atomic_and_plain_kernel(int* count, int* out, bool bug) {
  SIMT_SHARED(int, hits);
  if (simt::thread() == 0) hits = 0;
  simt::sync_block();
  if (bug && simt::thread() == 33) hits = hits + 1;              // BUG atomic_and_plain
  if (!bug || simt::thread() != 33) simt::atomic_add(&hits, 1);  // BUG atomic_and_plain
  simt::sync_block();
  out[simt::thread()] = hits;
  simt::atomic_add(count, 1);
}

// --------------------------------------------------------------------------------------------- divergence

__global__ void divergent_barrier_kernel(float* out, bool bug) {
  if (bug && simt::thread() < 32) {
    simt::sync_block();  // BUG divergent_barrier
    out[simt::thread()] = 1.0f;
  } else {
    simt::sync_block();  // BUG divergent_barrier
    out[simt::thread()] = 2.0f;
  }
}

__global__ void early_return_kernel(float* out, bool bug) {
  if (bug && simt::thread() == 40) return;
  simt::sync_block();  // BUG early_return
  out[simt::thread()] = 1.0f;
}

__global__ void divergent_ballot_kernel(int* out, bool bug) {
  const uint32_t mask = bug ? simt::kAllLanes : simt::lane() < 16 ? 0x0000ffffu : 0xffff0000u;
  if (simt::lane() < 16) {
    out[simt::lane()] = simt::count(simt::ballot(true, mask));  // BUG divergent_ballot
  } else {
    out[simt::lane()] = simt::count(simt::ballot(true, mask)) + 1;  // BUG divergent_ballot
  }
}

__global__ void lane_has_ended_kernel(int* out, bool bug) {
  if (bug && simt::lane() == 31) return;
  out[simt::lane()] = simt::warp_add(1);  // BUG lane_has_ended
}

__global__ void outside_of_mask_kernel(int* out, bool bug) {
  const uint32_t mask = bug ? 0x0000ffffu : simt::kAllLanes;
  out[simt::lane()] = simt::count(simt::ballot(true, mask));  // BUG outside_of_mask
}

__global__ void shuffle_from_outside_kernel(int* out, bool bug) {
  if (simt::lane() >= 16) return;
  out[simt::lane()] =
      simt::shuffle(simt::lane(), bug ? 16 : 15, 0x0000ffffu);  // BUG shuffle_from_outside
}

// ----------------------------------------------------------------------------------------------- deadlock

__global__ void barrier_or_warp_kernel(float* out, bool bug) {
  SIMT_SHARED(float[64], x);
  x[simt::thread()] = 1.0f;
  if (bug && simt::lane() == 5) {
    simt::sync_warp();  // BUG barrier_or_warp
  } else {
    simt::sync_block();  // BUG barrier_or_warp
  }
  out[simt::thread()] = x[simt::thread()];
}

__global__ void named_count_kernel(float* out, bool bug) {
  SIMT_SHARED(float[32], x);
  if (simt::warp() == 0) {
    x[simt::lane()] = 1.0f;
    simt::arrive_named(1, 64);  // BUG named_count
  } else if (simt::warp() == 1) {
    simt::sync_named(1, bug ? 96 : 64);  // BUG named_count
    out[simt::lane()] = x[31 - simt::lane()];
  }
}

__global__ void named_missing_kernel(float* out, bool bug) {
  SIMT_SHARED(float[32], x);
  if (simt::warp() == 0) {
    x[simt::lane()] = 1.0f;
    if (!bug) simt::arrive_named(2, 64);
  } else {
    simt::sync_named(2, 64);  // BUG named_missing
    out[simt::lane()] = x[31 - simt::lane()];
  }
}

__global__ void wait_for_nobody_kernel(int* flag, int* out, bool bug) {
  if (simt::block() == 0) {
    if (!bug && simt::thread() == 0) simt::store_flag(flag, 1);
  } else {
    while (simt::load_flag(flag) == 0) {  // BUG wait_for_nobody
    }
  }
  out[simt::block() * 32 + simt::lane()] = 1;
}

__global__ void queue_kernel(const float* x, float* out, bool no_arrival, bool no_bytes) {
  SIMT_SHARED(simt::Mbarrier, full);
  SIMT_SHARED(float[64], tile);
  if (simt::thread() == 0) full.init(1);
  simt::sync_block();
  if (simt::thread() == 0 && !no_arrival) {
    full.arrive_expecting(no_bytes ? 512 : 256);
    simt::copy_bulk(tile, x, 256, &full);
  }
  full.wait(0);  // BUG missing_arrival // BUG missing_bytes
  out[simt::thread()] = tile[63 - simt::thread()];
}

// -------------------------------------------------------------------------------------- unwritten, copies

__global__ void shared_unwritten_kernel(float* out, bool bug) {
  SIMT_SHARED(float[64], x);
  if (!bug || simt::thread() != 50) x[simt::thread()] = 1.0f;
  simt::sync_block();
  out[simt::thread()] = x[simt::thread()];  // BUG shared_unwritten
}

__global__ void global_unwritten_kernel(float* out, bool bug) {
  const int i = simt::thread();
  if (!bug) out[i] = 0.0f;
  out[i] += 1.0f;  // BUG global_unwritten
}

__global__ void read_before_wait_kernel(const float* x, float* out, bool bug) {
  SIMT_SHARED(float[4 * 32], tile);
  const int i = 4 * simt::lane();
  simt::copy_async<16>(&tile[i], &x[i]);
  simt::commit_async();
  if (!bug) simt::wait_async<0>();
  out[simt::lane()] = tile[i];  // BUG read_before_wait
}

/** Two tiles in turn; with the bug the wait leaves the tile that is read next under way. */
__global__ void one_group_too_few_kernel(const float* x, float* out, bool bug) {
  SIMT_SHARED(float[2][4 * 32], tile);
  const int i = 4 * simt::lane();
  float sum = 0.0f;
  simt::copy_async<16>(&tile[0][i], &x[i]);
  simt::commit_async();
  for (int round = 0; round < 4; ++round) {
    if (round + 1 < 4) simt::copy_async<16>(&tile[(round + 1) % 2][i], &x[128 * (round + 1) + i]);
    simt::commit_async();
    if (bug) {
      simt::wait_async<2>();
    } else {
      simt::wait_async<1>();
    }
    simt::sync_warp();
    sum += tile[round % 2][127 - i];  // BUG one_group_too_few
    simt::sync_warp();
  }
  out[simt::lane()] = sum;
}

__global__ void wait_without_barrier_kernel(const float* x, float* out, bool bug) {
  SIMT_SHARED(float[32], tile);
  const int i = simt::lane();
  tile[i] = 0.0f;
  simt::sync_warp();
  simt::copy_async<4>(&tile[i], &x[i]);  // BUG wait_without_barrier
  simt::commit_async();
  simt::wait_async<0>();
  if (!bug) simt::sync_warp();
  out[i] = tile[31 - i];  // BUG wait_without_barrier
}

__global__ void bulk_before_wait_kernel(const float* x, float* out, bool bug) {
  SIMT_SHARED(simt::Mbarrier, full);
  SIMT_SHARED(float[64], tile);
  if (simt::thread() == 0) full.init(1);
  simt::sync_block();
  if (simt::thread() == 0) {
    full.arrive_expecting(256);
    simt::copy_bulk(tile, x, 256, &full);
  }
  simt::sync_block();
  if (!bug) full.wait(0);
  out[simt::thread()] = tile[63 - simt::thread()];  // BUG bulk_before_wait
}

enum class ProductBug {
  kNone,
  kNotBegun,
  kOfGlobal,
  kOfAnother,
  kOverwritten,
  kNotPublished,
  kPastTheEnd,
  kReadEarly
};

/** The sum of 16 ones times ones, by a warpgroup. */
SIMT_DEVICE void multiply_ones(const float* x, float* out, ProductBug bug) {
  SIMT_SHARED(simt::Bf16[128 * 16], ones);
  for (int i = simt::thread(); i < 128 * 16; i += simt::kWarpgroup)
    ones[i] = simt::from_float<simt::Bf16>(1.0f);
  if (bug != ProductBug::kNotPublished) simt::publish_shared();
  simt::sync_block();
  float sum[64] = {};
  const int other = bug == ProductBug::kOfAnother && simt::warp() == 3 ? 64 : 0;
  const void* first = bug == ProductBug::kOfGlobal ? static_cast<const void*>(x) : ones + other;
  const int rows = bug == ProductBug::kPastTheEnd ? 512 : 256;
  if (bug != ProductBug::kNotBegun) simt::begin_products(sum);
  simt::warpgroup_product<simt::Bf16>(  // BUG product_not_begun // BUG product_of_global // BUG product_of_another // BUG product_overwritten // BUG product_not_published // BUG product_past_the_end
      sum, simt::OperandMatrix(first, 128, 256), simt::OperandMatrix(ones, 128, rows));
  simt::commit_products();
  const auto one = simt::from_float<simt::Bf16>(1.0f);
  if (bug == ProductBug::kOverwritten) ones[simt::thread()] = one;  // BUG product_overwritten
  if (bug == ProductBug::kReadEarly) out[simt::thread()] = sum[0];  // BUG product_read_early
  simt::wait_products<0>(sum);
  out[simt::thread()] = sum[0];
}

__global__ void product_not_begun_kernel(const float* x, float* out, bool bug) {
  multiply_ones(x, out, bug ? ProductBug::kNotBegun : ProductBug::kNone);
}
__global__ void product_of_global_kernel(const float* x, float* out, bool bug) {
  multiply_ones(x, out, bug ? ProductBug::kOfGlobal : ProductBug::kNone);
}
__global__ void product_of_another_kernel(const float* x, float* out, bool bug) {
  multiply_ones(x, out, bug ? ProductBug::kOfAnother : ProductBug::kNone);
}
__global__ void product_overwritten_kernel(const float* x, float* out, bool bug) {
  multiply_ones(x, out, bug ? ProductBug::kOverwritten : ProductBug::kNone);
}
__global__ void product_not_published_kernel(const float* x, float* out, bool bug) {
  multiply_ones(x, out, bug ? ProductBug::kNotPublished : ProductBug::kNone);
}
__global__ void product_past_the_end_kernel(const float* x, float* out, bool bug) {
  multiply_ones(x, out, bug ? ProductBug::kPastTheEnd : ProductBug::kNone);
}
__global__ void product_read_early_kernel(const float* x, float* out, bool bug) {
  multiply_ones(x, out, bug ? ProductBug::kReadEarly : ProductBug::kNone);
}

/** Ones that copy_async brings; with the bug only their barrier says that they are there. */
__global__ void product_of_copies_kernel(const float* x, float* out, bool bug) {
  SIMT_SHARED(simt::Mbarrier, full);
  SIMT_SHARED(simt::Bf16[128 * 16], ones);
  if (simt::thread() == 0) full.init(simt::kWarpgroup);
  simt::sync_block();
  for (int i = simt::thread() * 8; i < 128 * 16; i += simt::kWarpgroup * 8)
    simt::copy_async<16>(ones + i, x + i / 2);
  full.arrive_async();
  full.wait(0);
  if (!bug) simt::publish_shared();
  float sum[64];
  simt::begin_products();
  simt::warpgroup_product<simt::Bf16, false>(  // BUG product_of_copies
      sum, simt::OperandMatrix(ones, 128, 256), simt::OperandMatrix(ones, 128, 256));
  simt::commit_products();
  simt::wait_products<0>(sum);
  out[simt::thread()] = sum[0];
}

enum class BoxBug { kNone, kBytes, kBefore, kMisaligned, kColumn };

/** A box of 8 rows; the other warp reads it. */
__global__ void box_kernel(const SIMT_GRID_CONSTANT simt::TensorMap x, float* out, BoxBug bug) {
  SIMT_SHARED(simt::Mbarrier, full);
  auto* box = simt::dynamic_shared<uint16_t, simt::kBoxAlignment>();
  if (simt::thread() == 0) full.init(1);
  simt::sync_block();
  if (simt::thread() == 0) {
    full.arrive_expecting(bug == BoxBug::kBytes ? 512 : 1024);
    const int column = bug == BoxBug::kColumn ? 4 : 0;
    uint16_t* to = bug == BoxBug::kMisaligned ? box + 256 : box;
    simt::copy_box(  // BUG box_misaligned // BUG box_column // BUG box_unwritten // BUG box_past_the_end
        to, x, column, 0, 0, &full);
  }
  if (bug != BoxBug::kBefore && simt::warp() == 1) full.wait(0);  // BUG box_bytes
  if (simt::warp() == 1)
    out[simt::lane()] = static_cast<float>(box[simt::lane()]);  // BUG box_before_wait
}

enum class SwizzleBug { kNone, kAligned, kRows, kDistance };

/** The sum of 16 ones times ones, from boxes. */
__global__ void box_product_kernel(
    const SIMT_GRID_CONSTANT simt::TensorMap x, float* out, SwizzleBug bug) {
  SIMT_SHARED(simt::Mbarrier, full);
  auto* ones = simt::dynamic_shared<simt::Bf16, simt::kBoxAlignment>();
  if (simt::thread() == 0) full.init(1);
  simt::sync_block();
  if (simt::thread() == 0) {
    full.arrive_expecting(64 * 128);
    simt::copy_box(ones, x, 0, 0, 0, &full);
  }
  full.wait(0);
  const auto* first = bug == SwizzleBug::kAligned ? ones + 64 : ones;
  const int distance = bug == SwizzleBug::kDistance ? 512 : 1024;
  float sum[32];
  const auto right = bug == SwizzleBug::kRows
                         ? simt::OperandMatrix::swizzled_columns(ones, 1024, 1024)
                         : simt::OperandMatrix::swizzled_rows(ones, distance);
  simt::begin_products();
  simt::warpgroup_product<simt::Bf16, false>(  // BUG swizzled_misaligned // BUG swizzled_columns_for_rows // BUG swizzled_distance
      sum, simt::OperandMatrix::swizzled_rows(first, 1024), right);
  simt::commit_products();
  simt::wait_products<0>(sum);
  out[simt::thread()] = sum[0];
}

/** One warp fills two tiles, the other empties them; with the bug the filling one does not wait for an empty tile. */
__global__ void ring_kernel(const float* x, float* out, bool bug) {
  SIMT_SHARED(simt::Mbarrier[2], full);
  SIMT_SHARED(simt::Mbarrier[2], empty);
  SIMT_SHARED(float[2][32], tile);
  constexpr int kRounds = 6;
  if (simt::thread() == 0) {
    for (int i = 0; i < 2; ++i) {
      full[i].init(32);
      empty[i].init(32);
    }
  }
  simt::sync_block();
  const int lane = simt::lane();
  if (simt::warp() == 0) {
    for (int round = 0; round < kRounds; ++round) {
      if (!bug && round >= 2) empty[round % 2].wait((round / 2 + 1) % 2);
      simt::copy_async<4>(&tile[round % 2][lane], &x[32 * round + lane]);  // BUG ring
      full[round % 2].arrive_async();                                      // BUG ring
    }
  } else {
    float sum = 0.0f;
    for (int round = 0; round < kRounds; ++round) {
      full[round % 2].wait(round / 2 % 2);  // BUG ring
      sum += tile[round % 2][31 - lane];    // BUG ring
      empty[round % 2].arrive();
    }
    out[lane] = sum;
  }
}

/** The same ring, filled by stores. */
__global__ void stored_ring_kernel(const float* x, float* out, bool bug) {
  SIMT_SHARED(simt::Mbarrier[2], full);
  SIMT_SHARED(simt::Mbarrier[2], empty);
  SIMT_SHARED(float[2][32], tile);
  constexpr int kRounds = 6;
  if (simt::thread() < 2) {
    full[simt::thread()].init(32);
    empty[simt::thread()].init(32);
  }
  simt::sync_block();
  const int lane = simt::lane();
  float sum = 0.0f;
  for (int round = 0; round < kRounds; ++round) {
    if (simt::warp() == 0) {
      if (!bug && round >= 2) empty[round % 2].wait((round / 2 + 1) % 2);
      tile[round % 2][lane] = x[32 * round + lane];  // BUG stored_ring
      full[round % 2].arrive();
    } else {
      full[round % 2].wait(round / 2 % 2);
      sum += tile[round % 2][31 - lane];  // BUG stored_ring
      empty[round % 2].arrive();
    }
  }
  if (simt::warp() == 1) out[lane] = sum;
}

__global__ void mbarrier_without_init_barrier_kernel(float* out, bool bug) {
  SIMT_SHARED(simt::Mbarrier, full);
  SIMT_SHARED(int, done);
  if (simt::thread() == 31) {
    full.init(32);  // BUG mbarrier_without_init_barrier
    done = 1;
  }
  if (!bug) simt::sync_warp();
  full.arrive();  // BUG mbarrier_without_init_barrier
  full.wait(0);
  out[simt::lane()] = static_cast<float>(done);
}

/** The arrival lies before a block barrier, so its wait says nothing of the writes behind it. */
__global__ void old_arrival_kernel(float* out, bool bug) {
  SIMT_SHARED(simt::Mbarrier, full);
  SIMT_SHARED(float[32], x);
  if (simt::thread() == 0) full.init(32);
  if (simt::warp() == 0) x[simt::lane()] = 0.0f;
  simt::sync_block();
  if (simt::warp() == 0) {
    for (int i = 0; i < 5; ++i) simt::sync_warp();
    full.arrive();
  }
  simt::sync_block();
  if (simt::warp() == 0) x[simt::lane()] = 1.0f;  // BUG old_arrival
  if (!bug) simt::sync_block();
  full.wait(0);
  if (simt::thread() == 32) out[0] = x[0];  // BUG old_arrival
}

__global__ void early_read_kernel(const float* weight, const float* x, float* out, bool bug) {
  const float w = weight[simt::lane()];  // nobody writes it: may be read at once
  if (!bug) simt::wait_for_previous();
  out[simt::lane()] = w * x[simt::lane()];  // BUG early_read
}

// --------------------------------------------------------------------------------------------------- runs

/** A run of a kernel with parameters (x, out, bug) or (out, bug). */
#define WITH_X(kernel, grid_size, block_size, num_x, num_out)                                     \
  [](bool bug) {                                                                                  \
    const auto x = Buffer<float>::input("x", numbers(num_x));                                     \
    const auto out = Buffer<float>::output("out", num_out);                                       \
    SIMT_LAUNCH(                                                                                  \
        kernel, (simt::Launch{.grid = {grid_size}, .threads = block_size}), x.data(), out.data(), \
        bug);                                                                                     \
  }
#define WITH_OUT(kernel, type, grid_size, block_size, num_out)                                \
  [](bool bug) {                                                                              \
    const auto out = Buffer<type>::output("out", num_out);                                    \
    SIMT_LAUNCH(                                                                              \
        kernel, (simt::Launch{.grid = {grid_size}, .threads = block_size}), out.data(), bug); \
  }

void run_stale_pointer(bool bug) {
  const auto out = Buffer<float>::output("out", 32);
  auto x = std::make_unique<Buffer<float>>("x", numbers(32));
  const float* p = x->data();
  if (bug) x.reset();
  SIMT_LAUNCH(stale_pointer_kernel, (simt::Launch{.grid = {1}, .threads = 32}), p, out.data());
}

void run_plain_misaligned(bool bug) {
  const auto x = Buffer<float>::input("x", numbers(132));
  const auto out = Buffer<Four>::output("out", 32);
  SIMT_LAUNCH(
      plain_misaligned_kernel, (simt::Launch{.grid = {1}, .threads = 32}), x.data(), out.data(),
      bug);
}

void run_dynamic_overrun(bool bug) {
  const auto out = Buffer<float>::output("out", 64);
  SIMT_LAUNCH(
      dynamic_overrun_kernel, (simt::Launch{.grid = {1}, .threads = 64, .shared_bytes = 400}),
      out.data(), bug ? 101 : 100);
}

void run_global_race(bool bug) {
  const auto x = Buffer<float>("x", numbers(64));
  const auto out = Buffer<float>::output("out", 64);
  SIMT_LAUNCH(
      global_race_kernel, (simt::Launch{.grid = {1}, .threads = 64}), x.data(), out.data(), bug);
}

void run_last_block(bool without_fence, bool without_barrier) {
  const auto part = Buffer<float>::output("part", 4 * 64);
  const auto arrived = Buffer<int>("arrived", {0});
  const auto out = Buffer<float>::output("out", 64);
  SIMT_LAUNCH(
      last_block_kernel, (simt::Launch{.grid = {4}, .threads = 64}), part.data(), arrived.data(),
      out.data(), without_fence, without_barrier);
}

void run_grid_race(bool bug) {
  const auto x = Buffer<float>("x", numbers(4 * 32));
  const auto out = Buffer<float>::output("out", 4 * 32);
  SIMT_LAUNCH(
      grid_race_kernel, (simt::Launch{.grid = {4}, .threads = 32, .cooperative = true}), x.data(),
      out.data(), bug);
}

void run_atomic_and_plain(bool bug) {
  const auto count = Buffer<int>("count", {0});
  const auto out = Buffer<int>::output("out", 64);
  SIMT_LAUNCH(
      atomic_and_plain_kernel, (simt::Launch{.grid = {1}, .threads = 64}), count.data(), out.data(),
      bug);
}

void run_wait_for_nobody(bool bug) {
  const auto flag = Buffer<int>("flag", {0});
  const auto out = Buffer<int>::output("out", 64);
  SIMT_LAUNCH(
      wait_for_nobody_kernel, (simt::Launch{.grid = {2}, .threads = 32, .cooperative = true}),
      flag.data(), out.data(), bug);
}

void run_queue(bool no_arrival, bool no_bytes) {
  const auto x = Buffer<float>::input("x", numbers(64));
  const auto out = Buffer<float>::output("out", 64);
  SIMT_LAUNCH(
      queue_kernel, (simt::Launch{.grid = {1}, .threads = 64}), x.data(), out.data(), no_arrival,
      no_bytes);
}

simt::Tensor ones_tensor(const uint16_t* x, int64_t rows, int box_rows) {
  return {x, {64, 1, rows}, {128, 128}, {simt::kBoxColumns, 1, box_rows}};
}

/** With the bug the map says that x has more rows, or nobody wrote it. */
void run_box(BoxBug bug, bool past_the_end = false, bool unwritten = false) {
  const auto x = unwritten ? Buffer<uint16_t>::output("x", 8 * 64)
                           : Buffer<uint16_t>::input("x", std::vector<uint16_t>(8 * 64, 1));
  const auto out = Buffer<float>::output("out", 32);
  SIMT_LAUNCH(
      box_kernel, (simt::Launch{.grid = {1}, .threads = 64, .shared_bytes = 2048}),
      simt::tensor_map_of(ones_tensor(x.data() + (past_the_end ? 64 : 0), 8, 8)), out.data(), bug);
}

void run_box_product(SwizzleBug bug) {
  const auto x = Buffer<uint16_t>::input("x", std::vector<uint16_t>(64 * 64, 0x3f80));
  const auto out = Buffer<float>::output("out", 128);
  SIMT_LAUNCH(
      box_product_kernel,
      (simt::Launch{.grid = {1}, .threads = simt::kWarpgroup, .shared_bytes = 64 * 128 + 1024}),
      simt::tensor_map_of(ones_tensor(x.data(), 64, 64)), out.data(), bug);
}

/** A map that the driver refuses. */
template <class Change>
void run_map(bool bug, Change change) {
  const auto x = Buffer<uint16_t>::input("x", std::vector<uint16_t>(9 * 64, 1));
  simt::Tensor tensor = ones_tensor(x.data(), 8, 8);
  if (bug) change(tensor);
  simt::tensor_map_of(tensor);
}

void run_early_read(bool bug) {
  const auto weight = Buffer<float>::input("weight", numbers(32));
  const auto x = Buffer<float>("x", numbers(32));
  const auto out = Buffer<float>::output("out", 32);
  SIMT_LAUNCH(
      early_read_kernel, (simt::Launch{.grid = {1}, .threads = 32, .overlap = true}), weight.data(),
      x.data(), out.data(), bug);
}

void run_odd_block(bool bug) {
  const auto out = Buffer<float>::output("out", 64);
  SIMT_LAUNCH(
      write_far_kernel, (simt::Launch{.grid = {1}, .threads = bug ? 48 : 32}), out.data(), false);
}

const std::vector<Planted> all = {
    {"read_behind", Defect::kOutOfBounds, SeenBy::kAccessOrAsan,
     WITH_X(read_behind_kernel, 1, 64, 64, 64)},
    {"read_before", Defect::kOutOfBounds, SeenBy::kAccessOrAsan,
     WITH_X(read_before_kernel, 1, 64, 64, 64)},
    {"write_far", Defect::kOutOfBounds, SeenBy::kAccessOrAsan,
     WITH_OUT(write_far_kernel, float, 1, 32, 32)},
    {"shared_overrun", Defect::kOutOfBounds, SeenBy::kAccessOrAsan,
     WITH_OUT(shared_overrun_kernel, float, 1, 32, 32)},
    {"member_overrun", Defect::kOutOfBounds, SeenBy::kAccessOrAsan,
     WITH_OUT(member_overrun_kernel, float, 1, 32, 32)},
    {"dynamic_overrun", Defect::kOutOfBounds, SeenBy::kAccessOrAsan, run_dynamic_overrun},
    {"stale_pointer", Defect::kOutOfBounds, SeenBy::kAccessOrAsan, run_stale_pointer},
    {"vector_misaligned", Defect::kMisaligned, SeenBy::kPrimitive,
     WITH_X(vector_misaligned_kernel, 1, 32, 132, 32)},
    {"plain_misaligned", Defect::kMisaligned, SeenBy::kAccessOrAsan, run_plain_misaligned},
    {"write_input", Defect::kReadOnly, SeenBy::kAccess, WITH_X(write_input_kernel, 1, 32, 32, 32)},
    {"missing_barrier", Defect::kRace, SeenBy::kAccess,
     WITH_OUT(missing_barrier_kernel, float, 1, 64, 64)},
    {"missing_second_barrier", Defect::kRace, SeenBy::kAccess,
     WITH_OUT(missing_second_barrier_kernel, float, 1, 64, 64)},
    {"two_writers", Defect::kRace, SeenBy::kAccess, WITH_OUT(two_writers_kernel, float, 1, 64, 64)},
    {"missing_warp_barrier", Defect::kRace, SeenBy::kAccess,
     WITH_OUT(missing_warp_barrier_kernel, float, 1, 32, 32)},
    {"warp_barrier_for_a_block", Defect::kRace, SeenBy::kAccess,
     WITH_OUT(warp_barrier_for_a_block_kernel, float, 1, 64, 64)},
    {"narrow_neighbours", Defect::kRace, SeenBy::kAccess,
     WITH_OUT(narrow_neighbours_kernel, float, 1, 64, 64)},
    {"global_race", Defect::kRace, SeenBy::kAccess, run_global_race},
    {"blocks_race", Defect::kRace, SeenBy::kAccess, WITH_OUT(blocks_race_kernel, float, 3, 32, 96)},
    {"last_block_fence", Defect::kRace, SeenBy::kAccess,
     [](bool bug) { run_last_block(bug, false); }},
    {"last_block_barrier", Defect::kRace, SeenBy::kAccess,
     [](bool bug) { run_last_block(false, bug); }},
    {"grid_race", Defect::kRace, SeenBy::kAccess, run_grid_race},
    {"atomic_and_plain", Defect::kRace, SeenBy::kAccess, run_atomic_and_plain},
    {"divergent_barrier", Defect::kDivergence, SeenBy::kPrimitive,
     WITH_OUT(divergent_barrier_kernel, float, 1, 64, 64)},
    {"early_return", Defect::kDivergence, SeenBy::kPrimitive,
     WITH_OUT(early_return_kernel, float, 1, 64, 64)},
    {"divergent_ballot", Defect::kDivergence, SeenBy::kPrimitive,
     WITH_OUT(divergent_ballot_kernel, int, 1, 32, 32)},
    {"lane_has_ended", Defect::kDivergence, SeenBy::kPrimitive,
     WITH_OUT(lane_has_ended_kernel, int, 1, 32, 32)},
    {"outside_of_mask", Defect::kBadArgument, SeenBy::kPrimitive,
     WITH_OUT(outside_of_mask_kernel, int, 1, 32, 32)},
    {"shuffle_from_outside", Defect::kBadArgument, SeenBy::kPrimitive,
     WITH_OUT(shuffle_from_outside_kernel, int, 1, 32, 32)},
    {"barrier_or_warp", Defect::kDeadlock, SeenBy::kPrimitive,
     WITH_OUT(barrier_or_warp_kernel, float, 1, 64, 64)},
    {"named_count", Defect::kDivergence, SeenBy::kPrimitive,
     WITH_OUT(named_count_kernel, float, 1, 96, 32)},
    {"named_missing", Defect::kDeadlock, SeenBy::kPrimitive,
     WITH_OUT(named_missing_kernel, float, 1, 64, 32)},
    {"wait_for_nobody", Defect::kDeadlock, SeenBy::kPrimitive, run_wait_for_nobody},
    {"missing_arrival", Defect::kDeadlock, SeenBy::kPrimitive,
     [](bool bug) { run_queue(bug, false); }},
    {"missing_bytes", Defect::kDeadlock, SeenBy::kPrimitive,
     [](bool bug) { run_queue(false, bug); }},
    {"shared_unwritten", Defect::kUnwritten, SeenBy::kAccess,
     WITH_OUT(shared_unwritten_kernel, float, 1, 64, 64)},
    {"global_unwritten", Defect::kUnwritten, SeenBy::kAccess,
     WITH_OUT(global_unwritten_kernel, float, 1, 64, 64)},
    {"read_before_wait", Defect::kUnfinishedCopy, SeenBy::kAccessOrAsan,
     WITH_X(read_before_wait_kernel, 1, 32, 128, 32)},
    {"one_group_too_few", Defect::kUnfinishedCopy, SeenBy::kAccessOrAsan,
     WITH_X(one_group_too_few_kernel, 1, 32, 512, 32)},
    {"wait_without_barrier", Defect::kRace, SeenBy::kAccess,
     WITH_X(wait_without_barrier_kernel, 1, 32, 32, 32)},
    {"bulk_before_wait", Defect::kUnfinishedCopy, SeenBy::kAccessOrAsan,
     WITH_X(bulk_before_wait_kernel, 1, 64, 64, 64)},
    {"product_not_begun", Defect::kDivergence, SeenBy::kPrimitive,
     WITH_X(product_not_begun_kernel, 1, 128, 1024, 128)},
    {"product_of_global", Defect::kBadArgument, SeenBy::kPrimitive,
     WITH_X(product_of_global_kernel, 1, 128, 1024, 128)},
    {"product_of_another", Defect::kDivergence, SeenBy::kPrimitive,
     WITH_X(product_of_another_kernel, 1, 128, 1024, 128)},
    {"product_overwritten", Defect::kRace, SeenBy::kAccess,
     WITH_X(product_overwritten_kernel, 1, 128, 1024, 128)},
    {"product_not_published", Defect::kRace, SeenBy::kAccess,
     WITH_X(product_not_published_kernel, 1, 128, 1024, 128)},
    {"product_past_the_end", Defect::kOutOfBounds, SeenBy::kPrimitive,
     WITH_X(product_past_the_end_kernel, 1, 128, 1024, 128)},
    {"product_read_early", Defect::kUnfinishedCopy, SeenBy::kAccess,
     WITH_X(product_read_early_kernel, 1, 128, 1024, 128)},
    {"product_of_copies", Defect::kRace, SeenBy::kAccess,
     WITH_X(product_of_copies_kernel, 1, 128, 1024, 128)},
    {"box_bytes", Defect::kDeadlock, SeenBy::kPrimitive,
     [](bool bug) { run_box(bug ? BoxBug::kBytes : BoxBug::kNone); }},
    {"box_before_wait", Defect::kUnfinishedCopy, SeenBy::kAccess,
     [](bool bug) { run_box(bug ? BoxBug::kBefore : BoxBug::kNone); }, Defect::kUnwritten},
    {"box_misaligned", Defect::kMisaligned, SeenBy::kPrimitive,
     [](bool bug) { run_box(bug ? BoxBug::kMisaligned : BoxBug::kNone); }},
    {"box_column", Defect::kBadArgument, SeenBy::kPrimitive,
     [](bool bug) { run_box(bug ? BoxBug::kColumn : BoxBug::kNone); }},
    {"box_past_the_end", Defect::kOutOfBounds, SeenBy::kPrimitive,
     [](bool bug) { run_box(BoxBug::kNone, bug); }},
    {"box_unwritten", Defect::kUnwritten, SeenBy::kAccess,
     [](bool bug) { run_box(BoxBug::kNone, false, bug); }},
    {"map_of_unaligned_memory", Defect::kMisaligned, SeenBy::kPrimitive,
     [](bool bug) {
       run_map(bug, [](simt::Tensor& of) { of.first = static_cast<const char*>(of.first) + 8; });
     }},
    {"map_with_an_unaligned_stride", Defect::kBadArgument, SeenBy::kPrimitive,
     [](bool bug) { run_map(bug, [](simt::Tensor& of) { of.stride_bytes[1] = 136; }); }},
    {"map_of_a_long_box", Defect::kBadArgument, SeenBy::kPrimitive,
     [](bool bug) { run_map(bug, [](simt::Tensor& of) { of.box[2] = 257; }); }},
    {"map_of_a_wide_box", Defect::kBadArgument, SeenBy::kPrimitive,
     [](bool bug) { run_map(bug, [](simt::Tensor& of) { of.box[0] = 128; }); }},
    {"map_of_nothing", Defect::kBadArgument, SeenBy::kPrimitive,
     [](bool bug) { run_map(bug, [](simt::Tensor& of) { of.len[2] = 0; }); }},
    {"swizzled_misaligned", Defect::kMisaligned, SeenBy::kPrimitive,
     [](bool bug) { run_box_product(bug ? SwizzleBug::kAligned : SwizzleBug::kNone); }},
    {"swizzled_columns_for_rows", Defect::kBadArgument, SeenBy::kPrimitive,
     [](bool bug) { run_box_product(bug ? SwizzleBug::kRows : SwizzleBug::kNone); }},
    {"swizzled_distance", Defect::kBadArgument, SeenBy::kPrimitive,
     [](bool bug) { run_box_product(bug ? SwizzleBug::kDistance : SwizzleBug::kNone); }},
    {"ring", Defect::kUnfinishedCopy, SeenBy::kAccess, WITH_X(ring_kernel, 1, 64, 192, 32)},
    {"stored_ring", Defect::kRace, SeenBy::kAccess, WITH_X(stored_ring_kernel, 1, 64, 192, 32),
     Defect::kUnwritten},
    {"mbarrier_without_init_barrier", Defect::kRace, SeenBy::kAccess,
     WITH_OUT(mbarrier_without_init_barrier_kernel, float, 1, 32, 32), Defect::kUnwritten},
    {"old_arrival", Defect::kRace, SeenBy::kAccess, WITH_OUT(old_arrival_kernel, float, 1, 64, 1)},
    {"early_read", Defect::kBeforePrevious, SeenBy::kAccess, run_early_read},
    {"odd_block", Defect::kBadArgument, SeenBy::kPrimitive, run_odd_block},
};

}  // namespace

const std::vector<Planted>& planted() { return all; }
