package org.espalier;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.OptionalInt;
import java.util.Random;
import org.junit.jupiter.api.Test;

class StopTextTest {

  @Test
  void textBeforeAStopStringAcrossPieces() {
    StopText stops = new StopText(List.of("</end>"));
    assertThat(stops.next("hello <")).isEqualTo("hello ");
    assertThat(stops.next("/en")).isEmpty();
    assertThat(stops.found()).isFalse();
    assertThat(stops.next("d> tail")).isEmpty();
    assertThat(stops.found()).isTrue();
    assertThat(stops.finish()).isEmpty();
  }

  @Test
  void heldBackTextAppearsWhenItBeginsNoStopString() {
    StopText stops = new StopText(List.of("abc"));
    assertThat(stops.next("xab")).isEqualTo("x");
    assertThat(stops.next("ab")).isEqualTo("ab");
    assertThat(stops.finish()).isEqualTo("ab");
  }

  /**
   * Whatever the pieces: shown is the text before the stop string that ends first, or all of it.
   */
  @Test
  void piecesDoNotMatter() {
    int stopped = 0;
    for (int seed = 0; seed < 2000; seed++) {
      Random random = new Random(seed);
      String text = letters(random, random.nextInt(12));
      List<String> stopStrings =
          List.of(letters(random, 1 + random.nextInt(4)), letters(random, 2 + random.nextInt(4)));
      String expected = textBefore(text, stopStrings);
      stopped += expected.equals(text) ? 0 : 1;
      assertThat(shown(text, stopStrings, random)).as("seed %d", seed).isEqualTo(expected);
    }
    assertThat(stopped).isBetween(200, 1800);
  }

  private static String textBefore(String text, List<String> stopStrings) {
    for (int end = 1; end <= text.length(); end++) {
      String read = text.substring(0, end);
      OptionalInt stop = stopStrings.stream().filter(read::endsWith).mapToInt(String::length).max();
      if (stop.isPresent()) {
        return read.substring(0, end - stop.getAsInt());
      }
    }
    return text;
  }

  private static String shown(String text, List<String> stopStrings, Random random) {
    StopText stops = new StopText(stopStrings);
    StringBuilder shown = new StringBuilder();
    for (int at = 0; at < text.length() && !stops.found(); ) {
      int next = Math.min(text.length(), at + 1 + random.nextInt(3));
      shown.append(stops.next(text.substring(at, next)));
      at = next;
    }
    return shown.append(stops.finish()).toString();
  }

  private static String letters(Random random, int length) {
    StringBuilder letters = new StringBuilder();
    for (int i = 0; i < length; i++) {
      letters.append((char) ('a' + random.nextInt(2)));
    }
    return letters.toString();
  }
}
