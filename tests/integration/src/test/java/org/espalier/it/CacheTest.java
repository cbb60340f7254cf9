package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.ShrinkingMode;
import net.jqwik.api.constraints.IntRange;
import org.espalier.DraftTree;
import org.espalier.Model;
import org.espalier.Scores;
import org.espalier.Sequence;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verdict;

/**
 * Random trees, forks and rollbacks against a naive model of the cache: a list of tokens for each
 * sequence.
 */
class CacheTest {
  private static final int MAX_LENGTH = 90;

  /** A sequence and the tokens that it should hold. */
  private static final class Twin implements AutoCloseable {
    private final Sequence real;
    private final List<Integer> naive;

    Twin(Sequence real, List<Integer> naive) {
      this.real = real;
      this.naive = new ArrayList<>(naive);
    }

    @Override
    public void close() {
      real.close();
    }
  }

  @Property(tries = 12, shrinking = ShrinkingMode.OFF)
  void scoresAreThoseOfTheTokensAlone(
      @ForAll long seed, @ForAll @IntRange(min = 0, max = 2) int pages) {
    Random random = new Random(seed);
    Model model = Fixtures.draft();
    SessionOptions options =
        SessionOptions.defaults()
            .withPageSize(16 << pages)
            .withMaxNodes(64)
            .withMaxSequences(6)
            .withMaxTokens(2 * MAX_LENGTH);
    try (Session session = model.newSession(options);
        Session fresh = model.newSession(options.withPageSize(16).withMaxSequences(1))) {
      List<Twin> twins = new ArrayList<>();
      twins.add(new Twin(session.newSequence(), List.of()));
      for (int i = 0; i < 25; i++) {
        change(random, session, twins);
        check(random, session, fresh, twins, "seed " + seed + ", step " + i);
        for (Twin twin : twins) {
          assertThat(twin.real.length()).isEqualTo(twin.naive.size());
        }
      }
    }
  }

  private static void change(Random random, Session session, List<Twin> twins) {
    Twin twin = twins.get(random.nextInt(twins.size()));
    switch (random.nextInt(6)) {
      case 0 -> {
        if (twins.size() < 5) {
          twins.add(new Twin(twin.real.fork(), twin.naive));
        }
      }
      case 1 -> {
        int length = random.nextInt(twin.naive.size() + 1);
        twin.real.rollback(length);
        twin.naive.subList(length, twin.naive.size()).clear();
      }
      case 2 -> {
        if (twins.size() > 1) {
          twin.close();
          twins.remove(twin);
        }
      }
      case 3 -> {
        if (twins.size() < 5) {
          twins.add(new Twin(session.newSequence(), List.of()));
        }
      }
      default -> {
        int room = MAX_LENGTH - twin.naive.size();
        int[] tokens =
            random.ints(room <= 0 ? 0 : random.nextInt(Math.min(room, 40)), 0, 2048).toArray();
        twin.real.prefill(tokens);
        Arrays.stream(tokens).forEach(twin.naive::add);
      }
    }
  }

  /**
   * One pass over random trees of some sequences; a node's logits are those of its path on an empty
   * cache.
   */
  private static void check(
      Random random, Session session, Session fresh, List<Twin> twins, String what) {
    List<Twin> some = new ArrayList<>(twins);
    Collections.shuffle(some, random);
    some = some.subList(0, 1 + random.nextInt(some.size()));
    List<DraftTree> trees = new ArrayList<>();
    for (int b = 0; b < some.size(); b++) {
      trees.add(randomTree(random, 1 + random.nextInt(12)));
    }
    List<Scores> scores = session.forward(some.stream().map(t -> t.real).toList(), trees, 0);
    for (int b = 0; b < trees.size(); b++) {
      int node = random.nextInt(trees.get(b).size());
      float[] got = new float[2048];
      scores.get(b).logits(node, got);
      float[] expected = alone(fresh, some.get(b).naive, trees.get(b), node);
      assertThat(Arrays.mismatch(expected, got))
          .as(
              "%s: tree %d, node %d of %s after %d tokens",
              what, b, node, trees.get(b), some.get(b).naive.size())
          .isEqualTo(-1);
    }
    List<Verdict> verdicts = new ArrayList<>();
    for (int b = 0; b < trees.size(); b++) {
      int[] path = randomPath(random, trees.get(b));
      verdicts.add(Verdict.of(path, 0));
      some.get(b).naive.add(trees.get(b).token(0));
      for (int node : path) {
        some.get(b).naive.add(trees.get(b).token(node));
      }
    }
    session.commit(verdicts);
  }

  private static DraftTree randomTree(Random random, int size) {
    DraftTree tree = DraftTree.rootedAt(random.nextInt(2048));
    boolean chain = random.nextInt(4) == 0;
    while (tree.size() < size) {
      tree.append(chain ? tree.size() - 1 : random.nextInt(tree.size()), random.nextInt(2048));
    }
    return tree;
  }

  private static int[] randomPath(Random random, DraftTree tree) {
    List<Integer> path = new ArrayList<>();
    int node = 0;
    for (int i = 1; i < tree.size(); i++) {
      if (tree.parent(i) == node && random.nextInt(3) > 0) {
        path.add(i);
        node = i;
      }
    }
    return path.stream().mapToInt(Integer::intValue).toArray();
  }

  private static float[] alone(Session fresh, List<Integer> context, DraftTree tree, int node) {
    List<Integer> tokens = new ArrayList<>();
    for (int i = node; i >= 0; i = tree.parent(i)) {
      tokens.add(0, tree.token(i));
    }
    tokens.addAll(0, context);
    int last = tokens.size() - 1;
    try (Sequence sequence = fresh.newSequence()) {
      sequence.prefill(tokens.subList(0, last).stream().mapToInt(Integer::intValue).toArray());
      float[] logits = new float[2048];
      DraftTree root = DraftTree.rootedAt(tokens.get(last));
      fresh.forward(List.of(sequence), List.of(root), 0).get(0).logits(0, logits);
      return logits;
    }
  }
}
