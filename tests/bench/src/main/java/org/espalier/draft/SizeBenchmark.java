package org.espalier.draft;

import java.util.concurrent.TimeUnit;
import org.espalier.Verdict;
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
import org.openjdk.jmh.annotations.Warmup;

/**
 * What {@code --tree auto} adds to a step: the choice of a size and what is learned from the step,
 * on a machine where rows cost little, so that many sizes are looked at.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
@SuppressWarnings("NullAway.Init") // JMH calls open() first
public class SizeBenchmark {
  private static final double PLAIN = 5e6;
  private static final double PEEK = 3e3;

  @Param({"64", "512"})
  public int mostNodes;

  /** Whether the drafter may be asked twice. */
  @Param({"false", "true"})
  public boolean peeks;

  private final Verdict verdict = Verdict.of(new int[] {1, 2}, 0);
  private final Verdict none = Verdict.of(new int[0], 0);
  private MeasuredSize size;

  @Setup(Level.Trial)
  public void open() {
    TimeCurve passes = new TimeCurve();
    for (int i = 0; i < TimeCurve.numSizes(); i++) {
      passes.begin(i, nanos(TimeCurve.size(i)));
    }
    size = new MeasuredSize(passes, mostNodes);
  }

  private static double nanos(int nodes) {
    return PLAIN * (1 + 0.01 * nodes);
  }

  @Benchmark
  public int step() {
    int allowed = size.next(this, 1);
    int peek = peeks ? size.peek(this, allowed) : 0;
    Verdict seen = allowed > 2 ? verdict : none;
    double nanos = nanos(allowed);
    size.observe(this, allowed, allowed, false, seen, 0, nanos);
    if (peek > allowed) {
      size.peeked(allowed, peek, peek, verdict, PEEK);
    }
    return allowed;
  }
}
