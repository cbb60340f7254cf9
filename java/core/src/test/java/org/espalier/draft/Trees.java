package org.espalier.draft;

import java.util.ArrayList;
import java.util.List;
import org.espalier.DraftTree;

/** Trees as lists, for assertions. */
final class Trees {
  private Trees() {}

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
