package org.espalier.draft;

import org.espalier.Context;

/** How a draft tree is grown from a source of laws. */
interface TreePolicy {

  /**
   * Grows the tree, of which there is the root so far. It keeps to the depths that the context and
   * the source allow; it may have more nodes than {@link Context#maxNodes}, of which the best are
   * proposed, unless tokens are drawn by chance: then none may be left out.
   */
  void grow(Context context, DraftSource source, GradedTree tree);

  /** Most draft nodes that are proposed. */
  int nodes();

  /** Most nodes that the source is asked to score in one pass, the root included. */
  int mostNodes();

  /** Most laws that its tokens are drawn from. */
  int lawRows();
}
