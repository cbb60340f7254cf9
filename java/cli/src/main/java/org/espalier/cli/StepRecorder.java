package org.espalier.cli;

import java.util.ArrayList;
import java.util.List;
import org.espalier.DraftTree;
import org.espalier.Exactness;
import org.espalier.Scores;
import org.espalier.Session;
import org.espalier.Verdict;
import org.espalier.Verifier;

/** Judges as another verifier does and remembers the trees and verdicts of one sequence. */
final class StepRecorder implements Verifier {
  /** One step: the draft tree, its accepted nodes in order, and the model's own token. */
  record Step(List<Integer> token, List<Integer> parent, List<Integer> path, int bonus) {}

  private final Verifier verifier;
  private final List<Step> steps = new ArrayList<>();

  StepRecorder(Verifier verifier) {
    this.verifier = verifier;
  }

  List<Step> steps() {
    return List.copyOf(steps);
  }

  @Override
  public List<Verdict> judge(Session session, List<DraftTree> trees, List<Scores> scores) {
    List<Verdict> verdicts = verifier.judge(session, trees, scores);
    DraftTree tree = trees.get(0);
    Verdict verdict = verdicts.get(0);
    List<Integer> token = new ArrayList<>();
    List<Integer> parent = new ArrayList<>();
    for (int i = 0; i < tree.size(); i++) {
      token.add(tree.token(i));
      parent.add(tree.parent(i));
    }
    List<Integer> path = new ArrayList<>();
    for (int i = 0; i < verdict.acceptLen(); i++) {
      path.add(verdict.node(i));
    }
    steps.add(new Step(token, parent, path, verdict.bonus()));
    return verdicts;
  }

  @Override
  public String name() {
    return verifier.name();
  }

  @Override
  public Exactness exactness() {
    return verifier.exactness();
  }

  @Override
  public boolean needsLaws() {
    return verifier.needsLaws();
  }
}
