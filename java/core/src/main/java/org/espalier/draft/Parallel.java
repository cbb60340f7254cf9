package org.espalier.draft;

import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterException;
import org.espalier.GenerationCancelledException;
import org.espalier.Sampling;
import org.jspecify.annotations.Nullable;

/**
 * A small model drafts while the target computes: the next block of tokens is drafted during the
 * pass that judges the one before.
 *
 * <p>Source: Liu et al., PEARL: Parallel Speculative Decoding with Adaptive Draft Length, arXiv
 * 2408.11850, in its letters: S is the working sequence, whose end may not be verified, g the
 * length of a block d_0 .. d_g-1. Pre-verify: the target judges d_0 alone while the block is
 * drafted, which in our loop is a bare root whose choice is compared with d_0. Post-verify: it
 * judges d_1 .. d_g-1 and the first token of the next block, which is drafted meanwhile. The first
 * token that is rejected drops all that was drafted after it, and the block in flight. What we
 * changed: for the exact verifier tokens are drawn with the noise that the target will use; for the
 * sampling verifier d_1 .. d_g-1 are drawn from the draft's laws, which go with them, while d_0 is
 * the draft's most likely token, as it is compared with what the target has drawn; when g is not
 * given it follows the measured ratio of the times of a target pass and a draft pass.
 *
 * <p>Use it where draft and target do not compete: a GPU with room to spare, or cores that the
 * target leaves to the draft. A step takes as long as the longer one of a target pass and g draft
 * passes. No token of the target is a bonus, so where drafting is cheap {@code draft-model} may
 * win.
 */
public final class Parallel implements Drafter {
  /** Longest block. */
  static final int MAX_G = 32;

  private static final int[] NOTHING = {};

  private final DraftThread thread;
  private final Draft draft;
  private final Pace pace;
  private final DraftTree tree = DraftTree.rootedAt(0);

  /** Tokens of the context that the draft was told. */
  private int told;

  private @Nullable Block inFlight;

  /** What went wrong on the draft thread, in a block that somebody waits for or not. */
  private volatile @Nullable Throwable failure;

  private boolean closed;

  /** The draft's side; called on the draft thread only, but for {@link #law}. */
  interface Draft extends AutoCloseable {
    /**
     * S becomes its first {@code keep} tokens and a tail; then g tokens are drafted after it, fewer
     * when there is no room or nobody waits for them.
     *
     * @param laws whether d_1 .. are drawn from laws that can be asked for, with noise of their
     *     own, and d_0 is the most likely token; otherwise all have the noise of the target
     */
    int[] draft(
        int keep, int[] tail, Sampling sampling, boolean laws, int g, BooleanSupplier dropped);

    /** The law that d_i of the last block was drawn from; before the next one. [vocab]. */
    float[] law(int i);

    @Override
    void close();
  }

  /** A block that is drafted or being drafted. */
  private static final class Block {
    /** Tokens of S before the block. */
    private final int length;

    private final Future<int[]> tokens;
    private final Dropped dropped;

    Block(int length, Future<int[]> tokens, Dropped dropped) {
      this.length = length;
      this.tokens = tokens;
      this.dropped = dropped;
    }
  }

  /** Whether anybody still waits for a block. */
  private static final class Dropped implements BooleanSupplier {
    private volatile boolean value;

    @Override
    public boolean getAsBoolean() {
      return value;
    }
  }

  /** A drafter that has entered the thread, and leaves it when it is closed. */
  Parallel(DraftThread thread, Draft draft, Pace pace) {
    this.thread = thread;
    this.draft = draft;
    this.pace = pace;
  }

  @Override
  public DraftTree propose(Context context) {
    pace.targetHasEnded();
    tree.reset(context.lastToken());
    if (inFlight != null) {
      appendVerifiedBlock(context, inFlight);
      inFlight = null;
    }
    if (failure != null) {
      throw new DrafterException("drafter parallel: the draft failed: " + failure, failure);
    }
    // The block in flight is of use when it can be judged: d_0 by this pass, the rest by the next.
    int after = context.maxDepth() - (tree.size() - 1);
    if (after > 0 && context.maxNodes() > 0) {
      int most = Math.min(after, context.maxNodes()) + 1;
      inFlight = begin(context, Math.min(pace.g(thread.users()), most));
    }
    pace.targetBegins();
    return tree;
  }

