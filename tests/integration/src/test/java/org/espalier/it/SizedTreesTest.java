package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterException;
import org.espalier.DrafterFactory;
import org.espalier.Drafters;
import org.espalier.FinishReason;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.Sampling;
import org.espalier.Scores;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verdict;
import org.espalier.Verifiers;
import org.espalier.draft.SizedTrees;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Whatever the size of the trees, and whenever it changes, the text is that of plain decoding. */
class SizedTreesTest {
  @TempDir private static Path cache;
  private static String cacheBefore;

  @BeforeAll
  static void ownCache() {
    Fixtures.tinyJava();
    Fixtures.draft();
    cacheBefore = System.getProperty("espalier.cache.dir");
    System.setProperty("espalier.cache.dir", cache.toString());
  }

  @AfterAll
  static void restoreCache() {
    if (cacheBefore == null) {
      System.clearProperty("espalier.cache.dir");
    } else {
      System.setProperty("espalier.cache.dir", cacheBefore);
    }
  }

  static List<String> drafters() {
    return Drafters.list().stream().map(info -> info.name()).toList();
  }

  private static List<GenerationResult> decode(
      List<int[]> prompts, DrafterFactory drafts, Sampling sampling, String verifier) {
    return decode(prompts, drafts, sampling, verifier, SessionOptions.defaults());
  }

  private static List<GenerationResult> decode(
      List<int[]> prompts,
      DrafterFactory drafts,
      Sampling sampling,
      String verifier,
      SessionOptions room) {
    SessionOptions size = room.withMaxSequences(prompts.size()).withMaxTokens(320);
    GenerationOptions options =
        GenerationOptions.defaults()
            .withMaxNewTokens(100)
            .withSampling(sampling)
            .withVerifier(Verifiers.parse(verifier))
            .withDrafter(drafts);
    try (Session session = Fixtures.tinyJava().newSession(size);
        Generation generation = new Generation(session, prompts, options)) {
      return generation.run();
    }
  }

  private static List<int[]> prompts(int most) {
    List<int[]> prompts = new ArrayList<>();
    for (Fixtures.Prompt prompt : Fixtures.prompts(3).subList(0, 3)) {
      prompts.add(Fixtures.tokens(prompt, most - 20 * prompts.size()));
    }
    return prompts;
  }

  private static List<List<Integer>> ids(List<GenerationResult> results) {
    return results.stream().map(GenerationResult::tokenIds).toList();
  }

  /** One text after the other, and three at once; the second time with what the first one left. */
  @ParameterizedTest
  @MethodSource("drafters")
  void textDoesNotDependOnTheSize(String name) {
    for (Sampling sampling : List.of(Sampling.greedy(), Sampling.of(0.8f, 5))) {
      List<List<Integer>> plain = ids(decode(prompts(80), Drafters.none(), sampling, "exact"));
      for (String size : List.of("auto", "1", "2", "7")) {
        try (DrafterFactory sized = SizedTrees.of(size, Drafters.parse(name))) {
          for (int time = 0; time < 2; time++) {
            assertThat(ids(decode(prompts(80), sized, sampling, "exact")))
                .as("%s, tree %s, %s", name, size, sampling)
                .isEqualTo(plain);
          }
          assertThat(ids(decode(prompts(80).subList(0, 1), sized, sampling, "exact")))
              .isEqualTo(plain.subList(0, 1));
        }
      }
    }
  }

  /** Three texts share the nodes of a pass, be they enough for trees of the size or not. */
  @ParameterizedTest
  @CsvSource({"auto, 384", "64, 384", "128, 128"})
  void largeTreesShareAPass(String size, int nodes) {
    SessionOptions room = SessionOptions.defaults().withMaxNodes(nodes);
    for (String name : List.of("token-recycling", "dynamic-tree:nodes=127")) {
      List<Integer> allowed = new ArrayList<>();
      try (DrafterFactory drafts = Drafters.parse(name);
          DrafterFactory sized = SizedTrees.of(size, session -> noting(drafts, session, allowed))) {
        List<List<Integer>> plain =
            ids(decode(prompts(80), Drafters.none(), Sampling.greedy(), "exact"));
        assertThat(ids(decode(prompts(80), sized, Sampling.greedy(), "exact", room)))
            .as("%s", name)
            .isEqualTo(plain);
      }
      assertThat(allowed).as("%s", name).allMatch(most -> most < nodes);
      if (!size.equals("auto")) {
        int most = Math.min(Integer.parseInt(size), nodes / 3);
        assertThat(allowed.subList(0, 3)).as("%s", name).containsOnly(most - 1);
      }
    }
  }

  /** A drafter that notes how many draft nodes it was allowed. */
  private static Drafter noting(DrafterFactory drafts, Session session, List<Integer> allowed) {
    Drafter drafter = drafts.create(session);
    return new Drafter() {
      @Override
      public DraftTree propose(Context context) {
        allowed.add(context.maxNodes());
        return drafter.propose(context);
      }

      @Override
      public void observe(Verdict verdict, Scores scores) {
        drafter.observe(verdict, scores);
      }

      @Override
      public int topK() {
        return drafter.topK();
      }

      @Override
      public void close() {
        drafter.close();
      }
    };
  }

