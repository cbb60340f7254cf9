package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.espalier.DraftTree;
import org.espalier.Sampling;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The toy laws of the method, and what holds for every law. */
class DynamicTreeTest {
  private static final int ROOT = '0';

  private static Map<String, List<TableSource.Choice>> toy() {
    return Map.of(
        "", TableSource.law("A .6 B .3 C .1"),
        "A", TableSource.law("x .7 y .3"),
        "B", TableSource.law("x .9 y .1"),
        "Ax", TableSource.law("z .5 w .5"),
        "Bx", TableSource.law("z .6 w .4"));
  }

  private final TableSource source = new TableSource(toy());
  private final GradedTree tree = new GradedTree();

  private DraftTree grow(TreePolicy policy, int maxNodes) {
    ListContext context = new ListContext(maxNodes, 64, ROOT);
    tree.reset(ROOT);
    policy.grow(context, source, tree);
    return tree.best(Math.min(maxNodes, policy.nodes()));
  }

  @Test
  void bestNodesComeInTheOrderOfTheirValues() {
    DraftTree six = grow(new RankedTree(6, 32, 1e-3, 1), 64);
    assertThat(TableSource.paths(six)).containsExactly("", "A", "Ax", "B", "Bx", "Axz", "Axw");
    assertThat(source.passes).isEqualTo(4); // one for each level, and one that finds no more
  }

  @ParameterizedTest
  @CsvSource({"1, .60", "2, 1.02", "3, 1.32", "4, 1.59", "5, 1.80", "6, 2.01"})
  void sumOfValuesIsTheLargestThereIs(int nodes, double sum) {
    grow(new RankedTree(nodes, 32, 1e-3, 1), 64);
    assertThat(expected(tree.best(nodes), toy())).isCloseTo(sum, within(1e-6));
    assertThat(exhaustive(toy(), nodes)).isCloseTo(sum, within(1e-6));
  }

  /** Expected number of accepted tokens: the sum of the probabilities of the nodes' paths. */
  private static double expected(DraftTree tree, Map<String, List<TableSource.Choice>> laws) {
    double sum = 0;
    for (String path : TableSource.paths(tree)) {
      sum += path.isEmpty() ? 0 : value(path, laws);
    }
    return sum;
  }

  private static double value(String path, Map<String, List<TableSource.Choice>> laws) {
    double value = 1;
    for (int i = 0; i < path.length(); i++) {
      char token = path.charAt(i);
      value *=
          laws.getOrDefault(path.substring(0, i), List.of()).stream()
              .filter(choice -> choice.token() == token)
              .mapToDouble(TableSource.Choice::probability)
              .sum();
    }
    return value;
  }

  /** The best of all connected trees of so many nodes. */
  private static double exhaustive(Map<String, List<TableSource.Choice>> laws, int nodes) {
    List<String> all = new ArrayList<>();
    laws.forEach((path, law) -> law.forEach(choice -> all.add(path + choice.token())));
    double best = 0;
    for (int set = 0; set < 1 << all.size(); set++) {
      if (Integer.bitCount(set) == nodes) {
        List<String> chosen = new ArrayList<>();
        for (int i = 0; i < all.size(); i++) {
          if ((set >> i & 1) != 0) {
            chosen.add(all.get(i));
          }
        }
        boolean connected =
            chosen.stream()
                .map(path -> path.substring(0, path.length() - 1))
                .allMatch(up -> up.isEmpty() || chosen.contains(up));
        if (connected) {
          best = Math.max(best, chosen.stream().mapToDouble(path -> value(path, laws)).sum());
        }
      }
    }
    return best;
  }

  /** A smaller tree is the beginning of a larger one, so that its worth is known from that. */
  @Test
  void fewerNodesAreTheFirstOnes() {
    List<String> six = TableSource.paths(grow(new RankedTree(6, 32, 1e-3, 1), 64));
    for (int n = 0; n < 6; n++) {
      assertThat(TableSource.paths(grow(new RankedTree(6, 32, 1e-3, 1), n)))
          .isEqualTo(six.subList(0, n + 1));
    }
  }

