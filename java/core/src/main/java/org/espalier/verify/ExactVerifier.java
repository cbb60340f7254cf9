package org.espalier.verify;

import java.util.List;
import org.espalier.DraftTree;
import org.espalier.Exactness;
import org.espalier.Scores;
import org.espalier.Session;
import org.espalier.Verdict;
import org.espalier.Verifier;

/**
 * Keeps a draft token when it is the target's own choice: the arg-max when greedy, otherwise the
 * draw with the noise of its position. The text is that of plain decoding, token for token.
 *
 * <p>Source: SpecInfer, arXiv 2305.09781. What we changed: the noise is keyed by position and
 * token, so that a seed gives the same draw whatever was drafted.
 */
public final class ExactVerifier implements Verifier {

  @Override
  public String name() {
    return "exact";
  }

  @Override
  public Exactness exactness() {
    return Exactness.LOSSLESS;
  }

  @Override
  public List<Verdict> judge(Session session, List<DraftTree> trees, List<Scores> scores) {
    return session.verify();
  }
}
