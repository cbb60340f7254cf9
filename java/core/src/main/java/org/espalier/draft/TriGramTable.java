package org.espalier.draft;

import java.util.Arrays;
import java.util.Collection;
import org.jspecify.annotations.Nullable;

/**
 * T of ADED: for a pair of tokens (a, b) the tokens that may follow, with weights; heaviest first,
 * ties by token. Pairs that were never seen take no memory. A weight may exceed 1: it is no
 * probability.
 *
 * <p>A table over another one reads through to it and keeps what changes to itself, pair by pair,
 * so that many texts can share one table of a corpus. A table that nobody changes may be read by
 * many threads.
 */
public final class TriGramTable {
  /** Successors of a pair that a corpus leaves. */
  static final int MAX_LOADED = 12;

  /** Successors of a pair that decoding may lead to; then the lightest makes room. */
  static final int MAX_SUCCESSORS = 32;

  /** What {@link #find} returns for a pair that nothing follows. */
  static final int ABSENT = -1;

  private static final int FIRST_CAPACITY = 2;

  private final int vocab;
  private final @Nullable TriGramTable base;
  private final int maxSuccessors;

  /** Open addressing: 1 + the row of a pair, 0 for a free slot. */
  private int[] slotRow = new int[64];

  // Rows of successors in one pool. A row that outgrows its place moves to the end.
  private long[] rowPair = new long[32];
  private int[] begin = new int[32];
  private int[] len = new int[32];
  private int numRows;
  private int[] token = new int[128];
  private float[] weight = new float[128];
  private int used;

  private TriGramTable(int vocab, @Nullable TriGramTable base, int maxSuccessors) {
    this.vocab = vocab;
    this.base = base;
    this.maxSuccessors = maxSuccessors;
  }

  /**
   * An empty table for a vocabulary.
   *
   * @throws IllegalArgumentException when the vocabulary is empty
   */
  public static TriGramTable empty(int vocab) {
    if (vocab < 1) {
      throw new IllegalArgumentException("vocab = " + vocab + ", expected at least 1");
    }
    return new TriGramTable(vocab, null, MAX_SUCCESSORS);
  }

  /** An empty table that reads through to another, which must not change any more. */
  static TriGramTable over(TriGramTable base) {
    return new TriGramTable(base.vocab, base, MAX_SUCCESSORS);
  }

  /**
   * The table of a corpus: how often each token follows each pair, as a share of all that follow
   * it. Of these the 12 largest stay, without another normalization.
   *
   * @throws IllegalArgumentException when a token is not in the vocabulary
   */
  public static TriGramTable count(int vocab, Collection<int[]> documents) {
    TriGramTable counts = new TriGramTable(empty(vocab).vocab, null, Integer.MAX_VALUE);
    for (int[] document : documents) {
      for (int t : document) {
        if (t < 0 || t >= vocab) {
          throw new IllegalArgumentException("token = " + t + ", expected 0 to " + (vocab - 1));
        }
      }
      for (int i = 0; i + 2 < document.length; i++) {
        long pair = pair(document[i], document[i + 1]);
        counts.bump(pair, document[i + 2], 1, Float.POSITIVE_INFINITY);
      }
    }
    TriGramTable table = empty(vocab);
    for (int row = 0; row < counts.numRows; row++) {
      double total = 0;
      for (int i = 0; i < counts.len(row); i++) {
        total += counts.weight(row, i);
      }
      int kept = table.addRow(counts.rowPair[row], Math.min(MAX_LOADED, counts.len(row)));
      for (int i = 0; i < table.len(kept); i++) {
        table.set(kept, i, counts.token(row, i), (float) (counts.weight(row, i) / total));
      }
    }
    return table;
  }

  static long pair(int a, int b) {
    return (long) a << 32 | b;
  }

  /** Tokens of the table are less than this. */
  public int vocab() {
    return vocab;
  }

  /** Number of pairs with successors, those of the table below not counted. */
  public int numPairs() {
    return numRows;
  }

  long pairOf(int row) {
    return rowPair[row];
  }

  @Nullable TriGramTable base() {
    return base;
  }

  /** The weight of c after (a, b); 0 when it was never seen there. */
  public float weight(int a, int b, int c) {
    int row = find(pair(a, b));
    for (int i = 0; row != ABSENT && i < len(row); i++) {
      if (token(row, i) == c) {
        return weight(row, i);
      }
    }
    return 0;
  }

  /** The row of a pair, {@link #ABSENT} when nothing follows it. A change makes it invalid. */
  int find(long pair) {
    int row = findOwn(pair);
    if (row != ABSENT || base == null) {
      return row;
    }
    int below = base.find(pair);
    return below == ABSENT ? ABSENT : -2 - below;
  }

  private int findOwn(long pair) {
    for (int slot = slotOf(pair); slotRow[slot] != 0; slot = slotAfter(slot)) {
      int row = slotRow[slot] - 1;
      if (rowPair[row] == pair) {
        return row;
      }
    }
    return ABSENT;
  }

  private int slotOf(long pair) {
    return (int) ((pair * 0x9E3779B97F4A7C15L) >>> 32) & (slotRow.length - 1);
  }

