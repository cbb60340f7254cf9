package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.List;
import org.espalier.DraftTree;
import org.espalier.DrafterException;
import org.espalier.DrafterFactory;
import org.espalier.Drafters;
import org.espalier.FinishReason;
import org.espalier.Generation;
import org.espalier.GenerationCancelledException;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.ModelFormatException;
import org.espalier.Sampling;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.TokenStream;
import org.espalier.Verifiers;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Draft and target at the same time: rates, cancel, failure, and no thread that stays. */
@Timeout(120)
class ParallelDraftsTest {
  private static Session session;
  private static int[] prompt;

  @BeforeAll
  static void open() {
    session = Fixtures.tinyJava().newSession(SessionOptions.defaults().withMaxSequences(3));
    prompt = Fixtures.tokens(Fixtures.prompts(6).get(4), 40);
  }

  @AfterAll
  static void close() {
    session.close();
  }

  @AfterEach
  void noDraftThreadIsLeft() {
    assertThat(Thread.getAllStackTraces().keySet())
        .noneMatch(thread -> thread.getName().equals("espalier-draft"));
  }

  private static GenerationOptions options(DrafterFactory drafter, Sampling sampling) {
    return GenerationOptions.defaults()
        .withMaxNewTokens(33)
        .withSampling(sampling)
        .withDrafter(drafter);
  }

  /** The target as its own draft: one token in the first pass, g in every other one. */
  @ParameterizedTest
  @CsvSource({"1, exact", "4, exact", "8, exact", "4, sampling"})
  void modelThatDraftsForItselfIsRight(int g, String verifier) {
    for (Sampling sampling : List.of(Sampling.greedy(), Sampling.of(0.8f, 33))) {
      if (verifier.equals("sampling") && !sampling.isGreedy()) {
        continue; // the draft's most likely token is not always drawn
      }
      try (DrafterFactory self = Drafters.parse("parallel:model=tiny-java,gamma=" + g);
          Generation generation =
              new Generation(
                  session,
                  List.of(prompt),
                  options(self, sampling).withVerifier(Verifiers.parse(verifier)))) {
        generation.step();
        while (generation.step()) {
          int emitted = generation.sequence(0).length() + 1 - prompt.length;
          assertThat((emitted - 1) % g).as("tokens after the first").isZero();
        }
        GenerationResult result = generation.result(0);
        assertThat(result.tokenIds()).hasSize(33);
        assertThat(result.stats().passes()).isEqualTo(1 + 32 / g);
      }
    }
  }

  /**
   * With the sampling verifier and the target as its own draft, a block is kept whole, as q is p,
   * once its first token is what the target has drawn.
   */
  @Test
  void blockOfTheRightLawIsKeptWhole() {
    int g = 4;
    int[] steps = {0, 0};
    for (int seed = 0; seed < 4; seed++) {
      try (DrafterFactory drafter = Drafters.parse("parallel:model=tiny-java,gamma=" + g);
          Generation generation =
              new Generation(
                  session,
                  List.of(prompt),
                  options(drafter, Sampling.of(0.8f, seed))
                      .withVerifier(Verifiers.parse("sampling")))) {
        int before = prompt.length;
        while (generation.step()) {
          int emitted = generation.sequence(0).length() + 1 - before;
          assertThat(emitted).isIn(1, g);
          steps[emitted == g ? 1 : 0]++;
          before += emitted;
        }
      }
    }
    assertThat(steps[0]).as("first tokens that are not the target's").isPositive();
    assertThat(steps[1]).as("whole blocks").isPositive();
  }

