package org.espalier.draft;

import java.util.Arrays;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.Noise;
import org.espalier.Scores;
import org.espalier.Verdict;

/**
 * A small model drafts a tree: on each of gamma levels the {@code width} most promising nodes get
 * {@code width} children each, their most favoured next tokens.
 *
 * <p>Source: SpecInfer, arXiv 2305.09781, and for children that are drawn without replacement
 * Sequoia, arXiv 2402.12374. What we changed: the nodes to expand are chosen level by level: when
 * greedy by the draft's probability of their path, otherwise by the order of the draws.
 *
 * <p>Use it where a pass of the target over some dozens of rows costs little more than over one. A
 * step costs gamma draft passes of up to {@code 1 + gamma * width * width} rows.
 */
public final class DraftModelTree implements Drafter {
  private final DraftCache draft;
  private final int gamma;
  private final int width;
  private final DraftTree tree = DraftTree.rootedAt(0);

  // The nodes of the level that get children, and all nodes of the next level with the value of
  // their path.
  private final int[] expanded;
  private int numExpanded;
  private final int[] level;
  private final float[] value;
  private int levelLen;
  private final int[] drawn;
  private final float[] logProb;
  private final int[] inPass;
  private float[] pathValue = new float[16];
  private int rowsUsed;

  DraftModelTree(DraftCache draft, int gamma, int width) {
    this.draft = draft;
    this.gamma = gamma;
    this.width = width;
    this.expanded = new int[width];
    this.inPass = new int[width];
    this.level = new int[width * width];
    this.value = new float[width * width];
    this.drawn = new int[width * width];
    this.logProb = new float[width * width];
  }

  static int maxNodes(int gamma, int width) {
    return 1 + width + (gamma - 1) * width * width;
  }

  @Override
  public DraftTree propose(Context context) {
    tree.reset(context.lastToken());
    rowsUsed = 0;
    expanded[0] = 0;
    numExpanded = 1;
    setPathValue(0, 0);
    int levels = Math.min(gamma, Math.min(context.maxDepth(), draft.room(context)));
    for (int depth = 0; depth < levels && fits(context); depth++) {
      if (depth == 0) {
        Scores chain = draft.begin(context);
        inPass[0] = chain.numNodes() - 1;
        drawChildren(context, chain);
        draft.keepAllButRoot();
      } else {
        System.arraycopy(expanded, 0, inPass, 0, numExpanded);
        drawChildren(context, draft.forward(tree));
      }
      chooseExpanded();
    }
    return tree;
  }

  /**
   * Fewer nodes are expanded when not all children have room; which ones are drawn is not looked
   * at.
   */
  private boolean fits(Context context) {
    numExpanded = Math.min(numExpanded, (context.maxNodes() + 1 - tree.size()) / width);
    return numExpanded > 0;
  }

  private void drawChildren(Context context, Scores scores) {
    boolean greedy = context.sampling().isGreedy();
    boolean chance = context.laws().isPresent() && !greedy;
    if (chance) {
      scores.draw(
          inPass,
          numExpanded,
          width,
          Noise.DRAFT,
          drawn,
          logProb,
          context.laws().orElseThrow(),
          rowsUsed);
    } else {
      scores.draw(inPass, numExpanded, width, Noise.TARGET, drawn, logProb, null, 0);
    }
    levelLen = 0;
    for (int i = 0; i < numExpanded; i++) {
      int parent = expanded[i];
      if (chance) {
        int row = context.laws().orElseThrow().row(rowsUsed++);
        tree.childrenDrawn(parent, DraftTree.Scheme.WITHOUT_REPLACEMENT, row);
      }
      for (int r = 0; r < width && drawn[i * width + r] >= 0; r++) {
        // A token that was drawn first is kept most often, however unlikely it was.
        float step = greedy ? logProb[i * width + r] : -r;
        level[levelLen] = tree.append(parent, drawn[i * width + r]);
        value[levelLen] = pathValue[parent] + step;
        setPathValue(level[levelLen], value[levelLen]);
        levelLen++;
      }
    }
  }

  /** The most valuable nodes of the level, in the order of their indices. */
  private void chooseExpanded() {
    numExpanded = 0;
    for (int i = 0; i < levelLen; i++) {
      int better = 0;
      for (int j = 0; j < levelLen; j++) {
        better += value[j] > value[i] || (value[j] == value[i] && j < i) ? 1 : 0;
      }
      if (better < width) {
        expanded[numExpanded++] = level[i];
      }
    }
  }

  private void setPathValue(int node, float to) {
    if (node >= pathValue.length) {
      pathValue = Arrays.copyOf(pathValue, 2 * node);
    }
    pathValue[node] = to;
  }

  @Override
  public void observe(Verdict verdict, Scores scores) {
    draft.keep(verdict);
  }

  @Override
  public int lawRows() {
    return 1 + (gamma - 1) * width;
  }

  @Override
  public void close() {
    draft.close();
  }
}
