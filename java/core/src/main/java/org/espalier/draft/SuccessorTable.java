package org.espalier.draft;

import java.util.function.IntBinaryOperator;

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

  /** Writes a token's row: {@code topToken} of a node and ranks 0 to k - 1. */
  void put(int token, int node, IntBinaryOperator topToken) {
    for (int r = 0; r < k; r++) {
      successor[token * k + r] = topToken.applyAsInt(node, r);
    }
  }
}
