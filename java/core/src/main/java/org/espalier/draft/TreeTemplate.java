package org.espalier.draft;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The shape of a static draft tree: for each node its parent, and its rank among the parent's
 * candidates. Node 0 is the root; the nodes most worth their place come first, so that the first n
 * nodes are a good tree of n nodes. Immutable.
 */
public final class TreeTemplate {
  private static final int MAX_NODES = 1024;
  private static final int MAX_RANK = 63;

  /**
   * Children of the nodes of each level of the tree 2.2.2, in order; nodes that are left out have
   * none.
   */
  private static final int[][] CHILDREN_OF_222 = {
    {8},
    {8, 4, 3, 2, 1, 1, 1, 1},
    {8, 3, 2, 1, 1, 1, 1, 1, 2, 1, 0, 0, 1, 0, 0, 1, 0, 1, 1},
    {5, 2, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1},
    {3, 1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1},
    {2, 0, 0, 1}
  };

  private final int[] parent;
  private final int[] rank;
  private final int[] depth;

  private TreeTemplate(List<List<Integer>> paths) {
    Map<List<Integer>, Integer> index = new HashMap<>();
    List<List<Integer>> sorted = new ArrayList<>(paths);
    sorted.add(List.of());
    sorted.sort(
        Comparator.<List<Integer>>comparingDouble(path -> -worth(path))
            .thenComparing(List::size)
            .thenComparing(TreeTemplate::compareRanks));
    if (sorted.size() > MAX_NODES) {
      throw new IllegalArgumentException(
          "tree nodes = " + sorted.size() + ", expected at most " + MAX_NODES);
    }
    parent = new int[sorted.size()];
    rank = new int[sorted.size()];
    depth = new int[sorted.size()];
    parent[0] = -1;
    index.put(List.of(), 0);
    for (int i = 1; i < sorted.size(); i++) {
      List<Integer> path = sorted.get(i);
      Integer up = index.get(path.subList(0, path.size() - 1));
      if (up == null || index.put(path, i) != null) {
        throw new IllegalArgumentException(
            "tree path = " + path + ", expected each path once, and its parent's path with it");
      }
      parent[i] = up;
      depth[i] = path.size();
      rank[i] = Checks.inRange("tree rank", path.get(path.size() - 1), 0, MAX_RANK);
    }
  }

  /**
   * An estimate of the probability that the node of a path is accepted, where the probability of a
   * rank is that of {@link RankedTree}: less than that of its parent, and of siblings the lower
   * rank's is the higher one.
   */
  private static double worth(List<Integer> path) {
    double log = 0;
    for (int r : path) {
      log += RankedTree.byRank(r);
    }
    return log;
  }

  private static int compareRanks(List<Integer> a, List<Integer> b) {
    for (int i = 0; i < a.size(); i++) {
      if (!a.get(i).equals(b.get(i))) {
        return a.get(i).compareTo(b.get(i));
      }
    }
    return 0;
  }

  /**
   * Reads a tree in one of three forms.
   *
   * <ul>
   *   <li>{@code 2.2.2}: the default tree of Token Recycling, 80 draft nodes, depth 6
   *   <li>{@code 4x2x1}: every node of level i has as many children as number i says
   *   <li>{@code 0/1/0.0/0.1}: a list of nodes, each as its path of ranks from the root; with every
   *       node its parent is listed
   * </ul>
   */
  public static TreeTemplate parse(String text) {
    if (text.equals("2.2.2")) {
      return ofChildren(CHILDREN_OF_222);
    }
    return text.contains("x") ? ofWidths(text) : ofPaths(text);
  }

  private static TreeTemplate ofChildren(int[][] children) {
    List<List<Integer>> all = new ArrayList<>();
    List<List<Integer>> level = List.of(List.of());
    for (int[] counts : children) {
      List<List<Integer>> next = new ArrayList<>();
      for (int i = 0; i < counts.length; i++) {
        addChildren(level.get(i), counts[i], next);
      }
      all.addAll(next);
      level = next;
    }
    return new TreeTemplate(all);
  }

  private static void addChildren(List<Integer> path, int count, List<List<Integer>> to) {
    for (int r = 0; r < count; r++) {
      List<Integer> child = new ArrayList<>(path);
      child.add(r);
      to.add(child);
    }
  }

  private static TreeTemplate ofWidths(String text) {
    List<List<Integer>> all = new ArrayList<>();
    List<List<Integer>> level = List.of(List.of());
    for (String width : text.split("x", -1)) {
      int count = Checks.inRange("tree width", number(width, text), 1, MAX_RANK + 1);
      Checks.inRange("tree nodes", all.size() + level.size() * count, 1, MAX_NODES - 1);
      List<List<Integer>> next = new ArrayList<>();
      for (List<Integer> path : level) {
        addChildren(path, count, next);
      }
      all.addAll(next);
      level = next;
    }
    return new TreeTemplate(all);
  }

  private static TreeTemplate ofPaths(String text) {
    List<List<Integer>> all = new ArrayList<>();
    for (String path : text.split("/", -1)) {
      List<Integer> ranks = new ArrayList<>();
      for (String rank : path.split("\\.", -1)) {
        ranks.add(number(rank, text));
      }
      all.add(ranks);
    }
    return new TreeTemplate(all);
  }

  private static int number(String digits, String text) {
    try {
      return Integer.parseInt(digits);
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException(
          "tree = " + text + ", expected 2.2.2, widths as 4x2x1, or paths of ranks as 0/1/0.0", e);
    }
  }

  /** Number of nodes, the root included. */
  public int size() {
    return parent.length;
  }

  /** Index of a node's parent, -1 for the root. */
  public int parent(int node) {
    return parent[node];
  }

  /** A node's place among its parent's candidates, 0 for the best. */
  public int rank(int node) {
    return rank[node];
  }

  public int depth(int node) {
    return depth[node];
  }

  /** Candidates that a token needs: the highest rank, plus one. */
  public int width() {
    int most = 0;
    for (int r : rank) {
      most = Math.max(most, r);
    }
    return most + 1;
  }
}
