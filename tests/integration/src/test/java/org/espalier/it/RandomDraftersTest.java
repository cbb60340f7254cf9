package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import net.jqwik.api.AfterFailureMode;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.ShrinkingMode;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.lifecycle.AfterContainer;
import net.jqwik.api.lifecycle.BeforeContainer;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.Model;
import org.espalier.Sampling;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verifier;
import org.espalier.Verifiers;

/**
 * Lossless for any drafter: random trees, trees that are wrong on purpose, and trees that hold the
 * right tokens, on a model of eight tokens where guesses often hit.
 */
@SuppressWarnings("NullAway.Init") // open() comes first
class RandomDraftersTest {
  private static final int VOCAB = 8;
  private static final int NEW_TOKENS = 6;

  private static Path dir;
  private static Model model;
  private static Session session;

  @BeforeContainer
  static void open() throws java.io.IOException {
    dir = java.nio.file.Files.createTempDirectory("espalier-drafters");
    model = Model.load(ModelFolders.random(dir, VOCAB, 3, 0.2f));
    session = model.newSession(SessionOptions.defaults().withMaxTokens(32).withMaxNodes(32));
  }

  @AfterContainer
  static void close() throws java.io.IOException {
    session.close();
    model.close();
    try (var files = java.nio.file.Files.walk(dir)) {
      files.sorted(java.util.Comparator.reverseOrder()).forEach(file -> file.toFile().delete());
    }
  }

  private static List<Integer> decode(
      int[] prompt, Sampling sampling, Verifier verifier, Drafter drafter) {
    GenerationOptions options =
        GenerationOptions.defaults()
            .withMaxNewTokens(NEW_TOKENS)
            .withSampling(sampling)
            .withVerifier(verifier)
            .withDrafter(target -> drafter);
    try (Generation generation = new Generation(session, List.of(prompt), options)) {
      return generation.run().get(0).tokenIds();
    }
  }

  private static DraftTree tree(
      int kind, Random random, Context context, int promptLen, List<Integer> right) {
    DraftTree tree = DraftTree.rootedAt(context.lastToken());
    int done = context.length() - promptLen;
    int size = random.nextInt(Math.min(12, context.maxNodes()) + 1);
    while (tree.size() <= size) {
      int parent = random.nextInt(tree.size());
      int depth = tree.depth(parent);
      if (depth >= context.maxDepth()) {
        return tree; // any node may be as deep as it gets
      }
      int wanted = done + depth < right.size() ? right.get(done + depth) : 0;
      int token =
          switch (kind) {
            case 0 -> random.nextInt(VOCAB); // random
            case 1 -> (wanted + 1 + random.nextInt(VOCAB - 1)) % VOCAB; // adversarial
            default ->
                random.nextInt(4) == 0 ? random.nextInt(VOCAB) : wanted; // oracle, with slips
          };
      tree.append(parent, token);
    }
    return tree;
  }

  @Property(
      tries = 10_000,
      shrinking = ShrinkingMode.OFF,
      afterFailure = AfterFailureMode.RANDOM_SEED)
  void textIsThatOfPlainDecoding(@ForAll long seed, @ForAll @IntRange(min = 0, max = 2) int kind) {
    Random random = new Random(seed);
    int[] prompt = random.ints(1 + random.nextInt(5), 0, VOCAB).toArray();
    Sampling drawn = Sampling.of(0.9f, seed).withRepetitionPenalty(seed % 3 == 0 ? 1.2f : 1);
    Sampling sampling = seed % 2 == 0 ? Sampling.greedy() : drawn;
    Verifier exact = Verifiers.parse("exact");
    List<Integer> plain =
        decode(prompt, sampling, exact, context -> DraftTree.rootedAt(context.lastToken()));
    Drafter drafter = context -> tree(kind, random, context, prompt.length, plain);
    assertThat(decode(prompt, sampling, exact, drafter)).isEqualTo(plain);
    // The sampling verifier: the same text when greedy, otherwise another draw.
    List<Integer> other = decode(prompt, sampling, Verifiers.parse("sampling"), drafter);
    assertThat(other).hasSize(NEW_TOKENS).allMatch(token -> token >= 0 && token < VOCAB);
    if (sampling.isGreedy()) {
      assertThat(other).isEqualTo(plain);
    }
  }
}
