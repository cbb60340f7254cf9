package org.espalier.draft;

import java.nio.file.Files;
import java.nio.file.Path;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Session;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Looks for drafts in a table of tri-grams that learns from the text as it comes: a Monte Carlo
 * tree search finds the paths of tokens that are worth a node.
 *
 * <p>Source: Liu et al., Adaptive Draft-Verification for Efficient Large Language Model Decoding,
 * AAAI 2025, arXiv 2407.12021, in its letters: T is the table, c1 and c2 are the constants of PUCT.
 * What we changed: children are searched in the order of weight, then token, and rollouts draw from
 * a series fixed by the position, so that a text gives the same drafts on every run; the prompt is
 * learned before the first step, as there may be no table of a corpus; the budget of 64 nodes
 * counts a prefix that sentences share once; when nothing is found nothing is proposed.
 *
 * <p>Use it for text with phrases that return: code, boilerplate. No model, no GPU: a step costs
 * 150 walks of a few table look-ups. A text learns in a table of its own over the shared one, so
 * drafts of a text do not depend on others that run beside it.
 */
public final class Aded implements Drafter {
  private static final float BUMP = 0.04f;
  private static final float CAP = 3;
  private static final int WINDOW = 16;
  private static final float C1 = 32;
  private static final float C2 = 8;
  private static final int MAX_NODES = 64;

  private final @Nullable Tables tables;
  private final TriGramTable table;
  private final TriGramSearch search;
  private final DraftTree tree = DraftTree.rootedAt(0);

  /** Tokens of the text when it was last learned from. */
  private int seen;

  private boolean closed;

  /**
   * A drafter over a table that does not change any more; what it learns is its own.
   *
   * @param iterations of the search, 1 to 1000
   * @param sentences paths of the search that are drafted, 2 to 64
   */
  public Aded(TriGramTable base, int iterations, int sentences) {
    this(base, iterations, sentences, null);
  }

  private Aded(TriGramTable base, int iterations, int sentences, @Nullable Tables tables) {
    this.tables = tables;
    this.table = TriGramTable.over(base);
    this.search =
        new TriGramSearch(
            table,
            Checks.inRange("iterations", iterations, 1, 1000),
            Checks.inRange("sentences", sentences, 2, 64),
            C1,
            C2);
  }

  /** What it has learned, over the table that it began with. */
  TriGramTable learned() {
    return table;
  }

  /**
   * The factory of drafters over a table; null for an empty one.
   *
   * @param iterations of the search, 1 to 1000
   * @param sentences paths of the search that are drafted, 2 to 64
   */
  public static DrafterFactory factory(
      @Nullable TriGramTable table, int iterations, int sentences) {
    return new Tables(table, null, iterations, sentences);
  }

  /**
   * The factory of drafters over the table of a file. It may be missing: the table is empty then.
   * When the factory is closed the table goes to the file, with what its drafters have learned.
   *
   * @throws IllegalArgumentException when the file is no table at all, or its folder is missing; a
   *     damaged file is begun anew, with a warning
   */
  public static DrafterFactory factory(Path file, int iterations, int sentences) {
    LearnedFile.check(file);
    return new Tables(Tables.read(file), file, iterations, sentences);
  }

  @Override
  public DraftTree propose(Context context) {
    tree.reset(context.lastToken());
    int length = context.length();
    // T[(s_i, s_i+1)][s_i+2] += 0.04, at most 3, in the last 16 tokens; at first in the prompt.
    if (length > seen) {
      learn(table, context, seen == 0 ? 0 : Math.max(0, length - WINDOW));
      seen = length;
    }
    if (length >= 2 && context.maxNodes() > 0 && context.maxDepth() > 0) {
      search.search(context.token(length - 2), context.token(length - 1), length);
      search.draft(tree, Math.min(MAX_NODES, context.maxNodes()), context.maxDepth());
    }
    return tree;
  }

  static void learn(TriGramTable table, Context s, int from) {
    for (int i = from; i + 2 < s.length(); i++) {
      table.bump(TriGramTable.pair(s.token(i), s.token(i + 1)), s.token(i + 2), BUMP, CAP);
    }
  }

  @Override
  public boolean mayBeAskedTwice() {
    return true;
  }

  @Override
  public boolean learnsFromPlainSteps() {
    return true;
  }

  @Override
  public void close() {
    if (!closed && tables != null) {
      closed = true;
      tables.learn(table);
    }
  }

  /** The table that drafters share, and what they leave for the file. */
  private static final class Tables implements DrafterFactory {
    private static final Logger LOG = LoggerFactory.getLogger(Aded.class);

    /** Pairs that are learned for the file: some hundred megabytes at most. */
    private static final int MAX_LEARNED = 1 << 22;

    private final @Nullable Path file;
    private final int iterations;
    private final int sentences;
    private @Nullable TriGramTable base;
    private @Nullable TriGramTable learned;
    private boolean closed;

    Tables(@Nullable TriGramTable base, @Nullable Path file, int iterations, int sentences) {
      this.base = base;
      this.file = file;
      this.iterations = Checks.inRange("iterations", iterations, 1, 1000);
      this.sentences = Checks.inRange("sentences", sentences, 2, 64);
    }

    static @Nullable TriGramTable read(Path file) {
      if (!Files.exists(file)) {
        return null;
      }
      try {
        return TriGramFile.load(file);
      } catch (TriGramFile.CorruptException e) {
        LOG.warn("{}; it is begun anew", e.getMessage());
        return null;
      }
    }

    @Override
    public synchronized Drafter create(Session session) {
      int vocab = session.model().info().vocab();
      if (base == null || (base.numPairs() == 0 && learned == null)) {
        base = TriGramTable.empty(vocab);
      }
      if (base.vocab() != vocab) {
        throw new IllegalArgumentException(
            "table"
                + (file == null ? "" : " " + file)
                + ": vocab = "
                + base.vocab()
                + ", expected "
                + vocab
                + ", as the target has");
      }
      return new Aded(base, iterations, sentences, this);
    }

    synchronized void learn(TriGramTable table) {
      if (file == null || base == null || closed) {
        return;
      }
      if (learned == null) {
        learned = TriGramTable.over(base);
      }
      learned.learnFrom(table, CAP, MAX_LEARNED);
    }

    @Override
    public String name() {
      return "aded";
    }

    @Override
    public synchronized void close() {
      if (file != null && learned != null && !closed) {
        TriGramFile.save(learned, file);
      }
      closed = true;
    }
  }
}
