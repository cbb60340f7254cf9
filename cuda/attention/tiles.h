// Attention of whole tiles on the tensor cores: the rows of a block that belong to one sequence, the query heads of one
// KV head, the tiles of one split. A pair is a row and a query head; the m side of a product has 16 pairs.
//
// A tile takes one pass where it is committed, because all rows read it in the same slots. Where a tree is so deep that
// a tile reaches into it, rows whose paths differ there read different slots: each path takes a pass of its own, with
// its own slots gathered, and only its rows keep the result.
//
// The bits of a pair are the same in every layout: a score comes from its query and key alone, and products of weights
// and values begin at 0 in each tile, so that a tile's keys are added in the order of their positions and pairs that
// take no part are left alone, whatever the values hold.
#ifndef ESPALIER_CUDA_ATTENTION_TILES_H
#define ESPALIER_CUDA_ATTENTION_TILES_H

#include "attention/parts.h"

namespace espalier::attention {

constexpr int kStages = 2;      // tiles in shared memory
constexpr int kMostRows = 128;  // of a block

/** What the warps of 16 pairs tell each other. */
template <class T, int kTile, int kKeyWarps>
struct Exchange {
  // Rows are 16 bytes longer than a tile, so that load_matrix finds eight of them in different banks.
  T weight[16][kTile + 8];
  float max[kKeyWarps][16];
};

struct NoExchange {};

/**
 * How warps divide the work: kKeyWarps of them have 16 pairs in common, divide the keys of a tile, then the dimensions of
 * the values. Four where a block has no more pairs, two where the values of wide heads need the registers, otherwise one.
 */
template <int kHeadDim, int kKeyWarps>
struct Layout {
  static constexpr int kTile = tile_len(kHeadDim);
  // Wide heads leave room in 99 KiB of shared memory, which every architecture has, for 48 pairs.
  static constexpr int kMostWarps = kKeyWarps == 4 ? 4 : kHeadDim > 128 ? 6 : 8;
  static constexpr int kGroups = kMostWarps / kKeyWarps;
  static constexpr int kMostPairs = 16 * kGroups;
  static constexpr int kWarpKeys = kTile / kKeyWarps;     // keys that a warp scores
  static constexpr int kWarpDims = kHeadDim / kKeyWarps;  // dimensions that a warp adds up
  static constexpr int kChunks = kHeadDim / 8;            // of a key, 16 bytes each
  static constexpr int kStageLen = 2 * kTile * kHeadDim;  // elements: keys, then values
  static constexpr size_t kSharedBytes = size_t{2} * (kStages * kStageLen + kMostPairs * kHeadDim);
  static_assert(kSharedBytes <= 98304);
  // Blocks of a multiprocessor, as far as registers decide.
  static constexpr int kBlocks = kKeyWarps < 4 ? 1 : kHeadDim > 128 ? 2 : 3;
  template <class T>
  using Room = std::conditional_t<kKeyWarps == 1, NoExchange, Exchange<T, kTile, kKeyWarps>>;
  static_assert(kSplit % kTile == 0 && kWarpKeys % 8 == 0 && kWarpDims % 16 == 0);
};

/** The layout for many pairs. */
SIMT_HOST_DEVICE constexpr int key_warps_of_many(int head_dim) { return head_dim > 128 ? 2 : 1; }

/** Rows first_row .. first_row + num_rows - 1, of one sequence; heads of one KV head. */
struct RowRun {
  int64_t first_row;
  int num_rows, seq, kv_len;
  int kv_head, first_head, num_heads;
};

/** Rows of a block whose pass reads the slots of `leader`. */
struct Pass {
  int tile;
  int leader;      // row of the run
  bool committed;  // all rows have these slots
};

/** Whose turn it is at the tiles that reach into the tree. */
struct Turns {
  uint8_t waiting[kMostRows];              // rows that did not have their pass at the current tile
  uint8_t takes_part[kStages][kMostRows];  // rows of the pass in a stage
};

/** Tiles first .. last - 1 of a split, each with its passes. */
template <int kTile>
class Passes {
 public:
  __device__ Passes(const TreeAttentionArgs& args, const RowRun& run, int split, Turns& turns)
      : args_(args), run_(run), turns_(turns) {
    int first = 1 << 30, last = 0;
    for (int base = 0; base < run.num_rows; base += simt::kWarp) {
      const int r = base + simt::lane();
      const Reach reach = r < run.num_rows ? reach_of_row(r) : Reach{};
      const bool has_tiles = reach.first < reach.last;
      first = min_of(first, simt::warp_min(has_tiles ? reach.first : 1 << 30));
      last = max_of(last, simt::warp_max(has_tiles ? reach.last : 0));
    }
    next_ = max_of(first, split_begin(split)) / kTile;
    end_ = min_of(last, split_begin(split + 1)) / kTile;
  }

