package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Function;
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
import org.espalier.Model;
import org.espalier.Sampling;
import org.espalier.Scores;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verdict;
import org.espalier.Verifiers;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A drafter that users write: it may be right, wrong or broken; the text stays the same, and so
 * does the session.
 */
class DrafterContractTest {
  private static Session session;
  private static int[] prompt;

  @BeforeAll
  static void open() {
    session = Fixtures.tinyJava().newSession();
    prompt = Fixtures.tokens(Fixtures.prompts(6).get(4), 40);
  }

  @AfterAll
  static void close() {
    session.close();
  }

  private static GenerationResult decode(
      DrafterFactory drafter, Sampling sampling, int maxNewTokens) {
    GenerationOptions options =
        GenerationOptions.defaults()
            .withDrafter(drafter)
            .withSampling(sampling)
            .withMaxNewTokens(maxNewTokens);
    try (Generation generation = new Generation(session, List.of(prompt), options)) {
      return generation.run().get(0);
    }
  }

  private static DrafterFactory always(Drafter drafter) {
    return target -> drafter;
  }

  /** Random trees of random tokens and of tokens of the context. */
  private static DraftTree guess(Random random, Context context) {
    DraftTree tree = DraftTree.rootedAt(context.lastToken());
    int nodes = random.nextInt(Math.min(40, context.maxNodes() + 1));
    for (int i = 0; i < nodes; i++) {
      int parent = random.nextInt(tree.size());
      if (tree.depth(parent) < context.maxDepth()) {
        boolean seen = random.nextBoolean();
        tree.append(
            parent, seen ? context.token(random.nextInt(context.length())) : random.nextInt(2048));
      }
    }
    return tree;
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 5})
  void randomTreesDoNotChangeTheText(int seed) {
    Sampling sampling = seed % 2 == 0 ? Sampling.greedy() : Sampling.of(0.9f, seed);
    Random random = new Random(seed);
    GenerationResult plain = decode(Drafters.none(), sampling, 40);
    GenerationResult drafted = decode(always(context -> guess(random, context)), sampling, 40);
    assertThat(drafted.tokenIds()).isEqualTo(plain.tokenIds());
    assertThat(drafted.stats().drafted()).isPositive();
  }

  /** The right tokens as a chain, beside wrong siblings that come first: all of it is accepted. */
  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 7, 39})
  void rightDraftsAreAcceptedWhole(int draftLen) {
    Sampling sampling = Sampling.of(0.8f, 21);
    GenerationResult plain = decode(Drafters.none(), sampling, 40);
    Drafter oracle =
        context -> {
          DraftTree tree = DraftTree.rootedAt(context.lastToken());
          int at = context.length() - prompt.length;
          int parent = 0;
          for (int i = 0; i < Math.min(draftLen, context.maxDepth()); i++) {
            int right = plain.tokenIds().get(at + i);
            tree.append(parent, (right + 1) % 2048);
            parent = tree.append(parent, right);
          }
          return tree;
        };
    GenerationResult drafted = decode(always(oracle), sampling, 40);
    assertThat(plain.finishReason()).isEqualTo(FinishReason.LENGTH);
    assertThat(drafted.tokenIds()).isEqualTo(plain.tokenIds());
    assertThat(drafted.finishReason()).isEqualTo(FinishReason.LENGTH);
    assertThat(drafted.stats().passes()).isEqualTo((40 + draftLen) / (draftLen + 1));
    assertThat(drafted.stats().depthAcceptance()).allMatch(share -> share == 1.0);
  }

  /** An end token in the middle of an accepted draft: nothing after it is emitted or kept. */
  @Test
  void acceptedSpanIsCutAfterTheEndToken(@TempDir Path dir) {
    Sampling sampling = Sampling.of(1, 5);
    GenerationOptions plain =
        GenerationOptions.defaults().withSampling(sampling).withMaxNewTokens(20);
    List<Integer> text = Fixtures.draft().generate(prompt, plain).result().tokenIds();
    int end = 9;
    while (text.indexOf(text.get(end)) < end) {
      end++; // a token that was not there before
    }
    Path folder = ModelFolders.copyOfDraft(dir);
    ModelFolders.setEndTokens(folder, 2047, text.get(end));
    Drafter oracle =
        context -> {
          DraftTree tree = DraftTree.rootedAt(context.lastToken());
          for (int i = 0; i < Math.min(7, context.maxDepth()); i++) {
            tree.append(text.get(Math.min(19, context.length() - prompt.length + i)));
          }
          return tree;
        };
    try (Model model = Model.load(folder);
        Session own = model.newSession();
        Generation generation =
            new Generation(own, List.of(prompt), plain.withDrafter(always(oracle)))) {
      GenerationResult drafted = generation.run().get(0);
      assertThat(drafted.finishReason()).isEqualTo(FinishReason.END);
      assertThat(drafted.tokenIds()).isEqualTo(text.subList(0, end + 1));
      assertThat(drafted.text())
          .isEqualTo(
              model.tokenizer().decode(text.subList(0, end).stream().mapToInt(t -> t).toArray()));
      assertThat(generation.sequence(0).length()).isEqualTo(prompt.length + end);
    }
  }

  static Stream<Arguments> brokenDrafters() {
    return Stream.of(
        broken("depth = ", context -> chain(context, context.maxDepth() + 1)),
        broken("draft nodes = ", context -> star(context, context.maxNodes() + 1)),
        broken("root = ", context -> DraftTree.rootedAt(context.lastToken() + 1)),
        broken("token of node 1 = -1, expected 0 to 2047", context -> child(context, -1)),
        broken("token of node 1 = 2048, expected 0 to 2047", context -> child(context, 2048)),
        broken("tree = null", context -> nothing()),
        broken(
            "failed to propose: java.lang.IllegalStateException: oops",
            context -> {
              throw new IllegalStateException("oops");
            }));
  }

  private static Arguments broken(String message, Drafter drafter) {
    return Arguments.of(message, drafter);
  }

  @SuppressWarnings("NullAway") // what a class that ignores the annotations would do
  private static DraftTree nothing() {
    return null;
  }

  private static DraftTree child(Context context, int token) {
    DraftTree tree = DraftTree.rootedAt(context.lastToken());
    tree.append(token);
    return tree;
  }

  private static DraftTree chain(Context context, int length) {
    DraftTree tree = DraftTree.rootedAt(context.lastToken());
    for (int i = 0; i < length; i++) {
      tree.append(7);
    }
    return tree;
  }

  private static DraftTree star(Context context, int nodes) {
    DraftTree tree = DraftTree.rootedAt(context.lastToken());
    for (int i = 0; i < nodes; i++) {
      tree.append(0, 7);
    }
    return tree;
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("brokenDrafters")
  void brokenDraftersAreNamedAndTheSessionGoesOn(String message, Drafter drafter) {
    GenerationResult before = decode(Drafters.none(), Sampling.greedy(), 12);
    assertThatThrownBy(() -> decode(always(drafter), Sampling.greedy(), 12))
        .isInstanceOf(DrafterException.class)
        .hasMessageContaining("drafter org.espalier.it.DrafterContractTest")
        .hasMessageContaining(message);
    GenerationResult after = decode(Drafters.parse("token-recycling"), Sampling.greedy(), 12);
    assertThat(after.tokenIds()).isEqualTo(before.tokenIds());
  }

  @Test
  void failureToObserveIsNamed() {
    Drafter drafter =
        new Drafter() {
          @Override
          public DraftTree propose(Context context) {
            return DraftTree.rootedAt(context.lastToken());
          }

          @Override
          public void observe(Verdict verdict, Scores scores) {
            throw new UnsupportedOperationException("no eyes");
          }
        };
    assertThatThrownBy(() -> decode(always(drafter), Sampling.greedy(), 12))
        .isInstanceOf(DrafterException.class)
        .hasMessageContaining("failed to observe")
        .hasMessageContaining("no eyes");
    assertThat(decode(Drafters.none(), Sampling.greedy(), 3).tokenIds()).hasSize(3);
  }

  /** A broken drafter in the middle of a batch, with either verifier and with a temperature. */
  @ParameterizedTest
  @ValueSource(strings = {"exact", "sampling"})
  void brokenDrafterEndsItsBatchAlone(String verifier) {
    SessionOptions forThree = SessionOptions.defaults().withMaxSequences(3).withMaxTokens(128);
    GenerationOptions options =
        GenerationOptions.defaults()
            .withMaxNewTokens(12)
            .withSampling(Sampling.of(0.8f, 4))
            .withVerifier(Verifiers.parse(verifier));
    try (Session three = Fixtures.tinyJava().newSession(forThree);
        DrafterFactory good = Drafters.parse("draft-model")) {
      for (int step : new int[] {0, 1, 2}) {
        int[] calls = {0, 0};
        Drafter bad =
            context -> {
              if (calls[1]++ == step) {
                throw new IllegalStateException("oops");
              }
              return DraftTree.rootedAt(context.lastToken());
            };
        DrafterFactory second = target -> calls[0]++ == 1 ? bad : good.create(target);
        List<int[]> prompts = List.of(prompt, prompt, prompt);
        try (Generation generation = new Generation(three, prompts, options.withDrafter(second))) {
          assertThatThrownBy(generation::run)
              .isInstanceOf(DrafterException.class)
              .hasMessageContaining("failed to propose: java.lang.IllegalStateException: oops");
          assertThatThrownBy(generation::step)
              .isInstanceOf(IllegalStateException.class)
              .hasMessage("the generation has failed before");
        }
        try (Generation again = new Generation(three, prompts, options.withDrafter(good))) {
          assertThat(again.run()).hasSize(3).allMatch(result -> !result.tokenIds().isEmpty());
        }
      }
    }
  }

  /** Laws that are not there, or not those of the tokens, are refused by name. */
  @ParameterizedTest
  @ValueSource(ints = {-1, 1, 99})
  void lawsThatAreNotThereAreNamed(int row) {
    Drafter drafter =
        new Drafter() {
          @Override
          public DraftTree propose(Context context) {
            DraftTree tree = DraftTree.rootedAt(context.lastToken());
            if (context.maxDepth() > 0) {
              tree.append(7);
              tree.childrenDrawn(0, DraftTree.Scheme.WITHOUT_REPLACEMENT, row);
            }
            return tree;
          }

          @Override
          public int lawRows() {
            return 1;
          }
        };
    GenerationOptions options =
        GenerationOptions.defaults()
            .withMaxNewTokens(4)
            .withSampling(Sampling.of(0.8f, 4))
            .withDrafter(always(drafter))
            .withVerifier(Verifiers.parse("sampling"));
    try (Session own = Fixtures.tinyJava().newSession()) {
      try (Generation generation = new Generation(own, List.of(prompt), options)) {
        assertThatThrownBy(generation::run)
            .isInstanceOf(DrafterException.class)
            .hasMessageContaining("drafter org.espalier.it.DrafterContractTest")
            .hasMessageContaining("law row of node 0 = " + row + ", expected 0 to 0");
      }
      GenerationOptions plain = options.withDrafter(Drafters.none());
      try (Generation generation = new Generation(own, List.of(prompt), plain)) {
        assertThat(generation.run().get(0).tokenIds()).hasSize(4);
      }
    }
  }

  /** A drafter that fails to close does not keep the others from being closed. */
  @Test
  void failureToCloseIsNamedAndOthersAreClosed() {
    int[] closed = {0};
    DrafterFactory factory =
        target ->
            new Drafter() {
              @Override
              public DraftTree propose(Context context) {
                return DraftTree.rootedAt(context.lastToken());
              }

              @Override
              public void close() {
                if (closed[0]++ == 0) {
                  throw new IllegalStateException("stuck");
                }
              }
            };
    SessionOptions forTwo = SessionOptions.defaults().withMaxSequences(2).withMaxTokens(64);
    GenerationOptions options =
        GenerationOptions.defaults().withMaxNewTokens(2).withDrafter(factory);
    try (Session two = Fixtures.tinyJava().newSession(forTwo)) {
      for (int again = 0; again < 2; again++) { // sequences were given back: there is room for two
        closed[0] = 0;
        Generation generation = new Generation(two, List.of(prompt, prompt), options);
        generation.run();
        assertThatThrownBy(generation::close)
            .isInstanceOf(DrafterException.class)
            .hasMessageContaining("failed to close")
            .hasMessageContaining("stuck");
        assertThat(closed[0]).isEqualTo(2);
      }
    }
  }

  /**
   * What a drafter asked for is what it sees: the best token first, equal to the arg-max of the
   * logits.
   */
  @Test
  void topTokensAreSeen() {
    int[] seen = {0};
    Drafter drafter =
        new Drafter() {
          private DraftTree tree = DraftTree.rootedAt(0);

          @Override
          public DraftTree propose(Context context) {
            tree =
                context.maxDepth() > 0
                    ? child(context, 11)
                    : DraftTree.rootedAt(context.lastToken());
            return tree;
          }

          @Override
          public int topK() {
            return 5;
          }

          @Override
          public void observe(Verdict verdict, Scores scores) {
            assertThat(scores.topK()).isEqualTo(5);
            assertThat(scores.numNodes()).isEqualTo(tree.size());
            assertThat(scores.topToken(verdict.lastNode(), 0)).isEqualTo(verdict.bonus());
            assertThat(scores.choice(verdict.lastNode())).isEqualTo(verdict.bonus());
            assertThatThrownBy(() -> scores.topToken(0, 5))
                .isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> scores.topToken(9, 0))
                .isInstanceOf(IllegalArgumentException.class);
            int[] top = new int[3 * tree.size()];
            scores.topTokens(3, top);
            for (int i = 0; i < top.length; i++) {
              assertThat(top[i]).isEqualTo(scores.topToken(i / 3, i % 3));
            }
            assertThatThrownBy(() -> scores.topTokens(6, new int[6 * tree.size()]))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("count = 6, expected 0 to 5, the top-k of the pass");
            seen[0]++;
          }
        };
    decode(always(drafter), Sampling.greedy(), 8);
    assertThat(seen[0]).isBetween(4, 8);
  }

  /**
   * The target as its own draft model: q is p, so every draft is accepted whole, step after step.
   */
  @ParameterizedTest(name = "gamma {0}, width {1}, {2}")
  @CsvSource({
    "1, 1, exact",
    "4, 1, exact",
    "3, 2, exact",
    "1, 2, exact",
    "3, 1, sampling",
    "3, 2, sampling"
  })
  void modelThatDraftsForItselfIsRight(int gamma, int width, String verifier) {
    String spec = "draft-model:model=tiny-java,gamma=%d,width=%d".formatted(gamma, width);
    draftForItself(spec, gamma, verifier);
  }

  /** One level: the first token that is drawn is always there. */
  @ParameterizedTest
  @ValueSource(strings = {"exact", "sampling"})
  void modelThatGrowsATreeForItselfIsRight(String verifier) {
    draftForItself("dynamic-tree:model=tiny-java,nodes=40,depth=1", 1, verifier);
  }

  /** Of several levels: the first child of each node is the one that is accepted, to a leaf. */
  @ParameterizedTest
  @ValueSource(strings = {"exact", "sampling"})
  void firstChildrenOfTheModelsOwnTreeAreAccepted(String verifier) {
    int[] steps = new int[1];
    int[] levels = new int[1];
    for (Sampling sampling : List.of(Sampling.greedy(), Sampling.of(0.8f, 33))) {
      try (DrafterFactory self = Drafters.parse("dynamic-tree:model=tiny-java,nodes=24,depth=5")) {
        GenerationOptions options =
            GenerationOptions.defaults()
                .withMaxNewTokens(40)
                .withSampling(sampling)
                .withVerifier(Verifiers.parse(verifier))
                .withDrafter(target -> new FirstChildren(self.create(target), steps, levels));
        try (Generation generation = new Generation(session, List.of(prompt), options)) {
          assertThat(generation.run().get(0).tokenIds()).hasSize(40);
        }
      }
    }
    assertThat(levels[0]).as("levels of %d steps", steps[0]).isGreaterThan(steps[0]);
  }

  /** Expects the path of first children as the verdict on each tree. */
  @SuppressWarnings("ArrayRecordComponent") // counters, compared by nobody
  private record FirstChildren(Drafter drafter, int[] steps, int[] levels, List<Integer> path)
      implements Drafter {
    FirstChildren(Drafter drafter, int[] steps, int[] levels) {
      this(drafter, steps, levels, new ArrayList<>());
    }

    @Override
    public DraftTree propose(Context context) {
      DraftTree tree = drafter.propose(context);
      path.clear();
      int last = 0;
      for (int i = 1; i < tree.size(); i++) {
        if (tree.parent(i) == last) {
          path.add(i);
          last = i;
        }
      }
      return tree;
    }

    @Override
    public void observe(Verdict verdict, Scores scores) {
      List<Integer> accepted = new ArrayList<>();
      for (int i = 0; i < verdict.acceptLen(); i++) {
        accepted.add(verdict.node(i));
      }
      assertThat(accepted).isEqualTo(path);
      steps[0]++;
      levels[0] += path.size();
      drafter.observe(verdict, scores);
    }

    @Override
    public int lawRows() {
      return drafter.lawRows();
    }

    @Override
    public void close() {
      drafter.close();
    }
  }

  private static void draftForItself(String spec, int depth, String verifier) {
    Sampling drawn = Sampling.of(0.8f, 33);
    for (Sampling sampling : List.of(Sampling.greedy(), drawn, drawn.withRepetitionPenalty(1.3f))) {
      GenerationOptions options =
          GenerationOptions.defaults()
              .withMaxNewTokens(24)
              .withSampling(sampling)
              .withVerifier(Verifiers.parse(verifier));
      try (DrafterFactory self = Drafters.parse(spec);
          Generation generation =
              new Generation(session, List.of(prompt), options.withDrafter(self))) {
        GenerationResult result = generation.run().get(0);
        int expected = (result.tokenIds().size() + depth) / (depth + 1);
        assertThat(result.stats().passes()).as("%s", sampling).isEqualTo(expected);
      }
    }
  }

  /**
   * Near the end of the context drafts shrink; the text is that of plain decoding to the last
   * token.
   */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "prompt-lookup",
        "token-recycling",
        "draft-model",
        "draft-model:gamma=3,width=2",
        "aded",
        "input-copy",
        "parallel",
        "early-exit",
        "dynamic-tree",
        "dynamic-tree:source=early-exit",
        "layer-skip:w=5",
        "dynamic-tree:source=layer-skip"
      })
  void contextIsFilledToTheEnd(String spec) {
    Function<String, GenerationResult> fill =
        drafter -> {
          SessionOptions small = SessionOptions.defaults().withMaxTokens(prompt.length + 21);
          GenerationOptions options =
              GenerationOptions.defaults().withDrafter(drafter).withMaxNewTokens(500);
          try (Session full = Fixtures.tinyJava().newSession(small);
              DrafterFactory factory = options.drafter();
              Generation generation = new Generation(full, List.of(prompt), options)) {
            assertThat(factory.name()).isEqualTo(drafter.split(":", 2)[0]);
            return generation.run().get(0);
          }
        };
    GenerationResult plain = fill.apply("none");
    assertThat(plain.finishReason()).isEqualTo(FinishReason.CONTEXT);
    assertThat(plain.tokenIds()).hasSize(22);
    GenerationResult drafted = fill.apply(spec);
    assertThat(drafted.finishReason()).isEqualTo(FinishReason.CONTEXT);
    assertThat(drafted.tokenIds()).isEqualTo(plain.tokenIds());
  }
}
