package org.espalier.draft;

/**
 * What DEL knows of each exit layer: how often it says what the whole model says, and how sure it
 * is when it does and when it does not. From that the exit layer and the draft length of the next
 * round, by tokens per layer, and tau, the confidence below which a draft stops.
 */
final class ExitStatistics {
  /** w: the weight that older rounds keep, once a round. */
  private static final double DECAY = 0.95;

  private final int numLayers;
  private final int maxLength;

  // By exit layer, from 1: M and X, matched and mismatched tokens; CM and CX, their confidence.
  private final double[] matched;
  private final double[] mismatched;
  private final double[] matchedConfidence;
  private final double[] mismatchedConfidence;

  private int exit = 1;
  private int length = 1;

  ExitStatistics(int numLayers, int maxLength) {
    this.numLayers = numLayers;
    this.maxLength = maxLength;
    matched = new double[numLayers];
    mismatched = new double[numLayers];
    matchedConfidence = new double[numLayers];
    mismatchedConfidence = new double[numLayers];
  }

  /** E, the exit layer of the next draft: 1 to numLayers - 1. */
  int exit() {
    return exit;
  }

  /** d*, its length by tokens per layer; 0 when a plain step is worth more. */
  int length() {
    return length;
  }

  /** tau; NaN while the exit layer had no match or no mismatch. */
  double tau() {
    return (matchedConfidence[exit] / matched[exit] + mismatchedConfidence[exit] / mismatched[exit])
        / 2;
  }

  /** Columns up to the first at which the exit layer's token is not the target's, that one too. */
  static int window(int[] exitToken, int from, int[] target, int columns) {
    for (int i = 0; i < columns; i++) {
      if (exitToken[from + i] != target[i]) {
        return i + 1;
      }
    }
    return columns;
  }

  /**
   * Learns from a round and chooses for the next. What follows the exit's first mismatch does not
   * count, unless d* was 0: then tau alone has decided to draft.
   *
   * @param token [numLayers - 1, columns] shadow tokens of exits 1 to numLayers - 1
   * @param prob their probabilities
   * @param target [columns] the whole model's tokens
   */
  void observe(int[] token, float[] prob, int[] target, int columns) {
    int kept = length == 0 ? columns : window(token, (exit - 1) * columns, target, columns);
    for (int l = 1; l < numLayers; l++) {
      double[] counts = new double[4];
      for (int i = 0; i < kept; i++) {
        int at = (l - 1) * columns + i;
        int miss = token[at] == target[i] ? 0 : 1;
        counts[miss]++;
        counts[2 + miss] += prob[at];
      }
      add(l, counts[0], counts[1], counts[2], counts[3]);
    }
    choose();
  }

  void add(int layer, double matches, double misses, double matchProb, double missProb) {
    matched[layer] = DECAY * matched[layer] + matches;
    mismatched[layer] = DECAY * mismatched[layer] + misses;
    matchedConfidence[layer] = DECAY * matchedConfidence[layer] + matchProb;
    mismatchedConfidence[layer] = DECAY * mismatchedConfidence[layer] + missProb;
  }

  double matched(int layer) {
    return matched[layer];
  }

  double mismatched(int layer) {
    return mismatched[layer];
  }

  /** Sets E and d* to the largest TPL; ties to the earlier exit, then to the shorter draft. */
  void choose() {
    double best = -1;
    for (int l = 1; l < numLayers; l++) {
      double seen = matched[l] + mismatched[l];
      for (int d = 0; seen > 0 && d < maxLength; d++) {
        double tpl = tokensPerLayer(l, d, matched[l] / seen, numLayers);
        if (tpl > best) {
          best = tpl;
          exit = l;
          length = d;
        }
      }
    }
  }

  /** TPL(l, d) = (1 + alpha + .. + alpha^d) / (d l + L). */
  static double tokensPerLayer(int l, int d, double alpha, int numLayers) {
    double tokens = 0;
    double power = 1;
    for (int i = 0; i <= d; i++) {
      tokens += power;
      power *= alpha;
    }
    return tokens / (d * l + numLayers);
  }
}
