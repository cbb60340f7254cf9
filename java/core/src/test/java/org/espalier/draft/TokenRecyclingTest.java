package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;

import org.espalier.DraftTree;
import org.espalier.Verdict;
import org.junit.jupiter.api.Test;

/** The published toy: two successors of a token, six draft nodes. */
class TokenRecyclingTest {
  private final TreeTemplate template = TreeTemplate.parse("0/1/0.0/0.1/1.0/0.0.0");
  private final SuccessorTable table = new SuccessorTable(10, 2);

  private void remember(int token, int first, int second) {
    table.put(token, new int[] {first, second}, 0);
  }

  /** What follows a node of the toy's tree is the node's own number. */
  private static int[] nodes() {
    return new int[] {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6};
  }

  private TokenRecycling toy() {
    remember(3, 5, 7);
    remember(5, 2, 9);
    remember(7, 5, 1);
    remember(2, 8, 0);
    return new TokenRecycling(template, table);
  }

  @Test
  void treeIsFilledFromTheTable() {
    DraftTree tree = toy().propose(new ListContext(64, 64, 3));
    assertThat(Trees.tokens(tree)).containsExactly(3, 5, 2, 8, 7, 9, 5);
    assertThat(Trees.parents(tree)).containsExactly(-1, 0, 1, 2, 0, 1, 4);
  }

  /** The other toy: 7 and 8 were likely after 5, and 2 after 7. */
  @Test
  void pathOfRanksIsFollowed() {
    remember(5, 7, 8);
    remember(7, 2, 4);
    DraftTree tree =
        new TokenRecycling(TreeTemplate.parse("0/1/0.0"), table)
            .propose(new ListContext(64, 64, 5));
    assertThat(Trees.tokens(tree)).containsExactlyInAnyOrder(5, 7, 8, 2);
    assertThat(Trees.parents(tree).get(Trees.tokens(tree).indexOf(2)))
        .isEqualTo(Trees.tokens(tree).indexOf(7));
  }

  /**
   * Token 5 stands at nodes 1 and 6; node 1 was accepted, so it writes the row. Without that the
   * later node does.
   */
  @Test
  void acceptedNodeWritesTheRow() {
    TokenRecycling drafter = toy();
    drafter.propose(new ListContext(64, 64, 3));
    drafter.learn(Verdict.of(new int[] {1, 5}, 1), nodes());
    assertThat(table.get(5, 0)).isEqualTo(1);
    assertThat(table.get(9, 0)).isEqualTo(5);

    TokenRecycling again = toy();
    again.propose(new ListContext(64, 64, 3));
    again.learn(Verdict.of(new int[0], 1), nodes());
    assertThat(table.get(5, 0)).isEqualTo(6);
  }

  /** A cold row holds zeros; the second zero is not worth a node. */
  @Test
  void siblingsOfOneTokenAreOneNode() {
    DraftTree tree = new TokenRecycling(template, table).propose(new ListContext(64, 64, 4));
    assertThat(Trees.tokens(tree)).containsExactly(4, 0, 0, 0);
    assertThat(Trees.parents(tree)).containsExactly(-1, 0, 1, 2);
  }

  @Test
  void treeKeepsToTheBudget() {
    assertThat(toy().propose(new ListContext(3, 64, 3)).size()).isEqualTo(4);
    assertThat(toy().propose(new ListContext(64, 1, 3)).size()).isEqualTo(3);
    assertThat(toy().propose(new ListContext(0, 64, 3)).size()).isEqualTo(1);
  }
}
