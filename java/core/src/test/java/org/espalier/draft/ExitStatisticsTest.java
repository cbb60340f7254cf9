package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ExitStatisticsTest {

  /** The toy table of a model of 8 layers. */
  @ParameterizedTest
  @CsvSource({
    "1, 0, 0.3, 0.125",
    "1, 1, 0.3, 0.1444",
    "1, 2, 0.3, 0.139",
    "2, 0, 0.5, 0.125",
    "2, 1, 0.5, 0.15",
    "2, 2, 0.5, 0.1458",
    "2, 3, 0.5, 0.1339",
    "4, 0, 0.8, 0.125",
    "4, 1, 0.8, 0.15",
    "4, 2, 0.8, 0.1525",
    "4, 3, 0.8, 0.1476",
    "4, 4, 0.8, 0.1401"
  })
  void tokensPerLayer(int l, int d, double alpha, double expected) {
    assertThat(ExitStatistics.tokensPerLayer(l, d, alpha, 8)).isCloseTo(expected, within(6e-5));
  }

  private static ExitStatistics toy(int maxLength) {
    ExitStatistics toy = new ExitStatistics(8, maxLength);
    toy.add(1, 3, 7, 2, 3);
    toy.add(2, 5, 5, 4, 2);
    toy.add(4, 8, 2, 7, 1);
    toy.choose();
    return toy;
  }

  @Test
  void exitAndLengthHaveTheLargestShare() {
    ExitStatistics toy = toy(18);
    assertThat(toy.exit()).isEqualTo(4);
    assertThat(toy.length()).isEqualTo(2);
  }

  /** Both exits reach .15 with one draft token. */
  @Test
  void tieGoesToTheEarlierExit() {
    ExitStatistics toy = toy(2);
    assertThat(toy.exit()).isEqualTo(2);
    assertThat(toy.length()).isEqualTo(1);
  }

  @Test
  void windowEndsAtTheFirstMismatch() {
    int[] target = {5, 6, 7, 8};
    assertThat(ExitStatistics.window(new int[] {5, 6, 9, 8}, 0, target, 4)).isEqualTo(3);
    assertThat(ExitStatistics.window(target, 0, target, 4)).isEqualTo(4);
    ExitStatistics two = new ExitStatistics(3, 18);
    two.observe(new int[] {5, 6, 9, 8, 5, 0, 7, 8}, new float[8], target, 4);
    assertThat(two.matched(2)).isEqualTo(2);
    assertThat(two.mismatched(2)).isEqualTo(1);
  }

  @Test
  void olderRoundsDecayOnceARound() {
    ExitStatistics toy = new ExitStatistics(2, 18);
    toy.add(1, 10, 5, 0, 0);
    toy.add(1, 2, 1, 0, 0);
    assertThat(toy.matched(1)).isCloseTo(11.5, within(1e-12));
    assertThat(toy.mismatched(1)).isCloseTo(5.75, within(1e-12));
  }

  @Test
  void tauLiesBetweenTheConfidenceOfMatchesAndMismatches() {
    ExitStatistics toy = new ExitStatistics(2, 18);
    assertThat(toy.tau()).isNaN();
    toy.add(1, 10, 0, 9, 0);
    assertThat(toy.tau()).isNaN();
    toy.add(1, 0.5, 5, 0.45, 2);
    assertThat(toy.tau()).isCloseTo(0.65, within(1e-9));
  }

  /** The window is that of the exit that drafted, whichever it is. */
  @Test
  void windowIsThatOfTheExitInUse() {
    ExitStatistics toy = new ExitStatistics(3, 18);
    toy.add(2, 10, 1, 9, 1);
    toy.choose();
    assertThat(toy.exit()).isEqualTo(2);
    // Exit 1 is wrong at once, exit 2 at the third column: three columns count.
    toy.observe(new int[] {0, 6, 7, 8, 5, 6, 9, 8}, new float[8], new int[] {5, 6, 7, 8}, 4);
    assertThat(toy.matched(1)).isCloseTo(2, within(1e-12));
    assertThat(toy.mismatched(1)).isCloseTo(1, within(1e-12));
    assertThat(toy.matched(2)).isCloseTo(.95 * 10 + 2, within(1e-12));
    assertThat(toy.mismatched(2)).isCloseTo(.95 + 1, within(1e-12));
  }

  /** After a choice of no draft at all the whole draft counts, right or wrong. */
  @Test
  void withoutALengthNothingIsCut() {
    ExitStatistics toy = new ExitStatistics(2, 18);
    toy.observe(new int[] {0, 0}, new float[2], new int[] {5, 6}, 2);
    assertThat(toy.length()).isZero();
    assertThat(toy.mismatched(1)).isCloseTo(1, within(1e-12));
    toy.observe(new int[] {0, 6, 7}, new float[3], new int[] {5, 6, 7}, 3);
    assertThat(toy.matched(1)).isCloseTo(2, within(1e-12));
    assertThat(toy.mismatched(1)).isCloseTo(.95 + 1, within(1e-12));
  }

  /** A round's confidence is summed by match and mismatch, and decays as the counts do. */
  @Test
  void confidenceIsSummedAndDecays() {
    ExitStatistics toy = new ExitStatistics(2, 18);
    int[] target = {5, 6};
    toy.observe(new int[] {5, 0}, new float[] {.9f, .4f}, target, 2);
    assertThat(toy.tau()).isCloseTo(.65, within(1e-6));
    toy.observe(new int[] {5, 0}, new float[] {.7f, .2f}, target, 2);
    double matched = (.95 * .9 + .7) / 1.95;
    double mismatched = (.95 * .4 + .2) / 1.95;
    assertThat(toy.tau()).isCloseTo((matched + mismatched) / 2, within(1e-6));
  }

  /** A draft of one exit that is always right: the longest one; of one never right: none. */
  @Test
  void observedRoundsChooseTheNext() {
    int[] target = {5, 6, 7};
    ExitStatistics right = new ExitStatistics(4, 5);
    right.observe(new int[] {5, 6, 7, 5, 6, 7, 5, 6, 7}, new float[9], target, 3);
    assertThat(right.exit()).isEqualTo(1);
    assertThat(right.length()).isEqualTo(4);
    ExitStatistics wrong = new ExitStatistics(4, 5);
    wrong.observe(new int[9], new float[9], target, 3);
    assertThat(wrong.length()).isZero();
  }

  /** 1 + a + .. + a^d is the closed form; d + 1 for a = 1, 1 for a = 0. */
  @Test
  void tokensOfADraftAreTheClosedForm() {
    for (int d = 0; d < 18; d++) {
      for (double a : new double[] {.1, .5, .9}) {
        double closed = (1 - Math.pow(a, d + 1)) / (1 - a) / (d * 3 + 8);
        assertThat(ExitStatistics.tokensPerLayer(3, d, a, 8)).isCloseTo(closed, within(1e-12));
      }
      assertThat(ExitStatistics.tokensPerLayer(3, d, 1, 8))
          .isCloseTo((d + 1.0) / (d * 3 + 8), within(1e-12));
      assertThat(ExitStatistics.tokensPerLayer(3, d, 0, 8))
          .isCloseTo(1.0 / (d * 3 + 8), within(1e-12));
    }
  }
}
