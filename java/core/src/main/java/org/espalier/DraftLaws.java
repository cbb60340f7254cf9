package org.espalier;

/**
 * Rows for the laws that draft tokens are drawn from: probabilities of the whole vocabulary, on the
 * device of a session. {@link Scores#draw} or {@link #write} fills them, a tree names them, the
 * sampling verifier reads them.
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

  /** Copies the i-th law out, {@code law} [vocab]. */
  public void read(int i, float[] law) {
    session.readLaw(row(i), law);
  }

  /** Copies a law into the i-th row, for a draft on another device thread. {@code law} [vocab]. */
  public void write(int i, float[] law) {
    session.writeLaw(row(i), law);
  }

  /** Whether a number names one of these rows. */
  boolean has(int row) {
    return row >= first && row < first + rows;
  }

  /** The numbers of these rows, for a message. */
  String rule() {
    return rows == 0 ? "none, as lawRows = 0" : first + " to " + (first + rows - 1);
  }

  Session session() {
    return session;
  }
}
