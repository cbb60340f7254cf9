package org.espalier.bench;

import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.Model;
import org.espalier.ModelOptions;
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
 * Time of one decoding step: propose, forward, judge, commit, observe.
 *
 * <p>On a model with next to no arithmetic ({@code random_model DIR --layers 1 --hidden 8
 * --intermediate 8 --q-heads 1 --kv-heads 1 --head-dim 4 --vocab 16}) the step is an upper bound of
 * the loop's own cost around the native calls; the target is 20 us.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
@SuppressWarnings("NullAway.Init") // JMH calls open() first
public class StepBenchmark {
  private static final int PROMPT_TOKENS = 8;

  /** A folder, or the name of an embedded model. */
  @Param("tiny-java")
  public String model = "";

  @Param({"none", "prompt-lookup", "token-recycling"})
  public String drafter = "";

  private Model target;
  private Session session;
  private GenerationOptions options;
  private Generation generation;
  private int[] prompt;

  @Setup(Level.Trial)
  public void open() {
    target = Model.open(model, ModelOptions.defaults());
    session = target.newSession();
    options =
        GenerationOptions.builder()
            .drafter(drafter)
            .maxNewTokens(target.info().maxPositions() - PROMPT_TOKENS)
            .build();
    prompt = IntStream.range(1, 1 + PROMPT_TOKENS).toArray();
    generation = new Generation(session, List.of(prompt), options);
  }

  @Benchmark
  public boolean step() {
    boolean more = generation.step();
    if (!more) {
      generation.close();
      generation = new Generation(session, List.of(prompt), options);
    }
    return more;
  }

  @TearDown(Level.Trial)
  public void close() {
    generation.close();
    session.close();
    target.close();
  }
}
