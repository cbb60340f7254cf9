package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import org.espalier.Context;
import org.espalier.DrafterFactory;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.LayerSet;
import org.espalier.Model;
import org.espalier.ModelOptions;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.it.Fixtures;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * DySpec against a fixed tree of the same size, over the same source, on held-out prompts: the tree
 * that follows the probabilities wins.
 */
class DynamicAgainstFixedTest {
  private static final int PROMPTS = 12;

  private static DraftSource source(String name, Session session, Model draft, int nodes) {
    int layers = session.model().info().numLayers();
    return switch (name) {
      case "draft-model" -> new DraftCache(draft, session, nodes);
      case "early-exit" -> new SelfDraft(new ExitChoice(name, layers, 8));
      default -> new SelfDraft(everySecond(layers));
    };
  }

  /** The set that a search of layer-skip begins with. */
  private static LayerChoice everySecond(int layers) {
    List<Integer> leftOut = new ArrayList<>();
    for (int layer = 1; layer < layers - 1; layer += 2) {
      leftOut.add(layer);
    }
    LayerSet set = LayerSet.without(leftOut, leftOut, layers);
    return new LayerChoice() {
      @Override
      public LayerSet choose(Context context) {
        return set;
      }
    };
  }

  private static double tokensPerPass(
      Model model, Model draft, String name, Supplier<TreePolicy> policies) {
    long tokens = 0;
    long passes = 0;
    DrafterFactory factory =
        target -> {
          TreePolicy policy = policies.get();
          return new TreeDrafter(source(name, target, draft, policy.mostNodes()), policy);
        };
    GenerationOptions options =
        GenerationOptions.defaults().withMaxNewTokens(64).withDrafter(factory);
    try (Session session = model.newSession(SessionOptions.defaults())) {
      for (Fixtures.Prompt prompt : Fixtures.allPrompts().subList(0, PROMPTS)) {
        int[] ids = model.tokenizer().encode(prompt.text());
        try (Generation generation = new Generation(session, List.of(ids), options)) {
          GenerationResult result = generation.run().get(0);
          tokens += result.tokenIds().size();
          passes += result.stats().passes();
        }
      }
    }
    return (double) tokens / passes;
  }

  @ParameterizedTest(name = "{0}, gamma {1}, width {2}")
  @CsvSource({
    "draft-model, 4, 3, 30",
    "early-exit, 4, 3, 30",
    "layer-skip, 4, 3, 30",
    "draft-model, 6, 2, 22",
    "early-exit, 6, 2, 22",
    "layer-skip, 6, 2, 22"
  })
  void followingTheProbabilitiesWins(String name, int gamma, int width, int nodes) {
    try (Model model = Model.tinyJava();
        Model draft = Model.embedded("tiny-java-draft", ModelOptions.defaults())) {
      double fixed = tokensPerPass(model, draft, name, () -> new FixedTree(gamma, width));
      double sameDepth = tokensPerPass(model, draft, name, () -> new DynamicTree(nodes, gamma, 0));
      double dynamic = tokensPerPass(model, draft, name, () -> new DynamicTree(nodes, 8, 0));
      String what =
          "%s: fixed %.2f, same depth %.2f, deeper %.2f".formatted(name, fixed, sameDepth, dynamic);
      assertThat(sameDepth).as(what).isGreaterThan(fixed);
      assertThat(dynamic).as(what).isGreaterThan(1.05 * fixed);
    }
  }
}
