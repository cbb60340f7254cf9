package org.espalier.draft;

import org.espalier.Context;
import org.espalier.Drafter;
import org.espalier.LayerSet;
import org.espalier.Scores;
import org.espalier.Verdict;

/** Which layers of the target draft; chosen anew for each draft of one sequence. */
interface LayerChoice extends AutoCloseable {

  /** The layers of the draft that begins now. */
  LayerSet choose(Context context);

  /** As {@link DraftSource#learn}. */
  default void learn(Verdict verdict, Scores scores) {}

  /** As {@link Drafter#topK}. */
  default int topK() {
    return 0;
  }

  /** As {@link Drafter#hiddenLayers}. */
  default int[] hiddenLayers() {
    return Drafter.NO_LAYERS;
  }

  @Override
  default void close() {}
}
