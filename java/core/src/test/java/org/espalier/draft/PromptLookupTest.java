package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class PromptLookupTest {

  /** The published toy: 1 2 3 stood before, and 9 1 followed. */
  @Test
  void draftIsWhatFollowedTheLongestKey() {
    var tree = new PromptLookup(3, 2).propose(new ListContext(64, 64, 1, 2, 3, 9, 1, 2, 3));
    assertThat(Trees.tokens(tree)).containsExactly(3, 9, 1);
    assertThat(Trees.parents(tree)).containsExactly(-1, 0, 1);
  }

  @Test
  void leftmostMatchWins() {
    var tree = new PromptLookup(1, 1).propose(new ListContext(64, 64, 5, 6, 5, 7, 5));
    assertThat(Trees.tokens(tree)).containsExactly(5, 6);
  }

  /** The key 2 3 has no earlier match, its last token has. */
  @Test
  void shorterKeyIsTriedNext() {
    var tree = new PromptLookup(3, 2).propose(new ListContext(64, 64, 3, 8, 9, 2, 3));
    assertThat(Trees.tokens(tree)).containsExactly(3, 8, 9);
  }

  /** Only one token follows the earlier 1 2, so a draft of three cannot be copied whole. */
  @Test
  void incompleteContinuationGivesNoDraft() {
    var tree = new PromptLookup(2, 4).propose(new ListContext(64, 64, 1, 2, 9, 1, 2));
    assertThat(tree.size()).isEqualTo(1);
  }

  @Test
  void noMatchIsAPlainStep() {
    assertThat(new PromptLookup(3, 2).propose(new ListContext(64, 64, 1, 2, 3, 4)).size())
        .isEqualTo(1);
    assertThat(new PromptLookup(3, 2).propose(new ListContext(64, 64, 1)).size()).isEqualTo(1);
  }

  @Test
  void draftKeepsToTheBudget() {
    int[] tokens = {1, 2, 3, 9, 1, 2, 3};
    assertThat(new PromptLookup(3, 2).propose(new ListContext(64, 1, tokens)).size()).isEqualTo(2);
    assertThat(new PromptLookup(3, 2).propose(new ListContext(0, 64, tokens)).size()).isEqualTo(1);
  }

  @Test
  void parametersAreChecked() {
    assertThatThrownBy(() -> new PromptLookup(0, 2))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("n_max = 0, expected 1 to 16");
  }
}
