package org.espalier;

/**
 * Rows for the laws that draft tokens are drawn from: probabilities of the whole vocabulary, on the
 * device of the target. {@link Scores#draw} fills them, a tree names them, the sampling verifier
 * reads them.
 */
public final class DraftLaws {
  private final Session session;
  private final int first;
  private final int rows;

  DraftLaws(Session session, int first, int rows) {
    this.session = session;
    this.first = first;
    this.rows = rows;
  }

  /** Number of rows. */
  public int rows() {
    return rows;
  }

  /** The number by which {@link DraftTree#childrenDrawn} names the i-th row. */
  public int row(int i) {
    if (i < 0 || i >= rows) {
      throw new IllegalArgumentException("row = " + i + ", expected 0 to " + (rows - 1));
    }
    return first + i;
  }

  Session session() {
    return session;
  }
}
