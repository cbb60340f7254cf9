package org.espalier.verify;

import java.util.List;
import org.espalier.DraftTree;
import org.espalier.Exactness;
import org.espalier.Scores;
import org.espalier.Session;
import org.espalier.Verdict;
import org.espalier.Verifier;

/**
 * Speculative sampling: a draft token x, drawn from q, is kept with probability min(1, p(x) /
 * q(x)). The text has the distribution of the target's, but is another one than plain decoding's.
 * It accepts more than the exact verifier when drafters draw their tokens, as a draft model does.
 *
 * <p>Source: Leviathan et al., arXiv 2211.17192; for several siblings SpecInfer, arXiv 2305.09781,
 * and Sequoia, arXiv 2402.12374.
 */
public final class SamplingVerifier implements Verifier {

  @Override
  public String name() {
    return "sampling";
  }

  @Override
  public Exactness exactness() {
    return Exactness.DISTRIBUTION;
  }

  @Override
  public boolean needsLaws() {
    return true;
  }

  @Override
  public List<Verdict> judge(Session session, List<DraftTree> trees, List<Scores> scores) {
    return session.verifySampling();
  }
}
