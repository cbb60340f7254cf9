package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.espalier.DraftTree;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CombTreeTest {
  private static final int ROOT = '0';

  private final GradedTree tree = new GradedTree();

  /** Laws of twelve tokens, a to l, of which the first has these probabilities level by level. */
  private static TableSource source(double... confidence) {
    Map<String, List<TableSource.Choice>> laws = new HashMap<>();
    String path = "";
    for (double c : confidence) {
      List<TableSource.Choice> law = new ArrayList<>();
      for (int i = 0; i < 12; i++) {
        law.add(new TableSource.Choice((char) ('a' + i), i == 0 ? c : (1 - c) / (10 + i)));
      }
      laws.put(path, law);
      path += "a";
    }
    return new TableSource(laws);
  }

  private DraftTree grow(TreePolicy policy, TableSource source, int maxNodes, int maxDepth) {
    tree.reset(ROOT);
    policy.grow(new ListContext(maxNodes, maxDepth, ROOT), source, tree);
    return tree.best(Math.min(maxNodes, policy.nodes()));
  }

  private static int[] nodesByDepth(DraftTree tree) {
    int[] count = new int[tree.maxDepth() + 1];
    for (int i = 0; i < tree.size(); i++) {
      count[tree.depth(i)]++;
    }
    return count;
  }

  @ParameterizedTest
  @CsvSource({"0.96, 3, 1", "0.95, 5, 3", "0.81, 5, 3", "0.8, 8, 5", "0.51, 8, 5", "0.5, 10, 10"})
  void lessSureIsWider(double confidence, int greedy, int drawn) {
    assertThat(CombTree.width(true, confidence)).isEqualTo(greedy);
    assertThat(CombTree.width(false, confidence)).isEqualTo(drawn);
  }

  /** The level that is not sure enough is drafted still, and is the last. */
  @Test
  void toyTree() {
    TableSource source = source(.97, .9, .6, .99);
    DraftTree sixteen = grow(new CombTree(25, .8), source, 512, 64);
    assertThat(nodesByDepth(sixteen)).containsExactly(1, 3, 5, 8);
    assertThat(source.passes).isEqualTo(3);
    List<String> paths = TableSource.paths(sixteen);
    assertThat(paths)
        .contains("a", "b", "c", "aa", "ab", "ac", "ad", "ae", "aaa", "aah")
        .doesNotHaveDuplicates()
        .allMatch(path -> path.length() < 2 || path.startsWith("a"));
  }

  @Test
  void largestTree() {
    double[] unsure = new double[30];
    Arrays.fill(unsure, .3);
    DraftTree largest = grow(new CombTree(25, 0), source(unsure), 4095, 64);
    assertThat(largest.size()).isEqualTo(251);
    assertThat(largest.maxDepth()).isEqualTo(25);
  }

  /** Nodes and depth that the context allows; never more are drawn than can be proposed. */
  @Test
  void shortOfNodesOrDepth() {
    CombTree policy = new CombTree(25, .8);
    for (int nodes = 0; nodes <= 16; nodes++) {
      DraftTree cut = grow(policy, source(.97, .9, .6), nodes, 64);
      assertThat(cut.size()).isEqualTo(nodes + 1);
      assertThat(tree.all().size()).isEqualTo(nodes + 1);
    }
    assertThat(nodesByDepth(grow(policy, source(.97, .9, .6), 64, 2))).containsExactly(1, 3, 5);
    assertThat(grow(policy, source(.97, .9, .6), 64, 0).size()).isEqualTo(1);
    assertThat(nodesByDepth(grow(new CombTree(1, .8), source(.97, .9), 64, 64)))
        .containsExactly(1, 3);
  }

  @Test
  void parametersAreChecked() {
    assertThatThrownBy(() -> new CombTree(0, .8)).hasMessage("depth = 0, expected 1 to 64");
    assertThatThrownBy(() -> new CombTree(65, .8)).hasMessage("depth = 65, expected 1 to 64");
    assertThatThrownBy(() -> new CombTree(25, 1.5)).hasMessage("stop = 1.5, expected 0.0 to 1.0");
    assertThatThrownBy(() -> new CombTree(25, Double.NaN))
        .hasMessage("stop = NaN, expected 0.0 to 1.0");
  }
}
