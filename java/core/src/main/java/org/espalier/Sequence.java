package org.espalier;

/**
 * A sequence of a session: committed tokens, whose KV is in the cache, and how the next ones are
 * chosen. To be used by the thread that uses the session.
 */
public final class Sequence implements AutoCloseable {
  private final Session session;
  private final int id;
  private int length;
  private boolean closed;

  Sequence(Session session, int id, int length) {
    this.session = session;
    this.id = id;
    this.length = length;
  }

  /** Committed tokens. */
  public int length() {
    return length;
  }

  /**
   * A new sequence with the same committed tokens and sampling; cache pages are shared until one of
   * the two writes.
   */
  public Sequence fork() {
    return session.fork(this);
  }

  /** Drops the committed tokens from position {@code newLength} on. */
  public void rollback(int newLength) {
    session.rollback(this, newLength);
  }

  /**
   * Sets how the next tokens are chosen; a new sequence is greedy. The first penalties of a session
   * take memory for the contexts of all nodes of a step.
   */
  public void setSampling(Sampling sampling) {
    session.setSampling(this, sampling);
  }

  /**
   * Appends and commits tokens, without scores. A long call: cut long prompts into parts to stay
   * responsive.
   */
  public void prefill(int[] tokens) {
    session.prefill(this, tokens);
  }

  int id() {
    return id;
  }

  Session session() {
    return session;
  }

  boolean isClosed() {
    return closed;
  }

  void setLength(int value) {
    length = value;
  }

  void setClosed() {
    closed = true;
  }

  /** Frees its pages. */
  @Override
  public void close() {
    session.close(this);
  }
}
