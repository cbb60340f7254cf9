package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.espalier.DrafterFactory;
import org.espalier.Drafters;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.Sampling;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verifiers;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Lossless: with any drafter and any sampling, the tokens and the logits are those of plain
 * decoding, bit for bit.
 */
class ExactnessTest {
  private static final int MAX_NEW_TOKENS = Fixtures.full() ? 64 : 40;
  private static final int PROMPT_TOKENS = 96;

  private static final Map<String, Sampling> SAMPLINGS = samplings();
  private static final Map<String, Run> PLAIN = new HashMap<>();
  private static Session session;

  /** What was decoded, and digests of the logits that the tokens were chosen from. */
  private record Run(GenerationResult result, List<String> logits) {}

  private static Map<String, Sampling> samplings() {
    Map<String, Sampling> samplings = new LinkedHashMap<>();
    samplings.put("greedy", Sampling.greedy());
    samplings.put("t 0.8, seed 1", Sampling.of(0.8f, 1));
    samplings.put("t 0.8, seed 2", Sampling.of(0.8f, 2));
    samplings.put("t 0.8, seed 3", Sampling.of(0.8f, 3));
    samplings.put("top-p 0.9", Sampling.of(0.8f, 4).withTopP(0.9f));
    samplings.put("min-p 0.05", Sampling.of(1, 5).withMinP(0.05f));
    samplings.put("top-k 20", Sampling.of(1, 6).withTopK(20));
    samplings.put("repetition 1.2", Sampling.of(0.8f, 7).withRepetitionPenalty(1.2f));
    samplings.put("greedy, repetition 1.1", Sampling.greedy().withRepetitionPenalty(1.1f));
    samplings.put(
        "presence, frequency",
        Sampling.of(0.8f, 8).withPresencePenalty(0.3f).withFrequencyPenalty(0.2f));
    return samplings;
  }

  @BeforeAll
  static void open() {
    session = Fixtures.tinyJava().newSession();
  }

  @AfterAll
  static void close() {
    session.close();
    PLAIN.clear();
  }

  private static Run decode(int[] prompt, DrafterFactory drafter, Sampling sampling) {
    LogitRecorder recorder = new LogitRecorder();
    GenerationOptions options =
        GenerationOptions.builder()
            .maxNewTokens(MAX_NEW_TOKENS)
            .sampling(sampling)
            .drafter(drafter)
            .verifier(recorder)
            .build();
    try (Generation generation = new Generation(session, List.of(prompt), options)) {
      return new Run(generation.run().get(0), recorder.digests());
    }
  }

