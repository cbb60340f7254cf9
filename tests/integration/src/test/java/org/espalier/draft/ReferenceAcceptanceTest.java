package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Drafters;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.LayerSet;
import org.espalier.Model;
import org.espalier.Noise;
import org.espalier.Scores;
import org.espalier.Sequence;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verdict;
import org.espalier.it.Fixtures;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * SWIFT and DEL on a model that was trained for them, with layer dropout and an exit at each layer,
 * over held-out prompts: what their papers claim of such models. Greedy, so nothing is by chance.
 */
class ReferenceAcceptanceTest {
  private static final int TOKENS = 96;

  private static Model model;
  private static Session session;
  private static int numLayers;

  /** A prompt and what the whole model says after it. */
  private record Text(List<Integer> prompt, List<Integer> said) {
    int[] tokens() {
      return IntStream.concat(
              prompt.stream().mapToInt(Integer::intValue),
              said.stream().mapToInt(Integer::intValue))
          .toArray();
    }
  }

  @BeforeAll
  static void open() {
    model = Model.tinyJava();
    session = model.newSession(SessionOptions.defaults().withMaxNodes(128));
    numLayers = model.info().numLayers();
  }

  @AfterAll
  static void close() {
    session.close();
    model.close();
  }

  /** So many held-out prompts, spread evenly. */
  private static List<Text> texts(int count) {
    List<Fixtures.Prompt> all = Fixtures.allPrompts();
    List<Text> texts = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int[] prompt = model.tokenizer().encode(all.get(i * all.size() / count).text());
      List<Integer> said = decode(prompt, Drafters.none()).tokenIds();
      assertThat(said).hasSize(TOKENS);
      texts.add(new Text(Arrays.stream(prompt).boxed().toList(), said));
    }
    return texts;
  }

  private static GenerationResult decode(int[] prompt, DrafterFactory drafter) {
    GenerationOptions options =
        GenerationOptions.defaults().withMaxNewTokens(TOKENS).withDrafter(drafter);
    try (Generation generation = new Generation(session, List.of(prompt), options)) {
      return generation.run().get(0);
    }
  }

  /** Scores of some layers at tokens from .. to - 1 of a text, as a chain. */
  private static Scores scores(Sequence sequence, int[] text, int from, int to, LayerSet layers) {
    sequence.prefill(Arrays.copyOf(text, from));
    DraftTree chain = DraftTree.rootedAt(text[from]);
    for (int i = from + 1; i < to; i++) {
      chain.append(text[i]);
    }
    return session.forward(List.of(sequence), List.of(chain), 0, layers).get(0);
  }

  /** The share of the tokens said from one to another that the model without z would have said. */
  private static double matchness(Text text, int from, int to, BitSet z) {
    int[] tokens = text.tokens();
    int first = text.prompt().size() + from;
    int[] node = IntStream.range(0, to - from).toArray();
    int[] drawn = new int[node.length];
    try (Sequence sequence = session.newSequence()) {
      LayerSet layers = LayerSearch.layers(z, numLayers);
      scores(sequence, tokens, first - 1, first - 1 + node.length, layers)
          .draw(node, node.length, 1, Noise.NONE, drawn, null, null, 0);
    }
    return LayerSkip.matchness(drawn, Arrays.copyOfRange(tokens, first, first + node.length));
  }

  private static BitSet codes(int... codes) {
    BitSet z = new BitSet();
    Arrays.stream(codes).forEach(z::set);
    return z;
  }

  /**
   * SWIFT reports that 90 to 100 % of its drafts are accepted once its set is found. The set that
   * is found on 32 tokens of a text is judged by the 64 tokens behind them, beside sets of as many
   * sub-layers, drawn by chance or spread evenly, which are what a search has to be better than.
   */
  @Test
  void setThatIsFoundHoldsForTheRestOfTheText() {
    int w = 32;
    int numSkip = LayerSearch.numSkip(numLayers, .45);
    BitSet even = codes(0, 2, 4, 7, 9); // attention of layers 1, 3, 5 and MLP of layers 2, 4
    assertThat(even.cardinality()).isEqualTo(numSkip);
    List<Integer> all = new ArrayList<>(IntStream.range(0, 2 * (numLayers - 2)).boxed().toList());
    Random random = new Random(1);
    double found = 0;
    double byChance = 0;
    double evenly = 0;
    int sets = 10;
    List<Text> texts = texts(6);
    for (Text text : texts) {
      LayerSearch search =
          new LayerSearch(
              new LayerSkip.Search(.45, w, 1, 5, 1000, 300, 1), LayerSearch.oddLayers(numLayers));
      BitSet best = search.next();
      double bestScore = matchness(text, 1, 1 + w, best);
      search.record(best, bestScore);
      for (int i = 0; i < 30; i++) {
        BitSet z = search.next();
        double score = matchness(text, 1, 1 + w, z);
        search.record(z, score);
        best = score > bestScore ? z : best;
        bestScore = Math.max(bestScore, score);
      }
      assertThat(search.best()).isEqualTo(LayerSearch.layers(best, numLayers));
      found += matchness(text, 1 + w, TOKENS, best) / texts.size();
      evenly += matchness(text, 1 + w, TOKENS, even) / texts.size();
      for (int s = 0; s < sets; s++) {
        Collections.shuffle(all, random);
        BitSet z = codes(all.stream().limit(numSkip).mapToInt(Integer::intValue).toArray());
        byChance += matchness(text, 1 + w, TOKENS, z) / texts.size() / sets;
      }
    }
    String what = "found %.3f, by chance %.3f, even %.3f".formatted(found, byChance, evenly);
    assertThat(found).as(what).isGreaterThanOrEqualTo(.9);
    assertThat(found).as(what).isGreaterThan(byChance).isGreaterThan(evenly);
  }

  /** A round of DEL costs d l layers for d draft tokens of exit l, and L for the target's pass. */
  private static final class Cost implements Drafter {
    private final Drafter drafter;
    private final ExitChoice exits = new ExitChoice("early-exit", numLayers, 18);
    private long layers;

    Cost(Session target) {
      this.drafter = EarlyExit.factory(18).create(target);
    }

    @Override
    public DraftTree propose(Context context) {
      DraftTree x = drafter.propose(context);
      layers += (long) (x.size() - 1) * exits.statistics().exit() + numLayers;
      return x;
    }

    @Override
    public void observe(Verdict verdict, Scores scores) {
      drafter.observe(verdict, scores);
      exits.learn(IntStream.range(0, scores.numNodes()).toArray(), scores);
    }

    @Override
    public int topK() {
      return drafter.topK();
    }

    @Override
    public int[] hiddenLayers() {
      return drafter.hiddenLayers();
    }
  }

  /** For each exit from 1 whether it would have said each token of the text. */
  private static boolean[][] matches(Text text) {
    int[] exits = IntStream.range(1, numLayers).toArray();
    int[] nodes = IntStream.range(0, TOKENS).toArray();
    int[] shadow = new int[exits.length * TOKENS];
    int begin = text.prompt().size() - 1;
    try (Sequence sequence = session.newSequence()) {
      session.keepHidden(exits);
      scores(sequence, text.tokens(), begin, begin + TOKENS, LayerSet.first(numLayers, numLayers))
          .exits(exits, nodes, TOKENS, shadow, new float[shadow.length]);
    }
    boolean[][] matches = new boolean[numLayers][TOKENS];
    for (int i = 0; i < shadow.length; i++) {
      matches[exits[i / TOKENS]][i % TOKENS] = shadow[i] == text.said().get(i % TOKENS);
    }
    return matches;
  }

  /** Passes and layers of a text when d tokens of exit l are drafted in each round. */
  private static long[] rounds(boolean[] matches, int l, int d) {
    long passes = 0;
    long layers = 0;
    for (int at = 0; at < TOKENS; passes++) {
      int drafted = Math.min(d, TOKENS - 1 - at);
      int accepted = 0;
      while (accepted < drafted && matches[at + accepted]) {
        accepted++;
      }
      layers += (long) drafted * l + numLayers;
      at += accepted + 1;
    }
    return new long[] {passes, layers};
  }

  /**
   * DEL reports more than the best pair of an exit and a length that are kept, by the cost that it
   * chooses by: tokens for each layer that is computed. Here every pair of them is beaten.
   */
  @Test
  void exitsThatAreChosenBeatEveryFixedOne() {
    List<Text> texts = texts(12);
    long layers = 0;
    for (Text text : texts) {
      int[] prompt = text.prompt().stream().mapToInt(Integer::intValue).toArray();
      Cost[] cost = new Cost[1];
      GenerationResult result = decode(prompt, target -> cost[0] = new Cost(target));
      assertThat(result.tokenIds()).isEqualTo(text.said());
      layers += cost[0].layers;
    }
    List<boolean[][]> matches = texts.stream().map(ReferenceAcceptanceTest::matches).toList();
    double chosen = (double) texts.size() * TOKENS / layers;
    for (int l = 1; l < numLayers; l++) {
      for (int d = 0; d <= 8; d++) {
        long fixed = 0;
        for (boolean[][] ofText : matches) {
          fixed += rounds(ofText[l], l, d)[1];
        }
        assertThat(chosen)
            .as("exit %d, %d tokens: %d layers; chosen: %d", l, d, fixed, layers)
            .isGreaterThan((double) texts.size() * TOKENS / fixed);
      }
    }
    // What is not decoded here is what decoding yields.
    int[] prompt = texts.get(0).prompt().stream().mapToInt(Integer::intValue).toArray();
    DrafterFactory pair =
        target ->
            new TreeDrafter(
                new SelfDraft(context -> LayerSet.first(3, numLayers)), new FixedTree(2, 1));
    assertThat(decode(prompt, pair).stats().passes()).isEqualTo(rounds(matches.get(0)[3], 3, 2)[0]);
  }
}
