package org.espalier.draft;

import java.util.Arrays;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Scores;
import org.espalier.Session;
import org.espalier.Verdict;

/**
 * Remembers for every token the K tokens that the target found most likely after it when it saw it
 * last, and fills a fixed tree from this table.
 *
 * <p>Source: Luo et al., Turning Trash into Treasure: Accelerating Inference of Large Language
 * Models with Token Recycling, arXiv 2408.08696. What we changed: when a token stands at several
 * nodes, the accepted node writes its row, otherwise the last node; a row that nothing was written
 * to gives one child, as its siblings would have the same token; and nodes are added in the order
 * of their worth, see {@link TreeTemplate}, so that fewer nodes are the best ones.
 *
 * <p>Use it when nothing is known about the text and there is no draft model. A step costs a pass
 * of up to 81 rows and 4 K bytes of memory for each token of the vocabulary. The drafters of a
 * factory share the table, so that a request starts with what earlier ones learned.
 */
public final class TokenRecycling implements Drafter {
  private final TreeTemplate template;
  private final SuccessorTable table;
  private final DraftTree tree = DraftTree.rootedAt(0);

  /** Tree node of each node of the template, -1 where it was left out. */
  private final int[] placed;

  /** The most likely tokens after the nodes of the last pass, [nodes, k]. */
  private int[] top = new int[0];

  TokenRecycling(TreeTemplate template, SuccessorTable table) {
    this.template = template;
    this.table = table;
    this.placed = new int[template.size()];
  }

  /**
   * The factory of drafters that share a table.
   *
   * @param template the tree
   * @param k successors of a token that are remembered, at least the tree's width and at most 64
   */
  public static DrafterFactory factory(TreeTemplate template, int k) {
    Checks.inRange("k", k, template.width(), 64);
    return new DrafterFactory() {
      private SuccessorTable table = new SuccessorTable(0, k);

      @Override
      public synchronized Drafter create(Session session) {
        int vocab = session.model().info().vocab();
        if (table.vocab() != vocab) {
          table = new SuccessorTable(vocab, k);
        }
        return new TokenRecycling(template, table);
      }

      @Override
      public String name() {
        return "token-recycling";
      }
    };
  }

  @Override
  public DraftTree propose(Context context) {
    tree.reset(context.lastToken());
    Arrays.fill(placed, -1);
    placed[0] = 0;
    synchronized (table) {
      for (int i = 1; i < template.size() && tree.size() <= context.maxNodes(); i++) {
        int parent = placed[template.parent(i)];
        if (parent >= 0 && template.depth(i) <= context.maxDepth()) {
          int token = tree.token(parent);
          int rank = template.rank(i);
          if (rank == 0 || table.isSeen(token)) {
            placed[i] = tree.append(parent, table.get(token, rank));
          }
        }
      }
    }
    return tree;
  }

  @Override
  public boolean mayBeAskedTwice() {
    return true;
  }

  @Override
  public void observe(Verdict verdict, Scores scores) {
    int most = tree.size() * table.k();
    if (top.length < most) {
      top = new int[most];
    }
    scores.topTokens(table.k(), top);
    learn(verdict, top);
  }

  /**
   * M[token[i]] = the most likely tokens after node i, for all nodes; accepted ones have the last
   * word.
   */
  void learn(Verdict verdict, int[] top) {
    synchronized (table) {
      for (int i = 0; i < tree.size(); i++) {
        table.put(tree.token(i), top, i * table.k());
      }
      table.put(tree.token(0), top, 0);
      for (int i = 0; i < verdict.acceptLen(); i++) {
        table.put(tree.token(verdict.node(i)), top, verdict.node(i) * table.k());
      }
    }
  }

  @Override
  public int topK() {
    return table.k();
  }

  @Override
  public boolean learnsFromPlainSteps() {
    return true;
  }
}