  @ParameterizedTest(name = "{0}")
  @CsvSource(
      delimiter = ';',
      value = {
        "prompt-lookup; 0.02; 9.9",
        "prompt-lookup:n_max=1,m=3; 0.02; 2.9",
        "token-recycling; 0.3; 5.9",
        "token-recycling:tree=4x2x1,k=4; 0.2; 2.9",
        "draft-model; 0.2; 3.9",
        "aded; 0.1; 3.9",
        "aded:iterations=20,sentences=4; 0.1; 3.9",
        "input-copy; 0.02; 31.9",
        "input-copy:m=3; 0.02; 2.9",
        "parallel; 0.1; 31.9",
        "parallel:gamma=4; 0.2; 3.0",
        "parallel:gamma=1; 0; 0",
        "early-exit; 0.1; 17.9",
        "draft-model:gamma=1; 0.1; 0.99",
        "draft-model:gamma=3,width=3; 0.3; 2.9",
        "dynamic-tree:nodes=24,depth=5; 0.3; 4.9",
        "dynamic-tree:nodes=3,threshold=0.2; 0.2; 2.9",
        "dynamic-tree:source=early-exit,nodes=24,depth=5; 0.3; 4.9",
        "layer-skip:w=6; 0.1; 24.9",
        "layer-skip:r=0.25,w=9,opt_interval=2,bayes_interval=3,depth=4,stop=0.5; 0.1; 3.9",
        "dynamic-tree:source=layer-skip,nodes=24,depth=5; 0.3; 4.9"
      })
  void tokensAndLogitsAreThoseOfPlainDecoding(String spec, double least, double most) {
    long passes = 0;
    long accepted = 0;
    try (DrafterFactory drafter = Drafters.parse(spec)) {
      for (Fixtures.Prompt prompt : Fixtures.prompts(3)) {
        int[] tokens = Fixtures.tokens(prompt, PROMPT_TOKENS);
        for (Map.Entry<String, Sampling> sampling : SAMPLINGS.entrySet()) {
          String what = prompt + ", " + sampling.getKey();
          Run plain =
              PLAIN.computeIfAbsent(
                  what, key -> decode(tokens, Drafters.none(), sampling.getValue()));
          Run drafted = decode(tokens, drafter, sampling.getValue());
          assertThat(drafted.result().tokenIds()).as(what).isEqualTo(plain.result().tokenIds());
          assertThat(drafted.result().text()).as(what).isEqualTo(plain.result().text());
          assertThat(drafted.result().finishReason())
              .as(what)
              .isEqualTo(plain.result().finishReason());
          assertThat(plain.logits()).as(what).hasSize(plain.result().tokenIds().size());
          assertThat(drafted.logits().subList(0, plain.logits().size()))
              .as("%s: digests of logits", what)
              .isEqualTo(plain.logits());
          passes += drafted.result().stats().passes();
          accepted += drafted.result().stats().accepted();
        }
      }
    }
    // A draft that is always right or always wrong would prove nothing.
    assertThat((double) accepted / passes).as("mean accepted length").isBetween(least, most);
  }

  /** Six prompts, six kinds of trees, one pass for all: each sequence as alone. */
  @Test
  void batchGivesEachSequenceItsOwnText() {
    List<DrafterFactory> kinds =
        List.of(
            Drafters.parse("token-recycling"),
            Drafters.none(),
            Drafters.parse("draft-model:gamma=3,width=2"),
            Drafters.parse("prompt-lookup"),
            Drafters.parse("early-exit"),
            Drafters.parse("dynamic-tree:nodes=20"));
    List<int[]> prompts = new ArrayList<>();
    for (Fixtures.Prompt prompt : Fixtures.prompts(6).subList(0, 6)) {
      prompts.add(Fixtures.tokens(prompt, 20 + 13 * prompts.size()));
    }
    SessionOptions forSix = SessionOptions.defaults().withMaxSequences(6).withMaxTokens(256);
    try (Session six = Fixtures.tinyJava().newSession(forSix)) {
      for (Sampling sampling :
          List.of(Sampling.greedy(), Sampling.of(0.8f, 11), SAMPLINGS.get("repetition 1.2"))) {
        int[] next = {0};
        GenerationOptions options =
            GenerationOptions.builder()
                .maxNewTokens(MAX_NEW_TOKENS)
                .sampling(sampling)
                .drafter(target -> kinds.get(next[0]++).create(target))
                .build();
        try (Generation generation = new Generation(six, prompts, options)) {
          List<GenerationResult> together = generation.run();
          for (int b = 0; b < prompts.size(); b++) {
            Run alone = decode(prompts.get(b), Drafters.none(), sampling.withStream(b));
            assertThat(together.get(b).tokenIds())
                .as("sequence %d", b)
                .isEqualTo(alone.result().tokenIds());
          }
          assertThat(together.get(0).stats().accepted()).isPositive();
        }
      }
    }
    kinds.forEach(DrafterFactory::close);
  }

