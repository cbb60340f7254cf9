package org.espalier.draft;

import java.util.Optional;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.Sampling;
import org.espalier.Sequence;
import org.espalier.Session;

/** A context of given tokens, without a model. */
final class ListContext implements Context {
  private final int maxNodes;
  private final int maxDepth;
  private final int[] tokens;
  private final Sampling sampling;

  ListContext(int maxNodes, int maxDepth, int... tokens) {
    this(Sampling.greedy(), maxNodes, maxDepth, tokens);
  }

  ListContext(Sampling sampling, int maxNodes, int maxDepth, int... tokens) {
    this.sampling = sampling;
    this.maxNodes = maxNodes;
    this.maxDepth = maxDepth;
    this.tokens = tokens;
  }

  @Override
  public int maxNodes() {
    return maxNodes;
  }

  @Override
  public int maxDepth() {
    return maxDepth;
  }

  @Override
  public int length() {
    return tokens.length;
  }

  @Override
  public int token(int i) {
    return tokens[i];
  }

  @Override
  public Sampling sampling() {
    return sampling;
  }

  @Override
  public Session session() {
    throw new UnsupportedOperationException("no session here");
  }

  @Override
  public Sequence sequence() {
    throw new UnsupportedOperationException("no sequence here");
  }

  @Override
  public Optional<DraftLaws> laws() {
    return Optional.empty();
  }
}
