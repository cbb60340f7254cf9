package org.espalier.draft;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.Sampling;
import org.espalier.Session;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Time of drafting alone for the drafters without a model, on a text of phrases that return; target
 * 50 us for a tree of 64 nodes. With {@code -prof gc} also what a step allocates.
 *
 * <p>In the package of the drafters, to reach the tables that a session would fill.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.SampleTime) // a median stands a busy machine
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
    value = 1,
    jvmArgsAppend = {"-Xms1g", "-XX:+AlwaysPreTouch"}) // the heap as a server has it
@SuppressWarnings("NullAway.Init") // JMH calls open() first
public class DraftBenchmark {
  private static final int PROMPT_TOKENS = 1024;
  private static final int TEXT_TOKENS = 4096;
  private static final int CORPUS_TOKENS = 1 << 20;
  private static final int PHRASES = 2000;

  @Param({"prompt-lookup", "input-copy", "token-recycling", "aded", "aded:sentences=64"})
  public String drafter = "";

  @Param({"32000", "152064"})
  public int vocab;

  private final Text text = new Text();
  private final Random random = new Random(1);
  private final List<int[]> phrases = new ArrayList<>();
  private SuccessorTable successors;
  private TriGramTable triGrams;
  private Drafter drafts;
  private long nodes;
  private long steps;

  /** The text up to a token. */
  private static final class Text implements Context {
    private int[] tokens = new int[0];
    private int length;

    @Override
    public int length() {
      return length;
    }

    @Override
    public int token(int i) {
      return tokens[i];
    }

    @Override
    public int maxNodes() {
      return 64;
    }

    @Override
    public int maxDepth() {
      return 64;
    }

    @Override
    public Sampling sampling() {
      return Sampling.greedy();
    }

    @Override
    public Session session() {
      throw new UnsupportedOperationException("no session here");
    }

    @Override
    public Optional<DraftLaws> laws() {
      return Optional.empty();
    }
  }

  @Setup(Level.Trial)
  public void open() {
    for (int i = 0; i < PHRASES; i++) {
      phrases.add(random.ints(3 + random.nextInt(12), 0, vocab).map(this::frequent).toArray());
    }
    text.tokens = write(TEXT_TOKENS);
    triGrams = TriGramTable.count(vocab, List.of(write(CORPUS_TOKENS)));
    successors = new SuccessorTable(vocab, 8);
    for (int token = 0; token < vocab; token++) {
      successors.put(token, random.ints(8, 0, vocab).map(this::frequent).toArray(), 0);
    }
    begin();
  }

  /** A few tokens are frequent, most are rare. */
  private int frequent(int token) {
    return random.nextInt(3) == 0 ? token : token % 50;
  }

  /** Phrases one after the other, some more often than others, with slips. */
  private int[] write(int length) {
    int[] tokens = new int[length];
    int[] phrase = phrases.get(0);
    int at = 0;
    for (int i = 0; i < length; i++) {
      if (at == phrase.length) {
        phrase = phrases.get((int) (PHRASES * Math.pow(random.nextDouble(), 3)));
        at = 0;
      }
      tokens[i] = random.nextInt(20) == 0 ? frequent(random.nextInt(vocab)) : phrase[at];
      at++;
    }
    return tokens;
  }

  private void begin() {
    text.length = PROMPT_TOKENS;
    drafts =
        switch (drafter) {
          case "prompt-lookup" -> new PromptLookup(3, 10);
          case "input-copy" -> new InputCopy(32);
          case "token-recycling" -> new TokenRecycling(TreeTemplate.parse("2.2.2"), successors);
          case "aded" -> new Aded(triGrams, 150, 24);
          case "aded:sentences=64" -> new Aded(triGrams, 150, 64);
          default -> throw new IllegalArgumentException("drafter = " + drafter);
        };
  }

  @Benchmark
  public DraftTree propose() {
    DraftTree tree = drafts.propose(text);
    nodes += tree.size() - 1;
    steps++;
    text.length += 3;
    if (text.length > TEXT_TOKENS) {
      begin();
    }
    return tree;
  }

  @TearDown(Level.Trial)
  public void close() {
    System.out.printf("%s: %.1f draft nodes a step%n", drafter, (double) nodes / steps);
  }
}
