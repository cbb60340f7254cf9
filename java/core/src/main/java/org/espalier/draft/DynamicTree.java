package org.espalier.draft;

import org.espalier.Context;

/**
 * A tree that grows where the draft is most likely to be accepted, by the draft's own
 * probabilities: {@link RankedTree} when the children of a node are its most favoured tokens,
 * {@link DrawnTree} when they are drawn by chance for the sampling verifier. The two estimate
 * acceptance by different rules and are not mixed.
 *
 * <p>Source: DySpec: Faster Speculative Decoding with Dynamic Token Tree Structure. What we changed
 * is said in the two classes.
 *
 * <p>Use it with a draft that knows when it is unsure, and where a pass of the target over some
 * dozens of rows costs little more than over one. A step costs at most {@code depth} passes of the
 * source, and fewer where nothing likely is left to expand.
 */
final class DynamicTree implements TreePolicy {
  static final String NAME = "dynamic-tree";

  /** Of the draft's laws when the target is greedy: see docs/adr/0014. */
  private static final double TEMPERATURE = 0.6;

  private final int nodes;
  private final TreePolicy ranked;
  private final TreePolicy drawn;

  /**
   * A policy.
   *
   * @param nodes most draft nodes of a tree, N, 1 to 1024
   * @param depth most levels, 1 to 32
   * @param threshold a node of less value gets no children, below 1; 0 stands for 1 / N
   */
  DynamicTree(int nodes, int depth, double threshold) {
    this.nodes = Checks.inRange("nodes", nodes, 1, 1024);
    Checks.inRange("depth", depth, 1, 32);
    if (!(threshold >= 0 && threshold < 1)) {
      throw new IllegalArgumentException(
          "threshold = " + threshold + ", expected at least 0 and below 1");
    }
    this.ranked = new RankedTree(nodes, depth, threshold, TEMPERATURE);
    this.drawn = new DrawnTree(nodes, depth, threshold);
  }

  @Override
  public void grow(Context context, DraftSource source, GradedTree tree) {
    boolean chance = context.laws().isPresent() && !context.sampling().isGreedy();
    (chance ? drawn : ranked).grow(context, source, tree);
  }

  @Override
  public int nodes() {
    return nodes;
  }

  @Override
  public int mostNodes() {
    return ranked.mostNodes();
  }

  @Override
  public int lawRows() {
    return drawn.lawRows();
  }
}
