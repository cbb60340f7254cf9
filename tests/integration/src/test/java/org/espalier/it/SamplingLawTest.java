package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Drafters;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.Model;
import org.espalier.Noise;
import org.espalier.Sampling;
import org.espalier.Scores;
import org.espalier.Sequence;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verifier;
import org.espalier.Verifiers;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The first two emitted tokens have the law of the target, by a chi-square test from end to end: 8
 * x 8 cells, each run with a seed of its own. 9,967 runs find a total variation of 0.05 with power
 * 0.99 at alpha 1e-4; some mutants are nearer, so they get more runs.
 */
class SamplingLawTest {
  private static final int VOCAB = 8;
  private static final int RUNS = 9_967;

  /**
   * The noncentrality of a mutant grows with the runs: with these it is missed less than once in
   * 10^9.
   */
  private static final int MUTANT_RUNS = 5 * RUNS;

  private static final int[] PROMPT = {3, 1, 6};
  private static final DrafterFactory PLAIN = Drafters.none();

  /**
   * Quantile 1 - 1e-5 of chi-square with 63 degrees of freedom: alpha 3e-4 for all tests together.
   */
  private static final double CRITICAL = 123.0;

  @TempDir static Path dir;
  private static Model target;
  private static Model draft;
  private static Session session;
  private static double[] law;
  private static double[] laterLaw;
  private static final long FIRST_SEED = new Random().nextInt(1_000_000) * 100_000L;

  @BeforeAll
  static void open() {
    target = Model.load(ModelFolders.random(dir.resolve("target"), VOCAB, 1, 0.18f));
    draft = Model.load(ModelFolders.random(dir.resolve("draft"), VOCAB, 2, 0.18f));
    ModelFolders.random(dir.resolve("uniform"), VOCAB, 3, 0);
    session = target.newSession();
    law = lawOfTwoTokens(target, PROMPT, 0);
    laterLaw = lawOfTwoTokens(target, PROMPT, 1);
  }

  @AfterAll
  static void close() {
    session.close();
    draft.close();
    target.close();
  }

  /** The joint law of two tokens, after so many that are not looked at, from the raw logits. */
  private static double[] lawOfTwoTokens(Model model, int[] prompt, int skipped) {
    double[] cells = new double[VOCAB * VOCAB];
    try (Session own = model.newSession()) {
      addLaw(own, prompt, skipped, 1, cells);
    }
    return cells;
  }

  private static void addLaw(Session own, int[] text, int skipped, double weight, double[] cells) {
    double[] first;
    double[][] second = new double[VOCAB][];
    try (Sequence sequence = own.newSequence()) {
      sequence.prefill(Arrays.copyOf(text, text.length - 1));
      DraftTree tree = DraftTree.rootedAt(text[text.length - 1]);
      for (int x = 0; x < VOCAB; x++) {
        tree.append(0, x);
      }
      Scores scores = own.forward(List.of(sequence), List.of(tree), 0).get(0);
      first = softmax(scores, 0);
      Arrays.setAll(second, x -> softmax(scores, 1 + x));
    }
    for (int x = 0; x < VOCAB; x++) {
      if (skipped > 0) {
        int[] longer = Arrays.copyOf(text, text.length + 1);
        longer[text.length] = x;
        addLaw(own, longer, skipped - 1, weight * first[x], cells);
        continue;
      }
      for (int y = 0; y < VOCAB; y++) {
        cells[x * VOCAB + y] += weight * first[x] * second[x][y];
      }
    }
  }

  private static double[] softmax(Scores scores, int node) {
    float[] logits = new float[VOCAB];
    scores.logits(node, logits);
    double[] p = new double[VOCAB];
    double sum = 0;
    for (int i = 0; i < VOCAB; i++) {
      p[i] = Math.exp((double) logits[i]);
      sum += p[i];
    }
    for (int i = 0; i < VOCAB; i++) {
      p[i] /= sum;
    }
    return p;
  }

  private static double chiSquare(DrafterFactory drafter, String verifierName, int atLeast) {
    return chiSquare(target, PROMPT, drafter, verifierName, atLeast, 0, law);
  }

