package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.espalier.DraftTree;
import org.junit.jupiter.api.Test;

/** The published toys: greedy decoding of a known output, with drafts from a source. */
class InputCopyTest {
  private static final int START = 99;

  private static ListContext context(int[] tokens) {
    return new ListContext(64, 64, tokens);
  }

  /** Drafts of each forward pass until the output is complete. */
  private static List<List<Integer>> forwards(InputCopy drafter, int[] prompt, int... output) {
    List<List<Integer>> drafts = new ArrayList<>();
    int done = 0;
    while (done < output.length) {
      int[] o = Arrays.copyOf(prompt, prompt.length + done);
      System.arraycopy(output, 0, o, prompt.length, done);
      DraftTree tree = drafter.propose(context(o));
      List<Integer> draft = Trees.tokens(tree).subList(1, tree.size());
      drafts.add(draft);
      int accepted = 0;
      while (accepted < draft.size()
          && done + accepted < output.length
          && draft.get(accepted) == output[done + accepted]) {
        accepted++;
      }
      done += accepted + 1;
    }
    return drafts;
  }

  /** s = 5 6 7 8 9 and the output 5 6 2 8 9 EOS: three forward passes instead of six. */
  @Test
  void correctionCostsAPlainStep() {
    InputCopy drafter = new InputCopy(32, new int[] {5, 6, 7, 8, 9});
    assertThat(forwards(drafter, new int[] {START}, 5, 6, 2, 8, 9, 0))
        .containsExactly(List.of(5, 6, 7, 8, 9), List.of(), List.of(9));
  }

  /** n tokens and the end in one forward pass. */
  @Test
  void identicalCopyIsOnePass() {
    int[] source = {5, 6, 7, 8, 9, 5, 6};
    InputCopy drafter = new InputCopy(32, source);
    assertThat(forwards(drafter, new int[] {START}, 5, 6, 7, 8, 9, 5, 6, 0)).hasSize(1);
  }

  /** The cap splits the copy; it goes on where it was. */
  @Test
  void copyGoesOnAfterAWholeDraft() {
    InputCopy drafter = new InputCopy(2, new int[] {4, 4, 4, 4, 4, 4, 7});
    assertThat(forwards(drafter, new int[] {START}, 4, 4, 4, 4, 4, 4, 7, 0))
        .containsExactly(List.of(4, 4), List.of(4, 4), List.of(7));
  }

  @Test
  void matchIsUnique() {
    int[] s = {1, 2, 1, 3};
    assertThat(InputCopy.match(s, context(new int[] {9, 1}))).isEqualTo(-1);
    assertThat(InputCopy.match(s, context(new int[] {2, 1}))).isEqualTo(3);
    assertThat(InputCopy.match(s, context(new int[] {9, 3}))).isEqualTo(-1);
    assertThat(InputCopy.match(new int[] {4, 4, 4, 4, 4}, context(new int[] {4, 4, 4})))
        .isEqualTo(-1);
    assertThat(InputCopy.match(new int[0], context(new int[] {4}))).isEqualTo(-1);
  }

  /** After 3 with a changed token before it the copy goes on near the break, not at the first 3. */
  @Test
  void placeIsFoundNearTheBreak() {
    int[] source = {3, 8, 1, 2, 7, 3, 6, 5};
    InputCopy drafter = new InputCopy(3, source);
    assertThat(forwards(drafter, new int[] {START}, 3, 8, 1, 2, 9, 3, 6, 5, 0))
        .containsExactly(List.of(3, 8, 1), List.of(7, 3, 6), List.of(), List.of(6, 5));
  }

