package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.espalier.Backend;
import org.espalier.Devices;
import org.espalier.DrafterFactory;
import org.espalier.Drafters;
import org.espalier.FinishReason;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.Model;
import org.espalier.ModelOptions;
import org.espalier.Sampling;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verifiers;
import org.espalier.draft.SizedTrees;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Every drafter on the CUDA backend, which runs here on the emulated device: the kernels, thread by
 * thread, on the CPU. In a process of its own, in whose class path that device's library stands for
 * the GPU jar.
 *
 * <p>Models of four layers and eight tokens, so that a pass is a few kernels and guesses hit. Their
 * weights are fp32, and logits within 2e-6 of the CPU's (docs/kernels/README.md); for these prompts
 * no two tokens are as close as that, so even the texts of the backends are equal.
 */
@Tag("emulated-device")
@Timeout(300)
class DraftersOnTheDeviceTest {
  private static final int VOCAB = 8;
  private static final int NEW_TOKENS = 4;
  private static final int BATCH = 3;
  private static final Sampling SAMPLED = Sampling.of(0.7f, 4);
  private static final List<String> ARCHITECTURES =
      List.of("llama-default", "mistral-default", "qwen2-default", "qwen3-default");

  /** Each two of batch, sampling and verifier meet. */
  private static final List<Case> CASES =
      List.of(
          new Case(BATCH, Sampling.greedy(), "exact"),
          new Case(1, SAMPLED, "exact"),
          new Case(1, Sampling.greedy(), "sampling"),
          new Case(BATCH, SAMPLED, "sampling"));

  private record Case(int batch, Sampling sampling, String verifier) {
    /** Otherwise the text is another draw from the same law. */
    boolean isThatOfPlainDecoding() {
      return verifier.equals("exact") || sampling.isGreedy();
    }
  }

  /** A model on the device with its draft model, and what it says without drafts. */
  private record Target(
      Path folder, Model model, Session session, Map<Sampling, List<List<Integer>>> plain) {
    static Target load(String architecture) {
      Path folder = ModelFolders.remade(architecture, 4, VOCAB, dir.resolve(architecture));
      ModelFolders.remade(architecture, 1, VOCAB, folder.resolve("draft"));
      Model model = Model.load(folder, on(Backend.CUDA));
      return new Target(folder, model, model.newSession(room()), new HashMap<>());
    }

    List<List<Integer>> plain(Sampling how) {
      return plain.computeIfAbsent(how, key -> ids(decode(session, BATCH, options(key, "exact"))));
    }

    DrafterFactory parse(String spec) {
      return Drafters.parse(spec.replace("model=draft", "model=" + folder.resolve("draft")));
    }
  }

  @TempDir private static Path dir;
  private static final Map<String, Target> TARGETS = new HashMap<>();

  @BeforeAll
  static void ownCache() {
    System.setProperty("espalier.cache.dir", dir.resolve("cache").toString());
  }

  @AfterAll
  static void close() {
    for (Target target : TARGETS.values()) {
      target.session().close();
      target.model().close();
    }
    TARGETS.clear();
  }

  @AfterEach
  void noDraftThreadIsLeft() {
    assertThat(Thread.getAllStackTraces().keySet())
        .noneMatch(thread -> thread.getName().equals("espalier-draft"));
  }

  private static ModelOptions on(Backend backend) {
    return ModelOptions.defaults().withBackend(backend);
  }

  /** Not a token more than a batch needs: what is not given back is missing in the next test. */
  private static SessionOptions room() {
    return SessionOptions.defaults()
        .withPageSize(16)
        .withMaxSequences(BATCH)
        .withMaxTokens(32)
        .withMaxNodes(48);
  }

  private static GenerationOptions options(Sampling how, String verifier) {
    return GenerationOptions.defaults()
        .withMaxNewTokens(NEW_TOKENS)
        .withSampling(how)
        .withVerifier(Verifiers.parse(verifier));
  }

  /** One that repeats itself, so that there is something to copy; and two of one token. */
  private static List<int[]> prompts(int batch) {
    int[] copy = new int[9];
    Arrays.setAll(copy, i -> i % 4);
    return Stream.of(copy, new int[] {7}, new int[] {5}).limit(batch).toList();
  }

  private static List<GenerationResult> decode(
      Session session, int batch, GenerationOptions options) {
    try (Generation generation = new Generation(session, prompts(batch), options)) {
      return generation.run();
    }
  }

  private static List<List<Integer>> ids(List<GenerationResult> results) {
    return results.stream().map(GenerationResult::tokenIds).toList();
  }

  private static Target target(String architecture) {
    return TARGETS.computeIfAbsent(architecture, Target::load);
  }

