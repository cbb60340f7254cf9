package org.espalier.draft;

import java.util.Optional;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterException;
import org.espalier.Exactness;
import org.espalier.Sampling;
import org.espalier.Scores;
import org.espalier.Sequence;
import org.espalier.Session;
import org.espalier.Verdict;
import org.jspecify.annotations.Nullable;

/**
 * A drafter whose trees have a size that is chosen for it: it is told by {@link Context#maxNodes},
 * before it draws anything, so a sampling verifier's law is kept. In a plain step it is not asked,
 * unless it learns from those.
 */
final class SizedDrafter implements Drafter {
  private final Drafter drafter;
  private final TreeSize size;
  private final int mostNodes;
  private final DraftTree root = DraftTree.rootedAt(0);
  private final Budget budget = new Budget();
  private final boolean learnsFromPlainSteps;
  private final boolean mayBeAskedTwice;

  private final UnsentTree unsent = new UnsentTree();
  private boolean peeking; // the text has not left the unsent tree yet
  private boolean asked;
  private boolean drafting;
  private boolean resumed;
  private int allowed;
  private long began;
  private long proposed;

  /**
   * A drafter with a size.
   *
   * @param mostNodes of a pass of the session
   */
  SizedDrafter(Drafter drafter, TreeSize size, int mostNodes) {
    this.drafter = drafter;
    this.size = size;
    this.mostNodes = mostNodes;
    this.learnsFromPlainSteps = drafter.learnsFromPlainSteps();
    this.mayBeAskedTwice = drafter.mayBeAskedTwice();
  }

  @Override
  public DraftTree propose(Context context) {
    int nodesForTree = context.maxNodes() + 1;
    allowed = Math.min(size.next(this, mostNodes / nodesForTree), nodesForTree);
    if (mayBeAskedTwice) {
      peek(context);
    }
    began = System.nanoTime();
    resumed = !drafting;
    drafting = allowed > 1;
    asked = drafting || learnsFromPlainSteps;
    DraftTree tree = root;
    if (asked) {
      tree = ask(context, allowed);
    } else {
      root.reset(context.lastToken());
    }
    proposed = System.nanoTime();
    return tree;
  }

  private DraftTree ask(Context context, int nodes) {
    budget.context = context;
    budget.maxNodes = nodes - 1;
    DraftTree tree = drafter.propose(budget);
    check(tree, nodes);
    return tree;
  }

  /**
   * Drafts a larger tree than the one to be sent, to see what becomes of it. The next one is
   * drafted where the text leaves it, as if such trees were sent: one in each step would tell most
   * of passages in which many are accepted, which would take few steps then.
   */
  private void peek(Context context) {
    if (peeking) {
      if (!unsent.follow(context)) {
        return;
      }
      unsent.tell(size);
      peeking = false;
    }
    int nodes = Math.min(size.peek(this, allowed), context.maxNodes() + 1);
    if (nodes > allowed && context.maxDepth() > 0) {
      long begin = System.nanoTime();
      DraftTree tree = ask(context, nodes);
      if (tree != null) {
        double nanos = (double) (System.nanoTime() - begin);
        unsent.copy(tree, context.length(), allowed, nodes, nanos);
        peeking = true;
      }
    }
  }

  private void check(@Nullable DraftTree tree, int nodes) {
    if (tree != null && tree.size() > nodes) {
      throw new DrafterException(
          "drafter "
              + describe()
              + ": draft nodes = "
              + (tree.size() - 1)
              + ", expected at most "
              + (nodes - 1)
              + ", see Context.maxNodes");
    }
  }

  @Override
  public void observe(Verdict verdict, Scores scores) {
    long passed = System.nanoTime();
    if (asked) {
      drafter.observe(verdict, scores);
    }
    double passNanos = (double) (passed - proposed);
    double draftNanos = (double) (System.nanoTime() - began) - passNanos;
    int nodes = scores.numNodes();
    size.observe(this, allowed, nodes, resumed, verdict, draftNanos, passNanos);
  }

  @Override
  public int topK() {
    return asked ? drafter.topK() : 0;
  }

  @Override
  public int[] hiddenLayers() {
    return drafter.hiddenLayers();
  }

  @Override
  public int lawRows() {
    return drafter.lawRows();
  }

  @Override
  public Exactness exactness() {
    return drafter.exactness();
  }

  @Override
  public boolean learnsFromPlainSteps() {
    return learnsFromPlainSteps;
  }

  @Override
  public boolean mayBeAskedTwice() {
    return mayBeAskedTwice;
  }

  @Override
  public String describe() {
    return drafter.describe();
  }

  @Override
  public void close() {
    size.leave(this);
    drafter.close();
  }

  /** The context, with fewer nodes. */
  private static final class Budget implements Context {
    private @Nullable Context context;
    private int maxNodes;

    private Context context() {
      if (context == null) {
        throw new IllegalStateException("no context, expected a call of propose");
      }
      return context;
    }

    @Override
    public int length() {
      return context().length();
    }

    @Override
    public int token(int i) {
      return context().token(i);
    }

    @Override
    public int maxNodes() {
      return maxNodes;
    }

    @Override
    public int maxDepth() {
      return context().maxDepth();
    }

    @Override
    public Sampling sampling() {
      return context().sampling();
    }

    @Override
    public Session session() {
      return context().session();
    }

    @Override
    public Sequence sequence() {
      return context().sequence();
    }

    @Override
    public Optional<DraftLaws> laws() {
      return context().laws();
    }
  }
}
