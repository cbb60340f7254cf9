package org.espalier.draft;

/**
 * M [vocab, k] of Token Recycling: the most likely successors of each token, best first; zeros at
 * first.
 */
final class SuccessorTable {
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

  /** Whether the row was written: the most likely tokens are all different. */
  boolean isSeen(int token) {
    return k == 1 || get(token, 0) != get(token, 1);
  }

  /** Writes a token's row: the k tokens from {@code top[from]} on. */
  void put(int token, int[] top, int from) {
    System.arraycopy(top, from, successor, token * k, k);
  }
}
