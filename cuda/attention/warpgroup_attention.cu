// warpgroup_attention: attention of a prompt's rows over a paged KV cache on Hopper (sm_90a), by the products of warpgroups.
//
// Math    as tree_attention.cu; q and the weights are rounded to the type of the cache
// Shapes  as tree_attention.cu; the keys of a prompt's rows lie in their sequence's pages, at their positions
// Needs   rows of a sequence next to each other, in the order of their positions; what takes_warpgroups says
// Launch  grid (128 pairs of a row and a query head, KV heads), block 384: two warpgroups that multiply, each 64 pairs, and one
//         that leaves them its registers: one warp of it copies. K and V of a tile of keys have two stages each; barriers in shared
//         memory say when one is there and when it may be overwritten
// Copies  boxes of a tensor map of each cache (TMA): as many keys as page and tile have in common, 64 dimensions
// Order   rows with the most keys come first
// NaN     a value that a row does not see is multiplied by 0, which is NaN where the value is not finite: a pair with NaN is
//         done again, key by key. What no row of the block sees is zeros, whatever the cache holds there
// Rows    tiles begin at multiples of their length, a pair takes them in the order of positions, and a tile of which it sees
//         nothing changes nothing: its bits do not depend on other rows. They are not those of tree_attention.cu (ADR 0117)
// Bytes   4 * keys * num_kv_heads * head_dim for each 128 / group_size rows, from L2: 64 KB of a tile for 8.4 Mflop
// Error   docs/kernels/prefill_attention.md
// Source  FlashAttention-3, arXiv 2407.08608: the next tile's scores are multiplied while weights are multiplied with values
#include "attention/key_by_key.h"
#include "simt/tensor_map.h"
#include "simt/wgmma.h"

namespace espalier {
namespace {

using namespace attention;

constexpr int kTile = 128;  // keys
constexpr int kStages = 2;
constexpr int kWarpgroups = 2, kGroupPairs = 64;
constexpr int kBlockPairs = kWarpgroups * kGroupPairs;
constexpr int kThreads = (kWarpgroups + 1) * simt::kWarpgroup;
constexpr int kWarps = kWarpgroups * 4;               // that multiply
constexpr int kRegisters = 232, kCopyRegisters = 40;  // of their threads, and of the others
constexpr int kChunk = 64, kChunkBytes = kChunk * 2;  // 8 x 8 elements
constexpr int kEight = 8 * simt::kBoxColumns, kEightBytes = kEight * 2;  // keys of a part
constexpr int kLeastPiece = 8;  // keys: the pattern of a swizzle

/** Q lies in shared memory as [row / 8][column / 8][row % 8][column % 8], K and V as [part][key][dimension of the part]. */
template <int kHeadDim>
struct Layout {
  static constexpr int kChunks = kHeadDim / 8;                            // of a row of Q
  static constexpr int kRows = kChunks * kChunk, kRowsBytes = kRows * 2;  // of 8 rows of Q
  static constexpr int kParts = kHeadDim / simt::kBoxColumns, kPartLen = kTile * simt::kBoxColumns;
  static constexpr int kTileLen = kTile * kHeadDim;
  static constexpr int kQueriesLen = kBlockPairs * kHeadDim;
  static_assert(kQueriesLen * 2 % simt::kBoxAlignment == 0 && kEightBytes == simt::kBoxAlignment);
  static_assert(kTile / kLeastPiece * kParts <= simt::kWarp);  // a copy for each lane
  // Queries, then the stages: keys, values; then a query of each warp in fp32.
  static constexpr size_t kSharedBytes =
      size_t{2} * (kQueriesLen + kStages * 2 * kTileLen) + size_t{4} * kWarps * kHeadDim;
  static_assert(kSharedBytes <= 227 * 1024);
};

struct Barriers {
  simt::Mbarrier full_k[kStages], full_v[kStages], empty_k[kStages], empty_v[kStages];
  simt::Mbarrier to_clear;  // values that are there, and not yet zeros where no row sees them
};

/** Keys that lie next to each other in the cache, wherever the pages are, and in one tile. */
SIMT_HOST_DEVICE int piece_len(int page_size) {
  int len = kTile;
  while (page_size % len != 0) len /= 2;
  return len;
}

/** The rows of a block. */
struct Rows {
  int64_t first, end;
  int heads;  // query heads of the block's KV head, and pairs of a row
};

/** Rows of a block that are of one sequence, and the positions and tiles that they read. */
struct Run {
  int64_t first, end;
  int seq;
  int first_key, end_key;
  int first_tile, end_tile;
};

SIMT_DEVICE int position_of(const TreeAttentionArgs& args, int64_t row) {
  return args.kv_len[args.row_seq[row]] + args.depth[row];
}

SIMT_DEVICE int first_key_of(const TreeAttentionArgs& args, int position) {
  return reach_of(position, args.window, 0).begin;
}

/** The run that begins with a row of the block; without tiles where the rows have no sequence. All lanes. */
SIMT_DEVICE Run run_from(const TreeAttentionArgs& args, const Rows& rows, int64_t first) {
  Run run{first, first, args.row_seq[first], 0, 0, 0, 0};
  for (uint32_t others = 0; others == 0;) {
    const int64_t row = run.end + simt::lane();
    others = ~simt::ballot(row < rows.end && args.row_seq[row] == run.seq);
    run.end += others == 0 ? simt::kWarp : simt::lowest(others);
  }
  if (run.seq < 0) return run;
  run.first_key = first_key_of(args, position_of(args, first));
  run.end_key = position_of(args, run.end - 1) + 1;
  run.first_tile = run.first_key / kTile;
  run.end_tile = (run.end_key + kTile - 1) / kTile;
  return run;
}

/** The copies of a tile of K or V: lane i of the warp that copies has the i-th. */
struct Pieces {
  int len;  // keys of one: of one page and one tile
  int num;  // of a tile

