package org.espalier.draft;

import org.espalier.Context;
import org.espalier.Noise;

/**
 * The N nodes of the highest value, where a node's value is the probability of its path.
 *
 * <p>Source: DySpec, the deterministic variant: of all trees with N nodes this one has the largest
 * sum of values. What we changed: the source scores a whole level in one pass. The nodes of a level
 * that are among the N best so far are expanded, so the outcome is that of taking the best node
 * each time, with as many passes as the tree has levels. And when the target draws its tokens, what
 * counts is less how likely a token is than how early it was drawn, see {@link #byRank}.
 *
 * <p>A greedy target takes the draft's first token more often than the draft's law says, which is
 * one of text. So the laws have a temperature: p^(1/T), normalised.
 */
final class RankedTree implements TreePolicy {
  /** Tokens of a law that its normalisation looks at, whatever the size of the tree. */
  private static final int LOOKED_AT = 8;

  private final int nodes;
  private final int depth;
  private final double threshold;
  private final double temperature;

  // The N best so far, best first: their values (logarithms), and where they hang. A node that was
  // not scored is not in the tree yet, -1.
  private final float[] value;
  private final int[] parent;
  private final int[] token;
  private final int[] node;
  private int size;
  private int most;

  private final int[] expanded;
  private int[] y = new int[0];
  private float[] logProb = new float[0];

  RankedTree(int nodes, int depth, double threshold, double temperature) {
    this.nodes = nodes;
    this.depth = depth;
    this.threshold = threshold;
    this.temperature = temperature;
    this.value = new float[nodes];
    this.parent = new int[nodes];
    this.token = new int[nodes];
    this.node = new int[nodes];
    this.expanded = new int[nodes];
  }

  @Override
  public void grow(Context context, DraftSource source, GradedTree tree) {
    boolean greedy = context.sampling().isGreedy();
    most = Math.min(nodes, context.maxNodes());
    size = 0;
    int levels = Math.min(depth, Math.min(context.maxDepth(), source.room(context)));
    int mostScored = Math.min(mostNodes(), source.mostNodes(context));
    float least = (float) Math.log(threshold == 0 ? 1.0 / Math.max(1, most) : threshold);
    expanded[0] = 0;
    int numExpanded = 1;
    for (int level = 0; level < levels && numExpanded > 0 && most > 0; level++) {
      if (level == 0) {
        source.begin(context);
      } else {
        source.extend(tree.all(), expanded[0]);
      }
      int k = Math.min(source.mostDraws(), Math.max(most, LOOKED_AT));
      if (y.length < numExpanded * k) {
        y = new int[numExpanded * k];
        logProb = new float[numExpanded * k];
      }
      source.draw(expanded, numExpanded, k, Noise.TARGET, y, logProb, null, 0);
      for (int i = 0; i < numExpanded; i++) {
        float up = level == 0 ? 0 : tree.grade(expanded[i]);
        double logSum = greedy ? logSum(i * k, k) : 0;
        boolean wanted = true;
        for (int r = 0; r < k && wanted && y[i * k + r] >= 0; r++) {
          float step = greedy ? (float) (logProb[i * k + r] / temperature - logSum) : byRank(r);
          wanted = offer(up + step, expanded[i], y[i * k + r]);
        }
      }
      numExpanded = 0;
      for (int i = 0; i < size && level + 1 < levels && value[i] >= least; i++) {
        if (node[i] < 0 && tree.all().size() < mostScored) {
          node[i] = tree.append(parent[i], token[i], value[i]);
          expanded[numExpanded++] = node[i];
        }
      }
    }
    for (int i = 0; i < size; i++) {
      if (node[i] < 0) {
        node[i] = tree.append(parent[i], token[i], value[i]);
      }
    }
  }

  /**
   * The logarithm of the sum of p^(1/T) over a law. Of the tokens that are not looked at none is
   * more likely than the last of those that are, so theirs is at most the rest of the law times
   * that one's p^(1/T - 1).
   */
  private double logSum(int first, int k) {
    double sum = 0;
    double rest = 1;
    double last = 1;
    for (int r = 0; r < Math.min(k, LOOKED_AT) && y[first + r] >= 0; r++) {
      last = Math.exp(logProb[first + r]);
      sum += Math.pow(last, 1 / temperature);
      rest -= last;
    }
    return Math.log(sum + Math.max(0, rest) * Math.pow(last, 1 / temperature - 1));
  }

  /** The logarithm of the probability that the r-th favoured child is the target's choice. */
  static float step(boolean greedy, int r, float logProb) {
    return greedy ? logProb : byRank(r);
  }

  /** The logarithm of how often a node's r-th candidate is the target's choice, roughly. */
  static float byRank(int r) {
    return r == 0 ? (float) Math.log(0.6) : (float) Math.log(0.15) - 0.9f * (r - 1);
  }

  /** Puts a node in its place among the N best; false when there is none for it. */
  private boolean offer(float itsValue, int itsParent, int itsToken) {
    if (size == most && itsValue <= value[size - 1]) {
      return false;
    }
    int at = size == most ? size - 1 : size++;
    for (; at > 0 && value[at - 1] < itsValue; at--) {
      value[at] = value[at - 1];
      parent[at] = parent[at - 1];
      token[at] = token[at - 1];
      node[at] = node[at - 1];
    }
    value[at] = itsValue;
    parent[at] = itsParent;
    token[at] = itsToken;
    node[at] = -1;
    return true;
  }

  @Override
  public int nodes() {
    return nodes;
  }

  /** Nodes that were among the best when they were scored are in the tree too. */
  @Override
  public int mostNodes() {
    return 1 + 2 * nodes;
  }

  @Override
  public int lawRows() {
    return 0;
  }
}
