package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.BitSet;
import java.util.List;
import org.junit.jupiter.api.Test;

class GaussianProcessTest {
  private static BitSet set(int... elements) {
    BitSet set = new BitSet();
    for (int e : elements) {
      set.set(e);
    }
    return set;
  }

  /** Two sets, worked out by hand: K = {1.01, k; k, 1.01}, standardised scores -1 and 1. */
  @Test
  void twoSets() {
    List<BitSet> sets = List.of(set(0, 1), set(0, 2));
    GaussianProcess process = new GaussianProcess(8, 2, sets, new double[] {.25, .75});
    double r = Math.sqrt(5); // they share half of their elements: one length apart
    double k = (1 + r + 5.0 / 3) * Math.exp(-r);
    double mean = (1 - k) / (1.01 - k);
    assertThat(process.upperBound(sets.get(0), 0)).isCloseTo(-mean, within(1e-12));
    assertThat(process.upperBound(sets.get(1), 0)).isCloseTo(mean, within(1e-12));
    // 1 - (1, k) K^-1 (1, k)
    double variance = 1 - (1.01 - 2 * k * k + 1.01 * k * k) / (1.01 * 1.01 - k * k);
    assertThat(process.upperBound(sets.get(1), 2.5))
        .isCloseTo(mean + 2.5 * Math.sqrt(variance), within(1e-9));
    // In the middle of the two nothing is known of the mean.
    assertThat(process.upperBound(set(0), 0)).isCloseTo(0, within(1e-12));
    assertThat(process.upperBound(set(4, 5, 6, 7), 1)).isBetween(.9, 1.0);
  }

  @Test
  void equalScoresAndEqualSets() {
    List<BitSet> sets = List.of(set(0, 1), set(0, 1), set(0, 1));
    GaussianProcess process = new GaussianProcess(8, 2, sets, new double[] {.5, .5, .5});
    assertThat(process.upperBound(set(0, 1), 0)).isZero();
    assertThat(process.upperBound(set(0, 1), 1)).isBetween(0.0, .1);
  }
}
