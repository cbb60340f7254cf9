package org.espalier.draft;

/**
 * M [vocab, k] of Token Recycling: the most likely successors of each token, best first; zeros at
 * first.
 */
final class SuccessorTable {

  /** What the target found most likely after the nodes of a tree: {@code Scores::topTokens}. */
  @FunctionalInterface
  interface TopTokens {
    /** Copies the first tokens of a node to {@code out[at]} on, best first. */
    void copy(int node, int count, int[] out, int at);
  }

  private final int vocab;
  private final int k;
  private final int[] successor;

  SuccessorTable(int vocab, int k) {
    this.vocab = vocab;
    this.k = k;
    this.successor = new int[Math.multiplyExact(vocab, k)];
  }

  int vocab() {
    return vocab;
  }

  int k() {
    return k;
  }

  int get(int token, int rank) {
    return successor[token * k + rank];
  }

  /** Writes a token's row: the k top tokens of a node. */
  void put(int token, int node, TopTokens top) {
    top.copy(node, k, successor, token * k);
  }
}
