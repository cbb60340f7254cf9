package org.espalier.cli;

import java.util.Locale;

/** Numbers for people. */
final class Units {
  private static final String[] BYTES = {"B", "KiB", "MiB", "GiB", "TiB"};

  private Units() {}

  static String bytes(long bytes) {
    double value = bytes;
    int unit = 0;
    while (value >= 1024 && unit < BYTES.length - 1) {
      value /= 1024;
      unit++;
    }
    return unit == 0 ? bytes + " B" : String.format(Locale.ROOT, "%.1f %s", value, BYTES[unit]);
  }

  static String fixed(double value, int digits) {
    return String.format(Locale.ROOT, "%." + digits + "f", value);
  }

  static String grouped(long value) {
    return String.format(Locale.ROOT, "%,d", value);
  }

  /** A text on one line: control characters, quotes and backslashes as escapes, in quotes. */
  static String visible(String text) {
    StringBuilder visible = new StringBuilder("\"");
    text.codePoints().forEach(c -> append(visible, c));
    return visible.append('"').toString();
  }

  private static void append(StringBuilder visible, int codePoint) {
    switch (codePoint) {
      case '\n' -> visible.append("\\n");
      case '\r' -> visible.append("\\r");
      case '\t' -> visible.append("\\t");
      case '"' -> visible.append("\\\"");
      case '\\' -> visible.append("\\\\");
      default -> {
        if (Character.isISOControl(codePoint)) {
          visible.append(String.format("\\u%04x", codePoint));
        } else {
          visible.appendCodePoint(codePoint);
        }
      }
    }
  }
}
