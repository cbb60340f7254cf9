package org.espalier.draft;

import java.util.HashMap;
import java.util.Map;
import org.espalier.Verdict;
import org.jspecify.annotations.Nullable;

/**
 * The size of tree that yields the most tokens per second, from how long steps take and how often
 * drafts are accepted.
 *
 * <p>Source: Hardware-Aware Parallel Prompt Decoding, its last step: of all sizes n take the one
 * with the largest tau(n) / L(n), expected tokens over the time of a pass. What we changed: there
 * both come from validation runs, here they are learned while decoding. As drafters put the nodes
 * most worth their place first, the first m nodes of a tree are the tree of m nodes; so a step with
 * n nodes tells how each smaller tree would have done: tau(m) is 1 plus the sum of the acceptance
 * of nodes 1 to m - 1. L(m) is the time of the whole step, drafter included, for the node counts
 * that trees of at most m nodes really have. Size 1 is plain decoding, and then the drafter costs
 * nothing either.
 *
 * <p>What is not used is not learned about. So other sizes are tried, a few steps at a time, for
 * {@link #SHARE} of the time: what a trial costs over the best size is paid from a credit which
 * grows with the time that passes. Decoding is therefore slower than plain by at most that share, a
 * small credit at the beginning, and what a mistaken estimate costs until it is corrected.
 *
 * <p>A drafter that may be asked twice is asked for a larger tree now and then which is not sent,
 * see {@link #peek}. How far the text followed it tells the acceptance of all sizes, in plain steps
 * too, so that trials are left to find out times.
 *
 * <p>Drafters of one factory share what is learned. How often drafts are accepted differs from text
 * to text: a new one begins with what all have shown, and soon outweighs it. In a batch the first
 * drafter leads: all use its size, and its steps are timed.
 */
final class MeasuredSize implements TreeSize {
  /** Of the time, what trials may cost. */
  private static final double SHARE = 0.01;

  /** The same when they only find out times, as unsent trees tell the rest. */
  private static final double SHARE_OF_TIMES = 0.005;

  /** Plain steps that trials may cost at the beginning where no times are known. */
  private static final double FIRST_CREDIT = 16;

  /** Best steps, as time, that are saved up for trials at most. */
  private static final double MOST_CREDIT = 10;

  /** Of a best step, what a step of a trial costs at least where it only finds out times. */
  private static final double LEAST_PRICE = 0.1;

  /** And are owed at most. */
  private static final double MOST_DEBT = 2;

  /** Steps of a trial, and at least after one that was no better than the best size. */
  private static final int TRIAL = 4;

  /**
   * Steps of a trial at most. A drafter may have to catch up with the text before its first draft;
   * the trial lasts until it has cost as much again, so that it was worth that.
   */
  private static final int LONGEST_TRIAL = 32;

  /** First steps with a size whose passes are not timed: they take longer than the next ones. */
  private static final int SETTLE = 2;

  /** The same of a text: its prompt was read by passes of many rows. */
  private static final int SETTLE_TEXT = 8;

  /** Times that a trial is prolonged when it was better than the best size. */
  private static final int PROLONGED = 4;

  /** Sizes that take longer than so many times the best one are not tried. */
  private static final double MOST_RATIO = 4;

  /** Steps between two choices. */
  private static final int REVIEW = 4;

  /** At first it is each step. */
  private static final int FIRST_REVIEWS = 32;

  /** Of the time, what trees that are not sent may cost, and plain steps for them at first. */
  private static final double PEEK_SHARE = 0.005;

  private static final double FIRST_PEEKS = 0.5;

  /** What an older step is worth beside the next one, in the acceptance of a text and of all. */
  private static final double KEEP = 0.995;

  private static final double KEEP_OF_ALL = 0.999;

  /** Steps that all texts are worth when a text begins: acceptance is the text's. */
  private static final double OTHER_TEXTS = 16;

  /** And what a trial leaves of older trials. */
  private static final double FORGET = 0.8;

  /** Steps of a text over which it pays to catch up with it again. */
  private static final int REST_OF_TEXT = 64;

  /** Another size has to be better than plain decoding by this factor. */
  private static final double MARGIN = 1.01;

  /** And than the size in use by this one. */
  private static final double STAY = 1.03;

  private static final double NEWEST = 0.1;
  private static final double NEWEST_START = 1.0 / 256;

  private final TimeCurve passes;

  /**
   * Of this drafter's passes, by the sequences in them: with what it makes of the machine, and in
   * batches with what the others' trees add to its own.
   */
  private final Map<Integer, TimeCurve> batches = new HashMap<>();