  /** A law at temperature .5 is one of squares; tokens of the same probability keep theirs. */
  @ParameterizedTest
  @ValueSource(ints = {1, 2, 8, 40})
  void sureTokensOfAGreedyTargetAreSurer(int nodes) {
    grow(new RankedTree(nodes, 1, 1e-3, .5), 64);
    assertThat(Math.exp(tree.grade(1))).isCloseTo(.36 / (.36 + .09 + .01), within(1e-6));
    List<TableSource.Choice> even = new ArrayList<>();
    for (int i = 0; i < 20; i++) {
      even.add(new TableSource.Choice((char) ('a' + i), .05));
    }
    tree.reset(ROOT);
    RankedTree policy = new RankedTree(nodes, 1, 1e-3, .5);
    policy.grow(new ListContext(64, 64, ROOT), new TableSource(Map.of("", even)), tree);
    assertThat(tree.all().size()).isEqualTo(1 + Math.min(nodes, 20));
    for (int i = 1; i < tree.all().size(); i++) {
      assertThat(Math.exp(tree.grade(i))).isCloseTo(.05, within(1e-6));
    }
  }

  /** A node below the threshold is proposed and gets no children; 0 stands for 1 / N. */
  @Test
  void unlikelyNodesGetNoChildren() {
    assertThat(TableSource.paths(grow(new RankedTree(6, 32, .35, 1), 64)))
        .containsExactly("", "A", "Ax", "B", "Axz", "Axw", "Ay");
    source.passes = 0;
    grow(new RankedTree(2, 32, 0, 1), 64);
    assertThat(source.passes).isEqualTo(2); // A, .6, is scored, Ax, .42, is not
    assertThat(TableSource.paths(grow(new DrawnTree(6, 32, 0), 64)))
        .containsExactlyInAnyOrder("", "A", "B", "Ax", "Bx", "Ay", "Axz");
  }

  /** Drawn with the target's noise: the first draw is worth .6, the next .15, whatever its law. */
  @Test
  void drawsAreWorthTheirRank() {
    tree.reset(ROOT);
    ListContext drawn = new ListContext(Sampling.of(1, 1), 64, 64, ROOT);
    new RankedTree(4, 32, 1e-3, 1).grow(drawn, source, tree);
    assertThat(TableSource.paths(tree.best(4))).containsExactly("", "A", "Ax", "Axz", "B");
  }

  /**
   * A law whose best tokens change level by level would have more nodes scored than there is room
   * for.
   */
  @Test
  void scoredNodesHaveRoom() {
    Map<String, List<TableSource.Choice>> laws = new HashMap<>();
    for (int k = 0; k < 7; k++) {
      List<TableSource.Choice> law = new ArrayList<>();
      law.add(new TableSource.Choice('a', .9));
      for (int i = 0; i < 7 - k; i++) {
        law.add(new TableSource.Choice((char) ('b' + i), .1 / (7 - k)));
      }
      laws.put("a".repeat(k), law);
    }
    TableSource many = new TableSource(laws);
    RankedTree eight = new RankedTree(8, 32, 1e-3, 1);
    tree.reset(ROOT);
    eight.grow(new ListContext(64, 64, ROOT), many, tree);
    assertThat(many.mostNodes).isBetween(16, eight.mostNodes());
    assertThat(tree.best(8).size()).isEqualTo(9);
  }

  /** A law of which only some tokens can be drawn: what is not there is not a node. */
  @Test
  void slotsEndWithTheirLaw() {
    TableSource cut = new TableSource(Map.of("", TableSource.law("A .6 B .3")));
    for (TreePolicy policy : List.of(new RankedTree(6, 1, 1e-3, 1), new DrawnTree(6, 1, 1e-3))) {
      tree.reset(ROOT);
      policy.grow(new ListContext(64, 64, ROOT), cut, tree);
      assertThat(TableSource.paths(tree.all())).containsExactly("", "A", "B");
    }
  }

