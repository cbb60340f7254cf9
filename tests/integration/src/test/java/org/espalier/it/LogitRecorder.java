package org.espalier.it;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.espalier.DraftTree;
import org.espalier.Exactness;
import org.espalier.Scores;
import org.espalier.Session;
import org.espalier.Verdict;
import org.espalier.Verifier;
import org.espalier.verify.ExactVerifier;

/**
 * The exact verifier, which also keeps the logits of the root and of every accepted node, in order.
 */
final class LogitRecorder implements Verifier {
  private final Verifier exact = new ExactVerifier();

  /** Logits after the n-th token that went through the model, for each tree of the batch. */
  private final Map<Integer, Map<Integer, float[]>> logits = new HashMap<>();

  /** Logits of tree b, by number of the token. */
  Map<Integer, float[]> logits(int b) {
    return logits.getOrDefault(b, Map.of());
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
    for (int b = 0; b < trees.size(); b++) {
      record(b, 0, session, scores.get(b));
      for (int i = 0; i < verdicts.get(b).acceptLen(); i++) {
        record(b, verdicts.get(b).node(i), session, scores.get(b));
      }
    }
    return verdicts;
  }

  private void record(int b, int node, Session session, Scores scores) {
    float[] row = new float[session.model().info().vocab()];
    scores.logits(node, row);
    Map<Integer, float[]> ofTree = logits.computeIfAbsent(b, key -> new HashMap<>());
    ofTree.put(ofTree.size(), row);
  }
}