  /** The slot of the lane's first key; where the run sees no key of the piece, one outside of the cache, which is copied as zeros. */
  SIMT_DEVICE int slot_of_lane(const TreeAttentionArgs& args, const Run& run, int tile) const {
    const int position = tile * kTile + simt::lane() % num * len;
    if (position + len <= run.first_key || position >= run.end_key) return -len;
    const int page = position / args.page_size;
    return args.page_table[int64_t{run.seq} * args.max_pages + page] * args.page_size +
           position % args.page_size;
  }

  /** Starts the copies of a tile, which complete a phase of the barrier. */
  template <class T, int kHeadDim>
  SIMT_DEVICE void copy(
      const simt::TensorMap& cache, int slot, T* tile, simt::Mbarrier& barrier) const {
    using Shape = Layout<kHeadDim>;
    if (simt::lane() == 0) barrier.arrive_expecting(Shape::kTileLen * sizeof(T));
    simt::sync_warp();
    const int part = simt::lane() / num, piece = simt::lane() % num;
    if (part < Shape::kParts) {
      simt::copy_box(
          tile + part * Shape::kPartLen + piece * len * simt::kBoxColumns, cache,
          part * simt::kBoxColumns, simt::block_y(), slot, &barrier);
    }
  }

  /** Zeros for the keys of a tile that came with others of their piece and that no row of the run sees. */
  template <class T, int kHeadDim>
  SIMT_DEVICE void clear_unseen(const Run& run, int tile, T* values) const {
    const int first = run.first_key - tile * kTile, end = run.end_key - tile * kTile;
    if (first > 0) clear<T, kHeadDim>(values, first / len * len, first);
    if (end < kTile) clear<T, kHeadDim>(values, end, (end + len - 1) / len * len);
  }

