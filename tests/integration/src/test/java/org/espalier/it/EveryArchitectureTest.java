package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.espalier.DrafterFactory;
import org.espalier.Drafters;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.Model;
import org.espalier.Sampling;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verifier;
import org.espalier.Verifiers;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Every drafter on tiny models of every architecture, with sliding windows of eight tokens, tied
 * and untied heads, biases, and norms of heads: the text is that of plain decoding.
 */
class EveryArchitectureTest {
  private static final int NEW_TOKENS = 30;

  @TempDir private Path dir;

  private static List<GenerationResult> decode(
      Session session, List<int[]> prompts, DrafterFactory drafter, Sampling how, Verifier by) {
    GenerationOptions options =
        GenerationOptions.defaults()
            .withMaxNewTokens(NEW_TOKENS)
            .withSampling(how)
            .withVerifier(by)
            .withDrafter(drafter);
    try (Generation generation = new Generation(session, prompts, options)) {
      return generation.run();
    }
  }

  private static List<int[]> prompts(int vocab) {
    Random random = new Random(7);
    List<int[]> prompts = new ArrayList<>();
    for (int length : new int[] {1, 7, 12, 20, 33}) {
      int[] prompt = random.ints(length, 3, vocab).toArray();
      for (int i = 6; i < length; i++) {
        prompt[i] = prompt[i - 6]; // something to copy
      }
      prompts.add(prompt);
    }
    return prompts;
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama-default", "mistral-default", "qwen2-default", "qwen3-default"})
  void textIsThatOfPlainDecoding(String name) {
    Path folder = ModelFolders.deeper(name, 4, dir);
    Verifier exact = Verifiers.parse("exact");
    Verifier sampling = Verifiers.parse("sampling");
    List<String> specs = new ArrayList<>(EveryDrafter.specs(folder));
    specs.add("early-exit");
    specs.add("draft-model:gamma=3,model=" + folder);
    specs.add("dynamic-tree:nodes=9,depth=3,model=" + folder);
    specs.add("dynamic-tree:source=layer-skip,nodes=9,depth=3");
    try (Model model = Model.load(folder);
        Session session =
            model.newSession(SessionOptions.defaults().withMaxSequences(5).withMaxTokens(64))) {
      List<int[]> prompts = prompts(model.info().vocab());
      List<Sampling> samplings =
          List.of(
              Sampling.greedy(),
              Sampling.greedy().withRepetitionPenalty(1.2f),
              Sampling.of(0.5f, 1),
              Sampling.of(0.8f, 2).withTopP(0.9f),
              Sampling.of(0.8f, 3).withPresencePenalty(0.4f));
      for (Sampling how : samplings) {
        List<GenerationResult> plain = decode(session, prompts, Drafters.none(), how, exact);
        for (String spec : specs) {
          try (DrafterFactory drafter = Drafters.parse(spec)) {
            String what = name + ", " + spec + ", " + how;
            long drafted = same(what, decode(session, prompts, drafter, how, exact), plain);
            assertThat(drafted).as(what).isPositive();
            List<GenerationResult> other = decode(session, prompts, drafter, how, sampling);
            if (how.isGreedy()) {
              same(what + ", sampling", other, plain);
            } else {
              assertThat(other).allMatch(result -> !result.tokenIds().isEmpty());
            }
          }
        }
      }
    }
  }

  private static long same(String what, List<GenerationResult> got, List<GenerationResult> plain) {
    long drafted = 0;
    for (int b = 0; b < plain.size(); b++) {
      assertThat(got.get(b).tokenIds())
          .as("%s: sequence %d", what, b)
          .isEqualTo(plain.get(b).tokenIds());
      drafted += got.get(b).stats().drafted();
    }
    return drafted;
  }
}
