package org.espalier.it;

import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import org.espalier.DraftTree;
import org.espalier.Exactness;
import org.espalier.Scores;
import org.espalier.Session;
import org.espalier.Verdict;
import org.espalier.Verifier;
import org.espalier.verify.ExactVerifier;

/**
 * The exact verifier, which also keeps a digest of the logits of the root and of every accepted
 * node, in order. For a batch of one.
 */
final class LogitRecorder implements Verifier {
  private final Verifier exact = new ExactVerifier();
  private final List<String> digests = new ArrayList<>();

  /** SHA-256 of the bits of the logits after each token that went through the model. */
  List<String> digests() {
    return digests;
  }

  @Override
  public String name() {
    return exact.name();
  }

  @Override
  public Exactness exactness() {
    return exact.exactness();
  }

  @Override
  public List<Verdict> judge(Session session, List<DraftTree> trees, List<Scores> scores) {
    List<Verdict> verdicts = exact.judge(session, trees, scores);
    int vocab = session.model().info().vocab();
    digests.add(digest(scores.get(0), 0, vocab));
    for (int i = 0; i < verdicts.get(0).acceptLen(); i++) {
      digests.add(digest(scores.get(0), verdicts.get(0).node(i), vocab));
    }
    return verdicts;
  }

  private static String digest(Scores scores, int node, int vocab) {
    float[] logits = new float[vocab];
    scores.logits(node, logits);
    ByteBuffer bits = ByteBuffer.allocate(4 * vocab);
    for (float logit : logits) {
      bits.putInt(Float.floatToRawIntBits(logit));
    }
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bits.array()));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }
}
