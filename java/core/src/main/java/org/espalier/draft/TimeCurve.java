package org.espalier.draft;

import java.util.Arrays;

/**
 * How long something takes by the nodes of the tree, root included: a curve through a few sizes,
 * learned from what was measured.
 *
 * <p>A measurement moves its own size most, and the others half as much in proportion: a busy
 * machine or a longer context slows all of them down.
 */
final class TimeCurve {
  /** The sizes whose times are kept; a tree of another one counts for the nearest. */
  private static final int[] SIZES = {
    1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512
  };

  /** What a new measurement is worth. */
  private static final double NEWEST = 0.1;

  /**
   * A time that differs by a larger share counts as this much: somebody else had the processor, and
   * a few such steps say nothing about a size.
   */
  private static final double MOST_NEWS = 0.2;

  /** Of so many first measurements the shortest counts: code is still being compiled then. */
  private static final int FIRST = 3;

  /** 0 where nothing is known. */
  private final double[] nanos = new double[SIZES.length];

  private final int[] measured = new int[SIZES.length];

  /** Number of sizes that a curve can have. */
  static int numSizes() {
    return SIZES.length;
  }

  /** The i-th size, in ascending order. */
  static int size(int i) {
    return SIZES[i];
  }

  /** Index of a size, negative when it is none of those that are kept. */
  static int indexOf(int size) {
    return Arrays.binarySearch(SIZES, size);
  }

  /** Nanoseconds of the i-th size; 0 when they were never measured. */
  double known(int i) {
    return nanos[i];
  }

  /** Begins the i-th size with a time that was learned before. */
  void begin(int i, double itsNanos) {
    nanos[i] = itsNanos;
    measured[i] = FIRST;
  }

  /** Begins as another curve. */
  void begin(TimeCurve other) {
    for (int i = 0; i < SIZES.length; i++) {
      if (other.nanos[i] > 0) {
        begin(i, other.nanos[i]);
      }
    }
  }

  /** The largest size that was measured, 0 for none. */
  int largest() {
    int last = before(SIZES.length);
    return last < 0 ? 0 : SIZES[last];
  }

  /**
   * The time of a tree, on a straight line between its neighbours; beyond the largest size in
   * proportion. 0 when nothing is known.
   */
  double at(int nodes) {
    int above = 0;
    while (above < SIZES.length && (SIZES[above] < nodes || nanos[above] == 0)) {
      above++;
    }
    int below = before(above);
    if (above == SIZES.length) {
      return below < 0 ? 0 : beyond(below, nodes);
    }
    if (below < 0 || SIZES[above] == nodes) {
      return nanos[above];
    }
    double share = (double) (nodes - SIZES[below]) / (SIZES[above] - SIZES[below]);
    return nanos[below] + share * (nanos[above] - nanos[below]);
  }

  /** The last known size before the i-th, -1 for none. */
  private int before(int i) {
    int below = i - 1;
    while (below >= 0 && nanos[below] == 0) {
      below--;
    }
    return below;
  }

  private double beyond(int last, int nodes) {
    int other = before(last);
    double slope =
        other < 0
            ? nanos[last] / SIZES[last]
            : Math.max(0, nanos[last] - nanos[other]) / (SIZES[last] - SIZES[other]);
    return nanos[last] + slope * (nodes - SIZES[last]);
  }

  /** Learns from a measurement. */
  void observe(int nodes, double itsNanos) {
    int i = nearest(nodes);
    double expected = at(nodes);
    if (nanos[i] == 0) {
      nanos[i] = expected == 0 ? itsNanos : itsNanos * at(SIZES[i]) / expected;
      measured[i] = 1;
      return;
    }
    double ratio = itsNanos / expected;
    if (measured[i] < FIRST) {
      measured[i]++;
      nanos[i] *= Math.min(1, ratio);
      return;
    }
    double step = 1 + NEWEST * Math.max(-MOST_NEWS, Math.min(MOST_NEWS, ratio - 1));
    double others = Math.sqrt(step);
    for (int j = 0; j < SIZES.length; j++) {
      nanos[j] *= j == i ? step : others;
    }
  }

  private static int nearest(int nodes) {
    int i = 0;
    while (i + 1 < SIZES.length && 2 * nodes > SIZES[i] + SIZES[i + 1]) {
      i++;
    }
    return i;
  }
}
