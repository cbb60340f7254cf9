package org.espalier.draft;

import java.util.stream.IntStream;
import org.espalier.Context;
import org.espalier.LayerSet;
import org.espalier.Scores;
import org.espalier.Verdict;

/**
 * The target's first layers, up to the exit that DEL chooses: see {@link ExitStatistics}. It learns
 * from shadow tokens, what each exit would have said at tokens that were just verified.
 */
final class ExitChoice implements LayerChoice {
  private final int numLayers;
  private final ExitStatistics statistics;
  private final int[] exits;

  /**
   * A choice.
   *
   * @param name of the drafter
   * @param maxLength longest draft
   */
  ExitChoice(String name, int numLayers, int maxLength) {
    if (numLayers < 2) {
      throw new IllegalArgumentException(
          name + ": layers of the model = " + numLayers + ", expected at least 2, to exit from");
    }
    this.numLayers = numLayers;
    this.statistics = new ExitStatistics(numLayers, maxLength);
    this.exits = IntStream.range(1, numLayers).toArray();
  }

  ExitStatistics statistics() {
    return statistics;
  }

  @Override
  public LayerSet choose(Context context) {
    return LayerSet.first(statistics.exit(), numLayers);
  }

  /** Of a tree the accepted path counts: its nodes are the text. */
  @Override
  public void learn(Verdict verdict, Scores scores) {
    int[] path = new int[verdict.acceptLen() + 1];
    for (int i = 1; i < path.length; i++) {
      path[i] = verdict.node(i - 1);
    }
    learn(path, scores);
  }

  /** Learns from some nodes of the last pass, each a child of the one before. */
  void learn(int[] nodes, Scores scores) {
    int columns = nodes.length;
    int[] target = new int[columns];
    for (int i = 0; i < columns; i++) {
      target[i] = scores.topToken(nodes[i], 0);
    }
    int[] shadow = new int[exits.length * columns];
    float[] prob = new float[shadow.length];
    scores.exits(exits, nodes, columns, shadow, prob);
    statistics.observe(shadow, prob, target, columns);
  }

  @Override
  public int topK() {
    return 1;
  }

  @Override
  public int[] hiddenLayers() {
    return exits;
  }
}
