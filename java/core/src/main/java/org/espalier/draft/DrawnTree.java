package org.espalier.draft;

import java.util.Arrays;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Noise;
import org.jspecify.annotations.Nullable;

/**
 * A tree of tokens that are drawn without replacement, for speculative sampling.
 *
 * <p>Source: DySpec, the layer-wise variant, in its letters. A slot (u, R, v) is the place of one
 * more child of node u: R is the law of what was not drawn at u yet, and v estimates the
 * probability that verification comes to u and rejects its children so far. Whether a slot is
 * filled is decided before its token is drawn, and a drawn token is never dropped: otherwise the
 * text would have another law. What we changed: the slots of a layer are filled in the order of
 * their values, so that the best are filled when the nodes do not suffice for all.
 */
final class DrawnTree implements TreePolicy {
  private final int nodes;
  private final int depth;
  private final double threshold;

  // Slot i of the layer belongs to node u[i].
  private int[] u;
  private double[] v;
  private final double[] mass;
  private final int[] siblings;

  // Slots of the next layer.
  private int[] nextU;
  private double[] nextV;

  private int[] y = new int[0];
  private float[] logQ = new float[0];

  DrawnTree(int nodes, int depth, double threshold) {
    this.nodes = nodes;
    this.depth = depth;
    this.threshold = threshold;
    this.u = new int[nodes];
    this.v = new double[nodes];
    this.mass = new double[nodes];
    this.siblings = new int[nodes];
    this.nextU = new int[nodes];
    this.nextV = new double[nodes];
  }

  @Override
  public void grow(Context context, DraftSource source, GradedTree tree) {
    int left = Math.min(nodes, context.maxNodes());
    int levels = Math.min(depth, Math.min(context.maxDepth(), source.room(context)));
    double least = threshold == 0 ? 1.0 / Math.max(1, left) : threshold;
    @Nullable DraftLaws laws = context.laws().orElse(null);
    int rowsUsed = 0;
    int scored = 1;
    int slots = 1;
    u[0] = 0;
    v[0] = 1;
    for (int level = 0; level < levels && slots > 0 && left > 0; level++) {
      if (level == 0) {
        source.begin(context);
      } else {
        source.extend(tree.all(), scored);
      }
      scored = tree.all().size();
      // Draws of a slot that is not filled are never looked at.
      int k = Math.min(source.mostDraws(), left);
      if (y.length < slots * k) {
        y = new int[slots * k];
        logQ = new float[slots * k];
      }
      source.draw(u, slots, k, Noise.DRAFT, y, logQ, laws, rowsUsed);
      for (int i = 0; i < slots; i++) {
        int row = laws == null ? rowsUsed : laws.row(rowsUsed);
        tree.all().childrenDrawn(u[i], DraftTree.Scheme.WITHOUT_REPLACEMENT, row);
        rowsUsed++;
      }
      Arrays.fill(mass, 0, slots, 1);
      Arrays.fill(siblings, 0, slots, 0);
      int next = 0;
      for (int i = best(slots, least); i >= 0 && left > 0; i = best(slots, least)) {
        int at = i * k + siblings[i];
        if (siblings[i] == k || y[at] < 0) {
          v[i] = 0; // nothing is left to draw
          continue;
        }
        double q = Math.exp(logQ[at]);
        double r = mass[i] > q ? q / mass[i] : 1; // R(y)
        int node = tree.append(u[i], y[at], (float) v[i]);
        left--;
        if (v[i] * r >= least) {
          nextU[next] = node;
          nextV[next++] = v[i] * r;
        }
        siblings[i]++;
        mass[i] -= q;
        v[i] *= 1 - r;
      }
      slots = next;
      swap();
    }
  }

  /** The slot of the largest value, the earlier of equals; -1 when all are below the threshold. */
  private int best(int slots, double least) {
    int best = -1;
    for (int i = 0; i < slots; i++) {
      if (v[i] >= least && (best < 0 || v[i] > v[best])) {
        best = i;
      }
    }
    return best;
  }

  private void swap() {
    int[] nodesOfLayer = u;
    u = nextU;
    nextU = nodesOfLayer;
    double[] valuesOfLayer = v;
    v = nextV;
    nextV = valuesOfLayer;
  }

  @Override
  public int nodes() {
    return nodes;
  }

  @Override
  public int mostNodes() {
    return 1 + nodes;
  }

  @Override
  public int lawRows() {
    return nodes;
  }
}