  /** The next pass, for the given stage; false behind the last. All threads of the block. */
  __device__ bool next(Pass* pass, int stage) {
    for (; next_ < end_; ++next_) {
      if ((next_ + 1) * kTile <= run_.kv_len) {
        *pass = {next_++, 0, true};
        return true;
      }
      if (!open_) {
        for (int r = simt::thread(); r < run_.num_rows; r += simt::num_threads()) {
          const Reach reach = reach_of_row(r);
          turns_.waiting[r] = reach.first <= next_ * kTile && next_ * kTile < reach.last;
        }
        simt::sync_block();
        open_ = true;
      }
      const int leader = first_waiting();
      simt::sync_block();  // all have read `waiting`
      if (leader >= 0) {
        call_rows_like(leader, stage);
        *pass = {next_, leader, false};
        return true;
      }
      open_ = false;
    }
    return false;
  }

  __device__ Reach reach_of_row(int r) const {
    return reach_of(run_.kv_len + args_.depth[run_.first_row + r], args_.window, kTile);
  }

 private:
  static __device__ int min_of(int x, int y) { return x < y ? x : y; }
  static __device__ int max_of(int x, int y) { return x > y ? x : y; }

  __device__ int first_waiting() const {
    for (int base = 0; base < run_.num_rows; base += simt::kWarp) {
      const int r = base + simt::lane();
      const uint32_t hits = simt::ballot(r < run_.num_rows && turns_.waiting[r] != 0);
      if (hits != 0) return base + simt::lowest(hits);
    }
    return -1;
  }

  /** The waiting rows whose keys in the tile lie where the leader's do take part in the pass. */
  __device__ void call_rows_like(int leader, int stage) {
    const int from = next_ * kTile > run_.kv_len ? next_ * kTile - run_.kv_len : 0;
    const int to = (next_ + 1) * kTile - run_.kv_len;
    const int32_t* path = args_.ancestor_slot + (run_.first_row + leader) * args_.max_depth;
    for (int r = simt::warp(); r < run_.num_rows; r += simt::num_warps()) {
      const int32_t* other = args_.ancestor_slot + (run_.first_row + r) * args_.max_depth;
      bool alike = turns_.waiting[r] != 0;
      for (int base = from; alike && base < to; base += simt::kWarp) {
        const int i = base + simt::lane();
        alike = simt::all(i >= to || path[i] == other[i]);
      }
      simt::sync_warp();  // all lanes have read `waiting`
      if (simt::lane() == 0) {
        turns_.takes_part[stage][r] = alike;
        if (alike) turns_.waiting[r] = 0;
      }
    }
    simt::sync_block();
  }

  const TreeAttentionArgs& args_;
  const RowRun& run_;
  Turns& turns_;
  int next_, end_;
  bool open_ = false;  // `waiting` is that of tile next_
};

/**
 * Where chunk first + more of a key lies in a tile: the same chunk of eight keys is in eight different banks. first and
 * more lie in the same eight chunks; so where first is known to the compiler, few addresses are computed.
 */
template <int kHeadDim>
SIMT_DEVICE int tile_index(int key, int first, int more) {
  return key * kHeadDim + first / 8 * 64 + ((first % 8 + more) ^ (key & 7)) * 8;
}

/** Starts the copies of a tile's keys and values. */
template <class T, int kHeadDim, class Shape>
__device__ void load_tile(
    const TreeAttentionArgs& args, const RowRun& run, const Pass& pass, T* stage) {
  const Keys keys = keys_of(args, run.first_row + pass.leader, run.seq);
  const T* k_cache = static_cast<const T*>(args.k_cache);
  const T* v_cache = static_cast<const T*>(args.v_cache);
  SIMT_NO_UNROLL
  for (int i = simt::thread(); i < Shape::kTile * Shape::kChunks; i += simt::num_threads()) {
    const int key = i / Shape::kChunks, chunk = i % Shape::kChunks;
    const int64_t slot = keys.slot(pass.tile * Shape::kTile + key);
    const int64_t from = (slot * args.num_kv_heads + run.kv_head) * kHeadDim + chunk * 8;
    T* to = stage + tile_index<kHeadDim>(key, chunk, 0);
    simt::copy_async<16>(to, k_cache + from);
    simt::copy_async<16>(to + Shape::kTile * kHeadDim, v_cache + from);
  }
}

/** Queries of the pairs, rounded to the type of the cache, to shared memory. */
template <class T, int kHeadDim>
__device__ void load_queries(const TreeAttentionArgs& args, const RowRun& run, T* queries) {
  constexpr int kChunks = kHeadDim / 8;
  const int num_pairs = run.num_rows * run.num_heads;
  SIMT_NO_UNROLL
  for (int i = simt::thread(); i < (num_pairs + 15) / 16 * 16 * kChunks; i += simt::num_threads()) {
    const int pair = i / kChunks, chunk = i % kChunks;
    simt::Vec<T, 8> part = {};
    if (pair < num_pairs) {
      const int64_t row = run.first_row + pair / run.num_heads;
      const int head = run.first_head + pair % run.num_heads;
      const float* q = args.q + (row * args.num_q_heads + head) * kHeadDim + chunk * 8;
      SIMT_UNROLL
      for (int j = 0; j < 8; ++j) part[j] = simt::from_float<T>(q[j]);
    }
    *reinterpret_cast<simt::Vec<T, 8>*>(queries + tile_index<kHeadDim>(pair, chunk, 0)) = part;
  }
}

/** 16 pairs, as one of their warps has them; a lane has two of them, g and g + 8 with g = lane / 4. */
template <class T, int kHeadDim, int kKeyWarps>
class WarpPairs {
  using Shape = Layout<kHeadDim, kKeyWarps>;
  static constexpr int kKeyTiles = Shape::kWarpKeys / 8, kDimTiles = Shape::kWarpDims / 8;
  static constexpr int kHeadSteps = kHeadDim / 16, kKeySteps = Shape::kTile / 16;
  using Room = typename Shape::template Room<T>;

