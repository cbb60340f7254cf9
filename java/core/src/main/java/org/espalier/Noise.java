package org.espalier;

/** The noise that {@link Scores#draw} draws with. */
public enum Noise {
  /**
   * The noise of the exact verifier at the same position: a good draft draws what the target will
   * choose.
   */
  TARGET,
  /** Noise of its own, for drafts that speculative sampling verifies. */
  DRAFT,
  /** None, and no penalty, temperature or filter either: the best tokens by raw logit. */
  NONE
}
