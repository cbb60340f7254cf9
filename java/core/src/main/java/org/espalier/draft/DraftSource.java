package org.espalier.draft;

import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.Noise;
import org.espalier.Scores;
import org.espalier.Verdict;
import org.jspecify.annotations.Nullable;

/**
 * Laws of the next token after the nodes of a draft tree, from something cheaper than the target: a
 * small model, or a part of the target itself. One source serves one sequence.
 */
interface DraftSource extends AutoCloseable {

  /** Begins a draft after the tokens of the context: scores its root. */
  void begin(Context context);

  /**
   * Scores the nodes from {@code from} on of the tree, which has grown since {@link #begin} or the
   * last call; its nodes before {@code from} were scored by then.
   */
  void extend(DraftTree tree, int from);

  /**
   * The k most favoured next tokens after nodes of the draft tree, as {@link
   * org.espalier.Scores#draw} gives them.
   *
   * @param node nodes that the last {@code begin} or {@code extend} scored
   */
  void draw(
      int[] node,
      int numNodes,
      int k,
      Noise noise,
      int[] token,
      float[] logProb,
      @Nullable DraftLaws laws,
      int firstRow);

  /** Most tokens that {@link #draw} can give a node. */
  int mostDraws();

  /** Most levels of a draft before the source's own context is full. */
  int room(Context context);

  /** Most nodes that the tree of a draft may have, the root included. */
  default int mostNodes(Context context) {
    return Integer.MAX_VALUE;
  }

  /** Keeps what was accepted of the tree that was drafted last; nodes are those of that tree. */
  void keep(Verdict verdict);

  /** Learns from what the target said; nodes are those of the tree that was proposed. */
  default void learn(Verdict verdict, Scores scores) {}

  /** As {@link Drafter#topK}, for {@link #learn}. */
  default int topK() {
    return 0;
  }

  /** As {@link Drafter#hiddenLayers}, for {@link #learn}. */
  default int[] hiddenLayers() {
    return Drafter.NO_LAYERS;
  }

  @Override
  void close();
}
