package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.IntStream;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.LayerSet;
import org.espalier.Model;
import org.espalier.Noise;
import org.espalier.Sampling;
import org.espalier.Scores;
import org.espalier.Session;
import org.espalier.Verdict;
import org.junit.jupiter.api.Test;

/** Early exit against its method, step by step: exit, length, tokens, and where a draft stops. */
class EarlyExitTest {
  private static final int LONGEST = 6;

  /** Does in each step what the method says, and compares. */
  private static final class Checked implements Drafter {
    private final int numLayers;
    private final Drafter drafter;
    private final ExitStatistics statistics;
    private final SelfDraft reference;
    private final Set<Integer> exits = new TreeSet<>();
    private int stoppedByConfidence;
    private int stoppedByEnd;

    Checked(Session session) {
      numLayers = session.model().info().numLayers();
      drafter = EarlyExit.factory(LONGEST).create(session);
      statistics = new ExitStatistics(numLayers, LONGEST);
      reference = new SelfDraft(context -> LayerSet.first(statistics.exit(), numLayers));
    }

    @Override
    public DraftTree propose(Context context) {
      DraftTree x = drafter.propose(context);
      double tau = statistics.tau();
      int most = Math.min(context.maxDepth(), Double.isNaN(tau) ? statistics.length() : LONGEST);
      DraftTree expected = DraftTree.rootedAt(context.lastToken());
      boolean stopped = false;
      for (int i = 0; i < most && !stopped; i++) {
        if (i == 0) {
          reference.begin(context);
        } else {
          reference.extend(expected, i);
        }
        int[] best = new int[1];
        float[] logProb = new float[1];
        reference.draw(new int[] {i}, 1, 1, Noise.NONE, best, logProb, null, 0);
        stopped = Math.exp(logProb[0]) < tau;
        stoppedByConfidence += stopped ? 1 : 0;
        reference.draw(new int[] {i}, 1, 1, Noise.TARGET, best, logProb, null, 0);
        expected.append(best[0]);
        if (context.session().model().endTokens().contains(best[0]) && i + 1 < most && !stopped) {
          stoppedByEnd++;
          stopped = true;
        }
      }
      assertThat(x.toString()).isEqualTo(expected.toString());
      exits.add(statistics.exit());
      return x;
    }

    @Override
    public void observe(Verdict verdict, Scores scores) {
      drafter.observe(verdict, scores);
      int columns = scores.numNodes();
      int[] layers = IntStream.range(1, numLayers).toArray();
      int[] target = IntStream.range(0, columns).map(i -> scores.topToken(i, 0)).toArray();
      int[] shadow = new int[layers.length * columns];
      float[] prob = new float[shadow.length];
      int[] nodes = IntStream.range(0, columns).toArray();
      scores.exits(layers, nodes, columns, shadow, prob);
      statistics.observe(shadow, prob, target, columns);
    }

    @Override
    public int topK() {
      return drafter.topK();
    }

    @Override
    public int[] hiddenLayers() {
      return drafter.hiddenLayers();
    }
  }

  @Test
  void everyStepIsThatOfTheMethod() {
    int stopped = 0;
    Set<Integer> exits = new TreeSet<>();
    try (Model model = Model.tinyJava();
        Session session = model.newSession()) {
      for (Sampling how :
          List.of(Sampling.greedy(), Sampling.of(0.7f, 1), Sampling.greedy().withStream(1))) {
        Checked checked = decode(session, how, 60);
        stopped += checked.stoppedByConfidence;
        exits.addAll(checked.exits);
      }
    }
    assertThat(stopped).as("drafts that stopped at a token of low confidence").isPositive();
    assertThat(exits).as("exit layers").hasSizeGreaterThan(1);
  }

  /** A draft ends with an end token. */
  @Test
  void draftEndsWithAnEndToken() {
    Path root = Path.of(System.getProperty("espalier.test.root", "../.."));
    int ended = 0;
    try (Model model = Model.load(root.resolve("tests/models/golden/mistral-default"));
        Session session = model.newSession()) {
      for (int seed = 0; seed < 200; seed++) {
        ended += decode(session, Sampling.of(1, seed), 40).stoppedByEnd;
      }
    }
    assertThat(ended).as("drafts with an end token").isPositive();
  }

  private static Checked decode(Session session, Sampling how, int tokens) {
    int vocab = session.model().info().vocab();
    int[] prompt = new Random(3 + how.stream()).ints(20, 3, vocab).toArray();
    Checked[] checked = new Checked[1];
    GenerationOptions options =
        GenerationOptions.defaults()
            .withMaxNewTokens(tokens)
            .withSampling(how)
            .withDrafter(target -> checked[0] = new Checked(target));
    try (Generation generation = new Generation(session, List.of(prompt), options)) {
      assertThat(generation.run().get(0).stats().passes()).isPositive();
    }
    return checked[0];
  }
}