 public:
  __device__ WarpPairs(
      const TreeAttentionArgs& args, const RowRun& run, const Passes<Shape::kTile>& passes,
      const T* queries)
      : args_(args), run_(run), queries_(queries + simt::warp() / kKeyWarps * 16 * kHeadDim) {
    const int first_pair = simt::warp() / kKeyWarps * 16;
    active_ = first_pair < run.num_rows * run.num_heads;
    SIMT_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int pair = first_pair + simt::lane() / 4 + 8 * i;
      exists_[i] = pair < run.num_rows * run.num_heads;
      row_[i] = exists_[i] ? pair / run.num_heads : 0;
      head_[i] = run.first_head + pair % run.num_heads;
      const Reach reach = passes.reach_of_row(row_[i]);
      first_[i] = reach.first;
      last_[i] = exists_[i] ? reach.last : 0;
      max_[i] = -INFINITY;
      sum_[i] = 0.0f;
    }
    SIMT_UNROLL
    for (int t = 0; t < kDimTiles; ++t) value_[t] = {};
  }

  /** One pass over the tile of a stage. All warps of the pairs. */
  __device__ void attend(
      const T* stage, const Pass& pass, const uint8_t* called, Score score, Room& room) {
    if (!active_) return;
    const T* k_tile = stage;
    const T* v_tile = stage + Shape::kTile * kHeadDim;
    bool takes_part[2];
    SIMT_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int position = pass.tile * Shape::kTile;
      takes_part[i] =
          first_[i] <= position && position < last_[i] && (pass.committed || called[row_[i]] != 0);
    }

