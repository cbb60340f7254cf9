package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.function.BooleanSupplier;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Model;
import org.espalier.ModelOptions;
import org.espalier.Sampling;
import org.espalier.Sequence;
import org.espalier.Session;
import org.junit.jupiter.api.Test;

/** The laws that the blocks of a parallel draft are drawn from. */
class ParallelLawsTest {
  private static final int G = 5;

  private static final Sampling HOW = Sampling.of(0.8f, 11);

  private static Model draftModel() {
    return Model.embedded("tiny-java-draft", ModelOptions.defaults());
  }

  private static int[] text(Model model, int seed, int length) {
    return new Random(seed).ints(length, 3, model.info().vocab()).toArray();
  }

  /** The draft model's law after each of some tokens, by plain decoding. */
  private static float[][] laws(Model model, int[] prompt, int[] tokens, double temperature) {
    float[][] laws = new float[tokens.length][model.info().vocab()];
    try (Session session = model.newSession();
        Sequence sequence = session.newSequence()) {
      sequence.prefill(prompt);
      for (int i = 0; i < tokens.length; i++) {
        List<DraftTree> root = List.of(DraftTree.rootedAt(tokens[i]));
        session.forward(List.of(sequence), root, 0).get(0).logits(0, laws[i]);
        session.commit(session.verify());
        double max = Double.NEGATIVE_INFINITY;
        for (float logit : laws[i]) {
          max = Math.max(max, logit);
        }
        double sum = 0;
        for (float logit : laws[i]) {
          sum += Math.exp((logit - max) / temperature);
        }
        for (int token = 0; token < laws[i].length; token++) {
          laws[i][token] = (float) (Math.exp((laws[i][token] - max) / temperature) / sum);
        }
      }
    }
    return laws;
  }

  private static int best(float[] law) {
    int best = 0;
    for (int token = 1; token < law.length; token++) {
      best = law[token] > law[best] ? token : best;
    }
    return best;
  }

  /** The number of d_1 .. that are not the most likely token. */
  private static int checkBlock(Model model, DraftChain chain, int[] s, int[] d) {
    assertThat(d).hasSize(G);
    int[] prompt = Arrays.copyOf(s, s.length - 1);
    int[] fed = new int[G];
    fed[0] = s[s.length - 1];
    System.arraycopy(d, 0, fed, 1, G - 1);
    float[][] expected = laws(model, prompt, fed, HOW.temperature());
    assertThat(d[0]).as("d_0 is the most likely token").isEqualTo(best(expected[0]));
    int others = 0;
    for (int i = 1; i < G; i++) {
      assertThat(chain.law(i)).containsExactly(expected[i], within(1e-5f));
      assertThat(chain.law(i)[d[i]]).as("law of d_%d at its token", i).isPositive();
      others += d[i] == best(expected[i]) ? 0 : 1;
    }
    return others;
  }

  /** Of a new text, of one that goes on, and of one that became another behind a place. */
  @Test
  void blockComesWithItsLaws() {
    try (Model model = draftModel()) {
      DraftChain chain = new DraftChain(model.newSession());
      int[] s = text(model, 1, 20);
      int others = checkBlock(model, chain, s, chain.draft(0, s, HOW, true, G, () -> false));
      int[] longer = Arrays.copyOf(s, 23);
      System.arraycopy(text(model, 2, 3), 0, longer, 20, 3);
      int[] tail = Arrays.copyOfRange(longer, 20, 23);
      others += checkBlock(model, chain, longer, chain.draft(20, tail, HOW, true, G, () -> false));
      int[] other = Arrays.copyOf(longer, 16);
      other[14] = other[14] == 5 ? 6 : 5;
      tail = Arrays.copyOfRange(other, 14, 16);
      others += checkBlock(model, chain, other, chain.draft(14, tail, HOW, true, G, () -> false));
      chain.close();
      assertThat(others).as("drawn tokens that are not the most likely ones").isPositive();
    }
  }

  /** Blocks that are given, with laws that are told apart. */
  private static final class Given implements Parallel.Draft {
    private final int vocab;

    Given(int vocab) {
      this.vocab = vocab;
    }

    @Override
    public int[] draft(
        int keep, int[] tail, Sampling sampling, boolean laws, int g, BooleanSupplier dropped) {
      assertThat(laws).isTrue();
      return new int[] {5, 6, 7, 8, 9};
    }

    @Override
    public float[] law(int i) {
      float[] law = new float[vocab];
      law[10 + i] = 0.25f;
      law[5 + i] = 0.75f;
      return law;
    }

    @Override
    public void close() {}
  }

  /** A text, with rows for laws. */
  private static final class Text implements Context {
    private final Session session;
    private final DraftLaws rows;
    private final int[] tokens;

    Text(Session session, DraftLaws rows, int... tokens) {
      this.session = session;
      this.rows = rows;
      this.tokens = tokens;
    }

    @Override
    public Session session() {
      return session;
    }

    @Override
    public int length() {
      return tokens.length;
    }

    @Override
    public int token(int i) {
      return tokens[i];
    }

    @Override
    public int maxNodes() {
      return 63;
    }

    @Override
    public int maxDepth() {
      return 63;
    }

    @Override
    public Sampling sampling() {
      return HOW;
    }

    @Override
    public Optional<DraftLaws> laws() {
      return Optional.of(rows);
    }
  }

  /** d_1 .. d_4 are children of d_0 .. d_3, each drawn from the law of its number. */
  @Test
  void treeNamesTheLawOfEachToken() {
    try (Model model = draftModel();
        Session session = model.newSession()) {
      DraftLaws rows = session.newLaws(3, G - 1);
      DraftThread thread = new DraftThread();
      thread.enter();
      try (Parallel drafter =
          new Parallel(thread, new Given(model.info().vocab()), new Parallel.Pace(G))) {
        assertThat(drafter.lawRows()).isEqualTo(G - 1);
        assertThat(drafter.propose(new Text(session, rows, 1, 2, 3)).size()).isEqualTo(1);
        DraftTree tree = drafter.propose(new Text(session, rows, 1, 2, 3, 5));
        assertThat(tree.size()).isEqualTo(G);
        float[] law = new float[model.info().vocab()];
        for (int i = 1; i < G; i++) {
          assertThat(tree.token(i)).isEqualTo(5 + i);
          assertThat(tree.parent(i)).isEqualTo(i - 1);
          assertThat(tree.scheme(i - 1)).isEqualTo(DraftTree.Scheme.WITHOUT_REPLACEMENT);
          rows.read(tree.lawRow(i - 1) - rows.row(0), law);
          assertThat(law[5 + i]).as("row of d_%d", i).isEqualTo(0.75f);
          assertThat(law[10 + i]).isEqualTo(0.25f);
        }
      }
    }
  }
}
