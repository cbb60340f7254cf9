// The k best of many (value, index) pairs, k <= 64: larger values first, ties to the lower index, NaN last. A pair is
// one number, so that order and merges are those of numbers, whoever merges them first.
#ifndef ESPALIER_CUDA_SAMPLING_BEST_K_H
#define ESPALIER_CUDA_SAMPLING_BEST_K_H

#include "ops/elementary.h"
#include "simt/simt.h"

namespace espalier::best_k {

constexpr int kMostBest = 64;

/** A pair, the larger the better; 0 is no pair. */
using Key = uint64_t;

/** The order of floats as that of numbers: NaN is 0, -0 is 0. */
SIMT_DEVICE uint32_t order_of(float x) {
  if (x != x) return 0;
  const uint32_t bits = bits_of(x + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

SIMT_DEVICE Key key_of(float value, int32_t idx) {
  return uint64_t{order_of(value)} << 32 | static_cast<uint32_t>(~idx);
}

SIMT_DEVICE int32_t idx_of(Key key) { return ~static_cast<int32_t>(static_cast<uint32_t>(key)); }

SIMT_DEVICE Key larger(Key a, Key b) { return a > b ? a : b; }

/** One of a pair of lanes keeps the larger, the other the smaller. */
SIMT_DEVICE Key exchange(Key x, int distance, bool keep_larger) {
  const Key other = simt::shuffle_xor(x, distance);
  return (x > other) == keep_larger ? x : other;
}

/** A warp's 32 keys in descending order of lanes: bitonic sort. */
SIMT_DEVICE Key sorted(Key x) {
  for (int len = 2; len <= simt::kWarp; len *= 2) {
    for (int distance = len / 2; distance > 0; distance /= 2) {
      const bool descending = (simt::lane() & len) == 0;
      x = exchange(x, distance, ((simt::lane() & distance) == 0) == descending);
    }
  }
  return x;
}

/** The 32 * kSlots best of what a warp was offered, in descending order: number i is slot i / 32 of lane i % 32. */
template <int kSlots>
struct List {
  static constexpr int kLen = simt::kWarp * kSlots;
  Key slot[kSlots] = {};

  /** All lanes offer a key each, 0 for none. `bar` is the key that must be beaten, and rises. */
  SIMT_DEVICE void offer(Key x, int k, Key* bar) {
    if (!simt::any(x > *bar)) return;
    const Key ascending = simt::shuffle(sorted(x), simt::kWarp - 1 - simt::lane());
    slot[kSlots - 1] = larger(slot[kSlots - 1], ascending);
    sort_bitonic();
    *bar = last(k);
  }

  /** Merges a descending list of k keys in memory. */
  SIMT_DEVICE void merge(const Key* list, int k) {
    SIMT_UNROLL
    for (int s = 0; s < kSlots; ++s) {
      const int i = kLen - 1 - (s * simt::kWarp + simt::lane());
      if (i < k) slot[s] = larger(slot[s], list[i]);
    }
    sort_bitonic();
  }

  SIMT_DEVICE void store(Key* list, int k) const {
    SIMT_UNROLL
    for (int s = 0; s < kSlots; ++s) {
      const int i = s * simt::kWarp + simt::lane();
      if (i < k) list[i] = slot[s];
    }
  }

  /** Number k - 1 of the list. */
  SIMT_DEVICE Key last(int k) const {
    Key key = simt::shuffle(slot[0], (k - 1) % simt::kWarp);
    if (kSlots == 2 && k > simt::kWarp) {
      key = simt::shuffle(slot[kSlots - 1], (k - 1) % simt::kWarp);
    }
    return key;
  }

  /** The larger halves of two sorted lists, one of them reversed, rise and fall: what is left of a bitonic sort. */
  SIMT_DEVICE void sort_bitonic() {
    if constexpr (kSlots == 2) {
      const Key high = larger(slot[0], slot[1]);
      slot[1] = slot[0] > slot[1] ? slot[1] : slot[0];
      slot[0] = high;
    }
    SIMT_UNROLL
    for (int s = 0; s < kSlots; ++s) {
      for (int distance = simt::kWarp / 2; distance > 0; distance /= 2) {
        slot[s] = exchange(slot[s], distance, (simt::lane() & distance) == 0);
      }
    }
  }
};

/** Merges the lists of the block's warps, a power of two, into that of warp 0. */
template <int kSlots, int kWarps>
__device__ void merge_warps(List<kSlots>* list, int k) {
  static_assert((kWarps & (kWarps - 1)) == 0);
  SIMT_SHARED(Key[kWarps][kSlots * simt::kWarp], of_warp);
  for (int half = kWarps / 2; half > 0; half /= 2) {
    if (simt::warp() >= half && simt::warp() < 2 * half) list->store(of_warp[simt::warp()], k);
    simt::sync_block();
    if (simt::warp() < half) list->merge(of_warp[simt::warp() + half], k);
  }
}

/** Merges `num` lists of k keys in memory into the list of warp 0. */
template <int kSlots, int kWarps>
__device__ void merge_lists(const Key* lists, int num, int k, List<kSlots>* list) {
  for (int i = simt::warp(); i < num; i += kWarps) list->merge(lists + int64_t{i} * k, k);
  merge_warps<kSlots, kWarps>(list, k);
}

}  // namespace espalier::best_k

#endif