 private:
  /** Keys first .. end - 1 of a tile. A key keeps its row of 128 bytes, whatever the swizzle does within. */
  template <class T, int kHeadDim>
  static SIMT_DEVICE void clear(T* values, int first, int end) {
    using Shape = Layout<kHeadDim>;
    using Unit = simt::Vec<T, 8>;
    constexpr int kUnits = simt::kBoxColumns / 8;
    SIMT_UNROLL
    for (int part = 0; part < Shape::kParts; ++part) {
      auto* unit = reinterpret_cast<Unit*>(values + part * Shape::kPartLen);
      SIMT_NO_UNROLL
      for (int i = first * kUnits + simt::lane(); i < end * kUnits; i += simt::kWarp)
        unit[i] = Unit{};
    }
  }
};

/** The warp that copies: fills stage after stage as they become free. */
template <class T, int kHeadDim>
SIMT_DEVICE void copy_tiles(
    const TreeAttentionArgs& args, const simt::TensorMap& k_cache, const simt::TensorMap& v_cache,
    const Rows& rows, T* ring, Barriers& barriers) {
  using Shape = Layout<kHeadDim>;
  const int len = piece_len(args.page_size);
  const Pieces pieces{len, kTile / len};
  int n = 0, num_cleared = 0;
  for (int64_t row = rows.first; row < rows.end;) {
    const Run run = run_from(args, rows, row);
    row = run.end;
    SIMT_NO_UNROLL
    for (int tile = run.first_tile; tile < run.end_tile; ++tile, ++n) {
      const int slot = pieces.slot_of_lane(args, run, tile);
      const int stage = n % kStages, parity = (n / kStages + 1) % 2;
      T* k_tile = ring + stage * 2 * Shape::kTileLen;
      T* v_tile = k_tile + Shape::kTileLen;
      if (n >= kStages) barriers.empty_k[stage].wait(parity);
      pieces.copy<T, kHeadDim>(k_cache, slot, k_tile, barriers.full_k[stage]);
      if (n >= kStages) barriers.empty_v[stage].wait(parity);
      if (tile * kTile >= run.first_key && (tile + 1) * kTile <= run.end_key) {
        pieces.copy<T, kHeadDim>(v_cache, slot, v_tile, barriers.full_v[stage]);
        continue;
      }
      pieces.copy<T, kHeadDim>(v_cache, slot, v_tile, barriers.to_clear);
      barriers.to_clear.wait(num_cleared++ % 2);
      pieces.clear_unseen<T, kHeadDim>(run, tile, v_tile);
      simt::publish_shared();
      simt::sync_warp();
      if (simt::lane() == 0) barriers.full_v[stage].arrive();
    }
  }
}

/** 64 pairs, as a thread of their warpgroup has them: pairs 16 w + g and 8 more, with w = warp % 4 and g = lane / 4. */
template <class T, int kHeadDim>
class WarpgroupPairs {
  using Shape = Layout<kHeadDim>;
  static constexpr int kScores = kTile / 2, kSteps = kTile / 16, kValues = kHeadDim / 2;

 public:
  SIMT_DEVICE WarpgroupPairs(
      const TreeAttentionArgs& args, Score score, const Rows& rows, T* queries, const T* ring,
      Barriers& barriers)
      : args_(args),
        score_(score),
        rows_(rows),
        queries_(queries + warpgroup() * kGroupPairs * kHeadDim),
        ring_(ring),
        barriers_(barriers) {
    SIMT_UNROLL
    for (int i = 0; i < 2; ++i) {
      row_[i] = row_of(pair_of(simt::lane() / 4, i));
      const bool seen = row_[i] < rows.end && args.row_seq[row_[i]] >= 0;
      end_key_[i] = seen ? position_of(args, row_[i]) + 1 : 0;
      first_key_[i] = seen ? first_key_of(args, end_key_[i] - 1) : 0;
    }
  }