  /** A jump to a wrong place does not make it the place of the break. */
  @Test
  void wrongPlaceIsForgotten() {
    int[] source = {1, 2, 3, 4, 5, 6, 9, 8, 7};
    InputCopy drafter = new InputCopy(9, source);
    // 9 stands in the source, but the copy goes on after 3.
    assertThat(forwards(drafter, new int[] {START}, 1, 2, 9, 4, 5, 6))
        .containsExactly(List.of(1, 2, 3, 4, 5, 6, 9, 8, 7), List.of(8, 7), List.of(5, 6, 9, 8, 7));
  }

  /** After a jump to a wrong place the place is still looked for near the break before it. */
  @Test
  void wrongPlaceIsNoBreak() {
    int[] source = {1, 2, 3, 4, 5, 6, 9, 8, 7, 4, 7};
    InputCopy drafter = new InputCopy(9, source);
    // 4 stands near the break after 2, and behind the wrong place after 9.
    assertThat(forwards(drafter, new int[] {START}, 1, 2, 9, 4, 5, 6).get(2))
        .containsExactly(5, 6, 9, 8, 7, 4, 7);
  }

  /** A place that is farther behind the break than an edit is long is no better than another. */
  @Test
  void nearIsNotFar() {
    int[] source = new int[60];
    Arrays.setAll(source, i -> i);
    source[0] = 77;
    source[50] = 77;
    InputCopy drafter = new InputCopy(3, source);
    List<List<Integer>> drafts = forwards(drafter, new int[] {START}, 77, 1, 2, 88, 77, 1, 2, 3);
    assertThat(drafts.get(2)).containsExactly(1, 2, 3);
  }

  @Test
  void promptIsTheSource() {
    int[] prompt = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2};
    InputCopy drafter = new InputCopy(4);
    assertThat(forwards(drafter, prompt, 3, 4, 5, 6, 7, 8))
        .containsExactly(List.of(3, 4, 5, 6), List.of(8, 1, 2));
  }

  @Test
  void unrelatedOutputAndEmptySourceArePlain() {
    InputCopy unrelated = new InputCopy(4, new int[] {1, 2, 3});
    assertThat(forwards(unrelated, new int[] {START}, 7, 8, 9))
        .containsExactly(List.of(1, 2, 3), List.of(), List.of());
    InputCopy empty = new InputCopy(4, new int[0]);
    assertThat(forwards(empty, new int[] {START}, 7, 8))
        .isEqualTo(Collections.nCopies(2, List.of()));
    assertThat(new InputCopy(4).propose(context(new int[] {5})).size()).isEqualTo(1);
  }

  /** Any source and any output: drafts are parts of the source and keep to the budget. */
  @Test
  void draftsAreParts() {
    Random random = new Random(3);
    for (int run = 0; run < 300; run++) {
      int[] prompt = random.ints(1 + random.nextInt(30), 0, 5).toArray();
      InputCopy drafter = new InputCopy(6);
      int[] o = prompt;
      for (int i = 0; i < 20; i++) {
        int maxNodes = random.nextInt(8);
        int maxDepth = random.nextInt(8);
        DraftTree tree = drafter.propose(new ListContext(maxNodes, maxDepth, o));
        assertThat(tree.size() - 1).isLessThanOrEqualTo(Math.min(6, Math.min(maxNodes, maxDepth)));
        List<Integer> draft = Trees.tokens(tree).subList(1, tree.size());
        List<Integer> source = Arrays.stream(prompt).boxed().toList();
        assertThat(Collections.indexOfSubList(source, draft)).isNotNegative();
        int more = 1 + random.nextInt(3);
        int from = o.length;
        o = Arrays.copyOf(o, from + more);
        for (int k = 0; k < more; k++) {
          o[from + k] = k < draft.size() ? draft.get(k) : random.nextInt(5);
        }
      }
    }
  }

  @Test
  void parametersAreChecked() {
    assertThatThrownBy(() -> InputCopy.factory(0)).hasMessage("m = 0, expected 1 to 256");
    assertThatThrownBy(() -> new InputCopy(257, new int[0]))
        .hasMessage("m = 257, expected 1 to 256");
  }
}
