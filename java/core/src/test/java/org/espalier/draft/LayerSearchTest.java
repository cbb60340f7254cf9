package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.function.ToDoubleFunction;
import org.espalier.LayerSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LayerSearchTest {
  private static final LayerSkip.Search PUBLISHED = LayerSkip.Search.defaults();

  private static LayerSkip.Search search(
      int bayesInterval, int maxIter, int maxStale, double sMax) {
    return new LayerSkip.Search(.45, 32, 1, bayesInterval, maxIter, maxStale, sMax);
  }

  private static LayerSearch of(int numLayers, LayerSkip.Search options) {
    return new LayerSearch(options, LayerSearch.oddLayers(numLayers));
  }

  @ParameterizedTest
  @CsvSource({"6, .45, 3", "32, .45, 27", "40, .45, 34", "80, .5, 78", "3, .45, 0", "3, .5, 1"})
  void sublayersThatAreLeftOut(int numLayers, double r, int expected) {
    assertThat(LayerSearch.numSkip(numLayers, r)).isEqualTo(expected);
  }

  @Test
  void codesOfSixLayers() {
    BitSet z = new BitSet();
    z.set(2);
    z.set(4);
    assertThat(LayerSearch.layers(z, 6)).isEqualTo(LayerSet.without(List.of(3), List.of(1), 6));
    assertThat(LayerSearch.oddLayers(6))
        .isEqualTo(LayerSet.without(List.of(1, 3), List.of(1, 3), 6));
    BitSet start = of(6, PUBLISHED).next();
    assertThat(start.stream()).containsExactly(0, 2, 4, 6);
  }

  @Test
  void equalScoreIsNoImprovement() {
    LayerSearch search = of(6, PUBLISHED);
    List<BitSet> sets = new ArrayList<>();
    for (double score : new double[] {.5, .6, .6, .55}) {
      sets.add(search.next());
      search.record(sets.get(sets.size() - 1), score);
    }
    assertThat(search.bestScore()).isEqualTo(.6);
    assertThat(search.stale()).isEqualTo(2);
    assertThat(search.best()).isEqualTo(LayerSearch.layers(sets.get(1), 6));
    assertThat(search.gain()).isEqualTo(.6 - .5);
    assertThat(search.on()).isTrue();
  }

  /** The toy: g = 5 6 7 8 9, and after 5 6 7 8 the draft says 6 7 0 9. */
  @Test
  void matchnessIsTheShareOfTheNextTokens() {
    assertThat(LayerSkip.matchness(new int[] {6, 7, 0, 9}, new int[] {6, 7, 8, 9})).isEqualTo(.75);
  }

  private static List<BitSet> sets(LayerSearch search, int count, ToDoubleFunction<BitSet> score) {
    List<BitSet> sets = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      BitSet z = search.next();
      sets.add(z);
      search.record(z, score.applyAsDouble(z));
    }
    return sets;
  }

  /** A score of the codes, some of which are worth to be left out. */
  private static double hidden(BitSet z) {
    return z.stream().filter(code -> code * 7 % 10 < 4).count() / 27.0;
  }

  @Test
  void equalScoresLeadToEqualSets() {
    List<BitSet> sets = sets(of(32, search(5, 1000, 300, 1)), 60, LayerSearchTest::hidden);
    assertThat(sets(of(32, search(5, 1000, 300, 1)), 60, LayerSearchTest::hidden)).isEqualTo(sets);
    assertThat(sets).doesNotHaveDuplicates();
    for (BitSet z : sets.subList(1, 60)) {
      assertThat(z.cardinality()).isEqualTo(27);
      assertThat(z.length()).isLessThanOrEqualTo(60);
      LayerSet layers = LayerSearch.layers(z, 32);
      assertThat(layers.attentionLeftOut()).doesNotContain(0, 31);
      assertThat(layers.mlpLeftOut()).doesNotContain(0, 31);
    }
  }

  /** Each code is in a random set as often as any other: 5 of 12, in 3,000 sets, within 6 sigma. */
  @Test
  void randomSetsAreUniform() {
    LayerSearch search = of(8, search(1_000_000, 4000, 4000, 1));
    int[] seen = new int[12];
    for (BitSet z : sets(search, 3001, z -> 0).subList(1, 3001)) {
      z.stream().forEach(code -> seen[code]++);
    }
    double sigma = Math.sqrt(3000 * (5 / 12.0) * (7 / 12.0));
    assertThat(Arrays.stream(seen)).allMatch(n -> Math.abs(n - 1250) < 6 * sigma);
  }

  /** The process finds sets of a hidden score that as many random ones do not come near to. */
  @Test
  void whatIsKnownLeadsToBetterSets() {
    LayerSearch random = of(32, search(1_000_000, 1000, 1000, 1));
    LayerSearch bayes = of(32, search(2, 1000, 1000, 1));
    sets(random, 150, LayerSearchTest::hidden);
    sets(bayes, 150, LayerSearchTest::hidden);
    assertThat(bayes.bestScore()).isGreaterThanOrEqualTo(random.bestScore() + 2 / 27.0);
  }

  @Test
  void searchEnds() {
    LayerSearch good = of(6, search(25, 1000, 300, .95));
    good.record(good.next(), .95);
    assertThat(good.on()).isTrue();
    good.record(good.next(), .96);
    assertThat(good.on()).isFalse();

    LayerSearch stale = of(6, search(25, 1000, 2, .95));
    sets(stale, 3, z -> .5);
    assertThat(stale.on()).isTrue();
    stale.record(stale.next(), .5);
    assertThat(stale.on()).isFalse();

    LayerSearch few = of(6, search(25, 3, 300, .95));
    sets(few, 2, z -> .5);
    assertThat(few.on()).isTrue();
    few.record(few.next(), .6);
    assertThat(few.on()).isFalse();

    LayerSearch none = of(6, search(25, 0, 300, .95));
    assertThat(none.on()).isFalse();
    assertThat(none.best()).isEqualTo(LayerSearch.oddLayers(6));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      value = {
        "0; 32; 1; 25; 1000; 300; .95; r = 0.0, expected above 0 and below 1",
        "1; 32; 1; 25; 1000; 300; .95; r = 1.0, expected above 0 and below 1",
        "NaN; 32; 1; 25; 1000; 300; .95; r = NaN, expected above 0 and below 1",
        ".5; 0; 1; 25; 1000; 300; .95; w = 0, expected 1 to 256",
        ".5; 257; 1; 25; 1000; 300; .95; w = 257, expected 1 to 256",
        ".5; 32; 0; 25; 1000; 300; .95; opt_interval = 0, expected 1 to 1000000",
        ".5; 32; 1; 0; 1000; 300; .95; bayes_interval = 0, expected 1 to 1000000",
        ".5; 32; 1; 25; -1; 300; .95; max_iter = -1, expected 0 to 1000000",
        ".5; 32; 1; 25; 1000; -1; .95; max_stale = -1, expected 0 to 1000000",
        ".5; 32; 1; 25; 1000; 300; 1.1; s_max = 1.1, expected 0.0 to 1.0"
      })
  void parametersAreChecked(
      double r, int w, int opt, int bayes, int iter, int stale, double sMax, String message) {
    assertThatThrownBy(() -> new LayerSkip.Search(r, w, opt, bayes, iter, stale, sMax))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(message);
  }
}
