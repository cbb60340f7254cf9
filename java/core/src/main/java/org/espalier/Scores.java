package org.espalier;

import org.jspecify.annotations.Nullable;

/**
 * What the target computed for the nodes of one draft tree. It can be read until the session's next
 * forward pass, prefill or rollback; draws only until its next commit.
 */
public final class Scores {
  private final Session session;
  private final int tree;

  Scores(Session session, int tree) {
    this.session = session;
    this.tree = tree;
  }

  /** Number of nodes. */
  public int numNodes() {
    return session.treeLen(tree);
  }

  /** Number of top tokens of each node. */
  public int topK() {
    return session.topK();
  }

  /** The {@code rank}-th most likely next token after a node by raw logit, 0 for the best. */
  public int topToken(int node, int rank) {
    return session.topToken(tree, node, rank);
  }

  /**
   * Copies the {@code count} most likely next tokens after every node, best first.
   *
   * @param out [numNodes, count]
   */
  public void topTokens(int count, int[] out) {
    session.topTokens(tree, count, out);
  }

  /** The target's own choice after a node; after {@link Session#verify} only. */
  public int choice(int node) {
    return session.choice(tree, node);
  }

  /** Copies the raw logits after a node, {@code out} [vocab]. */
  public void logits(int node, float[] out) {
    session.logits(tree, node, out);
  }

  /** Copies the state after a layer that {@link Session#keepHidden} chose, {@code out} [hidden]. */
  public void hidden(int layer, int node, float[] out) {
    session.hidden(tree, layer, node, out);
  }

  /**
   * What the target would say if it ended after a layer: its final norm and LM head on states that
   * {@link Session#keepHidden} chose. Can be asked after a commit too.
   *
   * @param layer chosen layers, in any order
   * @param node [at least numNodes] nodes of the tree
   * @param token [at least layer.length * numNodes] out: for each layer, each node's most likely
   *     next token by raw logit; -1 where the logits are no numbers
   * @param prob like {@code token}: its softmax probability
   */
  public void exits(int[] layer, int[] node, int numNodes, int[] token, float[] prob) {
    session.exits(tree, layer, node, numNodes, token, prob);
  }

  /**
   * The k most favoured next tokens after nodes, by the sampling of the sequence: by logit when
   * greedy, otherwise by log probability plus noise, which makes them draws without replacement in
   * order.
   *
   * @param node [at least numNodes] nodes of the tree
   * @param token [at least numNodes * k] out; -1 where the law has fewer than k tokens
   * @param logProb [at least numNodes * k] out: natural logarithms of the probabilities; may be
   *     null
   * @param laws where the law of node i goes, to {@code laws.row(firstRow + i)}; null when it is
   *     not wanted
   */
  public void draw(
      int[] node,
      int numNodes,
      int k,
      Noise noise,
      int[] token,
      float @Nullable [] logProb,
      @Nullable DraftLaws laws,
      int firstRow) {
    session.draw(tree, node, numNodes, k, noise, token, logProb, laws, firstRow);
  }
}
