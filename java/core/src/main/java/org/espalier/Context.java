package org.espalier;

import java.util.Optional;

/** What a drafter may look at when it proposes. Valid during {@link Drafter#propose} only. */
public interface Context {

  /**
   * The last token of the sequence, which is the root of the tree; the same as {@code
   * token(length() - 1)}.
   */
  default int lastToken() {
    return token(length() - 1);
  }

  /** Tokens of the sequence: prompt and emitted tokens, the last one included. */
  int length();

  /** The i-th token of the sequence, 0 to {@code length() - 1}. */
  int token(int i);

  /** Most draft nodes that the tree may have, the root not counted. */
  int maxNodes();

  /**
   * Greatest depth that the tree may have: deeper tokens would not fit into the context or would
   * not be asked for.
   */
  int maxDepth();

  /** How the target chooses tokens. */
  Sampling sampling();

  /** The session of the target. A drafter must not change its sequences. */
  Session session();

  /**
   * The target's sequence. Its committed tokens are those of this context without the last, which
   * is the root of the pass to come. A drafter may fork it, and run draft passes over it; it does
   * not commit them.
   *
   * @throws UnsupportedOperationException where the context is not that of a target's run
   */
  default Sequence sequence() {
    throw new UnsupportedOperationException("no sequence of the target here");
  }

  /**
   * Where a drafter that draws its tokens must leave the laws; empty when the verifier does not ask
   * for them.
   */
  Optional<DraftLaws> laws();
}
