package org.espalier;

import java.util.List;

/**
 * Finds stop strings in text that comes in pieces; holds text back while it may be the beginning of
 * one.
 */
final class StopText {
  private final List<String> stops;
  private final StringBuilder held = new StringBuilder();
  private boolean found;

  StopText(List<String> stops) {
    this.stops = stops;
  }

  /**
   * Takes a piece and returns the text that is safe to show: what comes before a stop string, or
   * cannot begin one.
   */
  String next(String piece) {
    held.append(piece);
    int first = -1;
    for (String stop : stops) {
      int at = held.indexOf(stop);
      if (at >= 0 && (first < 0 || at < first)) {
        first = at;
      }
    }
    found = first >= 0;
    return take(found ? first : held.length() - longestBeginning());
  }

  /** Whether a stop string was found; what comes after is dropped. */
  boolean found() {
    return found;
  }

  /** The text that was held back, when no more comes. */
  String finish() {
    return found ? "" : take(held.length());
  }

  private String take(int length) {
    String text = held.substring(0, length);
    held.delete(0, length);
    return text;
  }

  /** Length of the longest end of the held text that is the beginning of a stop string. */
  private int longestBeginning() {
    int longest = 0;
    for (String stop : stops) {
      for (int n = Math.min(stop.length() - 1, held.length()); n > longest; n--) {
        if (held.indexOf(stop.substring(0, n), held.length() - n) >= 0) {
          longest = n;
        }
      }
    }
    return longest;
  }
}
