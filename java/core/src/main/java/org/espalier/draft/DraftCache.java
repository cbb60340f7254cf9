package org.espalier.draft;

import java.util.Arrays;
import java.util.List;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Model;
import org.espalier.Noise;
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
final class DraftCache implements DraftSource {
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

  /** The tree of the last forward pass; null once it is committed or dropped. */
  private @Nullable DraftTree pass;

  /** Nodes of that pass; its tree may have grown since. */
  private int passSize;

  /** What is added to a node of the draft tree to get its node in the pass. */
  private int shift;

  private @Nullable Scores scores;
  private int[] inPass = new int[0];

  /** On the device threads of the target, for a thread that uses both in turns. */
  DraftCache(Model model, Session target, int maxNodes) {
    this(
        target.newNeighbour(
            model,
            SessionOptions.defaults()
                .withMaxTokens(target.options().maxTokens())
                .withMaxNodes(Math.max(PREFILL_TOKENS, maxNodes))));
  }

  /** In a session of the draft model, which it takes. */
  DraftCache(Session session) {
    this.session = session;
    sequence = session.newSequence();
    sequences = List.of(sequence);
  }

  @Override
  public int room(Context context) {
    return Math.max(0, session.options().maxTokens() - context.length() + 1);
  }

  @Override
  public int mostDraws() {
    return Math.min(Session.MAX_TOP_K, session.model().info().vocab());
  }

  /** The tokens that the draft misses and the root are one chain; the root is its last node. */
  @Override
  public void begin(Context context) {
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
    shift = root - length;
    chain.reset(context.token(length));
    for (int i = length + 1; i <= root; i++) {
      chain.append(context.token(i));
    }
    forward(chain);
  }

  /** The next context may differ from the last one in tokens from here on. */
  void mayDifferFrom(int position) {
    agreed = Math.min(agreed, position);
  }

  private void rollBack(Context context, int root) {
    int same = Math.min(agreed, length);
    while (same < Math.min(length, root) && fed[same] == context.token(same)) {
      same++;
    }
    rollBackTo(same);
  }

  private void rollBackTo(int newLength) {
    if (newLength < length) {
      sequence.rollback(newLength);
      length = newLength;
    }
  }

  /**
   * While the draft is a chain its nodes are committed one after the other; a tree is computed
   * anew.
   */
  @Override
  public void extend(DraftTree tree, int from) {
    if (from == tree.maxDepth() && from == tree.size() - 1) {
      commitChain(chain.size());
      chain.reset(tree.token(from));
      shift = -from;
      forward(chain);
      return;
    }
    if (shift > 0 && pass == chain) {
      commitChain(chain.size() - 1); // what was missing, without the root
    }
    rollBackTo(agreed);
    shift = 0;
    forward(tree);
  }

  private void forward(DraftTree tree) {
    pass = tree;
    passSize = tree.size();
    scores = session.forward(sequences, List.of(tree), 0).get(0);
  }

  @Override
  public void draw(
      int[] node,
      int numNodes,
      int k,
      Noise noise,
      int[] token,
      float[] logProb,
      @Nullable DraftLaws laws,
      int firstRow) {
    if (scores == null) {
      throw new IllegalStateException("no scores, expected begin before");
    }
    if (inPass.length < numNodes) {
      inPass = new int[node.length];
    }
    for (int i = 0; i < numNodes; i++) {
      inPass[i] = node[i] + shift;
    }
    scores.draw(inPass, numNodes, k, noise, token, logProb, laws, firstRow);
  }

  /** A chain is kept whole: the next draft drops what was not accepted. */
  @Override
  public void keep(Verdict verdict) {
    if (pass == chain) {
      commitChain(chain.size());
    } else if (pass != null) {
      int computed = 0;
      while (computed < verdict.acceptLen() && verdict.node(computed) < passSize) {
        computed++;
      }
      int[] path = new int[computed];
      Arrays.setAll(path, verdict::node);
      commit(pass, path);
    }
  }

  private void commitChain(int nodes) {
    int[] path = new int[nodes - 1];
    Arrays.setAll(path, i -> i + 1);
    commit(chain, path);
  }

  private void commit(DraftTree tree, int[] path) {
    session.commit(List.of(Verdict.of(path, 0)));
    add(tree.token(0));
    for (int node : path) {
      add(tree.token(node));
    }
    pass = null;
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
