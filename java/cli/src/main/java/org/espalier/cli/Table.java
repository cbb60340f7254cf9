package org.espalier.cli;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Rows of text in columns: the first column to the left, numbers to the right. */
final class Table {
  private final List<List<String>> rows = new ArrayList<>();

  Table(String... header) {
    rows.add(List.of(header));
  }

  void add(String... cells) {
    rows.add(List.of(cells));
  }

  @Override
  public String toString() {
    int[] width = new int[rows.get(0).size()];
    boolean[] right = new boolean[width.length];
    Arrays.fill(right, rows.size() > 1);
    for (int r = 0; r < rows.size(); r++) {
      for (int c = 0; c < width.length; c++) {
        String cell = rows.get(r).get(c);
        width[c] = Math.max(width[c], cell.length());
        right[c] &= r == 0 || cell.equals("-") || cell.matches("[-+]?\\d[\\d.,]*( \\w+|x)?");
      }
    }
    StringBuilder text = new StringBuilder();
    for (List<String> row : rows) {
      StringBuilder line = new StringBuilder();
      for (int c = 0; c < width.length; c++) {
        String gap = " ".repeat(width[c] - row.get(c).length());
        line.append(c == 0 ? "" : "  ");
        line.append(right[c] ? gap + row.get(c) : row.get(c) + gap);
      }
      text.append(line.toString().stripTrailing()).append(System.lineSeparator());
    }
    return text.toString();
  }
}
