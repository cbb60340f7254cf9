package org.espalier;

import java.util.List;

/**
 * Decides how much of each draft tree is kept. An open interface; one object may serve many
 * generations.
 */
public interface Verifier {

  /** The name in options and reports. */
  String name();

  /** What it promises with a lossless drafter. */
  Exactness exactness();

  /** Whether drafters that draw their tokens must leave the laws in {@link Context#laws}. */
  default boolean needsLaws() {
    return false;
  }

  /**
   * Judges the trees of the session's last forward pass.
   *
   * @return a verdict for each tree, in order
   */
  List<Verdict> judge(Session session, List<DraftTree> trees, List<Scores> scores);
}