  /** Queries of the pairs to shared memory, rounded to the type of the cache. */
  SIMT_DEVICE void load_queries() {
    SIMT_NO_UNROLL
    for (int i = simt::thread() % simt::kWarpgroup; i < kGroupPairs * Shape::kChunks;
         i += simt::kWarpgroup) {
      const int pair = i % kGroupPairs, chunk = i / kGroupPairs;
      simt::Vec<T, 8> part = {};
      if (row_of(pair) < rows_.end) {
        const float* q = args_.q + index_of(pair) * kHeadDim + chunk * 8;
        SIMT_UNROLL
        for (int j = 0; j < 8; ++j) part[j] = simt::from_float<T>(q[j]);
      }
      *reinterpret_cast<simt::Vec<T, 8>*>(
          queries_ + pair / 8 * Shape::kRows + chunk * kChunk + pair % 8 * 8) = part;
    }
    simt::publish_shared();
    simt::sync_named(1 + warpgroup(), simt::kWarpgroup);
  }

  /** The tiles of a run, the block's n-th tile and those behind it. */
  SIMT_DEVICE void attend(const Run& run, int n) {
    SIMT_UNROLL
    for (int i = 0; i < 2; ++i) {
      max_[i] = -INFINITY;
      sum_[i] = 0.0f;
    }
    SIMT_UNROLL
    for (int i = 0; i < kValues; ++i) value_[i] = 0.0f;
    // Keys that all rows of the run see.
    const int64_t first = later(row_of(0), run.first);
    const int64_t last = -later(-row_of(kGroupPairs - 1), 1 - run.end);
    const bool has_rows = first <= last;
    const int last_first_key = has_rows ? first_key_of(args_, position_of(args_, last)) : 0;
    const int first_end_key = has_rows ? position_of(args_, first) + 1 : 1 << 30;
    const auto seen_by_all = [&](int tile) {
      return tile * kTile >= last_first_key && (tile + 1) * kTile <= first_end_key;
    };

    float score[kScores], scale[2];
    simt::FragmentA weight[kSteps];
    wait_for(barriers_.full_k, n);
    simt::begin_products();
    multiply_keys(n, score);
    simt::wait_products<0>(score);
    release(barriers_.empty_k, n);
    weigh(run.first_tile, seen_by_all(run.first_tile), score, scale);
    round(score, weight);
    for (int tile = run.first_tile + 1; tile < run.end_tile; ++tile) {
      ++n;
      wait_for(barriers_.full_v, n - 1);
      wait_for(barriers_.full_k, n);
      simt::begin_products(value_, weight);
      multiply_keys(n, score);
      multiply_values(n - 1, weight);
      simt::wait_products<1>(score);
      release(barriers_.empty_k, n);
      weigh(tile, seen_by_all(tile), score, scale);
      simt::wait_products<0>(value_, weight);
      release(barriers_.empty_v, n - 1);
      SIMT_UNROLL
      for (int i = 0; i < kValues; ++i) value_[i] *= scale[i / 2 % 2];
      round(score, weight);
    }
    wait_for(barriers_.full_v, n);
    simt::begin_products(value_, weight);
    multiply_values(n, weight);
    simt::wait_products<0>(value_, weight);
    release(barriers_.empty_v, n);
  }

  /** Writes the rows of a run. max_sum [rows, num_q_heads] is for pairs that are done again, as is the warp's q_shared. */
  SIMT_DEVICE void store(const Run& run, simt::Vec<float, 2>* max_sum, float* q_shared) const {
    uint32_t again[2];  // lanes whose pair is
    SIMT_UNROLL
    for (int i = 0; i < 2; ++i) {
      float sum = sum_[i];
      sum += simt::shuffle_xor(sum, 1);
      sum += simt::shuffle_xor(sum, 2);
      const bool of_run = row_[i] >= run.first && row_[i] < run.end;
      bool is_nan = false;
      float* out = args_.out + index_of(pair_of(simt::lane() / 4, i)) * kHeadDim;
      SIMT_UNROLL
      for (int j = 0; j < kValues; j += 4) {
        const simt::Vec<float, 2> value = {
            simt::divide(value_[j + 2 * i], sum), simt::divide(value_[j + 2 * i + 1], sum)};
        is_nan |= value[0] != value[0] || value[1] != value[1];
        if (of_run)
          *reinterpret_cast<simt::Vec<float, 2>*>(out + j * 2 + simt::lane() % 4 * 2) = value;
      }
      again[i] = simt::ballot(of_run && is_nan);
    }
    SIMT_UNROLL
    for (int i = 0; i < 2; ++i) {
      SIMT_NO_UNROLL
      for (int g = 0; g < 8; ++g) {
        if ((again[i] >> 4 * g & 15) != 0)
          attend_again(run, index_of(pair_of(g, i)), max_sum, q_shared);
      }
    }
  }