  static List<String> architectures() {
    return ARCHITECTURES;
  }

  static List<String> drafters() {
    return EveryDrafter.specs(Path.of("draft"));
  }

  @Test
  void theDeviceIsTheEmulatedOne() {
    assertThat(Devices.list())
        .filteredOn(device -> device.backend() == Backend.CUDA)
        .allMatch(device -> device.available() && device.name().equals("emulated device"))
        .hasSize(1);
  }

  @ParameterizedTest
  @MethodSource("architectures")
  void plainTextIsThatOfTheCpu(String architecture) {
    Target target = target(architecture);
    try (Model model = Model.load(target.folder(), on(Backend.CPU));
        Session session = model.newSession(room())) {
      for (Sampling how : List.of(Sampling.greedy(), SAMPLED)) {
        assertThat(target.plain(how))
            .as("%s", how)
            .isEqualTo(ids(decode(session, BATCH, options(how, "exact"))));
      }
    }
  }

  /** Each drafter meets each architecture, in one case each. */
  @ParameterizedTest
  @MethodSource("drafters")
  void textIsThatOfPlainDecoding(String spec) {
    long accepted = 0;
    for (int i = 0; i < CASES.size(); i++) {
      Case one = CASES.get(i);
      int at = (drafters().indexOf(spec) + i) % ARCHITECTURES.size();
      Target target = target(ARCHITECTURES.get(at));
      List<GenerationResult> results;
      try (DrafterFactory drafter = target.parse(spec)) {
        GenerationOptions options = options(one.sampling(), one.verifier()).withDrafter(drafter);
        results = decode(target.session(), one.batch(), options);
      }
      String what = ARCHITECTURES.get(at) + ", " + one;
      if (one.isThatOfPlainDecoding()) {
        assertThat(ids(results))
            .as(what)
            .isEqualTo(target.plain(one.sampling()).subList(0, one.batch()));
      } else {
        assertThat(ids(results)).as(what).hasSize(BATCH).allMatch(ids -> ids.size() == NEW_TOKENS);
      }
      assertThat(results).as(what).anyMatch(result -> result.stats().drafted() > 0);
      accepted += results.stream().mapToLong(result -> result.stats().accepted()).sum();
    }
    assertThat(accepted).as("accepted draft tokens").isPositive();
  }

  /** In the middle of a batch, when drafts of the next step may be under way. */
  @ParameterizedTest
  @MethodSource("drafters")
  void cancelInTheMiddle(String spec) {
    Target target = target(ARCHITECTURES.get(drafters().indexOf(spec) % ARCHITECTURES.size()));
    GenerationOptions options = options(Sampling.greedy(), "exact").withMaxNewTokens(12);
    try (DrafterFactory drafter = target.parse(spec);
        Generation generation =
            new Generation(target.session(), prompts(BATCH), options.withDrafter(drafter))) {
      generation.step();
      generation.cancel();
      List<List<Integer>> plain = target.plain(Sampling.greedy());
      List<GenerationResult> results = generation.run();
      for (int b = 0; b < BATCH; b++) {
        List<Integer> ids = results.get(b).tokenIds();
        int most = Math.min(ids.size(), NEW_TOKENS);
        assertThat(results.get(b).finishReason()).isEqualTo(FinishReason.CANCELLED);
        assertThat(ids).isNotEmpty();
        assertThat(ids.subList(0, most)).isEqualTo(plain.get(b).subList(0, most));
      }
    }
  }

  /**
   * Passes of the device are measured, sizes are chosen by its times, and the text stays. A model
   * of one layer, so that there is time for more than a pass.
   */
  @ParameterizedTest
  @ValueSource(strings = {"token-recycling", "parallel:model=draft"})
  void textDoesNotDependOnTheSizesOfAuto(String spec) throws IOException {
    Target target = target("qwen3-default");
    GenerationOptions options = options(SAMPLED, "exact");
    try (Model small = Model.load(target.folder().resolve("draft"), on(Backend.CUDA));
        Session session = small.newSession(room().withMaxTokens(14).withMaxNodes(12));
        DrafterFactory drafter = SizedTrees.auto(target.parse(spec))) {
      assertThat(ids(decode(session, BATCH, options.withDrafter(drafter))))
          .isEqualTo(ids(decode(session, BATCH, options)));
    }
    try (Stream<Path> files = Files.list(dir.resolve("cache/pass-times"))) {
      assertThat(files.toList())
          .anySatisfy(
              file ->
                  assertThat(Files.readString(file))
                      .contains("emulated device")
                      .contains("numLayers=1,")
                      .containsPattern("\"nanos\":\\{\"1\":\\d+"));
    }
  }
}