  /** Of the two tokens after those that are skipped. */
  private static double chiSquare(
      Model model,
      int[] prompt,
      DrafterFactory drafter,
      String verifierName,
      int atLeast,
      int skipped,
      double[] lawOfTwo) {
    Verifier verifier = Verifiers.parse(verifierName);
    long[] seen = new long[VOCAB * VOCAB];
    int perRun = 32; // sequences of one batch draw with streams of their own
    List<int[]> prompts = new ArrayList<>();
    for (int b = 0; b < perRun; b++) {
      prompts.add(prompt);
    }
    int runs = 0;
    long drafted = 0;
    for (long seed = FIRST_SEED; runs < atLeast; seed++) {
      GenerationOptions options =
          GenerationOptions.defaults()
              .withMaxNewTokens(2 + skipped)
              .withSampling(Sampling.of(1, seed))
              .withVerifier(verifier)
              .withDrafter(drafter);
      try (Session many =
              model.newSession(
                  SessionOptions.defaults().withMaxSequences(perRun).withMaxTokens(32));
          Generation generation = new Generation(many, prompts, options)) {
        for (var result : generation.run()) {
          List<Integer> ids = result.tokenIds();
          seen[ids.get(skipped) * VOCAB + ids.get(skipped + 1)]++;
          runs++;
          drafted += result.stats().drafted();
        }
      }
    }
    assertThat(drafted > 0).as("something is drafted").isNotEqualTo(drafter == PLAIN);
    double chiSquare = 0;
    double restExpected = 0; // cells of small expectation are one
    double restSeen = 0;
    for (int cell = 0; cell < seen.length; cell++) {
      double expected = lawOfTwo[cell] * runs;
      if (expected < 5) {
        restExpected += expected;
        restSeen += seen[cell];
      } else {
        chiSquare += (seen[cell] - expected) * (seen[cell] - expected) / expected;
      }
    }
    if (restExpected > 0) {
      chiSquare += (restSeen - restExpected) * (restSeen - restExpected) / restExpected;
    }
    return chiSquare;
  }

  @ParameterizedTest(name = "{0}, gamma {1}, width {2}")
  @CsvSource({"sampling, 1, 1", "sampling, 2, 1", "sampling, 2, 3", "exact, 2, 3"})
  void emittedTokensHaveTheLawOfTheTarget(String verifier, int gamma, int width) {
    String spec =
        "draft-model:model=%s,gamma=%d,width=%d".formatted(dir.resolve("draft"), gamma, width);
    try (DrafterFactory drafter = Drafters.parse(spec)) {
      assertThat(chiSquare(drafter, verifier, RUNS))
          .as("first seed %d", FIRST_SEED)
          .isLessThan(CRITICAL);
    }
  }

  /** Trees that grow by the draft's probabilities; a uniform draft knows nothing. */
  @ParameterizedTest(name = "{0}, draft {1}, {2}")
  @CsvSource(
      delimiter = ';',
      value = {
        "sampling; draft; nodes=6",
        "sampling; draft; nodes=20,threshold=0.01",
        "sampling; draft; nodes=3,threshold=0.3",
        "sampling; uniform; nodes=12",
        "exact; draft; nodes=6"
      })
  void dynamicTreesKeepTheLaw(String verifier, String name, String shape) {
    String spec = "dynamic-tree:model=%s,%s".formatted(dir.resolve(name), shape);
    try (DrafterFactory drafter = Drafters.parse(spec)) {
      assertThat(chiSquare(drafter, verifier, RUNS))
          .as("first seed %d", FIRST_SEED)
          .isLessThan(CRITICAL);
    }
  }

  /**
   * What is drafted beside the target is judged from the second token on: the second and the third
   * one.
   */
  @ParameterizedTest(name = "{0}, draft {1}, g = {2}")
  @CsvSource({
    "sampling, draft, 2",
    "sampling, draft, 3",
    "sampling, target, 3",
    "sampling, uniform, 3",
    "exact, draft, 3"
  })
  void blocksDraftedInParallelKeepTheLaw(String verifier, String name, int g) {
    String spec = "parallel:model=%s,gamma=%d".formatted(dir.resolve(name), g);
    try (DrafterFactory drafter = Drafters.parse(spec)) {
      assertThat(chiSquare(target, PROMPT, drafter, verifier, RUNS, 1, laterLaw))
          .as("first seed %d", FIRST_SEED)
          .isLessThan(CRITICAL);
    }
  }