    simt::FragmentC s[kKeyTiles];
    scores(k_tile, score, s);
    float max[2];
    largest(s, room, max);
    float scale[2], base[2];
    SIMT_UNROLL
    for (int i = 0; i < 2; ++i) {
      const float new_max = larger(max[i], max_[i]);
      base[i] = base_of(new_max);
      scale[i] = simt::exp2(max_[i] - base[i]);
      if (takes_part[i]) max_[i] = new_max;
    }
    simt::FragmentA weight[kKeySteps];
    weights(s, base, room, weight);
    add_values(v_tile, weight, scale, takes_part);
  }

  /** Writes the part of a split. */
  __device__ void store(const Parts& parts, int split) const {
    SIMT_UNROLL
    for (int i = 0; i < 2; ++i) {
      const bool has_tiles = first_[i] < last_[i] && first_[i] < split_begin(split + 1) &&
                             split_begin(split) < last_[i];
      if (!exists_[i] || !has_tiles) continue;
      const int64_t index = parts.index(
          (run_.first_row + row_[i]) * args_.num_q_heads + head_[i], kFirstSplit + split);
      if (simt::lane() % 4 == 0 && key_warp() == 0) {
        parts.max_sum[index] = {max_[i], sum_[i]};
      }
      float* to = parts.value + index * kHeadDim + first_dim() + simt::lane() % 4 * 2;
      SIMT_UNROLL
      for (int t = 0; t < kDimTiles; ++t) {
        *reinterpret_cast<simt::Vec<float, 2>*>(to + 8 * t) = {
            value_[t].v[2 * i], value_[t].v[2 * i + 1]};
      }
    }
  }

 private:
  static __device__ int key_warp() { return simt::warp() % kKeyWarps; }
  static __device__ int first_dim() { return key_warp() * Shape::kWarpDims; }

  /** Waits for the warps of the pairs. */
  static __device__ void sync_pairs() {
    simt::sync_named(1 + simt::warp() / kKeyWarps, kKeyWarps * simt::kWarp);
  }

  /** Scores of the warp's keys: v[0], v[1] are pair g's of keys 8 tile + 2t and the next, v[2], v[3] pair g + 8's. */
  __device__ void scores(const T* k_tile, Score score, simt::FragmentC (&s)[kKeyTiles]) const {
    const int first_key = key_warp() * Shape::kWarpKeys, lane = simt::lane();
    SIMT_UNROLL
    for (int t = 0; t < kKeyTiles; ++t) s[t] = {};
    SIMT_UNROLL
    for (int step = 0; step < kHeadSteps; step += 2) {
      simt::FragmentA q[2];
      SIMT_UNROLL
      for (int i = 0; i < 2; ++i) {
        simt::load_matrix<4>(
            q[i].r, queries_ + tile_index<kHeadDim>(lane % 16, 2 * (step + i), lane / 16));
      }
      SIMT_UNROLL
      for (int t = 0; t < kKeyTiles; ++t) {
        uint32_t r[4];  // of 8 keys: the dimensions of two steps
        simt::load_matrix<4>(
            r, k_tile + tile_index<kHeadDim>(first_key + 8 * t + lane % 8, 2 * step, lane / 8));
        simt::mma_16x8x16<T>(s[t], q[0], {{r[0], r[1]}});
        simt::mma_16x8x16<T>(s[t], q[1], {{r[2], r[3]}});
      }
    }
    SIMT_UNROLL
    for (int t = 0; t < kKeyTiles; ++t) score.apply(s[t].v);
  }

  /** Each pair's largest score of the tile. */
  __device__ void largest(
      const simt::FragmentC (&s)[kKeyTiles], Room& room, float (&max)[2]) const {
    SIMT_UNROLL
    for (int i = 0; i < 2; ++i) {
      max[i] = -INFINITY;
      SIMT_UNROLL
      for (int t = 0; t < kKeyTiles; ++t) {
        max[i] = larger(s[t].v[2 * i + 1], larger(s[t].v[2 * i], max[i]));
      }
      max[i] = larger(simt::shuffle_xor(max[i], 1), max[i]);
      max[i] = larger(simt::shuffle_xor(max[i], 2), max[i]);
    }
    if constexpr (kKeyWarps > 1) {
      const int g = simt::lane() / 4;
      if (simt::lane() % 4 == 0) {
        room.max[key_warp()][g] = max[0];
        room.max[key_warp()][g + 8] = max[1];
      }
      sync_pairs();
      SIMT_UNROLL
      for (int w = 0; w < kKeyWarps; ++w) {
        max[0] = larger(room.max[w][g], max[0]);
        max[1] = larger(room.max[w][g + 8], max[1]);
      }
    }
  }

  /** Weights, rounded to the type of the cache, as the left side of a product: of all keys of the tile. */
  __device__ void weights(
      const simt::FragmentC (&s)[kKeyTiles], const float (&base)[2], Room& room,
      simt::FragmentA (&weight)[kKeySteps]) const {
    uint32_t pair[kKeyTiles][2];
    SIMT_UNROLL
    for (int t = 0; t < kKeyTiles; ++t) {
      SIMT_UNROLL
      for (int i = 0; i < 2; ++i) {
        pair[t][i] = simt::pack(
            simt::from_float<T>(simt::exp2(s[t].v[2 * i] - base[i])),
            simt::from_float<T>(simt::exp2(s[t].v[2 * i + 1] - base[i])));
      }
    }
    if constexpr (kKeyWarps > 1) {
      const int lane = simt::lane(), g = lane / 4;
      SIMT_UNROLL
      for (int t = 0; t < kKeyTiles; ++t) {
        const int key = key_warp() * Shape::kWarpKeys + 8 * t + lane % 4 * 2;
        *reinterpret_cast<uint32_t*>(&room.weight[g][key]) = pair[t][0];
        *reinterpret_cast<uint32_t*>(&room.weight[g + 8][key]) = pair[t][1];
      }
      sync_pairs();
      SIMT_UNROLL
      for (int step = 0; step < kKeySteps; ++step) {
        simt::load_matrix<4>(weight[step].r, &room.weight[lane % 16][step * 16 + lane / 16 * 8]);
      }
    } else {
      SIMT_UNROLL
      for (int step = 0; step < kKeySteps; ++step) {
        weight[step] = {
            {pair[2 * step][0], pair[2 * step][1], pair[2 * step + 1][0], pair[2 * step + 1][1]}};
      }
    }
  }

  /** sum = sum * scale + the weights, value = value * scale + weight * value; the sum is that of a value 1. */
  __device__ void add_values(
      const T* v_tile, const simt::FragmentA (&weight)[kKeySteps], const float (&scale)[2],
      const bool (&takes_part)[2]) {
    const uint32_t ones = simt::pack(simt::from_float<T>(1.0f), simt::from_float<T>(1.0f));
    simt::FragmentC total = {};
    SIMT_UNROLL
    for (int step = 0; step < kKeySteps; ++step) {
      simt::mma_16x8x16<T>(total, weight[step], {{ones, ones}});
    }
    SIMT_UNROLL
    for (int i = 0; i < 2; ++i) {
      if (takes_part[i]) sum_[i] = simt::fma(sum_[i], scale[i], total.v[2 * i]);
    }

    const int lane = simt::lane();
    SIMT_UNROLL
    for (int t = 0; t < kDimTiles; t += 2) {
      simt::FragmentC product[2] = {};
      SIMT_UNROLL
      for (int step = 0; step < kKeySteps; ++step) {
        uint32_t r[4];  // of 16 keys: two tiles of dimensions
        simt::load_matrix<4, true>(
            r,
            v_tile + tile_index<kHeadDim>(step * 16 + lane % 16, first_dim() / 8 + t, lane / 16));
        simt::mma_16x8x16<T>(product[0], weight[step], {{r[0], r[1]}});
        simt::mma_16x8x16<T>(product[1], weight[step], {{r[2], r[3]}});
      }
      SIMT_UNROLL
      for (int of = 0; of < 2; ++of) {
        SIMT_UNROLL
        for (int i = 0; i < 4; ++i) {
          if (takes_part[i / 2]) {
            value_[t + of].v[i] = simt::fma(value_[t + of].v[i], scale[i / 2], product[of].v[i]);
          }
        }
      }
    }
  }

  const TreeAttentionArgs& args_;
  const RowRun& run_;
  const T* queries_;  // of the pairs, as load_queries laid them out
  bool active_;       // the warp has pairs
  bool exists_[2];
  int row_[2], head_[2];    // row of the run; query head
  int first_[2], last_[2];  // positions that tiles do for the pair
  float max_[2], sum_[2];
  simt::FragmentC value_[kDimTiles];
};

