package org.espalier.draft;

import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Model;
import org.espalier.Session;
import org.espalier.Verdict;
import org.jspecify.annotations.Nullable;

/**
 * Drafters whose trees are sized: to a number of nodes, or so that the most tokens per second come
 * out, see {@link #auto}. The text does not depend on the size.
 */
public final class SizedTrees {
  /** The largest pass of a session. */
  private static final int MAX_NODES = 4096;

  private SizedTrees() {}

  /**
   * Trees of the size that is fastest on this machine. How long a pass over n nodes takes is
   * measured once for a model and a device, in about two seconds at most, and kept in the user's
   * cache ({@code espalier.cache.dir}); the rest is learned while decoding, for all drafters of the
   * factory together. Where no tree pays, decoding becomes plain, and the drafter is asked seldom,
   * to notice when that changes.
   *
   * <p>Sizes follow measured times, so the number of passes differs from run to run. The text does
   * not.
   */
  public static DrafterFactory auto(DrafterFactory drafts) {
    return drafts instanceof NoDraft.Factory ? drafts : new Auto(drafts); // nothing to measure
  }

  /**
   * Trees of at most so many nodes, the root included; 1 is plain decoding.
   *
   * @param nodes 1 to 4096, and no more than a pass of the session may have
   */
  public static DrafterFactory fixed(int nodes, DrafterFactory drafts) {
    if (nodes < 1 || nodes > MAX_NODES) {
      throw outOfRange(String.valueOf(nodes), MAX_NODES);
    }
    return new Fixed(nodes, drafts);
  }

  /**
   * Trees of a size that is given as text.
   *
   * @param size {@code auto}, or the number of nodes
   */
  public static DrafterFactory of(String size, DrafterFactory drafts) {
    if (size.equals("auto")) {
      return auto(drafts);
    }
    try {
      return fixed(Integer.parseInt(size), drafts);
    } catch (NumberFormatException e) {
      throw outOfRange(size, MAX_NODES);
    }
  }

  private static IllegalArgumentException outOfRange(String got, int most) {
    return new IllegalArgumentException(
        "tree = " + got + ", expected auto, or 1 to " + most + " nodes");
  }

  /** Trees of one size. */
  static final class Fixed implements DrafterFactory, TreeSize {
    private final int nodes;
    private final DrafterFactory drafts;

    Fixed(int nodes, DrafterFactory drafts) {
      this.nodes = nodes;
      this.drafts = drafts;
    }

    @Override
    public Drafter create(Session session) {
      if (nodes > session.options().maxNodes()) {
        throw outOfRange(String.valueOf(nodes), session.options().maxNodes());
      }
      return new SizedDrafter(drafts.create(session), this, session.options().maxNodes());
    }

    @Override
    public int next(Object drafter, int batch) {
      return nodes;
    }

    @Override
    public int peek(Object drafter, int allowed) {
      return 0;
    }

    @Override
    public void peeked(int sent, int allowed, int itsNodes, Verdict verdict, double nanos) {}

    @Override
    public void observe(
        Object drafter,
        int allowed,
        int itsNodes,
        boolean resumed,
        Verdict verdict,
        double draftNanos,
        double passNanos) {}

    @Override
    public void leave(Object drafter) {}

    @Override
    public String name() {
      return drafts.name();
    }

    @Override
    public void close() {
      drafts.close();
    }
  }

  private static final class Auto implements DrafterFactory {
    private final DrafterFactory drafts;
    private @Nullable PassTimes times;
    private @Nullable MeasuredSize size;
    private @Nullable Model model;
    private int mostNodes;

    Auto(DrafterFactory drafts) {
      this.drafts = drafts;
    }

    @Override
    public Drafter create(Session session) {
      Drafter drafter = drafts.create(session);
      try {
        return new SizedDrafter(drafter, sizeFor(session), session.options().maxNodes());
      } catch (RuntimeException e) {
        drafter.close();
        throw e;
      }
    }

    private synchronized MeasuredSize sizeFor(Session session) {
      int nodes = session.options().maxNodes();
      if (size == null || session.model() != model || nodes != mostNodes) {
        save();
        model = session.model();
        mostNodes = nodes;
        PassTimes itsTimes = PassTimes.of(session);
        times = itsTimes;
        size = new MeasuredSize(itsTimes.curve(), nodes);
      }
      return size;
    }

    private void save() {
      if (times != null) {
        times.save();
      }
    }

    @Override
    public String name() {
      return drafts.name();
    }

    @Override
    public synchronized void close() {
      save();
      drafts.close();
    }
  }
}
