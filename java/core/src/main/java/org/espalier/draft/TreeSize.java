package org.espalier.draft;

import org.espalier.Verdict;

/** Decides how many nodes the next draft tree may have. For use by several threads. */
interface TreeSize {

  /** Nodes of a drafter's next tree, the root included, at least 1. With 1 the step is plain. */
  int next(Object drafter);

  /**
   * Learns from a step.
   *
   * @param allowed nodes that the tree was allowed to have
   * @param nodes that it had
   * @param resumed whether the step before was plain, or there was none
   * @param nanos of the whole step
   * @param passNanos of the target's pass in it; 0 when other sequences were in the pass too
   */
  void observe(
      Object drafter,
      int allowed,
      int nodes,
      boolean resumed,
      Verdict verdict,
      double nanos,
      double passNanos);

  /** A drafter has ended. */
  void leave(Object drafter);
}
