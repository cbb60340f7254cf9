// verify_sampling: speculative sampling over draft trees.
//
// Math    at a node, P is the target's law p and Q the draft's law q; for the children x in order:
//           point mass           accept when u < P(x); else P(x) = 0
//           with replacement     accept when u < P(x) / Q(x); else P = relu(P - Q)
//           without replacement  accept when u < P(x) / Q(x); else P = relu(P - Q), then Q(x) = 0
//         with P and Q renormalised after each change; an accepted child is the next node; when
//         none is accepted, or there is none, the bonus token is drawn from P. A P without mass
//         left starts again as p (then p was q). Where p or q is no law, or Q(x) is 0, the walk
//         ends with the bonus token -1
// Shapes  tree_begin [batch + 1], token, parent, scheme, q_row, path [num_nodes], p [num_nodes,
//         vocab], q [rows, vocab], position, accept_len, bonus [batch], seed [batch, 2]
// Rows    the numbers u are keyed by seed, stream, position of the node and rank of the child among
//         its siblings
// Error   masses are summed in fp64, in the order of ops/lanes.h; laws are taken as they are, up to
//         their own mass
// Source  Leviathan et al., arXiv 2211.17192; SpecInfer, arXiv 2305.09781; Sequoia, arXiv
//         2402.12374
#include <algorithm>
#include <array>
#include <vector>

#include "cpu/cpu_backend.h"
#include "ops/lanes.h"
#include "ops/law.h"
#include "ops/philox.h"

namespace espalier {
namespace {

/** A law that is worked on, up to a factor: the probability of x is weight[x] / mass. */
struct Law {
  std::vector<double> weight, lane;
  std::array<double, kLaneGroups> group{};
  double mass = 0;

  /** Takes a law as it is; false where it is none. */
  bool assign(const float* p, int32_t vocab) {
    weight.resize(static_cast<size_t>(vocab));
    std::transform(p, p + vocab, weight.begin(), law_term);
    add_up();
    return is_law(mass);
  }
  void add_up() {
    lane.assign(kLanes, 0);
    const auto vocab = static_cast<int32_t>(weight.size());
    for (int32_t first = 0; first < vocab; first += kLanes) {
      const int32_t num = std::min(kLanes, vocab - first);
      for (int32_t t = 0; t < num; ++t) lane[t] += weight[first + t];
    }
    for (int g = 0; g < kLaneGroups; ++g) {
      std::array<double, kLaneGroup> sum;
      std::copy_n(&lane[g * kLaneGroup], kLaneGroup, sum.begin());
      for (int apart = kLaneGroup / 2; apart > 0; apart /= 2) {
        for (int t = 0; t < apart; ++t) sum[t] += sum[t + apart];
      }
      group[g] = sum[0];
    }
    mass = sum_of_groups(group.data());
  }
  void remove(int32_t x) {
    weight[x] = 0;
    add_up();
  }
  double probability(int32_t x) const { return mass > 0 ? weight[x] / mass : 0; }

  /** The token at u of the cumulative law; -1 where there is none. */
  int32_t at(double u) const {
    return token_at(
        u * mass, group.data(), lane.data(), static_cast<int32_t>(weight.size()),
        [this](int32_t x) { return weight[x]; });
  }
};

class Walk {
 public:
  Walk(const VerifySamplingArgs& args, int32_t b)
      : args_(args),
        b_(b),
        first_(args.tree_begin[b]),
        tree_len_(args.tree_begin[b + 1] - first_) {}

  void run() {
    int32_t node = 0;
    do {
      node = step(node);
    } while (node >= 0);
  }

  std::vector<int32_t> path;
  int32_t bonus = -1;

 private:
  /** The accepted child of a node, or -1 at the end, where the bonus token is drawn. */
  int32_t step(int32_t node) {
    const int64_t row = first_ + node;
    const float* law = args_.p + row * args_.vocab;
    if (!p_.assign(law, args_.vocab)) return -1;
    bool drafted = false;  // whether q_ is set
    int32_t rank = 0;
    for (int32_t i = node + 1; i < tree_len_; ++i) {
      if (args_.parent[first_ + i] != node) continue;
      if (!drafted && args_.scheme[row] != ESPALIER_POINT_MASS) {
        if (!q_.assign(args_.q + int64_t{args_.q_row[row]} * args_.vocab, args_.vocab)) return -1;
        drafted = true;
      }
      if (drafted && !(q_.probability(args_.token[first_ + i]) > 0)) return -1;
      if (accepts(row, i, rank++)) {
        path.push_back(i);
        return i;
      }
      if (!(p_.mass > 0)) p_.assign(law, args_.vocab);
    }
    bonus = p_.at(number(0, Purpose::kResidual));
    return -1;
  }

  /** Tests child i; when it is rejected, p_ and q_ become the laws for what follows. */
  bool accepts(int64_t row, int32_t i, int32_t rank) {
    const int32_t x = args_.token[first_ + i];
    const double u = number(rank, Purpose::kAccept);
    if (args_.scheme[row] == ESPALIER_POINT_MASS) {
      if (u < p_.probability(x)) return true;
      p_.remove(x);
      return false;
    }
    if (u < p_.probability(x) / q_.probability(x)) return true;
    for (int32_t t = 0; t < args_.vocab; ++t) {
      const double rest = p_.probability(t) - q_.probability(t);
      residual_[t] = rest > 0 ? rest : 0;
    }
    p_.weight.swap(residual_);
    p_.add_up();
    if (args_.scheme[row] == ESPALIER_WITHOUT_REPLACEMENT) q_.remove(x);
    return false;
  }

  double number(int32_t idx, Purpose purpose) const {
    const int32_t position = args_.position[b_] + static_cast<int32_t>(path.size());
    return uniform(args_.seed[2 * b_], args_.seed[2 * b_ + 1], position, idx, purpose);
  }

  const VerifySamplingArgs& args_;
  const int32_t b_, first_, tree_len_;
  Law p_, q_;
  std::vector<double> residual_ = std::vector<double>(args_.vocab);
};

}  // namespace

void CpuBackend::verify_sampling(const VerifySamplingArgs& args) {
  pool_.parallel_for(args.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      Walk walk(args, static_cast<int32_t>(b));
      walk.run();
      std::copy(walk.path.begin(), walk.path.end(), args.path + args.tree_begin[b]);
      args.accept_len[b] = static_cast<int32_t>(walk.path.size());
      args.bonus[b] = walk.bonus;
    }
  });
}

}  // namespace espalier