 private:
  static SIMT_DEVICE int warpgroup() { return simt::thread() / simt::kWarpgroup; }
  static SIMT_DEVICE int64_t later(int64_t x, int64_t y) { return x > y ? x : y; }

  /** The pair that lanes 4 g .. 4 g + 3 of the warp have, their i-th. */
  static SIMT_DEVICE int pair_of(int g, int i) { return simt::warp() % 4 * 16 + g + 8 * i; }

  SIMT_DEVICE int64_t row_of(int pair) const {
    return rows_.first + (warpgroup() * kGroupPairs + pair) / rows_.heads;
  }
  /** Row and head of a pair, as one index. */
  SIMT_DEVICE int64_t index_of(int pair) const {
    return row_of(pair) * args_.num_q_heads + simt::block_y() * rows_.heads +
           (warpgroup() * kGroupPairs + pair) % rows_.heads;
  }

  /** A row and head, key by key. */
  SIMT_DEVICE void attend_again(
      const Run& run, int64_t row_head, simt::Vec<float, 2>* max_sum, float* q_shared) const {
    RowHeads of;
    of.row = row_head / args_.num_q_heads;
    of.seq = run.seq;
    of.kv_head = simt::block_y();
    of.first_head = static_cast<int>(row_head % args_.num_q_heads);
    of.num_heads = 1;
    const int position = position_of(args_, of.row);
    simt::sync_warp();  // the pair is written
    attend_key_by_key<T, kHeadDim>(
        args_, score_, of, first_key_of(args_, position), position + 1, 0, {max_sum, args_.out, 1},
        q_shared);
    simt::sync_warp();
    for (int d = simt::lane(); d < kHeadDim; d += simt::kWarp) {
      float& out = args_.out[row_head * kHeadDim + d];
      out = simt::divide(out, max_sum[row_head][1]);
    }
  }

  /** Waits for the block's n-th tile. */
  static SIMT_DEVICE void wait_for(simt::Mbarrier (&full)[kStages], int n) {
    full[n % kStages].wait(n / kStages % 2);
  }
  /** The warp is done with the block's n-th tile. */
  static SIMT_DEVICE void release(simt::Mbarrier (&empty)[kStages], int n) {
    simt::sync_warp();
    if (simt::lane() == 0) empty[n % kStages].arrive();
  }

  /** Dot products with the block's n-th tile: score[4 j + 2 i + e] is pair i's of key 8 j + 2 (lane % 4) + e. */
  SIMT_DEVICE void multiply_keys(int n, float (&score)[kScores]) const {
    const T* k_tile = ring_ + n % kStages * 2 * Shape::kTileLen;
    SIMT_UNROLL
    for (int step = 0; step < kHeadDim / 16; ++step) {
      const simt::OperandMatrix q(queries_ + step * 2 * kChunk, kChunkBytes, Shape::kRowsBytes);
      const int dim = step * 16;
      const auto k = simt::OperandMatrix::swizzled_rows(
          k_tile + dim / simt::kBoxColumns * Shape::kPartLen + dim % simt::kBoxColumns,
          kEightBytes);
      if (step == 0) {
        simt::warpgroup_product<T, false>(score, q, k);
      } else {
        simt::warpgroup_product<T>(score, q, k);
      }
    }
    simt::commit_products();
  }

