// Votes, shuffles and reductions of a warp. They exchange registers and order no memory: that is sync_warp's.
#ifndef ESPALIER_SIMT_WARP_H
#define ESPALIER_SIMT_WARP_H

#include <bit>
#include <cstring>

#include "simt/index.h"

namespace simt {

/** Index of the lowest set bit of a mask that is not 0. */
SIMT_DEVICE int lowest(uint32_t mask) {
#ifdef __CUDACC__
  return __ffs(static_cast<int>(mask)) - 1;
#else
  return std::countr_zero(mask);
#endif
}

/** Number of set bits. */
SIMT_DEVICE int count(uint32_t mask) {
#ifdef __CUDACC__
  return __popc(mask);
#else
  return std::popcount(mask);
#endif
}

#ifdef __CUDACC__

/** The lanes whose vote is true. */
SIMT_DEVICE uint32_t ballot(bool vote, uint32_t mask = kAllLanes) {
  return __ballot_sync(mask, vote);
}

/** The value of lane `from`; T has 4 or 8 bytes. */
template <class T>
SIMT_DEVICE T shuffle(T value, int from, uint32_t mask = kAllLanes) {
  return __shfl_sync(mask, value, from);
}

/** The lanes that hold the same value; T has 4 or 8 bytes. */
template <class T>
SIMT_DEVICE uint32_t match(T value, uint32_t mask = kAllLanes) {
  return __match_any_sync(mask, value);
}

/** Integer reductions of the lanes of the mask. */
SIMT_DEVICE int32_t warp_add(int32_t x, uint32_t mask = kAllLanes) {
  return __reduce_add_sync(mask, x);
}
SIMT_DEVICE int32_t warp_min(int32_t x, uint32_t mask = kAllLanes) {
  return __reduce_min_sync(mask, x);
}
SIMT_DEVICE int32_t warp_max(int32_t x, uint32_t mask = kAllLanes) {
  return __reduce_max_sync(mask, x);
}
SIMT_DEVICE uint32_t warp_add(uint32_t x, uint32_t mask = kAllLanes) {
  return __reduce_add_sync(mask, x);
}
SIMT_DEVICE uint32_t warp_min(uint32_t x, uint32_t mask = kAllLanes) {
  return __reduce_min_sync(mask, x);
}
SIMT_DEVICE uint32_t warp_max(uint32_t x, uint32_t mask = kAllLanes) {
  return __reduce_max_sync(mask, x);
}
SIMT_DEVICE uint32_t warp_or(uint32_t x, uint32_t mask = kAllLanes) {
  return __reduce_or_sync(mask, x);
}

#else

SIMT_DEVICE uint32_t ballot(bool vote, uint32_t mask = kAllLanes) {
  return emulated::ballot(mask, vote);
}

template <class T>
SIMT_DEVICE uint64_t register_of(T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <class T>
SIMT_DEVICE T shuffle(T value, int from, uint32_t mask = kAllLanes) {
  const uint64_t bits = emulated::shuffle(mask, register_of(value), from);
  T result;
  std::memcpy(&result, &bits, sizeof(T));
  return result;
}

template <class T>
SIMT_DEVICE uint32_t match(T value, uint32_t mask = kAllLanes) {
  return emulated::match(mask, register_of(value));
}

SIMT_DEVICE int32_t warp_add(int32_t x, uint32_t mask = kAllLanes) {
  return emulated::reduce_signed(mask, x, emulated::Reduce::kAdd);
}
SIMT_DEVICE int32_t warp_min(int32_t x, uint32_t mask = kAllLanes) {
  return emulated::reduce_signed(mask, x, emulated::Reduce::kMin);
}
SIMT_DEVICE int32_t warp_max(int32_t x, uint32_t mask = kAllLanes) {
  return emulated::reduce_signed(mask, x, emulated::Reduce::kMax);
}
SIMT_DEVICE uint32_t warp_add(uint32_t x, uint32_t mask = kAllLanes) {
  return emulated::reduce_unsigned(mask, x, emulated::Reduce::kAdd);
}
SIMT_DEVICE uint32_t warp_min(uint32_t x, uint32_t mask = kAllLanes) {
  return emulated::reduce_unsigned(mask, x, emulated::Reduce::kMin);
}
SIMT_DEVICE uint32_t warp_max(uint32_t x, uint32_t mask = kAllLanes) {
  return emulated::reduce_unsigned(mask, x, emulated::Reduce::kMax);
}
SIMT_DEVICE uint32_t warp_or(uint32_t x, uint32_t mask = kAllLanes) {
  return emulated::reduce_unsigned(mask, x, emulated::Reduce::kOr);
}

#endif

/** True in all lanes when one lane's vote is, and when each lane's is. */
SIMT_DEVICE bool any(bool vote, uint32_t mask = kAllLanes) { return ballot(vote, mask) != 0; }
SIMT_DEVICE bool all(bool vote, uint32_t mask = kAllLanes) { return ballot(vote, mask) == mask; }

/** The value of the lane whose index differs in the bits of `bits`. */
template <class T>
SIMT_DEVICE T shuffle_xor(T value, int bits, uint32_t mask = kAllLanes) {
  return shuffle(value, lane() ^ bits, mask);
}

/** The value of the lane `distance` below; a lane that has none keeps its own. */
template <class T>
SIMT_DEVICE T shuffle_up(T value, int distance, uint32_t mask = kAllLanes) {
  return shuffle(value, lane() >= distance ? lane() - distance : lane(), mask);
}

/** Sum over the whole warp, the same bits in all lanes: pairs of lanes 16, 8, 4, 2 and 1 apart. */
SIMT_DEVICE float warp_sum(float x) {
  for (int bits = kWarp / 2; bits > 0; bits /= 2) x += shuffle_xor(x, bits);
  return x;
}

/** Largest of the whole warp; NaN counts as less than everything. */
SIMT_DEVICE float warp_max(float x) {
  for (int bits = kWarp / 2; bits > 0; bits /= 2) {
    const float other = shuffle_xor(x, bits);
    x = other > x || x != x ? other : x;
  }
  return x;
}

}  // namespace simt

#endif
