package org.espalier.draft;

import java.util.Arrays;
import org.espalier.DraftTree;

/**
 * The Monte Carlo tree search of ADED over a table of tri-grams. A state is the pair of the last
 * two tokens, a move is a successor; paths of {@link #STATES} states are searched. Arrays are kept
 * from search to search.
 */
final class TriGramSearch {
  /** States of a path: the root's and those of three tokens. */
  static final int STATES = 4;

  private static final int ROOT = 0;
  private static final int NOT_LOOKED_UP = Integer.MIN_VALUE;

  private final int iterations;
  private final int maxSentences;

  /** c1 + ln((N + c2 + 1) / c2), times sqrt(N), for N visits of a node. */
  private final float[] exploration;

  private final float[] reciprocal;

  // Nodes; the children of a node have places side by side, heaviest first, and become nodes when
  // they are first visited.
  private final int[] token;
  private final int[] parent;
  private final int[] row;
  private final int[] firstChild;
  private final int[] numChildren;
  private final int[] seenChildren;
  private final int[] visits;
  private final float[] score;
  private final float[] prior;
  private final int[] treeNode;
  private int size;

  /** The nodes whose sentences are drafted, most visited first. */
  private final int[] best;

  private int numBest;

  private final TriGramTable table;
  private int tokenBefore;
  private long randomState;

  TriGramSearch(TriGramTable table, int iterations, int maxSentences, float c1, float c2) {
    if (!(c1 > 0) || !(c2 > 0) || !Float.isFinite(c1) || !Float.isFinite(c2)) {
      throw new IllegalArgumentException(
          "c1 = " + c1 + ", c2 = " + c2 + ", expected finite and above 0");
    }
    this.table = table;
    this.iterations = iterations;
    this.maxSentences = maxSentences;
    exploration = new float[iterations + 1];
    reciprocal = new float[iterations + 2];
    for (int n = 1; n <= iterations + 1; n++) {
      reciprocal[n] = 1f / n;
    }
    for (int n = 0; n <= iterations; n++) {
      exploration[n] = (float) ((c1 + Math.log((n + c2 + 1) / c2)) * Math.sqrt(n));
    }
    int most = 1 + iterations * TriGramTable.MAX_SUCCESSORS;
    token = new int[most];
    parent = new int[most];
    row = new int[most];
    firstChild = new int[most];
    numChildren = new int[most];
    seenChildren = new int[most];
    visits = new int[most];
    score = new float[most];
    prior = new float[most];
    treeNode = new int[most];
    best = new int[maxSentences];
  }

  /**
   * Searches from the state (a, b).
   *
   * @param seed of the rollouts
   */
  void search(int a, int b, long seed) {
    size = 0;
    tokenBefore = a;
    randomState = seed * 0x9E3779B97F4A7C15L + 1;
    setNode(size++, -1, b, 0);
    if (table.find(TriGramTable.pair(a, b)) == TriGramTable.ABSENT) {
      return;
    }
    for (int i = 0; i < iterations; i++) {
      iterate();
    }
  }

  private void iterate() {
    int node = ROOT;
    int states = 1;
    float reward = 1;
    // Select.
    while (numChildren[node] > 0 && states < STATES) {
      node = select(node);
      reward += prior[node];
      states++;
    }
    // Expand, and step into the heaviest child.
    if (states < STATES && rowOf(node) != TriGramTable.ABSENT) {
      expand(node);
      node = nextChild(node);
      reward += prior[node];
      states++;
    }
    reward += rollout(node, states);
    // Backpropagate.
    for (; node >= 0; node = parent[node]) {
      visits[node]++;
      score[node] += reward;
    }
  }

  /** The first child that was not visited, then the one of the largest PUCT. */
  private int select(int node) {
    if (seenChildren[node] < numChildren[node]) {
      return nextChild(node);
    }
    int first = firstChild[node];
    int chosen = first;
    float largest = Float.NEGATIVE_INFINITY;
    for (int child = first; child < first + numChildren[node]; child++) {
      float puct = puct(visits[node], visits[child], score[child], prior[child]);
      if (puct > largest) {
        largest = puct;
        chosen = child;
      }
    }
    return chosen;
  }

  /** R / v + (c1 + ln((N + c2 + 1) / c2)) p sqrt(N) / (1 + v). */
  float puct(int parentVisits, int v, float r, float p) {
    return r * reciprocal[v] + exploration[parentVisits] * p * reciprocal[v + 1];
  }

