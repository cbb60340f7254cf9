package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.espalier.DrafterFactory;
import org.espalier.Drafters;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.Model;
import org.espalier.Sampling;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verifiers;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Sets of layers from files and from the search, on whole models. */
class LayerSkipTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  @TempDir private Path dir;

  private static GenerationResult decode(String drafter, GenerationOptions options) {
    int[] prompt = Fixtures.tokens(Fixtures.prompts(3).get(1), 60);
    try (DrafterFactory factory = Drafters.parse(drafter)) {
      return Fixtures.tinyJava().generate(prompt, options.withDrafter(factory)).result();
    }
  }

  private static GenerationOptions greedy(int tokens) {
    return GenerationOptions.defaults().withMaxNewTokens(tokens);
  }

  private Path file(String attention, String mlp) throws IOException {
    return Files.writeString(
        dir.resolve("set"),
        "{\"espalier_layer_set\": 1, \"layers\": 8, \"attention\": [%s], \"mlp\": [%s]}"
            .formatted(attention, mlp));
  }

  /** With nothing left out the draft is the target: every token of the chain is accepted. */
  @ParameterizedTest
  @ValueSource(strings = {"layer-skip:max_iter=0,", "dynamic-tree:nodes=1,source=layer-skip,"})
  void draftOfAllLayersIsRight(String drafter) throws IOException {
    String spec = drafter + "layers=" + file("", "");
    GenerationResult plain = decode("none", greedy(30));
    GenerationResult drafted = decode(spec, greedy(30));
    assertThat(drafted.tokenIds()).isEqualTo(plain.tokenIds());
    assertThat(drafted.stats().depthAcceptance()).isNotEmpty().allMatch(share -> share == 1.0);
    GenerationOptions sampled =
        greedy(30).withSampling(Sampling.of(.8f, 4)).withVerifier(Verifiers.parse("sampling"));
    assertThat(decode(spec, sampled).stats().depthAcceptance()).allMatch(share -> share == 1.0);
  }

  /** The other end: the first and the last layer draft alone. */
  @Test
  void draftOfTwoLayersIsLossless() throws IOException {
    Path file = file("1,2,3,4,5,6", "1,2,3,4,5,6");
    for (Sampling sampling : List.of(Sampling.greedy(), Sampling.of(.8f, 4))) {
      GenerationResult plain = decode("none", greedy(30).withSampling(sampling));
      GenerationResult drafted =
          decode("layer-skip:max_iter=0,layers=" + file, greedy(30).withSampling(sampling));
      assertThat(drafted.tokenIds()).isEqualTo(plain.tokenIds());
      assertThat(drafted.stats().drafted()).isPositive();
    }
  }

  /** The same text, the same drafts: whatever ran before in the factory. */
  @Test
  void textsOfAFactoryBeginAlike() {
    int[] prompt = Fixtures.tokens(Fixtures.prompts(3).get(1), 60);
    try (DrafterFactory factory = Drafters.parse("layer-skip:w=8,bayes_interval=3")) {
      GenerationOptions options = greedy(60).withDrafter(factory);
      GenerationResult first = Fixtures.tinyJava().generate(prompt, options).result();
      GenerationResult second = Fixtures.tinyJava().generate(prompt, options).result();
      assertThat(second.tokenIds()).isEqualTo(first.tokenIds());
      assertThat(second.stats().drafted()).isEqualTo(first.stats().drafted());
      assertThat(second.stats().acceptLenHistogram()).isEqualTo(first.stats().acceptLenHistogram());
    }
  }

  /** The whole model would have said every token, also those that were drawn. */
  @Test
  void wholeModelMatchesItsOwnText() throws IOException {
    for (Sampling sampling :
        List.of(
            Sampling.greedy(), Sampling.of(1, 4), Sampling.of(.8f, 5).withFrequencyPenalty(1))) {
      Path file = file("", "");
      decode("layer-skip:w=20,layers=" + file, greedy(40).withSampling(sampling));
      assertThat(JSON.readTree(Files.readString(file)).path("matchness").asDouble()).isEqualTo(1);
    }
  }

  /** From a useless set to a better one, and on with it in the next run. */
  @Test
  void nextRunBeginsWithWhatWasFound() throws IOException {
    Path file = file("1,2,3,4,5,6", "1,2,3,4,5,6");
    String spec = "layer-skip:w=24,s_max=1,layers=" + file;
    GenerationResult first = decode(spec, greedy(120));
    String found = Files.readString(file);
    assertThat(JSON.readTree(found).path("attention").size()).isLessThan(6);
    assertThat(JSON.readTree(found).path("mlp").size()).isLessThan(6);
    assertThat(JSON.readTree(found).path("matchness").asDouble()).isBetween(.1, 1.0);
    GenerationResult second = decode(spec + ",max_iter=0", greedy(120));
    assertThat(second.tokenIds()).isEqualTo(first.tokenIds());
    assertThat(second.stats().passes()).isLessThan(first.stats().passes());
    assertThat(Files.readString(file)).isEqualTo(found); // nothing was measured
  }

  @Test
  void damagedFileIsBegunAnew() throws IOException {
    Path file = dir.resolve("set");
    String spec = "layer-skip:w=8,layers=" + file;
    GenerationResult first = decode(spec, greedy(40));
    String found = Files.readString(file);
    Files.writeString(file, found.substring(0, found.length() / 2));
    GenerationResult again = decode(spec, greedy(40));
    assertThat(again.tokenIds()).isEqualTo(first.tokenIds());
    assertThat(again.stats().passes()).isEqualTo(first.stats().passes());
    assertThat(file).hasContent(found);
  }

  @ParameterizedTest
  @ValueSource(strings = {"layer-skip:layers=", "dynamic-tree:source=layer-skip,layers="})
  void badSetsAreNamed(String drafter) throws IOException {
    Path file = file("0,1,2,3,4,5,6,7", "0,1,2,3,4,5,6,7");
    String before = Files.readString(file);
    assertThatThrownBy(() -> decode(drafter + file, greedy(4)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "layer set "
                + file
                + ": attention layer = 0, expected 1 to 6; the first and the last layer always"
                + " run");
    assertThat(file).hasContent(before);
    assertThatThrownBy(() -> Drafters.parse("layer-skip:r=1").close())
        .hasMessage("r = 1.0, expected above 0 and below 1");
    assertThatThrownBy(() -> Drafters.parse("layer-skip:w=many").close())
        .hasMessage("layer-skip: w = many, expected a whole number");
  }

  /** Without layers to leave out there is no draft, and with two layers an error that says so. */
  @Test
  void modelsOfFewLayers() throws IOException {
    int[] prompt = {5, 6, 7};
    for (int layers : new int[] {2, 3}) {
      try (Model model = Model.load(ModelFolders.deeper("llama-default", layers, dir));
          DrafterFactory factory = Drafters.parse("layer-skip");
          DrafterFactory half = Drafters.parse("layer-skip:r=0.5")) {
        GenerationOptions options = greedy(12).withDrafter(factory);
        if (layers == 2) {
          assertThatThrownBy(() -> model.generate(prompt, options))
              .hasMessage(
                  "layer-skip: layers of the model = 2, expected at least 3; the first and the last"
                      + " always run");
        } else {
          GenerationResult plain = model.generate(prompt, options).result();
          assertThat(plain.stats().drafted()).isZero();
          GenerationResult drafted = model.generate(prompt, options.withDrafter(half)).result();
          assertThat(drafted.tokenIds()).isEqualTo(plain.tokenIds());
          assertThat(drafted.stats().drafted()).isPositive();
        }
      }
    }
  }

  /** Every architecture, five texts in a pass that fill the cache, both verifiers when greedy. */
  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      value = {
        "mistral-default; layer-skip:w=5,s_max=1",
        "qwen2-default; layer-skip:w=5,s_max=1",
        "qwen3-linear; layer-skip:w=5,s_max=1",
        "llama-bf16; layer-skip:w=5,s_max=1",
        "mistral-default; dynamic-tree:source=layer-skip",
        "qwen2-default; dynamic-tree:source=early-exit",
        "qwen3-linear; dynamic-tree:source=early-exit"
      })
  void everyArchitectureInABatchOfFive(String golden, String spec) throws IOException {
    int newTokens = 24;
    List<int[]> prompts = new ArrayList<>();
    for (int b = 0; b < 5; b++) {
      int first = 3 * b;
      int[] prompt = new int[4 + 3 * b];
      Arrays.setAll(prompt, i -> (first + 31 * i) % 96);
      prompts.add(prompt);
    }
    SessionOptions full = SessionOptions.defaults().withMaxSequences(5).withMaxTokens(40);
    try (Model model = Model.load(ModelFolders.deeper(golden, 6, dir));
        Session five = model.newSession(full.withMaxNodes(60));
        Session one = model.newSession()) {
      long drafted = 0;
      for (Sampling sampling :
          List.of(Sampling.greedy(), Sampling.of(1, 5).withTopP(.9f).withRepetitionPenalty(1.2f))) {
        for (String verifier : List.of("exact", "sampling")) {
          GenerationOptions options =
              greedy(newTokens).withSampling(sampling).withVerifier(Verifiers.parse(verifier));
          try (DrafterFactory factory = Drafters.parse(spec);
              Generation batch = new Generation(five, prompts, options.withDrafter(factory))) {
            List<GenerationResult> together = batch.run();
            for (int b = 0; b < 5; b++) {
              drafted += together.get(b).stats().drafted();
              assertThat(together.get(b).tokenIds()).isNotEmpty();
              GenerationOptions plain =
                  greedy(newTokens).withSampling(sampling.withStream(b)).withDrafter("none");
              if (verifier.equals("exact") || sampling.isGreedy()) {
                try (Generation alone = new Generation(one, List.of(prompts.get(b)), plain)) {
                  assertThat(together.get(b).tokenIds())
                      .as("%s, %s, text %d", verifier, sampling, b)
                      .isEqualTo(alone.run().get(0).tokenIds());
                }
              }
            }
          }
        }
      }
      assertThat(drafted).isPositive();
    }
  }

  /** Cancelled at any step, while a set is searched: the session goes on with its pages. */
  @Test
  void cancelledWhileSearching() {
    int[] prompt = Fixtures.tokens(Fixtures.prompts(3).get(1), 60);
    GenerationOptions options = greedy(30);
    List<Integer> plain = decode("none", options).tokenIds();
    SessionOptions small = SessionOptions.defaults().withMaxTokens(90).withMaxNodes(64);
    try (Session session = Fixtures.tinyJava().newSession(small);
        DrafterFactory factory = Drafters.parse("layer-skip:w=3,s_max=1")) {
      for (int steps = 0; steps < 8; steps++) {
        try (Generation generation =
            new Generation(session, List.of(prompt), options.withDrafter(factory))) {
          for (int i = 0; i < steps; i++) {
            generation.step();
          }
          generation.cancel();
          generation.step();
          assertThat(plain.subList(0, generation.result(0).tokenIds().size()))
              .isEqualTo(generation.result(0).tokenIds());
        }
      }
      try (Generation generation =
          new Generation(session, List.of(prompt), options.withDrafter(factory))) {
        assertThat(generation.run().get(0).tokenIds()).isEqualTo(plain);
      }
    }
  }
}
