// sample: the k most favoured next tokens of each row.
//
// Math    native/cpu/sample.cpp; the arithmetic of both is native/ops/law.h
// Shapes  logits [rows of logits, vocab], row, position, sampling [rows], history_begin [rows + 1],
//         token, log_prob [rows, k], prob [rows, vocab], bad [rows]; k <= 64
// Needs   workspace of sample_workspace_bytes, aligned to 16 bytes
// Launch  three, nine with filters; grid (rows, vocab / 4096), block 256. rate: largest logits. select,
//         three for top_k and three for top_p: 11, 10 and 10 bits of the last kept z; a histogram of
//         the row, whose last block finds the bits. draw: best of z + noise. finish: merges, writes
//         the law
// Rows    maxima, counts, masses in whole units and sorted lists have no order: neither chunks nor
//         other rows matter, and the result is that of the CPU, bit for bit
// Bytes   4 * vocab for each launch that the row's options need, the first time from memory: 513 KB for
//         1 x 128256; the history of a penalized row for each block
// Error   none beside that of law.h, equal to native/cpu/sample.cpp
#include "launchers.h"
#include "ops/law.h"
#include "ops/philox.h"
#include "sampling/best_k.h"
#include "simt/simt.h"

namespace espalier {
namespace {

using best_k::Key;

constexpr int kWarps = 8, kThreads = kWarps * simt::kWarp;
constexpr int kChunk = 4096;  // tokens of a block
static_assert((kMostVocab - 1) / kChunk + 1 <= simt::kMostBlocks);
static_assert(kMostNodes <= INT32_MAX - kThreads);
constexpr int kGroup = 4;  // tokens that a thread has at once: those of a Philox block
constexpr int kNever = 0x7fffffff;

// Levels of the search for the last kept z: bits of -z, which is 0 to 87, from the top.
constexpr int kLevels = 3, kDigitBits = 10;
constexpr int kBins = 1088;  // of the first level: -z has at most 31 bits, and 87 is 0x42ae0000
constexpr int kThreadBins = (kBins + kThreads - 1) / kThreads;
static_assert(0x42ae0000 >> 2 * kDigitBits < kBins && 1 << kDigitBits <= kBins);

enum class Goal { kTopK, kTopP };

/** What blocks of a row tell each other. */
struct RowState {
  uint32_t last_z;     // the law ends with this z ...
  int32_t last_idx;    // ... and this token among those that have it
  int64_t remaining;   // tokens or units that the search still looks for
  uint32_t prefix;     // bits found so far
  int32_t ended;       // the search found that nothing is to be left out
  int32_t keeps_ties;  // all tokens that have the last z
};

struct Workspace {
  Key* best;             // [rows, chunks, k]
  int64_t* mass;         // [rows, chunks]
  RowState* state;       // [rows]
  uint32_t* arrived;     // [rows] blocks that are through
  float* raw_max;        // [rows, chunks]; +inf where a logit is no number
  float* max;            // [rows, chunks] after penalties
  float* z;              // [rows, chunks, k] of best
  uint32_t *low, *high;  // [rows, kBins] the histogram, halves of its numbers
};

/** The bits by which z are ordered, the largest z first. */
SIMT_DEVICE uint32_t bits_of_z(float z) { return bits_of(0.0f - z); }
SIMT_DEVICE float z_of_bits(uint32_t bits) { return -float_of(bits); }

/** A row, as every launch after the first one finds it. */
struct Row {
  int64_t r;
  espalier_sampling s;
  const float* logits;
  float max;  // after penalties
  bool bad, vector;
};

__device__ Row open_row(const SampleArgs& args) {
  Row row;
  row.r = simt::block();
  row.s = args.sampling[row.r];
  row.logits = args.logits + (args.row == nullptr ? row.r : args.row[row.r]) * args.vocab;
  row.vector = args.vocab % kGroup == 0 && reinterpret_cast<uintptr_t>(row.logits) % 16 == 0;
  return row;
}

/** Reads what the first launch found. */
__device__ void rate_row(const Workspace& w, Row* row) {
  const int chunks = simt::num_blocks_y();
  float raw = -HUGE_VALF, max = -HUGE_VALF;
  for (int c = simt::lane(); c < chunks; c += simt::kWarp) {
    raw = w.raw_max[row->r * chunks + c] > raw ? w.raw_max[row->r * chunks + c] : raw;
    max = w.max[row->r * chunks + c] > max ? w.max[row->r * chunks + c] : max;
  }
  raw = simt::warp_max(raw);
  row->max = simt::warp_max(max) + 0.0f;
  row->bad = !(raw < HUGE_VALF && raw > -HUGE_VALF);
}

/** Tokens begin .. end - 1 of a row. */
struct Chunk {
  int32_t begin, end;
  const int32_t* count;  // [kChunk] occurrences in the context; null where they change nothing
};

/** All threads; counts the tokens of the row's context. */
__device__ Chunk open_chunk(const SampleArgs& args, const Row& row, int chunk) {
  SIMT_SHARED(int32_t[kChunk], count);
  const int32_t begin = chunk * kChunk;
  const int32_t end = begin + kChunk < args.vocab ? begin + kChunk : args.vocab;
  const int32_t from = args.history_begin[row.r], to = args.history_begin[row.r + 1];
  if (!has_penalties(row.s) || from >= to) return {begin, end, nullptr};
  simt::sync_block();  // a chunk before this one is done
  for (int i = simt::thread(); i < kChunk; i += kThreads) count[i] = 0;
  simt::sync_block();
  for (int32_t i = from + simt::thread(); i < to; i += kThreads) {
    const int32_t token = args.history[i];
    if (token >= begin && token < end) simt::atomic_add(&count[token - begin], 1);
  }
  simt::sync_block();
  return {begin, end, count};
}

/** Four tokens from `first` on: raw logits, -inf behind the chunk. */
__device__ void load_group(
    const Row& row, const Chunk& chunk, int32_t first, float (&raw)[kGroup]) {
  if (row.vector && first < chunk.end) {
    const auto group = *reinterpret_cast<const simt::Vec<float, kGroup>*>(row.logits + first);
    for (int j = 0; j < kGroup; ++j) raw[j] = group[j];
  } else {
    for (int j = 0; j < kGroup; ++j) {
      raw[j] = first + j < chunk.end ? row.logits[first + j] : -HUGE_VALF;
    }
  }
}

/** The logit after penalties. */
__device__ float logit_of(const Row& row, const Chunk& chunk, int32_t token, float raw) {
  if (chunk.count == nullptr || token >= chunk.end) return raw;
  const int32_t count = chunk.count[token - chunk.begin];
  return count > 0 ? penalized(raw, count, row.s) : raw;
}

/** Calls body(first, z) for the thread's groups of a chunk; -inf behind the chunk. */
template <class Body>
__device__ void for_each_group(const Row& row, const Chunk& chunk, Body&& body) {
  for (int at = 0; at < kChunk; at += kThreads * kGroup) {
    const int32_t first = chunk.begin + at + simt::thread() * kGroup;
    float l[kGroup];
    load_group(row, chunk, first, l);
    for (int j = 0; j < kGroup; ++j) l[j] = logit_of(row, chunk, first + j, l[j]);
    body(first, l);
  }
}

/** Whether z of a token is up to the last one of the law, as far as it is known. */
SIMT_DEVICE bool within(const RowState& state, float z, int32_t token) {
  if (!(z >= kLeastZ)) return false;
  const uint32_t bits = bits_of_z(z);
  return bits < state.last_z || (bits == state.last_z && token <= state.last_idx);
}

// ----------------------------------------------------------------------------------------------- rate

__device__ float block_max(float x) {
  SIMT_SHARED(float[kWarps], of_warp);
  simt::sync_block();
  x = simt::warp_max(x);
  if (simt::lane() == 0) of_warp[simt::warp()] = x;
  simt::sync_block();
  x = of_warp[0];
  for (int w = 1; w < kWarps; ++w) x = of_warp[w] > x ? of_warp[w] : x;
  return x;
}

/** Largest logits of the chunks; clears what the searches add to. */
__global__ void __launch_bounds__(kThreads) sample_rate_kernel(SampleArgs args, Workspace w) {
  simt::wait_for_previous();
  const Row row = open_row(args);
  const int chunks = simt::num_blocks_y();
  if (simt::block_y() == 0) {
    if (simt::thread() == 0) {
      w.state[row.r] = {0xffffffffu, kNever, 0, 0, 0, 0};
      w.arrived[row.r] = 0;
    }
    if (args.filtered) {
      for (int i = simt::thread(); i < kBins; i += kThreads) {
        w.low[row.r * kBins + i] = 0;
        w.high[row.r * kBins + i] = 0;
      }
    }
  }
  const Chunk chunk = open_chunk(args, row, simt::block_y());
  float raw_max = -HUGE_VALF, max = -HUGE_VALF;
  for (int at = 0; at < kChunk; at += kThreads * kGroup) {
    const int32_t first = chunk.begin + at + simt::thread() * kGroup;
    float raw[kGroup];
    load_group(row, chunk, first, raw);
    for (int j = 0; j < kGroup; ++j) {
      const float l = logit_of(row, chunk, first + j, raw[j]);
      raw_max = raw[j] <= raw_max ? raw_max : raw[j] < HUGE_VALF ? raw[j] : HUGE_VALF;
      max = l > max ? l : max;
    }
  }
  raw_max = block_max(raw_max);
  max = block_max(max);
  if (simt::thread() == 0) {
    w.raw_max[row.r * chunks + simt::block_y()] = raw_max;
    w.max[row.r * chunks + simt::block_y()] = max;
  }
}

// --------------------------------------------------------------------------------------------- select

/** Sum of the values of the threads before this one, and of all. */
__device__ int64_t sum_before(int64_t x, int64_t* all) {
  SIMT_SHARED(int64_t[kWarps], of_warp);
  int64_t sum = x;
  for (int distance = 1; distance < simt::kWarp; distance *= 2) {
    const int64_t below = simt::shuffle_up(sum, distance);
    if (simt::lane() >= distance) sum += below;
  }
  simt::sync_block();
  if (simt::lane() == simt::kWarp - 1) of_warp[simt::warp()] = sum;
  simt::sync_block();
  int64_t before = 0;
  *all = 0;
  for (int v = 0; v < kWarps; ++v) {
    if (v < simt::warp()) before += of_warp[v];
    *all += of_warp[v];
  }
  return before + sum - x;
}

/** Adds to a number of two halves, which others may be adding to. */
SIMT_DEVICE void add(uint32_t* low, uint32_t* high, uint64_t amount) {
  const auto part = static_cast<uint32_t>(amount);
  const uint32_t old = simt::atomic_add(low, part);
  const uint32_t rest = static_cast<uint32_t>(amount >> 32) + (old + part < old ? 1u : 0u);
  if (rest != 0) simt::atomic_add(high, rest);
}

/** The id of token number `wanted`, from 1, among those of the law so far whose z has these bits. All threads. */
__device__ int32_t tie_at(
    const SampleArgs& args, const Row& row, const RowState& state, uint32_t bits, int64_t wanted) {
  SIMT_SHARED(int32_t, found);
  for (int c = 0; c < simt::num_blocks_y(); ++c) {
    const Chunk chunk = open_chunk(args, row, c);
    for (int at = 0; at < kChunk; at += kThreads * kGroup) {
      const int32_t first = chunk.begin + at + simt::thread() * kGroup;
      float l[kGroup];
      load_group(row, chunk, first, l);
      int tied = 0;
      bool is_tied[kGroup];
      for (int j = 0; j < kGroup; ++j) {
        const float z = z_of(logit_of(row, chunk, first + j, l[j]), row.max, row.s);
        is_tied[j] = within(state, z, first + j) && bits_of_z(z) == bits;
        tied += is_tied[j] ? 1 : 0;
      }
      int64_t all;
      int64_t before = sum_before(tied, &all);
      if (wanted <= all) {
        for (int j = 0; j < kGroup; ++j) {
          if (is_tied[j] && ++before == wanted) found = first + j;
        }
        simt::sync_block();
        return found;
      }
      wanted -= all;
    }
  }
  return kNever;
}

/** The last block of a row: which bin the search ends in, and on the last level which token. */
__device__ void find_bin(
    const SampleArgs& args, const Workspace& w, const Row& row, Goal goal, int level, float unit) {
  SIMT_SHARED(RowState, next);
  RowState state = w.state[row.r];
  uint32_t* low = w.low + row.r * kBins;
  uint32_t* high = w.high + row.r * kBins;
  int64_t bin[kThreadBins];
  int64_t mine = 0, all;
  for (int i = 0; i < kThreadBins; ++i) {
    const int b = simt::thread() * kThreadBins + i;
    bin[i] = 0;
    if (b >= kBins) continue;
    bin[i] = static_cast<int64_t>(uint64_t{high[b]} << 32 | low[b]);
    mine += bin[i];
    low[b] = high[b] = 0;  // for the next search
  }
  int64_t before = sum_before(mine, &all);
  int64_t wanted = state.remaining;
  if (level == 0) wanted = goal == Goal::kTopK ? row.s.top_k : wanted_units(all, row.s.top_p);
  if (level == 0 && wanted < 1) wanted = 1;  // one token at least
  if (simt::thread() == 0) w.arrived[row.r] = 0;
  if (wanted > all) {  // fewer tokens than top_k: nothing to leave out
    state.ended = 1;
    if (simt::thread() == 0) w.state[row.r] = state;
    return;
  }
  for (int i = 0; i < kThreadBins; ++i) {
    if (before < wanted && wanted <= before + bin[i]) {  // in one thread
      const auto digit = static_cast<uint32_t>(simt::thread() * kThreadBins + i);
      next = state;
      next.ended = 0;
      next.prefix = level == 0 ? digit : state.prefix << kDigitBits | digit;
      next.remaining = wanted - before;
      if (level == kLevels - 1) {  // from units to tokens
        const int64_t each =
            goal == Goal::kTopK ? 1 : units_of(weight_of(z_of_bits(next.prefix)), unit);
        next.remaining = (next.remaining + each - 1) / each;
        next.keeps_ties = next.remaining >= bin[i] / each ? 1 : 0;
      }
    }
    before += bin[i];
  }
  simt::sync_block();
  RowState found = next;
  if (level == kLevels - 1) {
    const int32_t last =
        found.keeps_ties != 0 ? kNever : tie_at(args, row, state, found.prefix, found.remaining);
    // All tokens of the last z, or the first ones; never more than an earlier search left.
    found.last_idx = found.keeps_ties != 0 && found.prefix == state.last_z ? state.last_idx : last;
    found.last_z = found.prefix;
  }
  if (simt::thread() == 0) w.state[row.r] = found;
}

__global__ void __launch_bounds__(kThreads, 2)  // so many that no register is spilled
    sample_select_kernel(SampleArgs args, Workspace w, Goal goal, int level, float unit) {
  SIMT_SHARED(uint32_t[kBins], low);
  SIMT_SHARED(uint32_t[kBins], high);
  SIMT_SHARED(int32_t, is_last);
  simt::wait_for_previous();
  Row row = open_row(args);
  rate_row(w, &row);
  const bool wanted = goal == Goal::kTopK ? row.s.top_k > 0 : row.s.top_p < 1;
  const RowState state = w.state[row.r];
  if (row.bad || is_greedy(row.s) || !wanted || (level > 0 && state.ended != 0)) return;
  for (int i = simt::thread(); i < kBins; i += kThreads) low[i] = high[i] = 0;
  const Chunk chunk = open_chunk(args, row, simt::block_y());
  simt::sync_block();
  const int shift = (kLevels - 1 - level) * kDigitBits;
  for_each_group(row, chunk, [&](int32_t first, const float* l) {
    for (int j = 0; j < kGroup; ++j) {
      const float z = z_of(l[j], row.max, row.s);
      if (!within(state, z, first + j)) continue;
      const uint32_t bits = bits_of_z(z) >> shift;
      if (level > 0 && bits >> kDigitBits != state.prefix) continue;
      const uint32_t bin = level == 0 ? bits : bits & ((1u << kDigitBits) - 1);
      const int64_t amount = goal == Goal::kTopK ? 1 : units_of(weight_of(z), unit);
      add(&low[bin], &high[bin], static_cast<uint64_t>(amount));
    }
  });
  simt::sync_block();
  for (int i = simt::thread(); i < kBins; i += kThreads) {
    if ((low[i] | high[i]) == 0) continue;
    add(&w.low[row.r * kBins + i], &w.high[row.r * kBins + i], uint64_t{high[i]} << 32 | low[i]);
  }
  simt::fence();
  simt::sync_block();
  if (simt::thread() == 0) {
    const uint32_t before = simt::atomic_add(&w.arrived[row.r], 1u);
    is_last = before + 1 == static_cast<uint32_t>(simt::num_blocks_y()) ? 1 : 0;
    simt::fence();
  }
  simt::sync_block();
  if (is_last != 0) find_bin(args, w, row, goal, level, unit);
}

// ----------------------------------------------------------------------------------------------- draw

template <int kSlots>
__global__ void __launch_bounds__(kThreads)
    sample_draw_kernel(SampleArgs args, Workspace w, float unit) {
  simt::wait_for_previous();
  Row row = open_row(args);
  rate_row(w, &row);
  if (row.bad) return;
  const RowState state = w.state[row.r];
  const Chunk chunk = open_chunk(args, row, simt::block_y());
  const bool greedy = is_greedy(row.s);
  const bool needs_mass = args.prob != nullptr || args.log_prob != nullptr;
  const auto purpose = args.noise == ESPALIER_DRAFT_NOISE ? Purpose::kDraft : Purpose::kTarget;
  const int32_t position = args.position[row.r];
  best_k::List<kSlots> list;
  Key bar = 0;
  int64_t mass = 0;
  for_each_group(row, chunk, [&](int32_t first, const float* l) {
    Key key[kGroup];
    PhiloxBlock noise = {};
    if (!greedy) noise = noise_block(row.s.seed, row.s.stream, position, first, purpose);
    for (int j = 0; j < kGroup; ++j) {
      const float z = z_of(l[j], row.max, row.s);
      const float weight = weight_of(z);
      if (greedy) {
        key[j] = l[j] > -HUGE_VALF ? best_k::key_of(l[j], first + j) : 0;
        if (needs_mass) mass += units_of(weight, unit);
        continue;
      }
      const bool kept = within(state, z, first + j) && !(weight < row.s.min_p);
      key[j] = kept ? best_k::key_of(z + gumbel(noise[j]), first + j) : 0;
      if (kept && needs_mass) mass += units_of(weight, unit);
    }
    for (int j = 0; j < kGroup; ++j) list.offer(key[j], args.k, &bar);
  });
  best_k::merge_warps<kSlots, kWarps>(&list, args.k);
  int64_t all;
  sum_before(mass, &all);
  const int64_t part = row.r * simt::num_blocks_y() + simt::block_y();
  if (simt::thread() == 0) w.mass[part] = all;
  if (simt::warp() != 0) return;
  list.store(w.best + part * args.k, args.k);
  SIMT_UNROLL
  for (int s = 0; s < kSlots; ++s) {
    const int i = s * simt::kWarp + simt::lane();
    if (i >= args.k) continue;
    float z = 0;
    if (list.slot[s] != 0) {
      const int32_t token = best_k::idx_of(list.slot[s]);
      z = z_of(logit_of(row, chunk, token, row.logits[token]), row.max, row.s);
    }
    w.z[part * args.k + i] = z;
  }
}

// --------------------------------------------------------------------------------------------- finish

/** z of a token of the merged list: the draw wrote it beside the token in the list of its chunk. */
__device__ float z_of_best(const SampleArgs& args, const Workspace& w, const Row& row, Key key) {
  const int chunk = best_k::idx_of(key) / kChunk;
  const int64_t part = row.r * int64_t{(args.vocab - 1) / kChunk + 1} + chunk;
  int i = 0;
  while (w.best[part * args.k + i] != key) ++i;
  return w.z[part * args.k + i];
}

template <int kSlots>
__device__ void write_tokens(
    const SampleArgs& args, const Workspace& w, const Row& row, int chunks, float log_mass) {
  best_k::List<kSlots> list;
  if (!row.bad) {
    best_k::merge_lists<kSlots, kWarps>(w.best + row.r * chunks * args.k, chunks, args.k, &list);
  }
  if (simt::thread() == 0) args.bad[row.r] = row.bad ? 1 : 0;
  if (simt::warp() != 0) return;
  SIMT_UNROLL
  for (int s = 0; s < kSlots; ++s) {
    const int i = s * simt::kWarp + simt::lane();
    if (i >= args.k) continue;
    const Key key = list.slot[s];
    args.token[row.r * args.k + i] = key == 0 ? -1 : best_k::idx_of(key);
    if (args.log_prob == nullptr) continue;
    args.log_prob[row.r * args.k + i] =
        key == 0 ? -HUGE_VALF : z_of_best(args, w, row, key) - log_mass;
  }
}

/** The first token of the row; all threads. */
__device__ int32_t first_token(const Workspace& w, const Row& row, int chunks, int k) {
  Key best = 0;
  for (int c = 0; c < chunks; ++c) best = best_k::larger(best, w.best[(row.r * chunks + c) * k]);
  return best == 0 ? -1 : best_k::idx_of(best);
}

template <int kSlots>
__global__ void __launch_bounds__(kThreads)
    sample_finish_kernel(SampleArgs args, Workspace w, float unit) {
  simt::wait_for_previous();
  Row row = open_row(args);
  const int chunks = (args.vocab - 1) / kChunk + 1;
  float raw = -HUGE_VALF, max = -HUGE_VALF;
  for (int c = simt::lane(); c < chunks; c += simt::kWarp) {
    const int64_t part = row.r * chunks + c;
    raw = w.raw_max[part] > raw ? w.raw_max[part] : raw;
    max = w.max[part] > max ? w.max[part] : max;
  }
  raw = simt::warp_max(raw);
  row.max = simt::warp_max(max) + 0.0f;
  row.bad = !(raw < HUGE_VALF && raw > -HUGE_VALF);
  int64_t units = 0;
  if (!row.bad) {
    for (int c = 0; c < chunks; ++c) units += w.mass[row.r * chunks + c];
  }
  const float mass = mass_of(units, unit);
  if (simt::block_y() == 0) {
    write_tokens<kSlots>(args, w, row, chunks, units > 0 ? log_fp32(mass) : 0.0f);
  }
  if (args.prob == nullptr) return;
  const RowState state = w.state[row.r];
  const Chunk chunk = open_chunk(args, row, simt::block_y());
  float* prob = args.prob + row.r * args.vocab;
  const bool greedy = is_greedy(row.s);
  const int32_t first_best = greedy && !row.bad ? first_token(w, row, chunks, args.k) : -1;
  for_each_group(row, chunk, [&](int32_t first, const float* l) {
    for (int j = 0; j < kGroup; ++j) {
      if (first + j >= chunk.end) break;
      float p = 0;
      if (greedy || row.bad) {
        p = first + j == first_best ? 1.0f : 0.0f;
      } else {
        const float z = z_of(l[j], row.max, row.s);
        const float weight = weight_of(z);
        if (within(state, z, first + j) && !(weight < row.s.min_p)) p = simt::divide(weight, mass);
      }
      prob[first + j] = p;
    }
  });
}

// ----------------------------------------------------------------------------------------------- launch

/** Places of the workspace, the widest elements first; null for their size alone. */
size_t lay_out(const SampleArgs& args, void* memory, Workspace* w) {
  const auto rows = static_cast<size_t>(args.rows), k = static_cast<size_t>(args.k);
  const size_t parts = rows * static_cast<size_t>((args.vocab - 1) / kChunk + 1);
  size_t bytes = 0;
  const auto take = [&](auto** part, size_t num) {
    *part = reinterpret_cast<std::remove_reference_t<decltype(**part)>*>(
        reinterpret_cast<uintptr_t>(memory) + bytes);
    bytes += num * sizeof(**part);
  };
  take(&w->best, parts * k);
  take(&w->mass, parts);
  take(&w->state, rows);
  take(&w->arrived, rows);
  take(&w->raw_max, parts);
  take(&w->max, parts);
  take(&w->z, parts * k);
  take(&w->low, rows * kBins);
  take(&w->high, rows * kBins);
  return bytes;
}

template <int kSlots>
void launch_sample(const SampleArgs& args, void* workspace, simt::Stream stream) {
  Workspace w;
  lay_out(args, workspace, &w);
  const int rows = static_cast<int>(args.rows), chunks = (args.vocab - 1) / kChunk + 1;
  const float unit = mass_unit(args.vocab);
  simt::Launch shape{
      .grid = {rows, chunks}, .threads = kThreads, .stream = stream, .overlap = true};
  SIMT_LAUNCH(sample_rate_kernel, shape, args, w);
  if (args.filtered) {
    for (const Goal goal : {Goal::kTopK, Goal::kTopP}) {
      for (int level = 0; level < kLevels; ++level) {
        SIMT_LAUNCH(sample_select_kernel, shape, args, w, goal, level, unit);
      }
    }
  }
  SIMT_LAUNCH(sample_draw_kernel<kSlots>, shape, args, w, unit);
  if (args.prob == nullptr) shape.grid.y = 1;  // nothing but the tokens is written
  SIMT_LAUNCH(sample_finish_kernel<kSlots>, shape, args, w, unit);
}

}  // namespace

size_t sample_workspace_bytes(const SampleArgs& args) {
  Workspace w;
  return lay_out(args, nullptr, &w);
}

void cuda_sample(const SampleArgs& args, void* workspace, simt::Stream stream) {
  return args.k <= simt::kWarp ? launch_sample<1>(args, workspace, stream)
                               : launch_sample<2>(args, workspace, stream);
}

}  // namespace espalier
