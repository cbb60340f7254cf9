package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TreeTemplateTest {

  private static String path(TreeTemplate tree, int node) {
    String last = String.valueOf(tree.rank(node));
    return tree.parent(node) == 0 ? last : path(tree, tree.parent(node)) + "." + last;
  }

  @Test
  void defaultTreeHasThePublishedShape() {
    TreeTemplate tree = TreeTemplate.parse("2.2.2");
    List<Integer> levelSizes = new ArrayList<>(Collections.nCopies(7, 0));
    Set<Integer> inner = new HashSet<>();
    Set<String> paths = new HashSet<>();
    for (int i = 0; i < tree.size(); i++) {
      levelSizes.set(tree.depth(i), levelSizes.get(tree.depth(i)) + 1);
      inner.add(tree.parent(i));
      if (i > 0) {
        paths.add(path(tree, i));
      }
    }
    assertThat(levelSizes).containsExactly(1, 8, 21, 25, 15, 8, 3);
    assertThat(tree.size() - (inner.size() - 1)).as("leaves").isEqualTo(40);
    assertThat(tree.width()).isEqualTo(8);
    // Deepest and outermost paths of the published list.
    assertThat(paths)
        .contains(
            "0.0.0.0.0.0", "0.0.0.0.0.1", "0.0.0.1.0.0", "1.0.0.0.0", "3.0.0.0", "5.0.0", "7.0")
        .contains("0.0.0.4", "0.2.0.0", "2.0.0.0", "1.1.0", "0.1.0.0.0", "0.0.1.0.0", "0.0.0.2.0")
        .doesNotContain("6.0.0", "4.0.0.0", "0.3.0.0", "2.0.0.0.0");
  }

  @Test
  void nodesMostWorthTheirPlaceComeFirst() {
    TreeTemplate tree = TreeTemplate.parse("1/0.1/0/0.0/0.0.0/1.0");
    List<String> order = new ArrayList<>();
    for (int i = 1; i < tree.size(); i++) {
      order.add(path(tree, i));
    }
    assertThat(order).containsExactly("0", "0.0", "0.0.0", "1", "0.1", "1.0");
  }

  /** Whatever is cut off behind, a node has its parent and the siblings of lower ranks. */
  @ParameterizedTest
  @ValueSource(strings = {"2.2.2", "4x2x1", "64x2", "5x5x5"})
  void parentsAndSiblingsOfLowerRankComeFirst(String text) {
    TreeTemplate tree = TreeTemplate.parse(text);
    int[] children = new int[tree.size()];
    for (int i = 1; i < tree.size(); i++) {
      assertThat(tree.parent(i)).isLessThan(i);
      assertThat(tree.rank(i)).isEqualTo(children[tree.parent(i)]++);
    }
  }

  @Test
  void widthsAreChildrenOfEveryNode() {
    TreeTemplate tree = TreeTemplate.parse("3x2x1");
    assertThat(tree.size()).isEqualTo(1 + 3 + 6 + 6);
    assertThat(tree.width()).isEqualTo(3);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "a",
        "0x2",
        "0.0",
        "0/0",
        "0/1.0",
        "64",
        "-1",
        "64x64x64",
        "1x",
        "0//1",
        "2.2.2.2"
      })
  void badTreesAreRefused(String text) {
    assertThatThrownBy(() -> TreeTemplate.parse(text))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("tree")
        .hasMessageContaining("expected");
  }
}
