package org.espalier.draft;

import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Noise;
import org.jspecify.annotations.Nullable;

/**
 * A tree of gamma levels; on each of them the {@code width} most promising nodes get {@code width}
 * children each, their most favoured next tokens. With width 1 it is a chain.
 *
 * <p>Source: the chain Leviathan et al., arXiv 2211.17192, Algorithm 1; the tree SpecInfer, arXiv
 * 2305.09781, and for children that are drawn without replacement Sequoia, arXiv 2402.12374. What
 * we changed: the nodes to expand are chosen level by level: when greedy by the draft's probability
 * of their path, otherwise by the order of the draws. When fewer nodes are asked for than the tree
 * has, its levels share them.
 *
 * <p>A step costs gamma passes of the source.
 */
final class FixedTree implements TreePolicy {
  private final int gamma;
  private final int width;

  // The nodes of the level that get children, and all nodes of the next level.
  private final int[] expanded;
  private int numExpanded;
  private final int[] level;
  private int levelLen;
  private final int[] drawn;
  private final float[] logProb;
  private int rowsUsed;

  FixedTree(int gamma, int width) {
    this.gamma = Checks.inRange("gamma", gamma, 1, 32);
    this.width = Checks.inRange("width", width, 1, 8);
    this.expanded = new int[width];
    this.level = new int[width * width];
    this.drawn = new int[width * width];
    this.logProb = new float[width * width];
  }

  @Override
  public void grow(Context context, DraftSource source, GradedTree tree) {
    rowsUsed = 0;
    expanded[0] = 0;
    numExpanded = 1;
    int levels = Math.min(gamma, Math.min(context.maxDepth(), source.room(context)));
    int left = context.maxNodes();
    for (int depth = 0; depth < levels && left > 0 && numExpanded > 0; depth++) {
      if (depth == 0) {
        source.begin(context);
      } else {
        source.extend(tree.all(), tree.all().size() - levelLen);
      }
      // Which tokens were drawn is not looked at when the children of a level are counted.
      int share = Math.max(1, left / (levels - depth));
      int children = Math.min(Math.min(width, source.mostDraws()), share);
      numExpanded = Math.min(numExpanded, Math.max(1, share / children));
      drawChildren(context, source, tree, children);
      chooseExpanded(tree);
      left -= levelLen;
    }
  }

  private void drawChildren(Context context, DraftSource source, GradedTree tree, int children) {
    boolean greedy = context.sampling().isGreedy();
    @Nullable DraftLaws laws = greedy ? null : context.laws().orElse(null);
    Noise noise = laws == null ? Noise.TARGET : Noise.DRAFT;
    source.draw(expanded, numExpanded, children, noise, drawn, logProb, laws, rowsUsed);
    levelLen = 0;
    for (int i = 0; i < numExpanded; i++) {
      int parent = expanded[i];
      if (laws != null) {
        int row = laws.row(rowsUsed++);
        tree.all().childrenDrawn(parent, DraftTree.Scheme.WITHOUT_REPLACEMENT, row);
      }
      for (int r = 0; r < children && drawn[i * children + r] >= 0; r++) {
        // A token that was drawn first is kept most often, however unlikely it was.
        float step = greedy ? logProb[i * children + r] : -1 - r;
        float grade = parent == 0 ? step : tree.grade(parent) + step;
        level[levelLen++] = tree.append(parent, drawn[i * children + r], grade);
      }
    }
  }

  /** The most promising nodes of the level, in the order of their indices. */
  private void chooseExpanded(GradedTree tree) {
    numExpanded = 0;
    for (int i = 0; i < levelLen; i++) {
      int better = 0;
      for (int j = 0; j < levelLen; j++) {
        float a = tree.grade(level[i]);
        float b = tree.grade(level[j]);
        better += b > a || (b == a && j < i) ? 1 : 0;
      }
      if (better < width) {
        expanded[numExpanded++] = level[i];
      }
    }
  }

  @Override
  public int nodes() {
    return width + (gamma - 1) * width * width;
  }

  @Override
  public int mostNodes() {
    return 1 + nodes();
  }

  @Override
  public int lawRows() {
    return 1 + (gamma - 1) * width;
  }
}