  /** value_ += weight V of the block's n-th tile. */
  SIMT_DEVICE void multiply_values(int n, const simt::FragmentA (&weight)[kSteps]) {
    const T* v_tile = ring_ + (n % kStages * 2 + 1) * Shape::kTileLen;
    SIMT_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      simt::warpgroup_product<T>(
          value_, weight[step],
          simt::OperandMatrix::swizzled_columns(
              v_tile + step * 2 * kEight, kEightBytes, Shape::kPartLen * 2));
    }
    simt::commit_products();
  }

  /** From dot products to weights; the values so far are to be scaled. */
  SIMT_DEVICE void weigh(int tile, bool seen_by_all, float (&x)[kScores], float (&scale)[2]) {
    score_.apply(x);
    if (!seen_by_all) {
      SIMT_UNROLL
      for (int i = 0; i < kScores; ++i) {
        const int key = tile * kTile + i / 4 * 8 + simt::lane() % 4 * 2 + i % 2;
        const int of = i / 2 % 2;
        if (key < first_key_[of] || key >= end_key_[of]) x[i] = -INFINITY;
      }
    }
    SIMT_UNROLL
    for (int of = 0; of < 2; ++of) {
      float max = max_[of];
      SIMT_UNROLL
      for (int i = 2 * of; i < kScores; i += 4) max = larger(x[i + 1], larger(x[i], max));
      max = larger(simt::shuffle_xor(max, 1), max);
      max = larger(simt::shuffle_xor(max, 2), max);
      const float base = base_of(max);
      scale[of] = simt::exp2(max_[of] - base);
      max_[of] = max;
      float sum = 0.0f;
      SIMT_UNROLL
      for (int i = 2 * of; i < kScores; i += 4) {
        SIMT_UNROLL
        for (int e = 0; e < 2; ++e) {
          x[i + e] = simt::exp2(x[i + e] - base);
          sum += x[i + e];
        }
      }
      sum_[of] = simt::fma(sum_[of], scale[of], sum);
    }
  }

  /** Weights, rounded to the type of the cache, as the left side of products. */
  static SIMT_DEVICE void round(const float (&x)[kScores], simt::FragmentA (&weight)[kSteps]) {
    SIMT_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      SIMT_UNROLL
      for (int i = 0; i < 4; ++i) {
        weight[step].r[i] = simt::pack_rounded<T>(x[step * 8 + 2 * i], x[step * 8 + 2 * i + 1]);
      }
    }
  }

  const TreeAttentionArgs& args_;
  const Score score_;
  const Rows rows_;
  T* queries_;  // of the warpgroup
  const T* ring_;
  Barriers& barriers_;
  int64_t row_[2];
  int first_key_[2], end_key_[2];  // that the pair sees
  float max_[2], sum_[2];          // sum_: of the keys that the thread has
  float value_[kValues];
};