  /** Of slots of the same value the earlier one is filled. */
  @Test
  void equalSlotsAreFilledInOrder() {
    TableSource even =
        new TableSource(
            Map.of(
                "", TableSource.law("A .5 B .5"),
                "A", TableSource.law("x 1"),
                "B", TableSource.law("x 1")));
    tree.reset(ROOT);
    new DrawnTree(3, 32, .01).grow(new ListContext(64, 64, ROOT), even, tree);
    assertThat(TableSource.paths(tree.all())).containsExactly("", "A", "B", "Ax");
  }

  /** When fewer nodes are asked for than a fixed tree has, its levels share them. */
  @Test
  void fixedTreesShareTheirNodes() {
    assertThat(TableSource.paths(grow(new FixedTree(3, 2), 3)))
        .containsExactly("", "A", "Ax", "Axz");
    assertThat(TableSource.paths(grow(new FixedTree(2, 2), 64)))
        .containsExactly("", "A", "Ax", "B", "Bx", "Ay", "By");
  }

  /** Draws A then B at the root: slots 1 and .4, then .1; the slots of A and B are .6 and .3. */
  @Test
  void valuesOfSlots() {
    grow(new DrawnTree(64, 2, 1e-3), 64);
    Map<String, Float> slot = new HashMap<>();
    List<String> paths = TableSource.paths(tree.all());
    for (int i = 1; i < paths.size(); i++) {
      slot.put(paths.get(i), tree.grade(i));
    }
    assertThat(slot.get("A")).isEqualTo(1);
    assertThat(slot.get("B")).isCloseTo(.4f, within(1e-6f));
    assertThat(slot.get("C")).isCloseTo(.1f, within(1e-6f));
    assertThat(slot.get("Ax")).isCloseTo(.6f, within(1e-6f));
    assertThat(slot.get("Ay")).isCloseTo(.18f, within(1e-6f));
    assertThat(slot.get("Bx")).isCloseTo(.3f, within(1e-6f)); // .4 R(B), R = {B .75, C .25}
    assertThat(slot.get("By")).isCloseTo(.03f, within(1e-6f));
    // What its children and its empty slot are worth is what a node is worth.
    double sum = 0;
    for (String path : List.of("Ax", "Bx", "C")) {
      sum += slot.getOrDefault(path, 0f);
    }
    assertThat(sum).isCloseTo(1, within(1e-6));
  }

  @Test
  void thresholdOfAQuarterMakesSixNodesInThreePasses() {
    grow(new DrawnTree(64, 32, .25), 64);
    assertThat(TableSource.paths(tree.all()))
        .containsExactly("", "A", "B", "Ax", "Bx", "Axz", "Bxz");
    assertThat(source.passes).isEqualTo(3);
    // Their slots; of those of Ax and Bx z takes a half and .6, .21 and .162.
    float[] slots = {1, .4f, .6f, .3f, .42f, .27f};
    for (int i = 0; i < slots.length; i++) {
      assertThat(tree.grade(i + 1)).isCloseTo(slots[i], within(1e-6f));
    }
  }

  /** When the nodes do not suffice for a layer, the best slots are filled. */
  @Test
  void drawnNodesAreCountedBeforeTheyAreDrawn() {
    grow(new DrawnTree(3, 32, .05), 64);
    assertThat(TableSource.paths(tree.all())).containsExactly("", "A", "B", "C");
    grow(new DrawnTree(64, 32, .05), 5);
    assertThat(TableSource.paths(tree.all())).containsExactly("", "A", "B", "C", "Ax", "Bx");
  }

  @Test
  void certainDraftIsAChain() {
    Map<String, List<TableSource.Choice>> laws = new HashMap<>();
    for (String path = ""; path.length() < 9; path += "a") {
      laws.put(path, TableSource.law("a 1"));
    }
    TableSource certain = new TableSource(laws);
    for (TreePolicy policy : List.of(new RankedTree(6, 32, 0, 1), new DrawnTree(6, 32, 0))) {
      tree.reset(ROOT);
      policy.grow(new ListContext(64, 64, ROOT), certain, tree);
      DraftTree chain = tree.best(6);
      assertThat(chain.size()).isEqualTo(7);
      assertThat(chain.maxDepth()).isEqualTo(6);
    }
  }

