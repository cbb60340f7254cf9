package org.espalier.draft;

import java.util.Arrays;
import java.util.Optional;
import java.util.function.BooleanSupplier;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Noise;
import org.espalier.Sampling;
import org.espalier.Session;
import org.espalier.Verdict;
import org.jspecify.annotations.Nullable;

/**
 * The draft model's side of {@link Parallel}: its own copy of the working sequence S, and its KV
 * cache. All of it belongs to the draft thread.
 */
final class DraftChain implements Parallel.Draft {
  private final DraftCache cache;
  private final Copy s;
  private final DraftTree x = DraftTree.rootedAt(0);
  private final int[] node = new int[1];
  private final int[] drawn = new int[1];
  private final float[] logProb = new float[1];

  /** The law that a token is drawn from, on the draft's device, and those of a block, outside. */
  private @Nullable DraftLaws law;

  private float[][] q = new float[0][];

  /** Takes the session, which has a context of its own. */
  DraftChain(Session session) {
    cache = new DraftCache(session);
    s = new Copy(session);
  }

  @Override
  public int[] draft(
      int keep, int[] tail, Sampling sampling, boolean laws, int g, BooleanSupplier dropped) {
    s.replace(keep, tail);
    s.sampling = sampling;
    cache.mayDifferFrom(keep);
    x.reset(s.lastToken());
    int most = Math.min(g, cache.room(s));
    for (int i = 0; i < most && !dropped.getAsBoolean(); i++) {
      if (i == 0) {
        cache.begin(s);
      } else {
        cache.extend(x, i);
      }
      node[0] = i;
      if (!laws) {
        cache.draw(node, 1, 1, Noise.TARGET, drawn, logProb, null, 0);
      } else if (i == 0) {
        cache.draw(node, 1, 1, Noise.NONE, drawn, logProb, null, 0);
      } else {
        drawFromLaw(i - 1);
      }
      x.append(drawn[0]);
    }
    cache.keep(Verdict.of(new int[0], 0));
    int[] d = new int[x.size() - 1];
    Arrays.setAll(d, i -> x.token(i + 1));
    return d;
  }

  private void drawFromLaw(int row) {
    if (law == null) {
      law = s.session.newLaws(0, 1);
    }
    if (row == q.length) {
      q = Arrays.copyOf(q, row + 1);
      q[row] = new float[s.session.model().info().vocab()];
    }
    cache.draw(node, 1, 1, Noise.DRAFT, drawn, logProb, law, 0);
    law.read(0, q[row]);
  }

  @Override
  public float[] law(int i) {
    return q[i - 1];
  }

  @Override
  public void close() {
    cache.close();
  }

  /** The working sequence. */
  private static final class Copy implements Context {
    private final Session session;
    private int[] tokens = new int[64];
    private int length;
    private Sampling sampling = Sampling.greedy();

    Copy(Session session) {
      this.session = session;
    }

    void replace(int keep, int[] tail) {
      length = keep + tail.length;
      if (length > tokens.length) {
        tokens = Arrays.copyOf(tokens, Math.max(length, 2 * tokens.length));
      }
      System.arraycopy(tail, 0, tokens, keep, tail.length);
    }

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
      return session.options().maxNodes() - 1;
    }

    @Override
    public int maxDepth() {
      return session.options().maxTokens() - length;
    }

    @Override
    public Sampling sampling() {
      return sampling;
    }

    @Override
    public Session session() {
      return session;
    }

    @Override
    public Optional<DraftLaws> laws() {
      return Optional.empty();
    }
  }
}
