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
    "2, 1, 0.5, 0.15",
    "2, 2, 0.5, 0.1458",
    "2, 3, 0.5, 0.1339",
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
}