  /** The laws of drawn tokens survive steps in which nothing was drawn. */
  @ParameterizedTest
  @MethodSource("drafters")
  void theSamplingVerifierTakesEverySize(String name) {
    for (String size : List.of("auto", "3")) {
      try (DrafterFactory sized = SizedTrees.of(size, Drafters.parse(name))) {
        List<GenerationResult> results =
            decode(prompts(60), sized, Sampling.of(0.8f, 5), "sampling");
        assertThat(results).allSatisfy(SizedTreesTest::isWhole);
      }
    }
  }

  /**
   * All tokens that were asked for; or fewer, which end in an end token: another size, other draws.
   */
  private static void isWhole(GenerationResult result) {
    List<Integer> ids = result.tokenIds();
    if (result.finishReason() == FinishReason.END) {
      assertThat(ids).hasSizeLessThanOrEqualTo(100);
      assertThat(Fixtures.tinyJava().endTokens()).contains(ids.get(ids.size() - 1));
    } else {
      assertThat(result.finishReason()).isEqualTo(FinishReason.LENGTH);
      assertThat(ids).hasSize(100);
    }
  }

  @Test
  void aTreeOfOneNodeIsPlainDecodingWithoutTheDrafter() {
    DrafterFactory untouched =
        session ->
            new Drafter() {
              @Override
              public DraftTree propose(Context context) {
                throw new AssertionError("not asked");
              }

              @Override
              public void observe(Verdict verdict, Scores scores) {
                throw new AssertionError("not told");
              }
            };
    GenerationResult result =
        decode(prompts(60), SizedTrees.fixed(1, untouched), Sampling.greedy(), "exact").get(0);
    assertThat(result.stats().passes()).isEqualTo(100);
  }

  @Test
  void aFixedSizeIsKeptInEachPass() {
    DrafterFactory wide =
        session ->
            context -> {
              assertThat(context.maxNodes()).isLessThanOrEqualTo(4);
              DraftTree tree = DraftTree.rootedAt(context.lastToken());
              for (int i = 0; i < context.maxNodes() && context.maxDepth() > 0; i++) {
                tree.append(0, i);
              }
              return tree;
            };
    GenerationResult result =
        decode(prompts(60), SizedTrees.fixed(5, wide), Sampling.greedy(), "exact").get(0);
    // The last step of a text may be one that has room for its own token only.
    long passes = result.stats().passes();
    assertThat(result.stats().drafted()).isBetween(4 * (passes - 1), 4 * passes);
  }

  @Test
  void aDrafterThatExceedsItsSizeIsNamed() {
    DrafterFactory rude =
        session ->
            new Drafter() {
              @Override
              public DraftTree propose(Context context) {
                DraftTree tree = DraftTree.rootedAt(context.lastToken());
                for (int i = 0; i <= context.maxNodes(); i++) {
                  tree.append(0, i);
                }
                return tree;
              }

              @Override
              public String describe() {
                return "rude";
              }
            };
    assertThatThrownBy(
            () -> decode(prompts(60), SizedTrees.fixed(5, rude), Sampling.greedy(), "exact"))
        .isInstanceOf(DrafterException.class)
        .hasMessage("drafter rude: draft nodes = 5, expected at most 4, see Context.maxNodes");
  }

  @Test
  void aSizeBeyondTheSessionIsNamed() {
    SessionOptions small = SessionOptions.defaults().withMaxNodes(16).withMaxTokens(64);
    GenerationOptions options =
        GenerationOptions.defaults().withDrafter(SizedTrees.fixed(17, Drafters.none()));
    try (Session session = Fixtures.tinyJava().newSession(small)) {
      assertThatThrownBy(() -> new Generation(session, prompts(60), options))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("tree = 17, expected auto, or 1 to 16 nodes");
      int[] prompt = {1, 2, 3};
      try (Generation generation =
          new Generation(session, List.of(prompt), options.withDrafter("prompt-lookup"))) {
        assertThat(generation.run()).hasSize(1); // the session is still usable
      }
    }
  }

  /** Another model or device has another file; what is measured is there at once, for all sizes. */
  @Test
  void timesGoToTheCache() throws IOException {
    try (DrafterFactory sized = SizedTrees.auto(Drafters.parse("prompt-lookup"));
        Session session = Fixtures.tinyJava().newSession(SessionOptions.defaults());
        Drafter drafter = sized.create(session)) {
      assertThat(drafter.describe()).isNotEmpty();
      try (Stream<Path> files = Files.list(cache.resolve("pass-times"))) {
        assertThat(files.toList())
            .anySatisfy(
                file ->
                    assertThat(Files.readString(file))
                        .contains("threads ")
                        .contains("LlamaForCausalLM")
                        .contains("numLayers=8")
                        .containsPattern("\"nanos\":\\{\"1\":\\d+.*,\"2\":\\d+.*,\"3\":\\d+.*"));
      }
    }
  }

  /** A session too small for anything but plain decoding: nothing is measured that cannot be. */
  @Test
  void thereIsNoRoomToMeasure() {
    SessionOptions one = SessionOptions.defaults().withMaxNodes(1).withMaxTokens(2);
    try (DrafterFactory sized = SizedTrees.auto(Drafters.parse("prompt-lookup"));
        Session session = Fixtures.draft().newSession(one);
        Drafter drafter = sized.create(session)) {
      assertThat(drafter.describe()).isNotEmpty();
    }
  }
}
