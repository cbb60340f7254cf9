package org.espalier.draft;

import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Noise;
import org.jspecify.annotations.Nullable;

/**
 * A chain of the most favoured tokens, with side leaves: the next favoured tokens beside each of
 * them, the more the less sure the source is.
 *
 * <p>Source: SWIFT, arXiv 2410.06916, confidence-aware drafting. What we changed: the confidence is
 * the probability of the source's most likely token also when tokens are drawn by chance, so that
 * how many are drawn does not depend on the draws; when nodes are short the later levels get fewer.
 *
 * <p>A step costs one pass of the source for each level.
 */
final class CombTree implements TreePolicy {
  private static final int MOST_CHILDREN = 10;

  private final int depth;
  private final double stop;
  private final int[] node = new int[1];
  private final int[] drawn = new int[MOST_CHILDREN];
  private final float[] logProb = new float[MOST_CHILDREN];

  // Side leaves wait until the chain is whole, so that the source scores the chain alone.
  private final int[] leafParent;
  private final int[] leafToken;
  private final float[] leafGrade;

  /**
   * A policy.
   *
   * @param depth most levels, 1 to 64
   * @param stop confidence below which a level is the last, 0 to 1
   */
  CombTree(int depth, double stop) {
    this.depth = Checks.inRange("depth", depth, 1, 64);
    this.stop = Checks.inRange("stop", stop, 0, 1);
    int leaves = depth * (MOST_CHILDREN - 1);
    this.leafParent = new int[leaves];
    this.leafToken = new int[leaves];
    this.leafGrade = new float[leaves];
  }

  /** Children of a node at which the source has this confidence. */
  static int width(boolean greedy, double confidence) {
    if (confidence > 0.95) {
      return greedy ? 3 : 1;
    }
    if (confidence > 0.8) {
      return greedy ? 5 : 3;
    }
    if (confidence > 0.5) {
      return greedy ? 8 : 5;
    }
    return MOST_CHILDREN;
  }

  @Override
  public void grow(Context context, DraftSource source, GradedTree tree) {
    boolean greedy = context.sampling().isGreedy();
    @Nullable DraftLaws laws = greedy ? null : context.laws().orElse(null);
    Noise noise = laws == null ? Noise.TARGET : Noise.DRAFT;
    int levels = Math.min(depth, Math.min(context.maxDepth(), source.room(context)));
    int left = context.maxNodes();
    int leaves = 0;
    double confidence = 1;
    for (int d = 0; d < levels && left > 0 && confidence >= stop; d++) {
      if (d == 0) {
        source.begin(context);
      } else {
        source.extend(tree.all(), d);
      }
      node[0] = d;
      source.draw(node, 1, 1, Noise.NONE, drawn, logProb, null, 0);
      confidence = Math.exp((double) logProb[0]);
      int k = Math.min(width(greedy, confidence), Math.min(source.mostDraws(), left));
      source.draw(node, 1, k, noise, drawn, logProb, laws, d);
      if (laws != null) {
        tree.all().childrenDrawn(d, DraftTree.Scheme.WITHOUT_REPLACEMENT, laws.row(d));
      }
      float up = d == 0 ? 0 : tree.grade(d);
      tree.append(d, drawn[0], up + RankedTree.step(greedy, 0, logProb[0]));
      left--;
      for (int r = 1; r < k && drawn[r] >= 0; r++) {
        leafParent[leaves] = d;
        leafToken[leaves] = drawn[r];
        leafGrade[leaves++] = up + RankedTree.step(greedy, r, logProb[r]);
        left--;
      }
    }
    for (int i = 0; i < leaves; i++) {
      tree.append(leafParent[i], leafToken[i], leafGrade[i]);
    }
  }

  @Override
  public int nodes() {
    return depth * MOST_CHILDREN;
  }

  @Override
  public int mostNodes() {
    return 1 + depth;
  }

  @Override
  public int lawRows() {
    return depth;
  }
}
