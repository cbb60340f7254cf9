package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.Verdict;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Trees that are drafted to see how far the text follows them. */
class UnsentTreeTest {
  private static final int ALPHABET = 3;

  /** Sends small trees, looks at larger ones, and remembers what it is told. */
  private static final class Recorder implements TreeSize {
    final List<String> told = new ArrayList<>();
    int sent = 1;
    int peek;

    @Override
    public int next(Object drafter, int batch) {
      return sent;
    }

    @Override
    public int peek(Object drafter, int allowed) {
      return peek;
    }

    @Override
    public void peeked(int itsSent, int allowed, int nodes, Verdict verdict, double nanos) {
      assertThat(nanos).isPositive();
      int[] path = new int[verdict.acceptLen()];
      Arrays.setAll(path, verdict::node);
      told.add(itsSent + " " + allowed + " " + nodes + " " + Arrays.toString(path));
    }

    @Override
    public void observe(
        Object drafter,
        int allowed,
        int nodes,
        boolean resumed,
        Verdict verdict,
        double draftNanos,
        double passNanos) {}

    @Override
    public void leave(Object drafter) {}
  }

  private static Context text(int... tokens) {
    return new ListContext(64, 64, tokens);
  }

  private static DraftTree randomTree(Random random, int root, int size) {
    DraftTree tree = DraftTree.rootedAt(root);
    while (tree.size() < size) {
      int parent = random.nextInt(tree.size());
      int token = random.nextInt(ALPHABET);
      boolean isThere = false;
      for (int i = 1; i < tree.size(); i++) {
        isThere |= tree.parent(i) == parent && tree.token(i) == token;
      }
      if (!isThere) {
        tree.append(parent, token);
      }
    }
    return tree;
  }

  /** The nodes that a text goes along, by their paths' tokens. */
  private static List<Integer> walk(DraftTree tree, int[] text, int begin) {
    Map<List<Integer>, Integer> nodes = new HashMap<>();
    List<List<Integer>> paths = new ArrayList<>();
    for (int i = 0; i < tree.size(); i++) {
      List<Integer> path = new ArrayList<>(i == 0 ? List.of() : paths.get(tree.parent(i)));
      if (i > 0) {
        path.add(tree.token(i));
      }
      paths.add(path);
      nodes.put(path, i);
    }
    List<Integer> result = new ArrayList<>();
    List<Integer> path = new ArrayList<>();
    for (int t = begin; t < text.length; t++) {
      path.add(text[t]);
      Integer node = nodes.get(path);
      if (node == null) {
        break;
      }
      result.add(node);
    }
    return result;
  }

  @Test
  void theTextIsFollowedAsItComes() {
    for (long seed = 1; seed <= 500; seed++) {
      Random random = new Random(seed);
      int begin = 1 + random.nextInt(4);
      int[] text = new int[begin + 20];
      Arrays.setAll(text, i -> random.nextInt(ALPHABET));
      DraftTree drafted = randomTree(random, text[begin - 1], 1 + random.nextInt(100));
      UnsentTree tree = new UnsentTree();
      tree.copy(drafted, begin, 2, 128, 1);
      int length = begin;
      while (!tree.follow(text(Arrays.copyOf(text, length)))) {
        length += 1 + random.nextInt(3);
      }
      Recorder recorder = new Recorder();
      tree.tell(recorder);
      List<Integer> path = walk(drafted, text, begin);
      assertThat(recorder.told)
          .as("seed %d", seed)
          .containsExactly("2 128 " + drafted.size() + " " + path);
    }
  }

  /** The next larger tree is drafted where the text leaves the last one. */
  @Test
  void sizedDrafterTellsWhatBecameOfLargerTrees() {
    Recorder size = new Recorder();
    size.peek = 4;
    SizedDrafter drafter = new SizedDrafter(new PromptLookup(1, 3), size, 65);
    assertThat(drafter.propose(text(5, 6, 7, 8, 5)).size()).isEqualTo(1); // 6 7 8 is not sent
    assertThat(size.told).isEmpty();
    size.sent = 2;
    assertThat(drafter.propose(text(5, 6, 7, 8, 5, 6)).size()).isEqualTo(2);
    assertThat(size.told).isEmpty();
    drafter.propose(text(5, 6, 7, 8, 5, 6, 7, 5)); // it is 6 7, and here 6 7 8 is drafted again
    assertThat(size.told).containsExactly("1 4 4 [1, 2]");
    size.peek = 0;
    drafter.propose(text(5, 6, 7, 8, 5, 6, 7, 5, 9));
    drafter.propose(text(5, 6, 7, 8, 5, 6, 7, 5, 9, 9)); // nothing is told twice
    assertThat(size.told).containsExactly("1 4 4 [1, 2]", "2 4 4 []");
  }

  /** What is looked at changes nothing of what is sent. */
  @ParameterizedTest
  @ValueSource(strings = {"prompt-lookup", "input-copy", "aded", "token-recycling"})
  void askingTwiceIsAskingOnce(String name) {
    Drafter once = drafter(name);
    Drafter twice = drafter(name);
    assertThat(once.mayBeAskedTwice()).isTrue();
    Random random = new Random(7);
    int[] text = new int[400];
    Arrays.setAll(text, i -> i > 20 && random.nextInt(9) > 0 ? text[i - 20] : random.nextInt(9));
    int drafted = 0;
    for (int length = 30; length < text.length; length += 1 + random.nextInt(3)) {
      int[] tokens = Arrays.copyOf(text, length);
      twice.propose(new ListContext(40, 20, tokens));
      Context small = new ListContext(random.nextInt(6), 20, tokens);
      DraftTree expected = once.propose(small);
      DraftTree tree = twice.propose(small);
      assertThat(tree.toString()).isEqualTo(expected.toString());
      drafted += tree.size() - 1;
      if (once instanceof TokenRecycling a && twice instanceof TokenRecycling b) {
        int[] top = new int[tree.size() * 8];
        Arrays.setAll(top, i -> (text[0] + i * 5) % 9);
        a.learn(Verdict.of(new int[0], 0), top);
        b.learn(Verdict.of(new int[0], 0), top);
      }
    }
    assertThat(drafted).isGreaterThan(50);
  }

  private static Drafter drafter(String name) {
    return switch (name) {
      case "prompt-lookup" -> new PromptLookup(3, 10);
      case "input-copy" -> new InputCopy(8);
      case "aded" -> new Aded(TriGramTable.empty(9), 150, 24);
      default -> new TokenRecycling(TreeTemplate.parse("2.2.2"), new SuccessorTable(9, 8));
    };
  }
}
