// Sums of weights in an order that every backend keeps: lane t adds weights t, t + 1024, ... one after the other, 32
// lanes are added in pairs 16, 8, 4, 2 and 1 apart, and these groups one after the other.
#ifndef ESPALIER_OPS_LANES_H
#define ESPALIER_OPS_LANES_H

#include "ops/elementary.h"

namespace espalier {

constexpr int kLanes = 1024, kLaneGroup = 32, kLaneGroups = kLanes / kLaneGroup;

/** The sum of the groups. */
ESPALIER_SHARED double sum_of_groups(const double* group) {
  double sum = 0;
  for (int g = 0; g < kLaneGroups; ++g) sum += group[g];
  return sum;
}

/** The first of `num` weights at which their sum is above *rest, else the last one above 0; *rest loses those before it. */
template <class Weight>
ESPALIER_SHARED int place_in(int num, double* rest, Weight&& weight) {
  int last = -1;
  double before = 0, before_last = 0;
  for (int i = 0; i < num; ++i) {
    const double w = weight(i);
    if (!(w > 0)) continue;
    last = i;
    before_last = before;
    before += w;
    if (*rest < before) break;
  }
  *rest -= before_last;
  return last;
}

/** The token at `target` of the cumulative weights in the order of the sums; -1 where no weight is above 0. */
template <class Weight>
ESPALIER_SHARED int32_t
token_at(double target, const double* group, const double* lane, int32_t vocab, Weight&& weight) {
  const int g = place_in(kLaneGroups, &target, [&](int i) { return group[i]; });
  if (g < 0) return -1;
  const int l = place_in(kLaneGroup, &target, [&](int i) { return lane[g * kLaneGroup + i]; });
  const int32_t first = g * kLaneGroup + (l < 0 ? 0 : l);
  const int num = first < vocab ? (vocab - first + kLanes - 1) / kLanes : 0;
  const int i = place_in(num, &target, [&](int j) { return weight(first + j * kLanes); });
  return i < 0 ? -1 : first + i * kLanes;
}

}  // namespace espalier

#endif
