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
   * cannot begin one. The stop string that is complete first counts, so pieces do not matter.
   */
  String next(String piece) {
    if (stops.isEmpty()) {
      return piece;
    }
    for (int i = 0; i < piece.length() && !found; i++) {
      held.append(piece.charAt(i));
      int longest = longestAtEnd(held, stops);
      if (longest > 0) {
        found = true;
        held.setLength(held.length() - longest);
      }
    }
    return take(found ? held.length() : held.length() - longestBeginning());
  }

  /** Length of the longest stop string that the text ends with, 0 for none. */
  private static int longestAtEnd(StringBuilder text, List<String> stops) {
    int longest = 0;
    for (String stop : stops) {
      int begin = text.length() - stop.length();
      if (begin >= 0 && text.indexOf(stop, begin) >= 0) {
        longest = Math.max(longest, stop.length());
      }
    }
    return longest;
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
