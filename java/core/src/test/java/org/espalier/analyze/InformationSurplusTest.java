package org.espalier.analyze;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.IntUnaryOperator;
import org.junit.jupiter.api.Test;

/** The toys whose surplus is known: a state of two random bits. */
class InformationSurplusTest {
  private static final double LN_2 = Math.log(2);
  private final InformationSurplus surplus =
      new InformationSurplus(2, new InformationSurplus.Options(4, 20, 7));

  /** Texts of three tokens; the state after the first is one of four, all as likely. */
  private static List<InformationSurplus.Text> texts(
      int count, long seed, IntUnaryOperator first, IntUnaryOperator second) {
    Random random = new Random(seed);
    List<InformationSurplus.Text> texts = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int h = random.nextInt(4);
      float[] state = new float[4];
      state[h] = 1;
      float[] half = {0.5f, 0.5f};
      texts.add(
          new InformationSurplus.Text(
              new int[] {0, first.applyAsInt(h), second.applyAsInt(h)},
              new float[][] {state, new float[4], new float[4]},
              new float[][] {half, half, half}));
    }
    return texts;
  }

  /** W_1, W_2 are the bits of H: two bits in all, one of them surplus. */
  @Test
  void theSecondBitIsSurplus() {
    InformationSurplus.Term term =
        surplus.term(
            1, texts(400, 1, h -> h & 1, h -> h >> 1), texts(300, 2, h -> h & 1, h -> h >> 1));
    assertThat(term.surplus()).isCloseTo(LN_2, within(0.03));
    assertThat(term.low()).isLessThanOrEqualTo(term.surplus());
    assertThat(term.high()).isGreaterThanOrEqualTo(term.surplus());
    assertThat(term.agreement()).isEqualTo(1);
    assertThat(term.targetEntropy()).isCloseTo(LN_2, within(1e-6));
    assertThat(term.draftEntropy()).isLessThan(0.1);
  }

  /** W_2 = W_1: the state adds nothing to what the token tells. */
  @Test
  void whatTheTokenTellsIsNoSurplus() {
    InformationSurplus.Term term =
        surplus.term(
            1, texts(400, 3, h -> h & 1, h -> h & 1), texts(300, 4, h -> h & 1, h -> h & 1));
    assertThat(term.surplus()).isCloseTo(0, within(0.03));
    assertThat(term.draftCrossEntropy()).isLessThan(0.05);
  }

  /** A head that says one half where the target does: next to no divergence. */
  @Test
  void theBoundFollowsTheDivergence() {
    Random random = new Random(99);
    IntUnaryOperator chance = h -> random.nextInt(2);
    InformationSurplus.Term term =
        surplus.term(1, texts(4000, 5, h -> h & 1, chance), texts(1000, 6, h -> h & 1, chance));
    assertThat(term.divergence()).isBetween(0.0, 0.02);
    assertThat(term.acceptanceBound()).isCloseTo(1, within(0.1));
    assertThat(new InformationSurplus.Term(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.18, 0).acceptanceBound())
        .isCloseTo(0.70, within(1e-9));
  }

  /** Texts whose state is noise: nothing to be found in it, and little to be lost. */
  private static List<InformationSurplus.Text> noise(int count, int length, long seed) {
    Random random = new Random(seed);
    List<InformationSurplus.Text> texts = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int[] token = random.ints(length, 0, 2).toArray();
      float[][] state = new float[length][128];
      float[][] law = new float[length][];
      for (int t = 0; t < length; t++) {
        for (int j = 0; j < 128; j++) {
          state[t][j] = (float) random.nextGaussian();
        }
        law[t] = new float[] {0.5f, 0.5f};
      }
      texts.add(new InformationSurplus.Text(token, state, law));
    }
    return texts;
  }

  @Test
  void noiseIsNoSurplus() {
    InformationSurplus one = new InformationSurplus(2, new InformationSurplus.Options(4, 1, 7));
    double sum = 0;
    for (int seed = 0; seed < 8; seed++) {
      InformationSurplus.Term term = one.term(1, noise(10, 30, seed), noise(20, 60, 100 + seed));
      assertThat(term.isFound()).as("seed %d: from %f", seed, term.low()).isFalse();
      sum += term.surplus();
    }
    assertThat(sum / 8).as("what is lost to noise").isBetween(-0.05, 0.01);
  }

  /** Texts of two bits; the first state says the second one, in one text of five wrongly. */
  private static List<InformationSurplus.Text> dim(int count, long seed) {
    Random random = new Random(seed);
    List<InformationSurplus.Text> texts = noise(count, 3, seed);
    for (InformationSurplus.Text text : texts) {
      boolean right = random.nextInt(5) > 0;
      text.state()[0][0] = (text.token()[2] == 1) == right ? 8 : -8;
    }
    return texts;
  }

  /** Few texts say that they are too few, and lose to that; twenty times as many find the truth. */
  @Test
  void tooFewTextsSaySo() {
    double truth = LN_2 + 0.2 * Math.log(0.2) + 0.8 * Math.log(0.8);
    InformationSurplus one = new InformationSurplus(2, new InformationSurplus.Options(4, 1, 7));
    double few = 0;
    double half = 0;
    int found = 0;
    for (int seed = 0; seed < 5; seed++) {
      InformationSurplus.Term term = one.term(1, dim(30, seed), dim(15, 100 + seed));
      assertThat(term.tokens()).isEqualTo(45);
      few += term.surplus() / 5;
      half += term.halfSurplus() / 5;
      found += term.isFound() ? 1 : 0;
      InformationSurplus.Term many = one.term(1, dim(600, seed), dim(300, 100 + seed));
      assertThat(many.isFound()).as("seed %d: %s", seed, many).isTrue();
      assertThat(many.surplus())
          .as("seed %d: %s", seed, many)
          .isBetween(truth - 4 * many.standardError(), truth + 4 * many.standardError());
    }
    assertThat(found).as("found in 45 places").isLessThan(2);
    assertThat(few).as("mean of few texts").isGreaterThan(half).isLessThan(truth);
  }

  @Test
  void textsThatAreTooShortAreNamed() {
    assertThatThrownBy(
            () ->
                surplus.term(
                    2, texts(4, 1, h -> h & 1, h -> h >> 1), texts(4, 2, h -> h & 1, h -> h >> 1)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("held-out texts are shorter than 4 tokens, expected a longer one");
    assertThatThrownBy(() -> surplus.term(0, List.of(), List.of()))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("offset = 0, expected at least 1");
    assertThatThrownBy(() -> new InformationSurplus.Options(0, 1, 1))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