  private TimeCurve times;

  /** What drafting costs over a plain step, at the level of the passes. */
  private final TimeCurve drafts = new TimeCurve();

  private final int mostNodes;

  private final Acceptance ofText;
  private final Acceptance ofAll;

  /** What a drafter costs that finds nothing to propose, over a plain step. */
  private double idleNanos;

  /** What drafting costs more in its first step after a plain one. */
  private double resumeNanos;

  /** The same of the first steps of texts, as a share of each step. */
  private double startNanos;

  private int batch = 1;
  private int best;
  private int steps;
  private @Nullable Object leader;

  private double credit;
  private double peekCredit;
  private double peekNanos;
  private boolean peeks;
  private int asked;
  private int largestPeek;
  private int firstReviews;
  private boolean begun;
  private boolean climbs = true; // the last trial was better than the best size
  private int sinceTrial;
  private int tried = -1;
  private int trial = -1; // the size that is being tried
  private int next = -1; // the size that is tried next
  private double price;
  private int prolonged;
  private double trialTokens;
  private double trialNanos;
  private double caughtUpNanos; // what it cost to begin drafting in the trial
  private double lostNanos; // and its steps over the best size, as is believed
  private int trialSteps;
  private int unsettled; // steps until passes are timed
  private int lastAllowed;

  // Of the size that sum() was asked about.
  private double tokens;
  private double nanos;

  /**
   * A size to be measured.
   *
   * @param passes how long the target's passes take; what is learned of that goes there
   * @param mostNodes most nodes of a tree, at least 1
   */
  MeasuredSize(TimeCurve passes, int mostNodes) {
    this.passes = passes;
    this.mostNodes = mostNodes;
    int largest = Math.min(mostNodes, TimeCurve.size(TimeCurve.numSizes() - 1));
    this.ofText = new Acceptance(largest, KEEP);
    this.ofAll = new Acceptance(largest, KEEP_OF_ALL);
    this.times = timesOf(1);
    drafts.begin(0, 1);
  }

  @Override
  public synchronized int next(Object drafter, int itsBatch) {
    boolean changed = false;
    if ((leader == null || drafter == leader) && batch != itsBatch) {
      batch = itsBatch;
      times = timesOf(batch);
      times.beginTrial();
      changed = true;
    }
    if (leader == null) {
      leader = drafter;
      ofText.begin(ofAll, OTHER_TEXTS);
      unsettled = SETTLE_TEXT + 1;
      changed = true;
    }
    if (changed && trial < 0) {
      choose();
      if (!begun && best > 0) { // the first drafts are worth finding out about
        trial = best;
        best = 0;
        beginTrial();
      }
    }
    if (drafter == leader
        && trial < 0
        && next >= 0
        && credit >= price
        && ((climbs && next != tried) || sinceTrial >= TRIAL)) {
      trial = next;
      tried = next;
      // When there are only trials, they are far apart: each makes the older ones weigh less.
      ofText.forget(TimeCurve.size(best), FORGET);
      beginTrial();
    }
    return TimeCurve.size(trial < 0 ? best : trial);
  }

  private void beginTrial() {
    prolonged = 0;
    trialTokens = 0;
    trialNanos = 0;
    trialSteps = 0;
    caughtUpNanos = 0;
    lostNanos = 0;
    times.beginTrial();
  }

  /** As many nodes as a tree that pays could have, when they are more than those that are sent. */
  @Override
  public synchronized int peek(Object drafter, int allowed) {
    peeks = true;
    if (peekCredit < peekNanos) {
      return 0;
    }
    if (asked++ % REVIEW == 0) {
      largestPeek = 0;
      for (int i = 1; i < TimeCurve.numSizes() && canBeTried(i); i++) {
        largestPeek = TimeCurve.size(i);
      }
    }
    return largestPeek > allowed ? largestPeek : 0;
  }

  @Override
  public synchronized void peeked(
      int sent, int allowed, int nodes, Verdict verdict, double itsNanos) {
    peekCredit = Math.max(peekCredit - itsNanos, -FIRST_PEEKS * times.at(1));
    peekNanos += NEWEST * (itsNanos - peekNanos);
    learnAcceptance(sent, allowed, nodes, verdict);
  }