/** The tiles of a split for a run. All threads of the block; stages is dynamic shared memory. */
template <class T, int kHeadDim, int kKeyWarps>
__device__ void attend_tiles(
    const TreeAttentionArgs& args, Score score, const RowRun& run, int split, const Parts& parts,
    T* stages) {
  using Shape = Layout<kHeadDim, kKeyWarps>;
  using Room = typename Shape::template Room<T>;
  SIMT_SHARED(Turns, turns);
  SIMT_SHARED(Room[Shape::kGroups], rooms);
  Passes<Shape::kTile> passes(args, run, split, turns);
  Pass pass;
  if (!passes.next(&pass, 0)) return;
  load_tile<T, kHeadDim, Shape>(args, run, pass, stages);
  simt::commit_async();
  T* queries = stages + kStages * Shape::kStageLen;
  WarpPairs<T, kHeadDim, kKeyWarps> pairs(args, run, passes, queries);
  load_queries<T, kHeadDim>(args, run, queries);
  bool more = true;
  for (int stage = 0; more; stage ^= 1) {
    Pass next_pass;
    more = passes.next(&next_pass, stage ^ 1);
    if (more) {
      load_tile<T, kHeadDim, Shape>(args, run, next_pass, stages + (stage ^ 1) * Shape::kStageLen);
    }
    simt::commit_async();
    simt::wait_async<1>();
    simt::sync_block();  // the tile is there, and the queries, for all threads
    pairs.attend(
        stages + stage * Shape::kStageLen, pass, turns.takes_part[stage], score,
        rooms[simt::warp() / kKeyWarps]);
    simt::sync_block();  // all are done with the stage
    pass = next_pass;
  }
  pairs.store(parts, split);
}

}  // namespace espalier::attention

#endif
