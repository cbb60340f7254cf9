package org.espalier;

import java.util.Arrays;

/**
 * All proposals of one step. Node 0, the root, is the sequence's last token; every other node is a
 * draft token that follows its parent, and a parent has a lower index than its children. A drafter
 * may keep one tree and fill it anew each step. Not for use by several threads.
 */
public final class DraftTree {

  /**
   * How the children of a node were produced: the rule by which a sampling verifier judges them.
   */
  public enum Scheme {
    /** Chosen without chance. */
    POINT_MASS(0),
    /** Independent draws from a law. */
    WITH_REPLACEMENT(1),
    /** Draws from a law, each conditioned on not repeating, in node order. */
    WITHOUT_REPLACEMENT(2);

    /** The number in the native call. */
    private final int code;

    Scheme(int code) {
      this.code = code;
    }
  }

  private static final Scheme[] SCHEMES = Scheme.values();

  private int[] token = new int[16];
  private int[] parent = new int[16];
  private int[] depth = new int[16];
  private int[] scheme = new int[16];
  private int[] lawRow = new int[16];
  private int size;
  private int maxDepth;

  private DraftTree() {}

  /** A tree of one node. */
  public static DraftTree rootedAt(int token) {
    DraftTree tree = new DraftTree();
    tree.reset(token);
    return tree;
  }

  /** Drops all nodes and begins anew with a root. */
  public void reset(int root) {
    size = 0;
    maxDepth = 0;
    add(-1, root, 0);
  }

  /** Appends a child of the node that was appended last, as a chain does; returns its index. */
  public int append(int token) {
    return append(size - 1, token);
  }

  /** Appends a child of node {@code parent}; returns its index. */
  public int append(int parent, int token) {
    if (parent < 0 || parent >= size) {
      throw new IllegalArgumentException("parent = " + parent + ", expected 0 to " + (size - 1));
    }
    return add(parent, token, depth[parent] + 1);
  }

  private int add(int parentNode, int tokenId, int nodeDepth) {
    if (size == token.length) {
      token = Arrays.copyOf(token, 2 * size);
      parent = Arrays.copyOf(parent, 2 * size);
      depth = Arrays.copyOf(depth, 2 * size);
      scheme = Arrays.copyOf(scheme, 2 * size);
      lawRow = Arrays.copyOf(lawRow, 2 * size);
    }
    token[size] = tokenId;
    parent[size] = parentNode;
    depth[size] = nodeDepth;
    scheme[size] = 0;
    lawRow[size] = -1;
    maxDepth = Math.max(maxDepth, nodeDepth);
    return size++;
  }

  /**
   * Says how the children of a node were produced; without this, {@link Scheme#POINT_MASS}.
   *
   * @param row the row of {@link DraftLaws} with the law that they were drawn from, see {@link
   *     DraftLaws#row}
   */
  public void childrenDrawn(int node, Scheme how, int row) {
    scheme[checked(node)] = how.code;
    lawRow[node] = row;
  }

  /** Number of nodes, the root included. */
  public int size() {
    return size;
  }

  /** Depth of the deepest node; 0 for the root alone. */
  public int maxDepth() {
    return maxDepth;
  }

  /** The id of a node's token. */
  public int token(int node) {
    return token[checked(node)];
  }

  /** Index of the parent, -1 for the root. */
  public int parent(int node) {
    return parent[checked(node)];
  }

  /** Number of edges from the root. */
  public int depth(int node) {
    return depth[checked(node)];
  }

  /** How the children of a node were made. */
  public Scheme scheme(int node) {
    return SCHEMES[scheme[checked(node)]];
  }

  /** Row of the law that the node's children were drawn from, -1 where there is none. */
  public int lawRow(int node) {
    return lawRow[checked(node)];
  }

  private int checked(int node) {
    if (node < 0 || node >= size) {
      throw new IllegalArgumentException("node = " + node + ", expected 0 to " + (size - 1));
    }
    return node;
  }

  /** Whether the first {@code nodes} nodes have these tokens and parents. */
  boolean beginsWith(int[] tokens, int[] parents, int nodes) {
    return Arrays.equals(token, 0, nodes, tokens, 0, nodes)
        && Arrays.equals(parent, 0, nodes, parents, 0, nodes);
  }

  void copyTo(int[] tokens, int[] parents, int[] schemes, int[] lawRows, int at) {
    System.arraycopy(token, 0, tokens, at, size);
    System.arraycopy(parent, 0, parents, at, size);
    System.arraycopy(scheme, 0, schemes, at, size);
    System.arraycopy(lawRow, 0, lawRows, at, size);
  }

  @Override
  public String toString() {
    return "DraftTree[token="
        + Arrays.toString(Arrays.copyOf(token, size))
        + ", parent="
        + Arrays.toString(Arrays.copyOf(parent, size))
        + "]";
  }
}