  @Override
  public synchronized void observe(
      Object drafter,
      int allowed,
      int nodes,
      boolean resumed,
      Verdict verdict,
      double draftNanos,
      double passNanos) {
    learnAcceptance(1, allowed, nodes, verdict);
    if (drafter != leader) {
      return;
    }
    double othersNanos = Math.min((batch - 1) * draftNanos, 0.9 * passNanos);
    unsettled = Math.max(unsettled - 1, allowed == lastAllowed ? 0 : SETTLE);
    lastAllowed = allowed;
    if (unsettled == 0 || nodes > times.largest()) {
      if (batch == 1) {
        passes.observe(nodes, passNanos);
      }
      if (trial < 0) {
        times.observe(nodes, passNanos - othersNanos);
      } else {
        times.observeInTrial(nodes, passNanos - othersNanos);
      }
    }
    double catchUp = allowed > 1 ? learnDrafts(nodes, resumed, draftNanos) : 0;
    double itsNanos = draftNanos + passNanos;
    sum(best);
    peekCredit = Math.min(peekCredit + PEEK_SHARE * itsNanos, nanos);
    if (!begun) {
      begun = true;
      sum(0);
      peekCredit += FIRST_PEEKS * nanos;
      credit = times.largest() > 1 ? 0 : FIRST_CREDIT * nanos;
      chooseNext();
    }
    if (trial < 0) {
      sinceTrial++;
      double share = peeks ? SHARE_OF_TIMES : SHARE;
      credit = Math.min(credit + share * itsNanos, Math.max(price, MOST_CREDIT * nanos));
      boolean isFirst = firstReviews < FIRST_REVIEWS && ++firstReviews > 0;
      if ((best > 0 || peeks) && (++steps % REVIEW == 0 || isFirst)) {
        choose();
      }
    } else {
      double bestNanos = nanos;
      double bestNanosPerToken = nanos / tokens;
      sum(trial);
      double itsTokens = peeks ? tokens : verdict.acceptLen() + 1;
      trialTokens += itsTokens;
      trialNanos += itsNanos;
      caughtUpNanos += batch * catchUp;
      // What is believed of it by now: luck is no reason for more trials, nor bad luck for fewer.
      double least = peeks ? LEAST_PRICE * bestNanos : 0;
      double cost = Math.max(least, nanos - tokens * bestNanosPerToken);
      lostNanos += cost;
      credit = Math.max(credit - cost - batch * catchUp, -MOST_DEBT * bestNanos);
      if (++trialSteps % TRIAL == 0) {
        endTrial(bestNanosPerToken);
      }
    }
  }

  private void learnAcceptance(int known, int allowed, int nodes, Verdict verdict) {
    ofText.observe(known, allowed, nodes, verdict);
    ofAll.observe(known, allowed, nodes, verdict);
  }

  /** What of it the drafter took to catch up with the text. */
  private double learnDrafts(int nodes, boolean resumed, double draftNanos) {
    if (resumed) {
      double more = Math.max(0, draftNanos - times.level() * drafts.at(nodes));
      if (trial < 0) {
        startNanos += NEWEST_START * (more - startNanos);
      } else if (begun) { // the first draft ever may have had a whole prompt to read
        double most = 2 * resumeNanos + MOST_RATIO * times.at(1);
        resumeNanos += NEWEST * (Math.min(most, more) - resumeNanos);
      }
      return more;
    } else {
      startNanos -= NEWEST_START * startNanos;
      if (nodes == 1) {
        idleNanos += NEWEST * (draftNanos - idleNanos);
      } else {
        drafts.observe(nodes, draftNanos / times.level(), false);
      }
      return 0;
    }
  }

  private double stepNanos(int nodes) {
    return times.at(nodes) + batch * times.level() * drafts.at(nodes);
  }

  private TimeCurve timesOf(int itsBatch) {
    return batches.computeIfAbsent(
        itsBatch,
        key -> {
          TimeCurve curve = new TimeCurve();
          curve.begin(passes, key);
          return curve;
        });
  }

  /** tau(n) and L(n) of the i-th size. */
  private void sum(int i) {
    tokens = 1;
    nanos = times.at(1);
    if (i == 0) {
      return;
    }
    int node = 1;
    double share = 1; // of the steps whose tree has the node
    for (int k = 1; k <= i; k++) {
      double more = 0;
      int from = node;
      for (; node < TimeCurve.size(k) && node <= ofText.largest(); node++) {
        share = Math.min(share, ofText.there(node));
        more += share;
        if (node == 1) {
          nanos += batch * (1 - share) * idleNanos;
        }
      }
      double itsShare = node > from ? more / (node - from) : share;
      tokens *= ofText.gain(k, tokens, itsShare);
      nanos += itsShare * (stepNanos(TimeCurve.size(k)) - stepNanos(TimeCurve.size(k - 1)));
    }
    nanos += batch * startNanos;
  }

