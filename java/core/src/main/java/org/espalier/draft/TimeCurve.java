package org.espalier.draft;

import java.util.Arrays;

/**
 * How long something takes by the nodes of the tree, root included: a curve through a few sizes,
 * learned from what was measured.
 *
 * <p>The curve is a shape times a level. A busy machine or a longer context slows all sizes down:
 * the level follows that at once. How sizes compare with each other hardly changes: their times in
 * the shape are means over many measurements. So a slow spell in which one size alone is measured
 * does not speak against that size. Sizes that are not measured are bounded by those that are: more
 * nodes take no less, and twice as many no more than two passes.
 */
final class TimeCurve {
  /** The sizes whose times are kept; a tree of another one counts for the nearest. */
  private static final int[] SIZES = {
    1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512
  };

  /** What a new measurement is worth for the level. */
  private static final double NEWEST = 0.1;

  /**
   * And for the shape, at least: more while there are few, and it is not the level that changes.
   */
  private static final double NEWEST_SHAPE = 0.01;

  /** And what the mean of a trial is worth for it. */
  private static final double NEWEST_TRIAL = 0.4;

  /**
   * A time that differs by a larger share counts as this much: somebody else had the processor, and
   * one such step says nothing about a size. It counts twice as much for each one before that
   * differed to the same side, up to 5.
   */
  private static final double MOST_NEWS = 0.14;

  private static final int MOST_ALIKE = 5;

  /** Of so many first measurements the shortest counts: code is still being compiled then. */
  private static final int FIRST = 3;

  /** Passes after a trial that tell whether the machine is the same. */
  private static final int PASSES_AFTER = 2;

  /** From so many measurements on a size is known; so is one whose time was learned before. */
  private static final int KNOWN = 32;

  /** The shape; 0 where nothing is known. */
  private final double[] nanos = new double[SIZES.length];

  private double level = 1;

  /** Latest measurements in a row that differed much, negative for shorter ones. */
  private final int[] alike = new int[SIZES.length];

  private final int[] measured = new int[SIZES.length];

  // Of the last trial's passes those of its largest trees, and of the passes after it.
  private int trialNodes;
  private int trialPasses;
  private double trialNanos;
  private double levelBefore;
  private double levelAfter;
  private int passesAfter = PASSES_AFTER;

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
    return level * nanos[i];
  }

  /** How slow the machine is now, beside what it was in the beginning. */
  double level() {
    return level;
  }

  /** Begins the i-th size with a time that was learned before. */
  void begin(int i, double itsNanos) {
    nanos[i] = itsNanos / level;
    measured[i] = KNOWN;
  }

  /** Begins with what another curve says of so many trees in one pass, as far as it reaches. */
  void begin(TimeCurve other, int batch) {
    for (int i = 0; i < SIZES.length && batch * SIZES[i] <= other.largest(); i++) {
      begin(i, other.at(batch * SIZES[i]));
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
    return level * shape(nodes);
  }

  private double shape(int nodes) {
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
    observe(nodes, itsNanos, true);
  }

  /**
   * Learns from a measurement.
   *
   * @param usual whether it is one of many in a row, which tell the level; a few in between tell
   *     how their size compares with the others
   */
  void observe(int nodes, double itsNanos, boolean usual) {
    int i = nearest(nodes);
    double expected = at(nodes);
    if (nanos[i] == 0) {
      nanos[i] = (expected == 0 ? itsNanos : itsNanos * at(SIZES[i]) / expected) / level;
      measured[i] = 1;
      return;
    }
    double ratio = itsNanos / expected;
    measured[i]++;
    if (measured[i] <= FIRST) {
      nanos[i] *= Math.min(1, ratio);
      return;
    }
    double news = newsOf(i, ratio - 1);
    if (usual) {
      followTrial(itsNanos / shape(nodes));
      level *= 1 + NEWEST * news;
      nanos[i] *= 1 + NEWEST_SHAPE * news;
    } else {
      nanos[i] *= 1 + Math.max(NEWEST_SHAPE, 1.0 / measured[i]) * news;
    }
    bound(i);
  }

  /** Begins a trial: an earlier one that did not end, or too short a while ago, is forgotten. */
  void beginTrial() {
    trialNodes = 0;
    trialPasses = 0;
    passesAfter = PASSES_AFTER;
  }

  /**
   * Learns from a pass of a trial, between passes with another size. Of known sizes it is the mean
   * that counts, see {@link #endTrial}.
   */
  void observeInTrial(int nodes, double itsNanos) {
    if (measured[nearest(nodes)] < KNOWN) {
      observe(nodes, itsNanos, false);
    } else if (nodes >= trialNodes) {
      trialPasses = nodes == trialNodes ? trialPasses + 1 : 1;
      trialNanos = (nodes == trialNodes ? trialNanos : 0) + itsNanos;
      trialNodes = nodes;
    }
  }

  /**
   * Ends a trial. It counts when the next passes take as long as those before it did: otherwise the
   * machine has changed meanwhile, and nobody knows when.
   *
   * @param goesOn whether these are passes with its size
   */
  void endTrial(boolean goesOn) {
    if (!goesOn && trialPasses > 0) {
      passesAfter = 0;
      levelBefore = level;
      levelAfter = 0;
    }
  }

  private void followTrial(double itsLevel) {
    if (passesAfter == PASSES_AFTER) {
      return;
    }
    levelAfter += itsLevel / PASSES_AFTER;
    if (++passesAfter == PASSES_AFTER) {
      if (Math.abs(levelAfter / levelBefore - 1) < MOST_NEWS) {
        int i = nearest(trialNodes);
        double expected = (levelBefore + levelAfter) / 2 * shape(trialNodes);
        nanos[i] *= 1 + NEWEST_TRIAL * newsOf(i, trialNanos / trialPasses / expected - 1);
        bound(i);
      }
    }
  }

  /** More nodes take no more than as many passes with the nodes of the i-th size. */
  private void bound(int i) {
    for (int j = 0; j < SIZES.length; j++) {
      int passes = (SIZES[j] + SIZES[i] - 1) / SIZES[i];
      nanos[j] = Math.min(nanos[j], passes * nanos[i]);
    }
  }

  private double newsOf(int i, double difference) {
    double most = Math.scalb(MOST_NEWS, Math.min(Math.abs(alike[i]), MOST_ALIKE));
    int side = Math.abs(difference) > MOST_NEWS ? (int) Math.signum(difference) : 0;
    alike[i] = side * alike[i] > 0 ? alike[i] + side : side;
    return Math.max(-most, Math.min(most, difference));
  }

  private static int nearest(int nodes) {
    int i = 0;
    while (i + 1 < SIZES.length && 2 * nodes > SIZES[i] + SIZES[i + 1]) {
      i++;
    }
    return i;
  }
}
