package org.espalier.draft;

import org.espalier.Verdict;

/** Decides how many nodes the next draft tree may have. For use by several threads. */
interface TreeSize {

  /**
   * Nodes of a drafter's next tree, the root included, at least 1. With 1 the step is plain.
   *
   * @param batch sequences in the pass
   */
  int next(Object drafter, int batch);

  /**
   * Nodes that a drafter's tree may have which is not sent, before one of {@code allowed} nodes is;
   * 0 for none. The drafter is one that may be asked twice.
   */
  int peek(Object drafter, int allowed);

  /**
   * Learns from a tree that was not sent.
   *
   * @param sent nodes that the tree which was sent in its place was allowed to have
   * @param allowed nodes that it was allowed to have
   * @param nodes that it had
   * @param verdict what of it the text followed
   * @param nanos that the tree cost
   */
  void peeked(int sent, int allowed, int nodes, Verdict verdict, double nanos);

  /**
   * Learns from a step.
   *
   * @param allowed nodes that the tree was allowed to have
   * @param nodes that it had
   * @param resumed whether the step before was plain, or there was none
   * @param draftNanos of the drafter, before the pass and after it
   * @param passNanos from then to the verdict: of the target's pass, and of the other drafters
   */
  void observe(
      Object drafter,
      int allowed,
      int nodes,
      boolean resumed,
      Verdict verdict,
      double draftNanos,
      double passNanos);

  /** A drafter has ended. */
  void leave(Object drafter);
}
