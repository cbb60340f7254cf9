package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** On texts that are made up: which of their tokens a draft foresees is known. */
class AcceptanceTest {
  private static final int LENGTH = 200_000;
  private static final double KEEP = 0.9999;

  /** Tokens of which a share is foreseen, another one after a token that was. */
  private static boolean[] text(double share, double afterForeseen) {
    Random random = new Random(1);
    boolean[] foreseen = new boolean[LENGTH];
    for (int i = 1; i < LENGTH; i++) {
      foreseen[i] = random.nextDouble() < (foreseen[i - 1] ? afterForeseen : share);
    }
    return foreseen;
  }

  /** Nodes of a chain that are accepted. */
  private static int accepted(boolean[] text, int at, int nodes) {
    int accepted = 0;
    while (accepted < nodes - 1 && at + accepted < LENGTH && text[at + accepted]) {
      accepted++;
    }
    return accepted;
  }

  /** Tokens per step with trees of a size. */
  private static double truth(boolean[] text, int nodes) {
    int steps = 0;
    for (int at = 0; at < LENGTH; at += accepted(text, at, nodes) + 1) {
      steps++;
    }
    return (double) LENGTH / steps;
  }

  private static double estimate(Acceptance acceptance, int nodes) {
    double tokens = 1;
    for (int i = 1; TimeCurve.size(i) <= nodes; i++) {
      tokens *= acceptance.gain(i, tokens, 1);
    }
    return tokens;
  }

  /** What trees of 8 tell of smaller ones. */
  @ParameterizedTest
  @CsvSource({"0.6, 0.8", "0.4, 0.7", "0.5, 0.9", "0.12, 0.9", "0.2, 0.93"})
  void largeTreesTellOfSmallerOnes(double share, double afterForeseen) {
    boolean[] text = text(share, afterForeseen);
    Acceptance acceptance = new Acceptance(512, KEEP);
    for (int at = 0; at < LENGTH; ) {
      int accepted = accepted(text, at, 8);
      acceptance.observe(1, 8, 8, Trees.acceptedOfChain(accepted));
      at += accepted + 1;
    }
    assertThat(estimate(acceptance, 8) / truth(text, 8)).isBetween(0.98, 1.02);
    for (int nodes : new int[] {2, 3, 4, 6}) {
      assertThat(estimate(acceptance, nodes) / truth(text, nodes))
          .as("%d nodes", nodes)
          .isBetween(0.95, 1.05);
    }
  }

  /** What nobody looked at is guessed: as much more for each doubling as for those before. */
  @Test
  void largerTreesAreGuessedFromSmallerOnes() {
    Acceptance acceptance = new Acceptance(512, KEEP);
    assertThat(estimate(acceptance, 2)).isCloseTo(1.2, within(1e-9));
    assertThat(estimate(acceptance, 64)).isCloseTo(2.2, within(1e-9));
    boolean[] text = text(0.85, 0.85);
    for (int at = 0; at < LENGTH; ) {
      int accepted = accepted(text, at, 4);
      acceptance.observe(1, 4, 4, Trees.acceptedOfChain(accepted));
      at += accepted + 1;
    }
    assertThat(estimate(acceptance, 8)).isBetween(0.8 * truth(text, 8), truth(text, 8));
    Acceptance none = new Acceptance(512, KEEP);
    for (int i = 0; i < 50; i++) {
      none.observe(1, 4, 4, Trees.acceptedOfChain(0));
    }
    assertThat(estimate(none, 64)).isBetween(1.0, 1.1);
  }

  /** Trees of 2 are sent, and larger ones are looked at where the text has left the last one. */
  @ParameterizedTest
  @CsvSource({"0.6, 0.8", "0.4, 0.7", "0.5, 0.9", "0.12, 0.9", "0.2, 0.93"})
  void unsentTreesTellOfLargerOnes(double share, double afterForeseen) {
    boolean[] text = text(share, afterForeseen);
    Acceptance acceptance = new Acceptance(512, KEEP);
    Acceptance ofSent = new Acceptance(512, KEEP);
    int left = 0;
    for (int at = 0; at < LENGTH; ) {
      int accepted = accepted(text, at, 2);
      acceptance.observe(1, 2, 2, Trees.acceptedOfChain(accepted));
      ofSent.observe(1, 2, 2, Trees.acceptedOfChain(accepted));
      if (at >= left) {
        int larger = accepted(text, at, 8);
        acceptance.observe(2, 8, 8, Trees.acceptedOfChain(larger));
        left = at + larger + 1;
      }
      at += accepted + 1;
    }
    assertThat(estimate(acceptance, 2) / truth(text, 2)).isBetween(0.98, 1.02);
    assertThat(acceptance.gain(1, 1, 1))
        .as("sent trees tell of it")
        .isEqualTo(ofSent.gain(1, 1, 1));
    assertThat(acceptance.hoped(1)).isEqualTo(ofSent.hoped(1));
    assertThat(acceptance.weight(1)).isEqualTo(ofSent.weight(1));
    assertThat(estimate(acceptance, 8) / truth(text, 8)).isBetween(0.95, 1.05);
  }
}
