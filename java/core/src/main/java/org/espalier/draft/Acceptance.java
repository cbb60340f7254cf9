package org.espalier.draft;

import org.espalier.Verdict;

/**
 * How often the nodes of a drafter's trees are accepted, by their index in the tree, learned from
 * what became of trees. Older ones weigh less.
 */
final class Acceptance {
  /** Draft tokens that are taken as rejected. */
  private static final double REJECTED = 0.5;

  private final double keep;

  // By node, from 1: trees that were allowed to have it, that had it, in which it was accepted.
  private final double[] weight;
  private final double[] there;
  private final double[] accepted;

  /**
   * Nothing is known yet.
   *
   * @param nodes of the largest tree
   * @param keep what an older tree is worth beside the one after it
   */
  Acceptance(int nodes, double keep) {
    this.keep = keep;
    this.weight = new double[nodes + 1];
    this.there = new double[nodes + 1];
    this.accepted = new double[nodes + 1];
  }

  /** Nodes of the largest tree. */
  int largest() {
    return weight.length - 1;
  }

  /** Trees that were allowed to have a node. */
  double weight(int node) {
    return weight[node];
  }

  /** Share of the trees that have a node, of those that may. */
  double there(int node) {
    return weight[node] == 0 ? 1 : there[node] / weight[node];
  }

  /** Share of the trees in which a node is accepted, of those that may have it. */
  double accepted(int node) {
    return accepted[node] / (weight[node] + REJECTED);
  }

  /** The same if one more tree had been seen, and its node accepted. */
  double hoped(int node) {
    return (accepted[node] + 1) / (weight[node] + 1);
  }

  /** Learns from a tree of some nodes, which was allowed to have more. */
  void observe(int allowed, int nodes, Verdict verdict) {
    int end = Math.min(allowed, weight.length);
    for (int i = 1; i < end; i++) {
      scale(i, keep);
      weight[i]++;
    }
    for (int i = 1; i < Math.min(nodes, end); i++) {
      there[i]++;
    }
    for (int i = 0; i < verdict.acceptLen() && verdict.node(i) < end; i++) {
      accepted[verdict.node(i)]++;
    }
  }

  /** Of what was seen of nodes from one on, a share counts from now on. */
  void forget(int from, double share) {
    for (int i = from; i < weight.length; i++) {
      scale(i, share);
    }
  }

  /** Begins with what another one knows, as if it were so many trees at most. */
  void begin(Acceptance other, double most) {
    for (int i = 1; i < weight.length; i++) {
      weight[i] = other.weight[i];
      there[i] = other.there[i];
      accepted[i] = other.accepted[i];
      scale(i, Math.min(1, most / Math.max(1, weight[i])));
    }
  }

  private void scale(int node, double share) {
    weight[node] *= share;
    there[node] *= share;
    accepted[node] *= share;
  }
}