template <class T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, 1) warpgroup_attention_kernel(
    const TreeAttentionArgs args, Score score, int block_rows, simt::Vec<float, 2>* max_sum,
    const SIMT_GRID_CONSTANT simt::TensorMap k_cache,
    const SIMT_GRID_CONSTANT simt::TensorMap v_cache) {
  using Shape = Layout<kHeadDim>;
  SIMT_SHARED(Barriers, barriers);
  T* queries = simt::dynamic_shared<T, simt::kBoxAlignment>();
  T* ring = queries + Shape::kQueriesLen;
  auto* q_shared = reinterpret_cast<float*>(ring + kStages * 2 * Shape::kTileLen);
  if (simt::thread() == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      barriers.full_k[stage].init(1);
      barriers.full_v[stage].init(1);
      barriers.empty_k[stage].init(kWarps);
      barriers.empty_v[stage].init(kWarps);
    }
    barriers.to_clear.init(1);
  }
  simt::sync_block();
  simt::wait_for_previous();
  simt::allow_next();
  Rows rows;
  rows.first = int64_t{simt::num_blocks() - 1 - simt::block()} * block_rows;
  rows.end = args.rows - rows.first < block_rows ? args.rows : rows.first + block_rows;
  rows.heads = args.num_q_heads / args.num_kv_heads;
  if (simt::warp() >= kWarps) {
    simt::give_registers<kCopyRegisters>();
    if (simt::warp() == kWarps)
      copy_tiles<T, kHeadDim>(args, k_cache, v_cache, rows, ring, barriers);
    return;
  }
  simt::take_registers<kRegisters>();
  WarpgroupPairs<T, kHeadDim> pairs(args, score, rows, queries, ring, barriers);
  pairs.load_queries();
  int n = 0;
  for (int64_t row = rows.first; row < rows.end;) {
    const Run run = run_from(args, rows, row);
    row = run.end;
    if (run.seq < 0) continue;
    pairs.attend(run, n);
    pairs.store(run, max_sum, q_shared + simt::warp() * kHeadDim);
    n += run.end_tile - run.first_tile;
  }
}

/** The keys or values of all pages: [slot][KV head][dimension], in boxes of a piece and a part. */
simt::TensorMap map_of(const TreeAttentionArgs& args, const void* cache) {
  const int64_t head_bytes = int64_t{args.head_dim} * 2;
  return simt::tensor_map_of(
      {cache,
       {args.head_dim, args.num_kv_heads, int64_t{args.num_pages} * args.page_size},
       {head_bytes, head_bytes * args.num_kv_heads},
       {simt::kBoxColumns, 1, piece_len(args.page_size)}});
}

template <class T, int kHeadDim>
void launch(const TreeAttentionArgs& args, void* workspace, simt::Stream stream) {
  const int rows = kBlockPairs / (args.num_q_heads / args.num_kv_heads);
  const simt::Launch shape{
      .grid = {static_cast<int>((args.rows + rows - 1) / rows), args.num_kv_heads},
      .threads = kThreads,
      .shared_bytes = Layout<kHeadDim>::kSharedBytes,
      .stream = stream,
      .overlap = true};
  SIMT_LAUNCH(
      (warpgroup_attention_kernel<T, kHeadDim>), shape, args, score_of(args), rows,
      static_cast<simt::Vec<float, 2>*>(workspace), map_of(args, args.k_cache),
      map_of(args, args.v_cache));
}

template <class T>
void launch(const TreeAttentionArgs& args, void* workspace, simt::Stream stream) {
  if (args.head_dim == 64) return launch<T, 64>(args, workspace, stream);
  launch<T, 128>(args, workspace, stream);
}

}  // namespace

bool takes_warpgroups(const TreeAttentionArgs& args) {
  const auto bits =
      reinterpret_cast<uintptr_t>(args.k_cache) | reinterpret_cast<uintptr_t>(args.v_cache);
  const bool has_kernel = args.head_dim == 64 || args.head_dim == 128;
  return args.prompt && args.rows > 64 && args.kv_type != Type::kFp32 && has_kernel &&
         bits % 16 == 0 && reinterpret_cast<uintptr_t>(args.out) % 8 == 0 &&
         args.page_size % kLeastPiece == 0 && args.num_q_heads / args.num_kv_heads <= kBlockPairs &&
         simt::device_capability() == 90 && simt::makes_tensor_maps();
}

size_t warpgroup_attention_workspace_bytes(const TreeAttentionArgs& args) {
  return static_cast<size_t>(args.rows) * args.num_q_heads * sizeof(simt::Vec<float, 2>);
}

void launch_warpgroup_attention(
    const TreeAttentionArgs& args, void* workspace, simt::Stream stream) {
  if (args.kv_type == Type::kBf16) return launch<simt::Bf16>(args, workspace, stream);
  launch<simt::Fp16>(args, workspace, stream);
}

}  // namespace espalier
