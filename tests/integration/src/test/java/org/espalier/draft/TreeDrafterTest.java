package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.Model;
import org.espalier.Noise;
import org.espalier.Scores;
import org.espalier.Session;
import org.espalier.Verdict;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** What a source is told of each step. */
class TreeDrafterTest {

  /** Every token is followed by the next two numbers; asks the target for what it saw. */
  private static final class Recorder implements DraftSource {
    final List<String> calls = new ArrayList<>();
    final List<Integer> learned = new ArrayList<>();
    private int closed;

    @Override
    public void begin(Context context) {
      calls.add("begin");
    }

    @Override
    public void extend(DraftTree tree, int from) {
      calls.add("extend");
    }

    @Override
    public void draw(
        int[] node,
        int numNodes,
        int k,
        Noise noise,
        int[] token,
        float[] logProb,
        @Nullable DraftLaws laws,
        int firstRow) {
      for (int i = 0; i < numNodes * k; i++) {
        token[i] = 3 + i;
        logProb[i] = -1 - i;
      }
    }

    @Override
    public int mostDraws() {
      return 8;
    }

    @Override
    public int room(Context context) {
      return 100;
    }

    @Override
    public void keep(Verdict verdict) {
      calls.add("keep");
    }

    @Override
    public void learn(Verdict verdict, Scores scores) {
      calls.add("learn");
      learned.add(scores.topToken(verdict.lastNode(), 0));
      float[] hidden = new float[256];
      scores.hidden(2, 0, hidden);
    }

    @Override
    public int topK() {
      return 2;
    }

    @Override
    public int[] hiddenLayers() {
      return new int[] {2};
    }

    @Override
    public void close() {
      closed++;
    }
  }

  @Test
  void sourceLearnsFromEachStep() {
    Recorder source = new Recorder();
    try (Model model = Model.tinyJava();
        Session session = model.newSession()) {
      GenerationOptions options =
          GenerationOptions.defaults()
              .withMaxNewTokens(12)
              .withDrafter(target -> new TreeDrafter(source, new FixedTree(2, 2)));
      int[] prompt = {5, 6, 7, 8, 9};
      try (Generation generation = new Generation(session, List.of(prompt), options)) {
        GenerationResult result = generation.run().get(0);
        int passes = (int) result.stats().passes();
        assertThat(source.calls.stream().filter("learn"::equals)).hasSize(passes);
        assertThat(source.calls.stream().filter("keep"::equals)).hasSize(passes);
        assertThat(source.calls.subList(0, 4)).containsExactly("begin", "extend", "keep", "learn");
        // Greedy: the most likely token after the last accepted node is the step's last one.
        assertThat(source.learned.get(passes - 1))
            .isEqualTo(result.tokenIds().get(result.tokenIds().size() - 1));
      }
    }
    assertThat(source.closed).isEqualTo(1);
  }
}
