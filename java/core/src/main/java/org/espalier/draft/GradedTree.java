package org.espalier.draft;

import java.util.Arrays;
import org.espalier.DraftTree;
import org.espalier.Verdict;

/**
 * A draft tree whose nodes have grades, and the tree of its best nodes. A node's grade is at most
 * its parent's, and of siblings that were drawn the earlier one has the higher grade, so both keep
 * their order.
 */
final class GradedTree {
  private final DraftTree all = DraftTree.rootedAt(0);
  private float[] grade = new float[16];

  private final DraftTree best = DraftTree.rootedAt(0);
  private long[] order = new long[16];

  /** Node in {@code best} of each node of {@code all}, and the other way round. */
  private int[] placed = new int[16];

  private int[] origin = new int[16];

  void reset(int root) {
    all.reset(root);
    grade[0] = Float.POSITIVE_INFINITY;
  }

  /** Appends a child; returns its index. */
  int append(int parent, int token, float itsGrade) {
    int node = all.append(parent, token);
    if (node == grade.length) {
      grade = Arrays.copyOf(grade, 2 * node);
    }
    grade[node] = itsGrade;
    return node;
  }

  /** All nodes, in the order in which they were appended. */
  DraftTree all() {
    return all;
  }

  float grade(int node) {
    return grade[node];
  }

  /** The {@code maxNodes} nodes of the highest grades beside the root, best first. */
  DraftTree best(int maxNodes) {
    int size = all.size();
    if (order.length < size) {
      order = new long[grade.length];
      placed = new int[grade.length];
      origin = new int[grade.length];
    }
    for (int i = 0; i < size; i++) {
      // Ascending by this key is descending by grade, then ascending by index.
      int bits = Float.floatToIntBits(grade[i]);
      int ascending = bits ^ ((bits >> 31) & 0x7fffffff);
      order[i] = ((long) ~ascending << 32) | i;
    }
    Arrays.sort(order, 1, size);
    best.reset(all.token(0));
    copyScheme(0, 0);
    int keep = Math.min(size, maxNodes + 1);
    for (int i = 1; i < keep; i++) {
      int node = (int) order[i];
      placed[node] = best.append(placed[all.parent(node)], all.token(node));
      origin[i] = node;
      copyScheme(node, i);
    }
    return best;
  }

  private void copyScheme(int node, int to) {
    if (all.lawRow(node) >= 0) {
      best.childrenDrawn(to, all.scheme(node), all.lawRow(node));
    }
  }

  /** A verdict about the best nodes, in the nodes of {@link #all}. */
  Verdict inAll(Verdict verdict) {
    int[] path = new int[verdict.acceptLen()];
    for (int i = 0; i < path.length; i++) {
      path[i] = origin[verdict.node(i)];
    }
    return Verdict.of(path, verdict.bonus());
  }
}