  /** The size of the largest tau(n) / L(n); of equals the smallest. */
  private void choose() {
    int before = best;
    best = 0;
    sum(0);
    // Who stops drafting may have to catch up again.
    double stopped = before == 0 ? 0 : batch * resumeNanos / REST_OF_TEXT;
    double rate = (before == 0 ? STAY : MARGIN) / (nanos + stopped);
    for (int i = 1; i < TimeCurve.numSizes() && isMeasured(i); i++) {
      sum(i);
      double itsRate = (i == before ? STAY : 1) * tokens / nanos;
      if (itsRate > rate) {
        rate = itsRate;
        best = i;
      }
    }
    if (best != before && trial < 0) {
      chooseNext();
    }
  }

  private boolean isMeasured(int i) {
    int size = TimeCurve.size(i);
    return batch * size <= mostNodes && size <= times.largest();
  }

  private void endTrial(double bestNanosPerToken) {
    // To leave before as much is lost again would be to pay for catching up twice.
    if (lostNanos < caughtUpNanos
        && trialSteps < LONGEST_TRIAL
        && caughtUpNanos > bestNanosPerToken) {
      return;
    }
    boolean better = trialNanos < 0.95 * bestNanosPerToken * trialTokens;
    int itsSize = trial;
    choose();
    if (better && best != itsSize && prolonged < PROLONGED) {
      prolonged++;
      return;
    }
    trial = -1;
    times.endTrial(best == itsSize);
    climbs = better;
    sinceTrial = 0;
    steps = 0;
    chooseNext();
  }

  /**
   * What is tried next: of the powers of two those that may be better, as far as that is known, in
   * turns; when there is none, the next larger size and plain decoding in turns, as things change.
   */
  private void chooseNext() {
    int from = next;
    next = -1;
    int sizes = TimeCurve.numSizes();
    for (int i = 1; i <= sizes && next < 0; i++) {
      int k = (from + i + sizes) % sizes;
      if (k != best && isPowerOfTwo(k) && canBeTried(k) && mayBeBetter(k)) {
        next = k;
      }
    }
    if (next < 0) {
      next = neighbour(from);
    }
    price = next < 0 ? 0 : priceOf(next);
  }

  /**
   * Of plain decoding, the next larger and the next smaller size the one after a size; -1: none.
   */
  private int neighbour(int last) {
    int larger = best + 1;
    while (larger < TimeCurve.numSizes() && !isPowerOfTwo(larger)) {
      larger++;
    }
    int smaller = best - 1;
    while (smaller > 0 && !isPowerOfTwo(smaller)) {
      smaller--;
    }
    boolean canGrow = larger < TimeCurve.numSizes() && canBeTried(larger);
    if (canGrow && last <= 0) {
      return larger;
    }
    if (smaller > 0 && last != smaller) {
      return smaller;
    }
    return best > 0 ? 0 : canGrow ? larger : -1;
  }

  private static boolean isPowerOfTwo(int i) {
    return Integer.bitCount(TimeCurve.size(i)) == 1;
  }

  /** Whether a size is not out of reach: trees of it exist, and do not take too long. */
  private boolean canBeTried(int i) {
    int size = TimeCurve.size(i);
    if (batch * size > mostNodes || size > 2 * times.largest()) {
      return false;
    }
    for (int smaller = 2; 2 * smaller <= size; smaller *= 2) {
      if (ofText.isMissing(smaller - 1)) { // those are never full, so these would be the same ones
        return false;
      }
    }
    sum(best);
    double most = MOST_RATIO * nanos;
    sum(i);
    return size <= 2 || nanos <= most;
  }

  /**
   * Whether a size could be the best one if its nodes were accepted as often as what was seen
   * allows: one more time than they were, and no node more often than the one before.
   */
  private boolean mayBeBetter(int i) {
    sum(best);
    double rate = tokens / nanos;
    sum(i);
    if (peeks) {
      return TimeCurve.size(i) > times.largest() && tokens > rate * nanos;
    }
    double hoped = 1;
    double most = 1;
    for (int node = 1; node < TimeCurve.size(i) && node <= ofText.largest(); node++) {
      most = Math.min(most, ofText.hoped(node));
      hoped += most;
    }
    return hoped > rate * nanos;
  }

  private double priceOf(int i) {
    sum(best);
    double bestNanos = nanos;
    double bestTokens = tokens;
    sum(i);
    double lost = nanos - tokens * bestNanos / bestTokens;
    return TRIAL * Math.max(LEAST_PRICE * bestNanos, lost) + (best == 0 ? batch * resumeNanos : 0);
  }

  @Override
  public synchronized void leave(Object drafter) {
    if (drafter == leader) {
      leader = null;
    }
  }
}
