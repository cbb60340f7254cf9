package org.espalier;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Counts for {@link SpeculationStats}, without allocation in a step. */
final class StatsCounter {
  private long passes;
  private long tokens;
  private long drafted;
  private long accepted;
  private long[] acceptLens = new long[8];
  private long[] reached = new long[8];

  /** One pass of one sequence: a tree, its emitted tokens, and how many of those were drafted. */
  void pass(DraftTree tree, int emitted, int kept) {
    passes++;
    tokens += emitted;
    drafted += tree.size() - 1;
    accepted += kept;
    int depth = tree.maxDepth();
    if (depth >= acceptLens.length) {
      acceptLens = Arrays.copyOf(acceptLens, depth + 8);
      reached = Arrays.copyOf(reached, depth + 8);
    }
    acceptLens[kept]++;
    reached[depth]++;
  }

  SpeculationStats stats(long draftNanos, long verifyNanos, long otherNanos, long prefillNanos) {
    int used = acceptLens.length;
    while (used > 0 && acceptLens[used - 1] == 0) {
      used--;
    }
    List<Long> histogram = new ArrayList<>();
    for (int n = 0; n < used; n++) {
      histogram.add(acceptLens[n]);
    }
    List<Double> byDepth = new ArrayList<>();
    for (int d = 1; atLeast(reached, d) > 0; d++) {
      byDepth.add((double) atLeast(acceptLens, d) / atLeast(reached, d));
    }
    return new SpeculationStats(
        passes,
        tokens,
        drafted,
        accepted,
        histogram,
        byDepth,
        draftNanos,
        verifyNanos,
        otherNanos,
        prefillNanos);
  }

  private static long atLeast(long[] counts, int from) {
    long sum = 0;
    for (int i = from; i < counts.length; i++) {
      sum += counts[i];
    }
    return sum;
  }
}
