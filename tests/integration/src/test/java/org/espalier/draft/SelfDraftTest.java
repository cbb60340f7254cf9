package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Drafters;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.LayerSet;
import org.espalier.Model;
import org.espalier.Noise;
import org.espalier.Sampling;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verifiers;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Drafts by the target's own first layers when the exit layer changes in every step of a text. */
class SelfDraftTest {

  /** Exits after layers 1, 2, .. L - 1, 1, .. one step after the other. */
  private static final class ForcedExits implements Drafter {
    private static final int LENGTH = 3;

    private final int numLayers;
    private final SelfDraft draft;
    private final DraftTree x = DraftTree.rootedAt(0);
    private int step;

    ForcedExits(Session session) {
      numLayers = session.model().info().numLayers();
      draft = new SelfDraft(context -> LayerSet.first(1 + step++ % (numLayers - 1), numLayers));
    }

    @Override
    public DraftTree propose(Context context) {
      x.reset(context.lastToken());
      for (int i = 0; i < Math.min(LENGTH, context.maxDepth()); i++) {
        if (i == 0) {
          draft.begin(context);
        } else {
          draft.extend(x, i);
        }
        int[] drawn = new int[1];
        float[] logProb = new float[1];
        if (context.laws().isPresent() && !context.sampling().isGreedy()) {
          DraftLaws laws = context.laws().orElseThrow();
          draft.draw(new int[] {i}, 1, 1, Noise.DRAFT, drawn, logProb, laws, i);
          x.childrenDrawn(i, DraftTree.Scheme.WITHOUT_REPLACEMENT, laws.row(i));
        } else {
          draft.draw(new int[] {i}, 1, 1, Noise.TARGET, drawn, logProb, null, 0);
        }
        x.append(drawn[0]);
      }
      return x;
    }

    @Override
    public int lawRows() {
      return LENGTH;
    }
  }

  private static GenerationResult decode(
      Session session, int[] prompt, DrafterFactory drafter, Sampling how, String verifier) {
    GenerationOptions options =
        GenerationOptions.defaults()
            .withMaxNewTokens(45)
            .withSampling(how)
            .withVerifier(Verifiers.parse(verifier))
            .withDrafter(drafter);
    try (Generation generation = new Generation(session, List.of(prompt), options)) {
      return generation.run().get(0);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"tiny-java", "mistral-default", "qwen2-default", "qwen3-default"})
  void exitsThatChangeInEveryStepKeepTheText(String name) {
    Path root = Path.of(System.getProperty("espalier.test.root", "../.."));
    int[] prompt = {12, 40, 33, 9, 71, 12, 40, 33, 9, 71, 12, 40};
    try (Model model =
            name.equals("tiny-java")
                ? Model.tinyJava()
                : Model.load(root.resolve("tests/models/golden").resolve(name));
        Session session = model.newSession(SessionOptions.defaults().withMaxTokens(64))) {
      long accepted = 0;
      for (Sampling how :
          List.of(
              Sampling.greedy(),
              Sampling.greedy().withRepetitionPenalty(1.1f),
              Sampling.of(0.4f, 1),
              Sampling.of(0.4f, 2))) {
        GenerationResult plain = decode(session, prompt, Drafters.none(), how, "exact");
        GenerationResult drafted = decode(session, prompt, ForcedExits::new, how, "exact");
        assertThat(drafted.tokenIds()).as("%s", how).isEqualTo(plain.tokenIds());
        GenerationResult sampled = decode(session, prompt, ForcedExits::new, how, "sampling");
        if (how.isGreedy()) {
          assertThat(sampled.tokenIds()).as("%s", how).isEqualTo(plain.tokenIds());
        }
        assertThat(sampled.tokenIds()).isNotEmpty();
        accepted += drafted.stats().accepted() + sampled.stats().accepted();
      }
      assertThat(accepted).as("accepted draft tokens").isPositive();
    }
  }
}