  /** Cancelled after any step, while a block is in flight. */
  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2, 5})
  void cancelInTheMiddle(int steps) {
    try (DrafterFactory drafter = Drafters.parse("parallel:gamma=8");
        Generation generation =
            new Generation(session, List.of(prompt), options(drafter, Sampling.greedy()))) {
      for (int i = 0; i < steps; i++) {
        generation.step();
      }
      generation.cancel();
      assertThat(generation.run().get(0).finishReason()).isEqualTo(FinishReason.CANCELLED);
    }
    try (Generation again =
        new Generation(session, List.of(prompt), options(Drafters.none(), Sampling.greedy()))) {
      assertThat(again.run().get(0).tokenIds()).hasSize(33);
    }
  }

  /** Cancelled from another thread at any time, in the middle of a pass and of a block. */
  @Test
  void cancelFromAnotherThread() throws InterruptedException {
    for (int millis = 0; millis < 40; millis += 3) {
      try (DrafterFactory drafter = Drafters.parse("parallel:gamma=8")) {
        TokenStream tokens =
            Fixtures.tinyJava()
                .generate(
                    prompt, options(drafter, Sampling.of(0.8f, millis)).withMaxNewTokens(800));
        int pause = millis;
        Thread canceller =
            new Thread(
                () -> {
                  try {
                    Thread.sleep(pause);
                  } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                  }
                  tokens.cancel();
                });
        canceller.start();
        try (tokens) {
          while (tokens.hasNext()) {
            tokens.next();
          }
          assertThat(tokens.result().finishReason()).isIn(FinishReason.CANCELLED, FinishReason.END);
        } finally {
          canceller.join();
        }
      }
      noDraftThreadIsLeft();
    }
  }

  /** A drafter that fails beside those of a batch, before and between their blocks. */
  @ParameterizedTest
  @ValueSource(ints = {0, 1, 3})
  void failureBesideADraftLeavesNoThread(int step) {
    int[] calls = {0, 0};
    try (DrafterFactory drafter = Drafters.parse("parallel:gamma=4")) {
      DrafterFactory last =
          target ->
              calls[0]++ < 2
                  ? drafter.create(target)
                  : context -> {
                    if (calls[1]++ == step) {
                      throw new IllegalStateException("oops");
                    }
                    return DraftTree.rootedAt(context.lastToken());
                  };
      try (Generation generation =
          new Generation(
              session, List.of(prompt, prompt, prompt), options(last, Sampling.greedy()))) {
        assertThatThrownBy(generation::run)
            .isInstanceOf(DrafterException.class)
            .hasMessageContaining("oops");
      }
      noDraftThreadIsLeft();
      try (Generation again =
          new Generation(session, List.of(prompt), options(drafter, Sampling.greedy()))) {
        assertThat(again.run().get(0).tokenIds()).hasSize(33);
      }
    }
  }

  @Test
  void interruptInTheMiddle() {
    try (DrafterFactory drafter = Drafters.parse("parallel:gamma=8");
        Generation generation =
            new Generation(session, List.of(prompt), options(drafter, Sampling.greedy()))) {
      generation.step();
      Thread.currentThread().interrupt();
      assertThatThrownBy(generation::step).isInstanceOf(GenerationCancelledException.class);
    } finally {
      assertThat(Thread.interrupted()).isTrue();
    }
  }

  /** Interrupted while the draft's session is made: it is closed, and its thread ends. */
  @Test
  void interruptAtTheBeginning() {
    try (DrafterFactory drafter = Drafters.parse("parallel")) {
      for (int again = 0; again < 2; again++) {
        Thread.currentThread().interrupt();
        assertThatThrownBy(
                () -> new Generation(session, List.of(prompt), options(drafter, Sampling.greedy())))
            .isInstanceOf(GenerationCancelledException.class);
        assertThat(Thread.interrupted()).isTrue();
        noDraftThreadIsLeft();
      }
    }
  }

  /** The second of three sequences cannot be begun: what the first has is given back. */
  @Test
  void threadEndsWhenABatchCannotBegin(@TempDir Path dir) {
    int[] calls = {0};
    try (DrafterFactory drafter = Drafters.parse("parallel")) {
      DrafterFactory second =
          target -> {
            if (calls[0]++ == 1) {
              throw new IllegalStateException("no second");
            }
            return drafter.create(target);
          };
      assertThatThrownBy(
              () ->
                  new Generation(
                      session, List.of(prompt, prompt, prompt), options(second, Sampling.greedy())))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("no second");
    }
  }

  @Test
  void badDraftModels(@TempDir Path dir) {
    Path folder = ModelFolders.copyOfDraft(dir.resolve("draft"));
    ModelFolders.edit(folder.resolve("tokenizer.json"), "\"id\": 0,", "\"id\": 1,");
    Path small = ModelFolders.random(dir.resolve("small"), 8, 1, 0.2f);
    for (Path bad : List.of(folder, small)) {
      try (DrafterFactory drafter = Drafters.parse("parallel:model=" + bad)) {
        assertThatThrownBy(
                () -> new Generation(session, List.of(prompt), options(drafter, Sampling.greedy())))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessageContaining("draft model " + bad);
      }
    }
    try (DrafterFactory drafter = Drafters.parse("parallel:model=" + dir.resolve("nowhere"))) {
      assertThatThrownBy(
              () -> new Generation(session, List.of(prompt), options(drafter, Sampling.greedy())))
          .isInstanceOf(ModelFormatException.class)
          .hasMessageContaining("nowhere");
    }
  }
}