  @Test
  void noRoomNoTree() {
    for (TreePolicy policy :
        List.of(new RankedTree(6, 32, 0, 1), new DrawnTree(6, 32, 0), new FixedTree(4, 2))) {
      for (ListContext context :
          List.of(new ListContext(0, 64, ROOT), new ListContext(64, 0, ROOT))) {
        tree.reset(ROOT);
        policy.grow(context, source, tree);
        assertThat(tree.best(64).size()).isEqualTo(1);
        assertThat(source.passes).isZero();
      }
    }
  }

  /** Random laws of four tokens on four levels. */
  private static Map<String, List<TableSource.Choice>> randomLaws(Random random) {
    Map<String, List<TableSource.Choice>> laws = new HashMap<>();
    List<String> level = List.of("");
    for (int depth = 0; depth < 4; depth++) {
      List<String> next = new ArrayList<>();
      for (String path : level) {
        double[] p = random.doubles(4).map(u -> Math.pow(u, 3) + 1e-3).toArray();
        double sum = p[0] + p[1] + p[2] + p[3];
        List<TableSource.Choice> law = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
          law.add(new TableSource.Choice((char) ('a' + i), p[i] / sum));
          next.add(path + (char) ('a' + i));
        }
        laws.put(path, law);
      }
      level = next;
    }
    return laws;
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8})
  void everyDrawnTreeIsWellFormed(int seed) {
    Random random = new Random(seed);
    TableSource laws = new TableSource(randomLaws(random));
    int nodes = 1 + random.nextInt(40);
    double threshold = random.nextDouble() * .2;
    tree.reset(ROOT);
    new DrawnTree(nodes, 4, threshold).grow(new ListContext(64, 64, ROOT), laws, tree);
    DraftTree all = tree.all();
    assertThat(all.size() - 1).isLessThanOrEqualTo(nodes);
    assertThat(TableSource.paths(all)).doesNotHaveDuplicates();
    assertThat(laws.passes).isLessThanOrEqualTo(4);
    double least = threshold == 0 ? 1.0 / nodes : threshold;
    for (int i = 1; i < all.size(); i++) {
      assertThat(tree.grade(i)).isGreaterThanOrEqualTo((float) least);
      assertThat(tree.grade(i)).isLessThanOrEqualTo(tree.grade(all.parent(i)));
    }
    // How children were drawn goes with their parent.
    DraftTree proposed = tree.best(nodes);
    List<String> allPaths = TableSource.paths(all);
    List<String> paths = TableSource.paths(proposed);
    for (int i = 0; i < proposed.size(); i++) {
      int in = allPaths.indexOf(paths.get(i));
      assertThat(proposed.scheme(i)).isEqualTo(all.scheme(in));
      assertThat(proposed.lawRow(i)).isEqualTo(all.lawRow(in));
    }
    assertThat(proposed.lawRow(0)).isZero();
    // Best first, siblings stay in the order of their draws.
    DraftTree best = tree.best(nodes);
    assertThat(best.size()).isEqualTo(all.size());
    for (int i = 1; i < best.size(); i++) {
      for (int j = 1; j < i; j++) {
        if (best.parent(i) == best.parent(j)) {
          assertThat(best.token(j)).isLessThan(best.token(i)); // drawn in the order a, b, c, d
        }
      }
    }
  }

  @Test
  void parametersAreChecked() {
    assertThatThrownBy(() -> new DynamicTree(0, 8, 0)).hasMessageContaining("nodes = 0");
    assertThatThrownBy(() -> new DynamicTree(1025, 8, 0)).hasMessageContaining("nodes = 1025");
    assertThatThrownBy(() -> new DynamicTree(64, 33, 0)).hasMessageContaining("depth = 33");
    assertThatThrownBy(() -> new DynamicTree(64, 8, 1)).hasMessageContaining("threshold = 1.0");
    assertThatThrownBy(() -> new DynamicTree(64, 8, Double.NaN))
        .hasMessageContaining("threshold = NaN");
  }
}