  private int slotAfter(int slot) {
    return (slot + 1) & (slotRow.length - 1);
  }

  /** Number of successors of a row. */
  int len(int row) {
    return row >= 0 ? len[row] : below().len[-2 - row];
  }

  /** The i-th successor of a row. */
  int token(int row, int i) {
    return row >= 0 ? token[begin[row] + i] : below().token(-2 - row, i);
  }

  /** The weight of the i-th successor of a row. */
  float weight(int row, int i) {
    return row >= 0 ? weight[begin[row] + i] : below().weight(-2 - row, i);
  }

  private TriGramTable below() {
    if (base == null) {
      throw new IllegalStateException("a row of the table below, expected one to be there");
    }
    return base;
  }

  /** Adds to the weight of c after a pair, up to a cap; a token that was not there begins at 0. */
  void bump(long pair, int c, float by, float cap) {
    int row = findOwn(pair);
    if (row == ABSENT) {
      row = copyFromBelow(pair);
    }
    int i = indexOf(row, c);
    if (i == len[row]) {
      i = addSuccessor(row);
      set(row, i, c, 0);
    }
    int at = begin[row] + i;
    float w = Math.min(cap, weight[at] + by);
    while (at > begin[row] && comesBefore(w, c, at - 1)) {
      token[at] = token[at - 1];
      weight[at] = weight[at - 1];
      at--;
    }
    token[at] = c;
    weight[at] = w;
  }

  private boolean comesBefore(float w, int c, int at) {
    return w > weight[at] || (w == weight[at] && c < token[at]);
  }

  private int indexOf(int row, int c) {
    int i = 0;
    while (i < len[row] && token[begin[row] + i] != c) {
      i++;
    }
    return i;
  }

  private int copyFromBelow(long pair) {
    int below = base == null ? ABSENT : find(pair);
    int row = addRow(pair, below == ABSENT ? 0 : len(below));
    for (int i = 0; i < len[row]; i++) {
      set(row, i, token(below, i), weight(below, i));
    }
    return row;
  }

  /** A new row for a pair that has none, to be filled. */
  int addRow(long pair, int length) {
    if (numRows == begin.length) {
      rowPair = Arrays.copyOf(rowPair, 2 * numRows);
      begin = Arrays.copyOf(begin, 2 * numRows);
      len = Arrays.copyOf(len, 2 * numRows);
    }
    if (2 * (numRows + 1) > slotRow.length) {
      rehash(2 * slotRow.length);
    }
    rowPair[numRows] = pair;
    begin[numRows] = allocate(capacity(length));
    len[numRows] = length;
    putSlot(numRows);
    return numRows++;
  }

  private void putSlot(int row) {
    int slot = slotOf(rowPair[row]);
    while (slotRow[slot] != 0) {
      slot = slotAfter(slot);
    }
    slotRow[slot] = row + 1;
  }

  private void rehash(int size) {
    slotRow = new int[size];
    for (int row = 0; row < numRows; row++) {
      putSlot(row);
    }
  }

  void set(int row, int i, int c, float w) {
    token[begin[row] + i] = c;
    weight[begin[row] + i] = w;
  }

  /** The place of one more successor: the end of the row, or its lightest when it is full. */
  private int addSuccessor(int row) {
    if (len[row] >= maxSuccessors) {
      return len[row] - 1;
    }
    if (len[row] == capacity(len[row])) {
      int to = allocate(2 * len[row]);
      System.arraycopy(token, begin[row], token, to, len[row]);
      System.arraycopy(weight, begin[row], weight, to, len[row]);
      begin[row] = to;
    }
    return len[row]++;
  }

  /** Elements that a row of this length takes: a power of two. */
  private static int capacity(int length) {
    return length <= FIRST_CAPACITY ? FIRST_CAPACITY : Integer.highestOneBit(length - 1) << 1;
  }

  private int allocate(int size) {
    int at = used;
    used = Math.addExact(used, size);
    if (used > token.length) {
      int room = (int) Math.min(Integer.MAX_VALUE - 8L, Math.max(used, 2L * token.length));
      token = Arrays.copyOf(token, room);
      weight = Arrays.copyOf(weight, room);
    }
    return at;
  }

  /** Adds what another table over the same base has learned beyond it. */
  void learnFrom(TriGramTable other, float cap, int maxPairs) {
    for (int row = 0; row < other.numRows; row++) {
      long pair = other.rowPair[row];
      int before = other.base == null ? ABSENT : other.base.find(pair);
      if (findOwn(pair) == ABSENT && numRows >= maxPairs) {
        continue;
      }
      for (int i = 0; i < other.len(row); i++) {
        int c = other.token(row, i);
        float gain = other.weight(row, i) - weightBefore(other, before, c);
        if (gain > 0) {
          bump(pair, c, gain, cap);
        }
      }
    }
  }

  private static float weightBefore(TriGramTable over, int row, int c) {
    TriGramTable base = over.base;
    for (int i = 0; base != null && row != ABSENT && i < base.len(row); i++) {
      if (base.token(row, i) == c) {
        return base.weight(row, i);
      }
    }
    return 0;
  }
}
