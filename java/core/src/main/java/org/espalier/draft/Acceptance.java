package org.espalier.draft;

import java.util.stream.IntStream;
import org.espalier.Verdict;

/**
 * What trees of each size yield, learned from what became of trees. Older ones weigh less.
 *
 * <p>The first m nodes of a tree are the tree of m. So a step whose tree was accepted some tokens
 * deep tells how many steps the same tokens would have taken with smaller trees: acceptance comes
 * in runs, so where a smaller tree ends within the accepted path, the next one is taken to be
 * accepted nearly as far again. To count its accepted nodes alone would be to judge it by a text in
 * which the passages that are easy to foresee are short, as they are for the larger tree.
 *
 * <p>Where nothing was seen yet there is a guess, so that drafting begins at once where nodes cost
 * next to nothing.
 */
final class Acceptance {
  /** Steps that a guess counts for, where nothing is known. */
  private static final double GUESSED = 3;

  /** The guess for trees of two nodes: tokens that a step yields more. */
  private static final double GUESS = 0.2;

  /** Doublings of a single node, by size. */
  private static final double[] DOUBLINGS =
      IntStream.range(0, TimeCurve.numSizes())
          .mapToDouble(i -> Math.log(TimeCurve.size(i)) / Math.log(2))
          .toArray();

  /** Trees that are taken to have had each of their nodes. */
  private static final double FULL = 2;

  /**
   * How far acceptance comes in runs: with 0 a step after an accepted one is like any other, with 1
   * it is accepted as far again. On the held-out prompts trees of 8 tell with 0.5 of those of 2, 3
   * and 4 at most 3.3 % too much or too little, for each of four drafters; with 1 up to 7 % too
   * much, with 0 up to 14 % too little.
   */
  private static final double RUNS = 0.5;

  private final double keep;

  // By node, from 1: trees that were allowed to have it, that had it, in which it was accepted.
  private final double[] weight;
  private final double[] there;
  private final double[] accepted;

  // By size: steps that the next smaller size would have taken, and this one.
  private final double[] before = new double[TimeCurve.numSizes()];

  private final double[] after = new double[TimeCurve.numSizes()];

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
    return (there[node] + FULL) / (weight[node] + FULL);
  }

  /** Whether a node is hardly ever there in trees that may have it. */
  boolean isMissing(int node) {
    return there[node] < 0.01 * weight[node];
  }

  /**
   * Tokens that a step with trees of the i-th size yields, over one with the next smaller size. As
   * far as it is a guess, each doubling of a tree is worth as many tokens, where it has the nodes.
   *
   * @param tokens that a step with the next smaller size yields
   * @param share of the steps whose tree has the further nodes
   */
  double gain(int i, double tokens, double share) {
    double more = i == 1 ? GUESS : (tokens - 1) * (DOUBLINGS[i] / DOUBLINGS[i - 1] - 1);
    return (before[i] + GUESSED * (tokens + share * more) / tokens) / (after[i] + GUESSED);
  }

  /** Share of the trees in which a node is accepted, if one more had been seen that has it. */
  double hoped(int node) {
    return (accepted[node] + 1) / (weight[node] + 1);
  }

  /**
   * Learns from a tree.
   *
   * @param known nodes that a tree may have of which nothing is learned; at least 1, as the root is
   *     no draft
   * @param allowed nodes that the tree was allowed to have
   * @param nodes that it had
   */
  void observe(int known, int allowed, int nodes, Verdict verdict) {
    observeSteps(known, allowed, verdict);
    int end = Math.min(allowed, weight.length);
    for (int i = known; i < end; i++) {
      scale(i, keep);
      weight[i]++;
    }
    for (int i = known; i < Math.min(nodes, end); i++) {
      there[i]++;
    }
    for (int i = 0; i < verdict.acceptLen() && verdict.node(i) < end; i++) {
      if (verdict.node(i) >= known) {
        accepted[verdict.node(i)]++;
      }
    }
  }

  private void observeSteps(int known, int allowed, Verdict verdict) {
    int acceptLen = verdict.acceptLen();
    double steps = acceptLen + 1; // with plain decoding
    double tokens = 1; // of a step, as far as that is known
    double share = 1;
    int depth = 0;
    for (int i = 1; i < after.length && TimeCurve.size(i) <= allowed; i++) {
      while (depth < acceptLen && verdict.node(depth) < TimeCurve.size(i)) {
        depth++;
      }
      share = Math.min(share, there(Math.min(TimeCurve.size(i), weight.length) - 1));
      tokens *= gain(i, tokens, share);
      double fewer = steps;
      double inRun = tokens + RUNS * Math.max(0, depth + 1 - tokens);
      steps = 1 + (acceptLen - depth) / inRun;
      if (TimeCurve.size(i) > known) {
        before[i] = keep * before[i] + fewer;
        after[i] = keep * after[i] + steps;
      }
    }
  }

  /** Of what was seen of nodes from one on, a share counts from now on. */
  void forget(int from, double share) {
    for (int i = from; i < weight.length; i++) {
      scale(i, share);
    }
    for (int i = 1; i < before.length; i++) {
      if (TimeCurve.size(i) > from) {
        before[i] *= share;
        after[i] *= share;
      }
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
    for (int i = 1; i < before.length; i++) {
      int node = Math.min(TimeCurve.size(i), weight.length) - 1;
      double share = Math.min(1, most / Math.max(1, other.weight[node]));
      before[i] = share * other.before[i];
      after[i] = share * other.after[i];
    }
  }

  private void scale(int node, double share) {
    weight[node] *= share;
    there[node] *= share;
    accepted[node] *= share;
  }
}
