package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import org.espalier.DrafterFactory;
import org.espalier.Drafters;
import org.espalier.FinishReason;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.Model;
import org.espalier.Sampling;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verifiers;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Every drafter with every rule that ends a text, in a batch of two under either verifier: the text
 * ends where plain decoding ends it, however much was drafted and accepted beyond.
 */
class StopRulesTest {
  private static final int NEW_TOKENS = 40;

  @TempDir private static Path dir;
  private static List<int[]> prompts = List.of();

  @BeforeAll
  static void choosePrompts() {
    prompts = Fixtures.prompts(2).stream().map(prompt -> Fixtures.tokens(prompt, 50)).toList();
  }

  private static List<GenerationResult> decode(
      Model model, String spec, String verifier, int maxTokens, GenerationOptions options) {
    SessionOptions two = SessionOptions.defaults().withMaxSequences(2).withMaxTokens(maxTokens);
    try (Session session = model.newSession(two);
        DrafterFactory drafter = Drafters.parse(spec);
        Generation generation =
            new Generation(
                session,
                prompts,
                options.withDrafter(drafter).withVerifier(Verifiers.parse(verifier)))) {
      return generation.run();
    }
  }

  /** The draft tokens of the texts that were compared. */
  private static long check(
      Model model, String spec, int maxTokens, GenerationOptions options, FinishReason reason) {
    List<GenerationResult> plain = decode(model, "none", "exact", maxTokens, options);
    assertThat(plain).extracting(GenerationResult::finishReason).contains(reason);
    long all = 0;
    for (String verifier : List.of("exact", "sampling")) {
      if (verifier.equals("exact") || options.sampling().isGreedy()) {
        List<GenerationResult> drafted = decode(model, spec, verifier, maxTokens, options);
        for (int b = 0; b < prompts.size(); b++) {
          String what =
              "%s, %s, %s, sequence %d".formatted(reason, verifier, options.sampling(), b);
          assertThat(drafted.get(b).tokenIds()).as(what).isEqualTo(plain.get(b).tokenIds());
          assertThat(drafted.get(b).text()).as(what).isEqualTo(plain.get(b).text());
          assertThat(drafted.get(b).finishReason()).as(what).isEqualTo(plain.get(b).finishReason());
          all += drafted.get(b).stats().drafted();
        }
      }
    }
    return all;
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "prompt-lookup",
        "input-copy",
        "token-recycling",
        "aded",
        "draft-model:gamma=4,width=2",
        "parallel:gamma=4",
        "early-exit",
        "layer-skip:w=6",
        "dynamic-tree:nodes=20",
        "dynamic-tree:source=early-exit,nodes=20",
        "dynamic-tree:source=layer-skip,nodes=20"
      })
  void textEndsWherePlainDecodingEndsIt(String spec) {
    for (Sampling sampling : List.of(Sampling.greedy(), Sampling.of(0.8f, 5))) {
      GenerationOptions options =
          GenerationOptions.defaults().withMaxNewTokens(NEW_TOKENS).withSampling(sampling);
      Model model = Fixtures.tinyJava();
      GenerationResult whole = decode(model, "none", "exact", 256, options).get(0);
      // Behind a few tokens, so that drafts are accepted before the end, and across tokens.
      int middle = whole.text().length() / 2;
      String stop = whole.text().substring(middle, middle + 4);
      GenerationOptions stops = options.withStopStrings(List.of(stop));
      long drafted = check(model, spec, 256, stops, FinishReason.STOP);
      drafted += check(model, spec, 256, options.withMaxNewTokens(23), FinishReason.LENGTH);
      drafted += check(model, spec, 72, options, FinishReason.CONTEXT);
      Path folder = ModelFolders.copyOf("tiny-java", dir.resolve(spec + sampling.isGreedy()));
      int end = whole.tokenIds().get(whole.tokenIds().size() / 2);
      ModelFolders.setEndTokens(folder, end);
      try (Model ends = Model.load(folder)) {
        drafted += check(ends, spec, 256, options, FinishReason.END);
      }
      assertThat(drafted).as("draft tokens").isPositive();
    }
  }
}