  /** Tokens that are copied or remembered are given ones, whatever the target draws. */
  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      value = {
        "prompt-lookup:n_max=1,m=2",
        "input-copy:m=2",
        "aded",
        "token-recycling:tree=3x2,k=3"
      })
  void draftsWithoutALawKeepTheLaw(String spec) {
    int[] prompt = {3, 1, 6, 3, 1}; // something to copy
    double[] lawOfTwo = lawOfTwoTokens(target, prompt, 0);
    try (DrafterFactory drafter = Drafters.parse(spec)) {
      assertThat(chiSquare(target, prompt, drafter, "sampling", RUNS, 0, lawOfTwo))
          .as("first seed %d", FIRST_SEED)
          .isLessThan(CRITICAL);
    }
  }

  /** Drafts of the model's own layers, in the first rounds and when statistics choose them. */
  @ParameterizedTest(name = "{2}, {0}, after {1} tokens")
  @CsvSource(
      delimiter = ';',
      value = {
        "sampling; 0; early-exit:d_max=3",
        "sampling; 1; early-exit:d_max=3",
        "exact; 1; early-exit:d_max=3",
        "sampling; 1; dynamic-tree:source=early-exit,nodes=6",
        "sampling; 1; layer-skip:r=0.5,w=1,s_max=1",
        "sampling; 0; layer-skip:r=0.5,depth=2,stop=0",
        "sampling; 0; dynamic-tree:source=layer-skip,nodes=6"
      })
  void partsOfTheModelKeepTheLaw(String verifier, int skipped, String spec) {
    ModelFolders.random(dir.resolve("layers"), VOCAB, 4, 0.18f, 5);
    try (Model layers = Model.load(dir.resolve("layers"));
        DrafterFactory drafter = Drafters.parse(spec)) {
      double[] lawOfTwo = lawOfTwoTokens(layers, PROMPT, skipped);
      assertThat(chiSquare(layers, PROMPT, drafter, verifier, RUNS, skipped, lawOfTwo))
          .as("first seed %d", FIRST_SEED)
          .isLessThan(CRITICAL);
    }
  }

  @Test
  void plainDecodingHasTheLawOfTheTarget() {
    assertThat(chiSquare(PLAIN, "exact", RUNS))
        .as("first seed %d", FIRST_SEED)
        .isLessThan(CRITICAL);
  }

  /**
   * What the children of the root are said to be, and how many; those of less probability are
   * dropped after they were drawn.
   */
  private record Claim(
      DraftTree.Scheme scheme, int children, boolean drawn, double leastProbability) {
    Claim(DraftTree.Scheme scheme, int children, boolean drawn) {
      this(scheme, children, drawn, 0);
    }
  }

  /** Children of the root from a draft session, with a claim about them that may be wrong. */
  private static Drafter claiming(Claim claim, Session target) {
    Session own = target.newNeighbour(draft, SessionOptions.defaults().withMaxTokens(32));
    Sequence sequence = own.newSequence();
    return new Drafter() {
      @Override
      public DraftTree propose(Context context) {
        DraftTree tree = DraftTree.rootedAt(context.lastToken());
        if (context.maxDepth() == 0) {
          return tree;
        }
        sequence.rollback(0);
        int[] before = new int[context.length() - 1];
        Arrays.setAll(before, context::token);
        sequence.prefill(before);
        sequence.setSampling(context.sampling());
        Scores q = own.forward(List.of(sequence), List.of(tree), claim.children()).get(0);
        int[] drawn = new int[claim.children()];
        float[] logProb = new float[claim.children()];
        q.draw(
            new int[1],
            1,
            claim.children(),
            Noise.DRAFT,
            drawn,
            logProb,
            context.laws().orElseThrow(),
            0);
        for (int i = 0; i < claim.children(); i++) {
          if (Math.exp(logProb[i]) >= claim.leastProbability()) {
            tree.append(0, claim.drawn() ? drawn[i] : q.topToken(0, i));
          }
        }
        tree.childrenDrawn(0, claim.scheme(), context.laws().orElseThrow().row(0));
        return tree;
      }

      @Override
      public int lawRows() {
        return 1;
      }

      @Override
      public void close() {
        own.close();
      }
    };
  }

  /**
   * Claims that hold: draws as draws, and any token that does not depend on the target's noise as
   * given.
   */
  @ParameterizedTest
  @CsvSource({
    "WITHOUT_REPLACEMENT, 2, true",
    "WITHOUT_REPLACEMENT, 1, true",
    "WITH_REPLACEMENT, 1, true",
    "POINT_MASS, 3, false",
    "POINT_MASS, 1, true"
  })
  void trueClaimsKeepTheLaw(DraftTree.Scheme scheme, int children, boolean drawn) {
    Claim claim = new Claim(scheme, children, drawn);
    assertThat(chiSquare(target -> claiming(claim, target), "sampling", RUNS))
        .as("first seed %d", FIRST_SEED)
        .isLessThan(CRITICAL);
  }

  /**
   * Mutants: the best tokens passed off as drawn, draws without replacement passed off as
   * independent.
   */
  @ParameterizedTest
  @CsvSource({"WITHOUT_REPLACEMENT, 2, false", "WITH_REPLACEMENT, 3, true"})
  void falseClaimsAreCaught(DraftTree.Scheme scheme, int children, boolean drawn) {
    Claim claim = new Claim(scheme, children, drawn);
    assertThat(chiSquare(target -> claiming(claim, target), "sampling", MUTANT_RUNS))
        .as("first seed %d", FIRST_SEED)
        .isGreaterThan(CRITICAL);
  }

  /** A mutant of the dynamic tree: unlikely tokens are dropped once they are known. */
  @Test
  void droppingWhatWasDrawnIsCaught() {
    Claim claim = new Claim(DraftTree.Scheme.WITHOUT_REPLACEMENT, 3, true, 0.15);
    assertThat(chiSquare(target -> claiming(claim, target), "sampling", MUTANT_RUNS))
        .as("first seed %d", FIRST_SEED)
        .isGreaterThan(CRITICAL);
  }
}