  /** Post-verify when all of the last pass was accepted and its choice is d_0; otherwise drops. */
  private void appendVerifiedBlock(Context context, Block block) {
    boolean allAccepted = context.length() == block.length + 1;
    if (!allAccepted && !block.tokens.isDone()) {
      block.dropped.value = true;
      return;
    }
    int[] d = await(block.tokens);
    if (allAccepted && d.length > 0 && d[0] == context.lastToken()) {
      int most = Math.min(d.length, 1 + Math.min(context.maxDepth(), context.maxNodes()));
      for (int i = 1; i < most; i++) {
        if (drawsFromLaws(context)) {
          DraftLaws q = context.laws().orElseThrow();
          q.write(i - 1, draft.law(i));
          tree.childrenDrawn(i - 1, DraftTree.Scheme.WITHOUT_REPLACEMENT, q.row(i - 1));
        }
        tree.append(d[i]);
      }
    }
  }

  private static boolean drawsFromLaws(Context context) {
    return context.laws().isPresent() && !context.sampling().isGreedy();
  }

  /** The laws of d_1 to d_g-1. */
  @Override
  public int lawRows() {
    return pace.mostG() - 1;
  }

  /** Drafts g tokens after S: the context and the tree. */
  private Block begin(Context context, int g) {
    int keep = told;
    told = context.length();
    int length = told + tree.size() - 1;
    int[] tail = new int[length - keep];
    for (int i = keep; i < told; i++) {
      tail[i - keep] = context.token(i);
    }
    for (int node = 1; node < tree.size(); node++) {
      tail[told - keep + node - 1] = tree.token(node);
    }
    Sampling sampling = context.sampling();
    boolean laws = drawsFromLaws(context);
    Dropped dropped = new Dropped();
    Future<int[]> tokens =
        thread.submit(
            () -> failure == null ? draft(keep, tail, sampling, laws, g, dropped) : NOTHING);
    return new Block(length, tokens, dropped);
  }

  /** On the draft thread. */
  private int[] draft(
      int keep, int[] tail, Sampling sampling, boolean laws, int g, BooleanSupplier dropped) {
    try {
      long start = System.nanoTime();
      int[] d = draft.draft(keep, tail, sampling, laws, g, dropped);
      pace.drafted(d.length, (double) (System.nanoTime() - start));
      return d;
    } catch (RuntimeException | Error e) {
      failure = e; // for the next propose
      return NOTHING;
    }
  }

  private static int[] await(Future<int[]> tokens) {
    try {
      return tokens.get();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new GenerationCancelledException(
          "the thread was interrupted while it waited for a draft");
    } catch (ExecutionException e) {
      throw new DrafterException("drafter parallel: no draft: " + e.getCause(), e);
    }
  }

  /** Drops the block in flight, waits for its current pass, and frees the draft. */
  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    if (inFlight != null) {
      inFlight.dropped.value = true;
    }
    thread.execute(draft::close);
    thread.leave();
  }

  /**
   * Chooses g: the time of a target pass over that of a draft pass. Shared by the drafters of a
   * factory: a pass of the target begins after the last of them and ends before the first.
   */
  static final class Pace {
    private static final double NEWEST = 0.2;
    private static final int FIRST_G = 4;

    private final int given;
    private long begun;
    private double targetNanos;
    private double draftNanos;

    /**
     * A pace.
     *
     * @param given g, or 0 to follow the measured times
     */
    Pace(int given) {
      this.given = given;
    }

    synchronized void targetBegins() {
      begun = System.nanoTime();
    }

    synchronized void targetHasEnded() {
      if (begun != 0) {
        targetTook((double) (System.nanoTime() - begun));
        begun = 0;
      }
    }

    synchronized void targetTook(double nanos) {
      targetNanos = mean(targetNanos, nanos);
    }

    synchronized void drafted(int tokens, double nanos) {
      if (tokens > 0) {
        draftNanos = mean(draftNanos, nanos / tokens);
      }
    }

    private static double mean(double before, double newest) {
      return before == 0 ? newest : before + NEWEST * (newest - before);
    }

    int mostG() {
      return given > 0 ? given : MAX_G;
    }

    /** The length of the next block, when so many drafters share the draft thread. */
    synchronized int g(int users) {
      if (given > 0) {
        return given;
      }
      double perToken = draftNanos * users;
      if (targetNanos == 0 || perToken == 0) {
        return FIRST_G;
      }
      return (int) Math.max(1, Math.min(MAX_G, Math.round(targetNanos / perToken)));
    }
  }
}