  /**
   * Five prompts whose drafters come from one factory, what they share mixes nothing up: all
   * samplings under the exact verifier, and the greedy ones under the sampling verifier, which
   * keeps the law where chance is in play ({@link SamplingLawTest}).
   */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "prompt-lookup",
        "token-recycling:tree=4x2x1,k=4",
        "draft-model:gamma=3",
        "draft-model:gamma=2,width=2",
        "aded",
        "input-copy",
        "parallel",
        "parallel:gamma=3",
        "early-exit:d_max=6",
        "dynamic-tree:nodes=12,depth=4",
        "dynamic-tree:source=early-exit,nodes=12,depth=4",
        "layer-skip:w=5,s_max=1",
        "dynamic-tree:source=layer-skip,nodes=12,depth=4"
      })
  void batchFromOneFactory(String spec) {
    List<int[]> prompts = new ArrayList<>();
    for (Fixtures.Prompt prompt : Fixtures.prompts(5).subList(0, 5)) {
      prompts.add(Fixtures.tokens(prompt, 60 - 7 * prompts.size()));
    }
    SessionOptions forFive = SessionOptions.defaults().withMaxSequences(5).withMaxTokens(256);
    try (Session five = Fixtures.tinyJava().newSession(forFive)) {
      for (Map.Entry<String, Sampling> entry : SAMPLINGS.entrySet()) {
        Sampling sampling = entry.getValue();
        for (String verifier : List.of("exact", "sampling")) {
          if (verifier.equals("exact") || sampling.isGreedy()) {
            String what = spec + ", " + entry.getKey() + ", " + verifier;
            batchIsAsAlone(five, prompts, what, sampling, verifier, spec);
          }
        }
      }
    }
  }

  private static void batchIsAsAlone(
      Session five,
      List<int[]> prompts,
      String what,
      Sampling sampling,
      String verifier,
      String spec) {
    GenerationOptions options =
        GenerationOptions.defaults()
            .withMaxNewTokens(MAX_NEW_TOKENS)
            .withSampling(sampling)
            .withVerifier(Verifiers.parse(verifier));
    try (DrafterFactory factory = Drafters.parse(spec);
        Generation generation = new Generation(five, prompts, options.withDrafter(factory))) {
      List<GenerationResult> together = generation.run();
      long accepted = 0;
      for (int b = 0; b < prompts.size(); b++) {
        int[] prompt = prompts.get(b);
        Sampling own = sampling.withStream(b);
        Run alone =
            PLAIN.computeIfAbsent(
                "five, " + b + ", " + sampling, key -> decode(prompt, Drafters.none(), own));
        assertThat(together.get(b).tokenIds())
            .as("%s: sequence %d", what, b)
            .isEqualTo(alone.result().tokenIds());
        accepted += together.get(b).stats().accepted();
      }
      // Five drafts that share a thread may be too slow for blocks of more than one token.
      if (!spec.equals("parallel")) {
        assertThat(accepted).as(what).isPositive();
      }
    }
  }

  /**
   * Drafts of the same prompt twice: the table that the first run left does not make the second
   * worse, nor different.
   */
  @Test
  void tokenRecyclingStartsHot() {
    int[] prompt = Fixtures.tokens(Fixtures.prompts(3).get(1), PROMPT_TOKENS);
    DrafterFactory drafter = Drafters.parse("token-recycling");
    Run first = decode(prompt, drafter, Sampling.greedy());
    Run second = decode(prompt, drafter, Sampling.greedy());
    assertThat(second.result().tokenIds()).isEqualTo(first.result().tokenIds());
    assertThat(second.result().stats().passes()).isLessThan(first.result().stats().passes());
  }

  /** Neighbouring streams of one seed are different draws; the same stream is the same. */
  @Test
  void streamsOfASeedAreDifferent() {
    int[] prompt = Fixtures.tokens(Fixtures.prompts(3).get(0), 30);
    Sampling sampling = Sampling.of(1, 3);
    Run zero = decode(prompt, Drafters.none(), sampling);
    Run one = decode(prompt, Drafters.none(), sampling.withStream(1));
    Run zeroAgain = decode(prompt, Drafters.none(), sampling);
    assertThat(one.result().tokenIds()).isNotEqualTo(zero.result().tokenIds());
    assertThat(zeroAgain.result().tokenIds()).isEqualTo(zero.result().tokenIds());
  }
}
