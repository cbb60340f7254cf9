package org.espalier.draft;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Random;
import org.espalier.LayerSet;

/**
 * SWIFT's search for the sub-layers that a draft bypasses, in its letters: z is a set of codes of
 * bypassed sub-layers, D what was measured so far. The first and the last layer always run. Code j
 * below L - 2 is the attention of layer j + 1, code L - 2 + j the MLP of layer j + 1.
 *
 * <p>It draws from a series of its own that always begins alike, so equal scores lead to equal
 * sets. What we changed: the set that a text begins with is measured first, on the text itself, so
 * that scores of different texts are never compared; and the acquisition is maximised over sets
 * instead of over vectors whose largest components make the set, so that the process sees the sets
 * that were measured and nothing else.
 */
final class LayerSearch {
  private static final long SEED = 2410_06916;
  private static final double KAPPA = 2.5;

  /** Newest measurements that the process learns from, and sets that it is asked about. */
  private static final int MOST_SEEN = 128;

  private static final int CANDIDATES = 256;
  private static final int REFINEMENTS = 128;

  private final int numLayers;
  private final LayerSkip.Search options;
  private final int codes;
  private final int numSkip;
  private final Random random = new Random(SEED);

  private final List<BitSet> seen = new ArrayList<>(); // D
  private final List<Double> scores = new ArrayList<>();
  private BitSet best;
  private double bestScore;
  private double firstScore;
  private int iteration;
  private int stale;
  private boolean on;

  /** The search of a text that begins with a set. */
  LayerSearch(LayerSkip.Search options, LayerSet start) {
    this.numLayers = start.numLayers();
    this.options = options;
    this.codes = 2 * (numLayers - 2);
    this.numSkip = numSkip(numLayers, options.r());
    this.best = codes(start);
    this.on = options.maxIter() > 0;
  }

  /** n_skip, the sub-layers that a set of the search bypasses. */
  static int numSkip(int numLayers, double r) {
    return (int) Math.floor(2 * (numLayers - 2) * r);
  }

  /** Attention and MLP of every odd layer but the last: what the first text begins with. */
  static LayerSet oddLayers(int numLayers) {
    List<Integer> odd = new ArrayList<>();
    for (int layer = 1; layer <= numLayers - 2; layer += 2) {
      odd.add(layer);
    }
    return LayerSet.without(odd, odd, numLayers);
  }

  private static BitSet codes(LayerSet set) {
    BitSet z = new BitSet();
    set.attentionLeftOut().forEach(layer -> z.set(layer - 1));
    set.mlpLeftOut().forEach(layer -> z.set(set.numLayers() - 2 + layer - 1));
    return z;
  }

  /** The layers that run when z is bypassed. */
  static LayerSet layers(BitSet z, int numLayers) {
    int inner = numLayers - 2;
    List<Integer> attention = new ArrayList<>();
    List<Integer> mlp = new ArrayList<>();
    z.stream().forEach(j -> (j < inner ? attention : mlp).add(j % inner + 1));
    return LayerSet.without(attention, mlp, numLayers);
  }

  LayerSet best() {
    return layers(best, numLayers);
  }

  double bestScore() {
    return bestScore;
  }

  /** What the best set gained over the one that the text began with. */
  double gain() {
    return bestScore - firstScore;
  }

  /** Whether something was measured. */
  boolean measured() {
    return iteration > 0;
  }

  /** Measurements since the best set was found. */
  int stale() {
    return stale;
  }

  boolean on() {
    return on;
  }

  /** The set to be measured next; {@link #record} takes its score. */
  BitSet next() {
    if (iteration == 0) {
      return best;
    }
    return (iteration + 1) % options.bayesInterval() == 0 ? likely() : randomSet();
  }

  private BitSet randomSet() {
    BitSet z = new BitSet(codes);
    // Floyd's algorithm: each set of numSkip codes is equally likely.
    for (int j = codes - numSkip; j < codes; j++) {
      int code = random.nextInt(j + 1);
      z.set(z.get(code) ? j : code);
    }
    return z;
  }

  /** The set of the largest acquisition: the best of random ones, then of its neighbours. */
  private BitSet likely() {
    int from = Math.max(0, seen.size() - MOST_SEEN);
    double[] s = scores.subList(from, scores.size()).stream().mapToDouble(d -> d).toArray();
    GaussianProcess process =
        new GaussianProcess(codes, numSkip, seen.subList(from, seen.size()), s);
    BitSet z = randomSet();
    double bound = process.upperBound(z, KAPPA);
    for (int i = 1; i < CANDIDATES + REFINEMENTS; i++) {
      BitSet other = i < CANDIDATES ? randomSet() : neighbour(z);
      double itsBound = process.upperBound(other, KAPPA);
      if (itsBound > bound) {
        z = other;
        bound = itsBound;
      }
    }
    return z;
  }

  /** The set with one code exchanged. */
  private BitSet neighbour(BitSet z) {
    BitSet other = (BitSet) z.clone();
    other.clear(nth(z, random.nextInt(numSkip), true));
    other.set(nth(z, random.nextInt(codes - numSkip), false));
    return other;
  }

  private static int nth(BitSet z, int n, boolean set) {
    int code = set ? z.nextSetBit(0) : z.nextClearBit(0);
    for (int i = 0; i < n; i++) {
      code = set ? z.nextSetBit(code + 1) : z.nextClearBit(code + 1);
    }
    return code;
  }

  /** The matchness of the set that {@link #next} gave. */
  void record(BitSet z, double score) {
    seen.add(z);
    scores.add(score);
    if (iteration == 0) {
      firstScore = score;
    }
    if (iteration == 0 || score > bestScore) {
      best = z;
      bestScore = score;
      stale = 0;
    } else {
      stale++;
    }
    iteration++;
    on =
        bestScore <= options.sMax() && stale <= options.maxStale() && iteration < options.maxIter();
  }
}
