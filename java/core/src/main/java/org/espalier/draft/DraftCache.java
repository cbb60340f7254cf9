package org.espalier.draft;

import java.util.Arrays;
import java.util.List;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Model;
import org.espalier.Sampling;
import org.espalier.Scores;
import org.espalier.Sequence;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verdict;
import org.jspecify.annotations.Nullable;

/**
 * The draft model's sequence, kept in step with the target's: before each draft it is rolled back
 * to the tokens that were accepted and gets those it misses. After a full acceptance that is one,
 * which is fed together with the root.
 */
final class DraftCache implements AutoCloseable {
  /** Missing tokens that still go into the first pass; more of them are a prompt. */
  private static final int MAX_MISSING = 16;

  private static final int PREFILL_TOKENS = 256;

  private final Session session;
  private final Sequence sequence;
  private final List<Sequence> sequences;
  private final DraftTree chain = DraftTree.rootedAt(0);
  private @Nullable Sampling sampling;

  /** Tokens of the draft's sequence, as many as it is long. */
  private int[] fed = new int[64];

  private int length;

  /** The first so many of them are the target's; that will not change. */
  private int agreed;

  /** The trees of the last forward pass; empty once it is committed. */
  private List<DraftTree> pass = List.of();

  /** Nodes of that pass; its tree may have grown since. */
  private int passSize;

  DraftCache(Model model, Session target, int maxNodes) {
    SessionOptions options =
        SessionOptions.defaults()
            .withMaxTokens(target.options().maxTokens())
            .withMaxNodes(Math.max(PREFILL_TOKENS, maxNodes));
    session = target.newNeighbour(model, options);
    sequence = session.newSequence();
    sequences = List.of(sequence);
  }

  /** Most tokens that the draft can add before its own context is full. */
  int room(Context context) {
    return Math.max(0, session.options().maxTokens() - context.length() + 1);
  }

  /**
   * Scores of the tokens that the draft misses and of the root, a chain; the root is its last node.
   */
  Scores begin(Context context) {
    if (!context.sampling().equals(sampling)) {
      sampling = context.sampling();
      sequence.setSampling(sampling);
    }
    int root = context.length() - 1;
    rollBack(context, root);
    while (root - length > MAX_MISSING) {
      int[] part = new int[Math.min(PREFILL_TOKENS, root - length)];
      for (int i = 0; i < part.length; i++) {
        part[i] = context.token(length + i);
      }
      sequence.prefill(part);
      for (int token : part) {
        add(token);
      }
    }
    agreed = root;
    chain.reset(context.token(length));
    for (int i = length + 1; i <= root; i++) {
      chain.append(context.token(i));
    }
    return forward(chain);
  }

  private void rollBack(Context context, int root) {
    int same = Math.min(agreed, length);
    while (same < Math.min(length, root) && fed[same] == context.token(same)) {
      same++;
    }
    if (same < length) {
      sequence.rollback(same);
      length = same;
    }
  }

  /** Scores of one more token after those that were kept. */
  Scores next(int token) {
    chain.reset(token);
    return forward(chain);
  }

  /** Scores of a draft tree, whose root is the target's. */
  Scores forward(DraftTree tree) {
    pass = List.of(tree);
    passSize = tree.size();
    return session.forward(sequences, pass, 0).get(0);
  }

  /** Keeps the whole chain of the last pass. */
  void keep() {
    keepChain(chain.size());
  }

  /** Keeps the tokens that were missing, without the root. */
  void keepAllButRoot() {
    if (chain.size() > 1) {
      keepChain(chain.size() - 1);
    }
    pass = List.of();
  }

  private void keepChain(int nodes) {
    int[] path = new int[nodes - 1];
    Arrays.setAll(path, i -> i + 1);
    commit(path);
  }

  /** Keeps what was accepted of the last pass, if it was over a draft tree. */
  void keep(Verdict verdict) {
    if (pass.isEmpty()) {
      return;
    }
    int computed = 0;
    while (computed < verdict.acceptLen() && verdict.node(computed) < passSize) {
      computed++;
    }
    int[] path = new int[computed];
    Arrays.setAll(path, verdict::node);
    commit(path);
  }

  private void commit(int[] path) {
    DraftTree tree = pass.get(0);
    session.commit(List.of(Verdict.of(path, 0)));
    add(tree.token(0));
    for (int node : path) {
      add(tree.token(node));
    }
    pass = List.of();
  }

  private void add(int token) {
    if (length == fed.length) {
      fed = Arrays.copyOf(fed, 2 * length);
    }
    fed[length++] = token;
  }

  @Override
  public void close() {
    session.close();
  }
}
