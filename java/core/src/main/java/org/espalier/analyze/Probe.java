package org.espalier.analyze;

import java.util.Arrays;
import java.util.Random;

/**
 * A small draft head: predicts a token from a hidden state and the tokens that came after it. With
 * the state left out it is the blind head of the same size.
 *
 * <p>{@code z = P h + sum_j E_j[w_j], logits = U z + c}, all of it trained by Adagrad on the cross
 * entropy. The same seed gives the same head.
 */
final class Probe {
  private static final float RATE = 0.1f;
  private static final float WEIGHT_DECAY = 1e-5f;

  private final int classes;
  private final int hidden;
  private final int offsets;
  private final int rank;

  /** A step of P moves z by all elements of the state at once. */
  private final float stateRate;

  /** P [rank, hidden], E [offsets, classes, rank], U [classes, rank], c [classes]. */
  private final float[] p;

  private final float[] e;
  private final float[] u;
  private final float[] c;

  // Sums of squared gradients, as the parameters.
  private final float[] pSquares;
  private final float[] eSquares;
  private final float[] uSquares;
  private final float[] cSquares;

  private final float[] z;
  private final float[] dz;
  private final float[] law;

  /**
   * An untrained head.
   *
   * @param classes tokens that are told apart
   * @param hidden size of the state, 0 for a blind head
   * @param offsets tokens behind the state that are seen
   * @param rank size of z
   */
  Probe(int classes, int hidden, int offsets, int rank, long seed) {
    this.classes = classes;
    this.hidden = hidden;
    this.offsets = offsets;
    this.rank = rank;
    this.stateRate = RATE / (float) Math.sqrt(Math.max(1, hidden));
    Random random = new Random(seed);
    p = new float[rank * hidden]; // not by chance: a state that says nothing would be noise in z
    e = normal(offsets * classes * rank, random, 0.1);
    u = normal(classes * rank, random, 1 / Math.sqrt(rank));
    c = new float[classes];
    pSquares = new float[p.length];
    eSquares = new float[e.length];
    uSquares = new float[u.length];
    cSquares = new float[c.length];
    z = new float[rank];
    dz = new float[rank];
    law = new float[classes];
  }

  private static float[] normal(int size, Random random, double deviation) {
    float[] values = new float[size];
    for (int i = 0; i < size; i++) {
      values[i] = (float) (random.nextGaussian() * deviation);
    }
    return values;
  }

  /**
   * The law of the next token; valid until the next call.
   *
   * @param h the state, normalised; empty for a blind head
   * @param seen classes of the tokens after the state, the first {@code offsets} of them
   * @param from where they begin
   */
  float[] law(float[] h, int[] seen, int from) {
    for (int r = 0; r < rank; r++) {
      float sum = 0;
      for (int i = 0; i < hidden; i++) {
        sum = Math.fma(p[r * hidden + i], h[i], sum);
      }
      z[r] = sum;
    }
    for (int j = 0; j < offsets; j++) {
      int row = (j * classes + seen[from + j]) * rank;
      for (int r = 0; r < rank; r++) {
        z[r] += e[row + r];
      }
    }
    float most = Float.NEGATIVE_INFINITY;
    for (int k = 0; k < classes; k++) {
      float sum = c[k];
      for (int r = 0; r < rank; r++) {
        sum = Math.fma(u[k * rank + r], z[r], sum);
      }
      law[k] = sum;
      most = Math.max(most, sum);
    }
    double total = 0;
    for (int k = 0; k < classes; k++) {
      law[k] = (float) Math.exp(law[k] - most);
      total += law[k];
    }
    for (int k = 0; k < classes; k++) {
      law[k] /= (float) total;
    }
    return law;
  }

  /** One step down the gradient of -log law[target]. */
  void learn(float[] h, int[] seen, int from, int target) {
    law(h, seen, from);
    law[target] -= 1; // the gradient by the logits
    Arrays.fill(dz, 0);
    for (int k = 0; k < classes; k++) {
      float g = law[k];
      for (int r = 0; r < rank; r++) {
        int at = k * rank + r;
        dz[r] = Math.fma(g, u[at], dz[r]);
        step(u, uSquares, at, g * z[r], RATE);
      }
      step(c, cSquares, k, g, RATE);
    }
    for (int r = 0; r < rank; r++) {
      for (int i = 0; i < hidden; i++) {
        step(p, pSquares, r * hidden + i, dz[r] * h[i], stateRate);
      }
    }
    for (int j = 0; j < offsets; j++) {
      int row = (j * classes + seen[from + j]) * rank;
      for (int r = 0; r < rank; r++) {
        step(e, eSquares, row + r, dz[r], RATE);
      }
    }
  }

  private static void step(float[] parameter, float[] squares, int i, float gradient, float rate) {
    float g = gradient + WEIGHT_DECAY * parameter[i];
    squares[i] += g * g;
    parameter[i] -= rate * g / ((float) Math.sqrt(squares[i]) + 1e-6f);
  }
}
