package org.espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

final class UnitsTest {
  @Test
  void bytesHaveTheLargestUnitThatIsNotAboveThem() {
    assertThat(Units.bytes(1023)).isEqualTo("1023 B");
    assertThat(Units.bytes(1024)).isEqualTo("1.0 KiB");
    assertThat(Units.bytes(5L << 39)).isEqualTo("2.5 TiB");
    assertThat(Units.bytes(5L << 50)).isEqualTo("5120.0 TiB");
  }

  @Test
  void visibleTextStaysOnOneLine() {
    assertThat(Units.visible("a\"\\\n\t\r\u0000é😀")).isEqualTo("\"a\\\"\\\\\\n\\t\\r\\u0000é😀\"");
  }

  @Test
  void aTableAlignsNumbersToTheRight() {
    Table table = new Table("name", "n", "yes");
    table.add("a", "1.5x", "no");
    table.add("longer", "22.0x", "NO");
    assertThat(table.toString().lines())
        .containsExactly(
            "name        n  yes", //
            "a        1.5x  no",
            "longer  22.0x  NO");
  }
}
