// verify_sampling: speculative sampling over draft trees.
//
// Math    native/cpu/verify_sampling.cpp
// Shapes  tree_begin [batch + 1], token, parent, scheme, q_row, path [num_nodes], p [num_nodes,
//         vocab], q [rows, vocab], position, accept_len, bonus [batch], seed [batch, 2]
// Needs   workspace of verify_sampling_workspace_bytes, aligned to 8 bytes; parent[i] < i
// Launch  grid batch, block 1024: one block for a tree; the laws at work lie in the workspace. More than 64 trees take
//         several launches
// Rows    sums have the order of ops/lanes.h; numbers are keyed by seed, stream, position and rank
// Bytes   for each node of the walk 12 * vocab, and 40 * vocab for each child of it that is rejected after
//         a draw from q; all of it behind the first read is in L2
// Error   none beside fp64 rounding, equal to the CPU backend
// Source  Leviathan et al., arXiv 2211.17192; SpecInfer, arXiv 2305.09781; Sequoia, arXiv
//         2402.12374
#include <algorithm>

#include "launchers.h"
#include "ops/lanes.h"
#include "ops/law.h"
#include "ops/philox.h"
#include "simt/simt.h"

namespace espalier {
namespace {

constexpr int32_t kMostTrees = 64;  // at once: bounds the workspace

static_assert(
    kMostNodes <= INT32_MAX / 2 + 1 &&
    kMostNodes <= INT32_MAX - kMostTrees);  // trees and their seeds
static_assert(kMostVocab <= INT32_MAX - kLanes);

/** Sums of a law's weights, the same in all threads. */
struct Sums {
  double lane[kLanes];
  double group[kLaneGroups];
};

/** A law that is worked on, up to a factor: the probability of x is weight[x] / mass. */
struct Law {
  double* weight;  // [vocab]
  double mass;
};

/** Sum of what each thread has added up; all threads. */
__device__ double add_up(double sum, Sums* sums) {
  simt::sync_block();  // the sums before are read
  sums->lane[simt::thread()] = sum;
  for (int apart = kLaneGroup / 2; apart > 0; apart /= 2) sum += simt::shuffle_xor(sum, apart);
  if (simt::lane() == 0) sums->group[simt::warp()] = sum;
  simt::sync_block();
  return sum_of_groups(sums->group);
}

/** Takes a law as it is; false where it is none. A thread reads and writes its own weights only, here and below. */
__device__ bool assign(const float* p, int32_t vocab, Law* law, Sums* sums) {
  double sum = 0;
  for (int32_t x = simt::thread(); x < vocab; x += kLanes) {
    law->weight[x] = law_term(p[x]);
    sum += law->weight[x];
  }
  law->mass = add_up(sum, sums);
  return is_law(law->mass);
}

__device__ void remove(int32_t token, int32_t vocab, Law* law, Sums* sums) {
  double sum = 0;
  for (int32_t x = simt::thread(); x < vocab; x += kLanes) {
    if (x == token) law->weight[x] = 0;
    sum += law->weight[x];
  }
  law->mass = add_up(sum, sums);
}

/** p = relu(p - q), both as laws. */
__device__ void subtract(const Law& q, int32_t vocab, Law* p, Sums* sums) {
  double sum = 0;
  for (int32_t x = simt::thread(); x < vocab; x += kLanes) {
    const double of_p = p->mass > 0 ? p->weight[x] / p->mass : 0;
    const double of_q = q.mass > 0 ? q.weight[x] / q.mass : 0;
    const double rest = of_p - of_q;
    p->weight[x] = rest > 0 ? rest : 0;
    sum += p->weight[x];
  }
  p->mass = add_up(sum, sums);
}

SIMT_DEVICE double probability(const Law& law, int32_t x) {
  return law.mass > 0 ? law.weight[x] / law.mass : 0;
}

__global__ void __launch_bounds__(kLanes)
    verify_sampling_kernel(VerifySamplingArgs args, double* workspace) {
  SIMT_SHARED(Sums, p_sums);
  SIMT_SHARED(Sums, q_sums);
  simt::wait_for_previous();
  const int b = simt::block();
  const int32_t first = args.tree_begin[b], tree_len = args.tree_begin[b + 1] - first;
  Law p{workspace + int64_t{2} * b * args.vocab, 0};
  Law q{p.weight + args.vocab, 0};
  int32_t node = 0, len = 0;
  const auto number = [&](int32_t idx, Purpose purpose) {
    return uniform(args.seed[2 * b], args.seed[2 * b + 1], args.position[b] + len, idx, purpose);
  };
  bool broken = false;
  for (bool accepted = true; accepted && !broken;) {
    accepted = false;
    const int64_t row = first + node;
    const float* law = args.p + row * args.vocab;
    broken = !assign(law, args.vocab, &p, &p_sums);
    const int32_t scheme = args.scheme[row];
    bool drafted = false;  // whether q is set
    int32_t rank = 0;
    for (int32_t i = node + 1; i < tree_len && !broken; ++i) {  // the same steps in all threads
      if (args.parent[first + i] != node) continue;
      const int32_t x = args.token[first + i];
      const double u = number(rank++, Purpose::kAccept);
      if (scheme != ESPALIER_POINT_MASS && !drafted) {
        broken = !assign(args.q + int64_t{args.q_row[row]} * args.vocab, args.vocab, &q, &q_sums);
        drafted = true;
      }
      const double of_q = scheme == ESPALIER_POINT_MASS ? 1.0 : probability(q, x);
      broken = broken || !(of_q > 0);
      if (broken) break;
      const double of_p = probability(p, x);
      if (u < of_p / of_q) {
        if (simt::thread() == 0) args.path[first + len] = i;
        ++len;
        node = i;
        accepted = true;
        break;
      }
      simt::sync_block();  // all have read the weights of x
      if (scheme == ESPALIER_POINT_MASS) {
        remove(x, args.vocab, &p, &p_sums);
      } else {
        subtract(q, args.vocab, &p, &p_sums);
        if (scheme == ESPALIER_WITHOUT_REPLACEMENT) remove(x, args.vocab, &q, &q_sums);
      }
      if (!(p.mass > 0)) assign(law, args.vocab, &p, &p_sums);
    }
    simt::sync_block();  // weights are read before the next node's are written
  }
  if (simt::thread() != 0) return;
  args.accept_len[b] = len;
  args.bonus[b] = broken ? -1
                         : token_at(
                               number(0, Purpose::kResidual) * p.mass, p_sums.group, p_sums.lane,
                               args.vocab, [&](int32_t x) { return p.weight[x]; });
}

}  // namespace

size_t verify_sampling_workspace_bytes(const VerifySamplingArgs& args) {
  const int32_t trees = std::min(args.batch, kMostTrees);
  return sizeof(double) * 2 * static_cast<size_t>(trees) * static_cast<size_t>(args.vocab);
}

void cuda_verify_sampling(const VerifySamplingArgs& args, void* workspace, simt::Stream stream) {
  for (int32_t first = 0; first < args.batch; first += kMostTrees) {
    VerifySamplingArgs part = args;
    part.batch = std::min(kMostTrees, args.batch - first);
    part.tree_begin += first;
    part.position += first;
    part.seed += 2 * first;
    part.accept_len += first;
    part.bonus += first;
    const simt::Launch shape{
        .grid = {part.batch}, .threads = kLanes, .stream = stream, .overlap = true};
    SIMT_LAUNCH(verify_sampling_kernel, shape, part, static_cast<double*>(workspace));
  }
}

}  // namespace espalier
