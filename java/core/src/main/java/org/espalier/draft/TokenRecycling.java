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
 * nodes, the accepted node writes its row, otherwise the last node; and a child with the token of
 * an earlier sibling is left out with its subtree, as it could never be accepted.
 *
 * <p>Use it when nothing is known about the text and there is no draft model. A step costs a pass
 * of up to 81 rows and 4 K bytes of memory for each token of the vocabulary. The drafters of a
 * factory share the table, so that a request starts with what earlier ones learned.
 */
public final class TokenRecycling implements Drafter {
  private final TreeTemplate template;
  private final Table table;
  private final DraftTree tree = DraftTree.rootedAt(0);

  /** Tree node of each node of the template, -1 where it was left out. */
  private final int[] placed;

  private TokenRecycling(TreeTemplate template, Table table) {
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
      private Table table = new Table(0, k);

      @Override
      public synchronized Drafter create(Session session) {
        int vocab = session.model().info().vocab();
        if (table.vocab != vocab) {
          table = new Table(vocab, k);
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
          placed[i] = add(parent, table.get(tree.token(parent), template.rank(i)));
        }
      }
    }
    return tree;
  }

  /** Adds a child, unless a sibling has its token. */
  private int add(int parent, int token) {
    for (int i = tree.size() - 1; i > parent && tree.parent(i) >= parent; i--) {
      if (tree.parent(i) == parent && tree.token(i) == token) {
        return -1;
      }
    }
    return tree.append(parent, token);
  }

  @Override
  public void observe(Verdict verdict, Scores scores) {
    synchronized (table) {
      for (int i = 0; i < tree.size(); i++) {
        table.put(tree.token(i), scores, i);
      }
      table.put(tree.token(0), scores, 0);
      for (int i = 0; i < verdict.acceptLen(); i++) {
        table.put(tree.token(verdict.node(i)), scores, verdict.node(i));
      }
    }
  }

  @Override
  public int topK() {
    return table.k;
  }

  /** M [vocab, k]: the most likely successors of each token, best first; zeros at first. */
  private static final class Table {
    private final int vocab;
    private final int k;
    private final int[] successor;

    Table(int vocab, int k) {
      this.vocab = vocab;
      this.k = k;
      this.successor = new int[Math.multiplyExact(vocab, k)];
    }

    int get(int token, int rank) {
      return successor[token * k + rank];
    }

    void put(int token, Scores scores, int node) {
      for (int r = 0; r < k; r++) {
        successor[token * k + r] = scores.topToken(node, r);
      }
    }
  }
}
