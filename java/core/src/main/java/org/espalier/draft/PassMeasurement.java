package org.espalier.draft;

import java.util.Arrays;
import java.util.List;
import org.espalier.DraftTree;
import org.espalier.EspalierException;
import org.espalier.Sequence;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Measures how long a model's passes take, by the nodes of the tree: passes over chains of each
 * size, in turns, the shortest of which counts. Decoding repeats a size, so a turn does too: the
 * first passes after those of another size, or after none, take up to twice as long.
 */
final class PassMeasurement {
  private static final Logger LOG = LoggerFactory.getLogger(PassMeasurement.class);

  /** Larger trees are few, and a session for them takes memory. */
  private static final int MOST_NODES = 128;

  private static final int PROMPT = 32;

  /** As many, and for as long: a machine that is busy for a moment says nothing about a size. */
  private static final int ROUNDS = 5;

  private static final double LEAST_NANOS = 1.2e9;

  /** How long a turn of a size is at least, and of it what is not counted. */
  private static final double TURN_NANOS = 5e6;

  private static final double SETTLE_NANOS = 3e6;

  /** No pass is begun after so long. */
  private static final double MOST_NANOS = 2e9;

  /** The first size that takes longer than so many times a pass of one node is the last one. */
  private static final double MOST_RATIO = 4;

  private PassMeasurement() {}

  /**
   * Measures the passes of a session's model, on a session of its own beside it.
   *
   * @param curve which knows nothing yet, and begins with what was measured
   */
  static void run(Session session, TimeCurve curve) {
    int mostNodes = Math.min(MOST_NODES, session.options().maxNodes());
    int prompt = Math.min(PROMPT, session.options().maxTokens() - 1);
    SessionOptions options =
        session
            .options()
            .withMaxSequences(1)
            .withMaxNodes(mostNodes)
            .withMaxTokens(prompt + mostNodes);
    try (Session own = session.newNeighbour(session.model(), options);
        Sequence sequence = own.newSequence()) {
      sequence.prefill(new int[prompt]);
      measure(own, sequence, curve);
    } catch (EspalierException e) {
      LOG.warn("pass times are not known, they are learned while decoding: {}", e.getMessage());
    }
  }

  private static void measure(Session session, Sequence sequence, TimeCurve curve) {
    int most = session.options().maxTokens() - sequence.length();
    double begin = System.nanoTime();
    pass(session, sequence, 1); // reads what is still on the disk
    double[] least = new double[TimeCurve.numSizes()];
    Arrays.fill(least, Double.POSITIVE_INFINITY);
    int sizes = 0;
    for (int round = 0; round < ROUNDS || System.nanoTime() - begin < LEAST_NANOS; round++) {
      while (sizes < least.length
          && TimeCurve.size(sizes) <= most
          && (sizes == 0 || least[sizes - 1] <= MOST_RATIO * least[0])
          && System.nanoTime() - begin < MOST_NANOS) {
        least[sizes] = turn(session, sequence, TimeCurve.size(sizes));
        sizes++;
      }
      // The largest first: passes after much larger ones are slow, and small ones matter most.
      for (int i = sizes - 1; i >= 0 && System.nanoTime() - begin < MOST_NANOS; i--) {
        least[i] = Math.min(least[i], turn(session, sequence, TimeCurve.size(i)));
      }
    }
    for (int i = 0; i < least.length && least[i] < Double.POSITIVE_INFINITY; i++) {
      curve.begin(i, least[i]);
    }
  }

  private static double turn(Session session, Sequence sequence, int nodes) {
    double least = Double.POSITIVE_INFINITY;
    double begin = System.nanoTime();
    double passed = 0;
    while (passed < TURN_NANOS) {
      double nanos = pass(session, sequence, nodes);
      passed = System.nanoTime() - begin;
      if (passed > SETTLE_NANOS) {
        least = Math.min(least, nanos);
      }
    }
    return least;
  }

  private static double pass(Session session, Sequence sequence, int nodes) {
    DraftTree chain = DraftTree.rootedAt(0);
    for (int i = 1; i < nodes; i++) {
      chain.append(0);
    }
    long begin = System.nanoTime();
    session.forward(List.of(sequence), List.of(chain), 0);
    session.verify();
    return (double) (System.nanoTime() - begin);
  }
}