  /** Places for the successors of a node. */
  private void expand(int node) {
    firstChild[node] = size;
    numChildren[node] = table.len(rowOf(node));
    size += numChildren[node];
  }

  /** The heaviest successor that was not visited, as a node. */
  private int nextChild(int node) {
    int i = seenChildren[node]++;
    int child = firstChild[node] + i;
    setNode(child, node, table.token(row[node], i), table.weight(row[node], i));
    return child;
  }

  private void setNode(int node, int parentNode, int t, float p) {
    token[node] = t;
    parent[node] = parentNode;
    row[node] = NOT_LOOKED_UP;
    numChildren[node] = 0;
    seenChildren[node] = 0;
    visits[node] = 0;
    score[node] = 0;
    prior[node] = p;
    treeNode[node] = -1;
  }

  /** The table's row of a node's state. */
  private int rowOf(int node) {
    if (row[node] == NOT_LOOKED_UP) {
      int a = node == ROOT ? tokenBefore : token[parent[node]];
      row[node] = table.find(TriGramTable.pair(a, token[node]));
    }
    return row[node];
  }

  /** Draws tokens by their weights up to the last state; the sum of their weights. */
  private float rollout(int node, int states) {
    float reward = 0;
    int from = states < STATES ? rowOf(node) : TriGramTable.ABSENT;
    int last = token[node];
    for (int s = states; s < STATES && from != TriGramTable.ABSENT; s++) {
      int i = sample(from);
      reward += table.weight(from, i);
      int next = table.token(from, i);
      from = s + 1 < STATES ? table.find(TriGramTable.pair(last, next)) : TriGramTable.ABSENT;
      last = next;
    }
    return reward;
  }

  private int sample(int from) {
    int length = table.len(from);
    if (length == 1) {
      return 0;
    }
    float sum = 0;
    for (int i = 0; i < length; i++) {
      sum += table.weight(from, i);
    }
    float left = uniform() * sum;
    int i = 0;
    while (i < length - 1 && left >= table.weight(from, i)) {
      left -= table.weight(from, i);
      i++;
    }
    return i;
  }

  /** The next of a fixed series of numbers in [0, 1): xorshift64*. */
  private float uniform() {
    randomState ^= randomState >>> 12;
    randomState ^= randomState << 25;
    randomState ^= randomState >>> 27;
    return ((randomState * 0x2545F4914F6CDD1DL) >>> 40) * 0x1p-24f;
  }

  /**
   * Adds the sentences of the most visited nodes to a tree that has its root, then after each of
   * them the heaviest successor.
   */
  void draft(DraftTree tree, int maxNodes, int maxDepth) {
    numBest = 0;
    consider(ROOT);
    treeNode[ROOT] = 0;
    for (int i = 1; i < numBest; i++) {
      int node = best[i];
      int under = treeNode[parent[node]];
      if (tree.size() <= maxNodes && under >= 0 && tree.depth(under) < maxDepth) {
        treeNode[node] = tree.append(under, token[node]);
      }
    }
    for (int i = 1; i < numBest && tree.size() <= maxNodes; i++) {
      int node = best[i];
      boolean there = numChildren[node] > 0 && treeNode[firstChild[node]] >= 0;
      if (treeNode[node] >= 0 && tree.depth(treeNode[node]) < maxDepth && !there) {
        int from = rowOf(node);
        if (from != TriGramTable.ABSENT) {
          tree.append(treeNode[node], table.token(from, 0));
        }
      }
    }
  }

  /** Ranks a node and those below it, depth first; of equal visits the first one stays first. */
  private void consider(int node) {
    boolean full = numBest == maxSentences;
    if (full && visits[best[numBest - 1]] >= visits[node]) {
      return; // nor do its descendants have more
    }
    int i = full ? numBest - 1 : numBest++;
    for (; i > 0 && visits[best[i - 1]] < visits[node]; i--) {
      best[i] = best[i - 1];
    }
    best[i] = node;
    for (int c = 0; c < seenChildren[node]; c++) {
      consider(firstChild[node] + c);
    }
  }

  /** R of the root. */
  float rootScore() {
    return score[ROOT];
  }

  /** Visits of the successors of the root. */
  int[] rootVisits() {
    int first = firstChild[ROOT];
    int[] seen = Arrays.copyOfRange(visits, first, first + seenChildren[ROOT]);
    return Arrays.copyOf(seen, numChildren[ROOT]);
  }
}
