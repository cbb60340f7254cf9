package org.espalier.draft;

import java.util.BitSet;
import java.util.List;

/**
 * What a Gaussian process believes of the score of a set, having seen those of others. Sets are 0/1
 * vectors, so the squared distance of two is the number of elements that are in one of them only.
 *
 * <p>Matern 5/2 kernel; the scores are standardised, with noise of variance 0.01. The length scale
 * is fixed: sets of {@code setSize} elements that share half of them are one length apart.
 */
final class GaussianProcess {
  private static final double NOISE = 1e-2;

  private final double[] kernel;
  private final List<BitSet> sets;

  /** L of the Cholesky decomposition L L^T of the kernel matrix, row i has i + 1 elements. */
  private final double[][] l;

  /** The inverse of the kernel matrix times the standardised scores. */
  private final double[] alpha;

  private final double[] k;

  /**
   * Learns.
   *
   * @param elements that a set may have
   * @param sets at least one
   * @param scores of the sets
   */
  GaussianProcess(int elements, int setSize, List<BitSet> sets, double[] scores) {
    this.sets = sets;
    this.kernel = new double[elements + 1];
    for (int d = 0; d <= elements; d++) {
      double r = Math.sqrt(5.0 * d / setSize);
      kernel[d] = (1 + r + r * r / 3) * Math.exp(-r);
    }
    int n = sets.size();
    this.k = new double[n];
    this.l = new double[n][];
    for (int i = 0; i < n; i++) {
      l[i] = new double[i + 1];
      for (int j = 0; j <= i; j++) {
        double sum = kernel(sets.get(i), sets.get(j)) + (i == j ? NOISE : 0);
        for (int m = 0; m < j; m++) {
          sum -= l[i][m] * l[j][m];
        }
        l[i][j] = i == j ? Math.sqrt(sum) : sum / l[j][j];
      }
    }
    this.alpha = standardised(scores);
    forward(alpha);
    for (int i = n - 1; i >= 0; i--) {
      for (int j = i + 1; j < n; j++) {
        alpha[i] -= l[j][i] * alpha[j];
      }
      alpha[i] /= l[i][i];
    }
  }

  private static double[] standardised(double[] scores) {
    double mean = 0;
    for (double s : scores) {
      mean += s / scores.length;
    }
    double variance = 0;
    for (double s : scores) {
      variance += (s - mean) * (s - mean) / scores.length;
    }
    double[] result = new double[scores.length];
    for (int i = 0; i < scores.length; i++) {
      result[i] = variance == 0 ? 0 : (scores[i] - mean) / Math.sqrt(variance);
    }
    return result;
  }

  /** Solves L x = b in place. */
  private void forward(double[] b) {
    for (int i = 0; i < b.length; i++) {
      for (int j = 0; j < i; j++) {
        b[i] -= l[i][j] * b[j];
      }
      b[i] /= l[i][i];
    }
  }

  private double kernel(BitSet a, BitSet b) {
    BitSet either = (BitSet) a.clone();
    either.xor(b);
    return kernel[either.cardinality()];
  }

  /** mean + kappa * standard deviation of a set's standardised score. */
  double upperBound(BitSet set, double kappa) {
    double mean = 0;
    for (int i = 0; i < k.length; i++) {
      k[i] = kernel(set, sets.get(i));
      mean += k[i] * alpha[i];
    }
    forward(k);
    double variance = 1;
    for (double v : k) {
      variance -= v * v;
    }
    return mean + kappa * Math.sqrt(Math.max(0, variance));
  }
}
