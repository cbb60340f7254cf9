package org.espalier.draft;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.espalier.DraftTree;
import org.espalier.Verdict;

/** Trees as lists, for assertions, and verdicts of chains. */
final class Trees {
  private Trees() {}

  /** The first nodes of a chain are accepted, so many. */
  static Verdict acceptedOfChain(int accepted) {
    int[] path = new int[accepted];
    Arrays.setAll(path, i -> i + 1);
    return Verdict.of(path, 0);
  }

  static List<Integer> tokens(DraftTree tree) {
    List<Integer> tokens = new ArrayList<>();
    for (int i = 0; i < tree.size(); i++) {
      tokens.add(tree.token(i));
    }
    return tokens;
  }

  static List<Integer> parents(DraftTree tree) {
    List<Integer> parents = new ArrayList<>();
    for (int i = 0; i < tree.size(); i++) {
      parents.add(tree.parent(i));
    }
    return parents;
  }
}
