package org.espalier.draft;

import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Session;

/** Plain decoding: the tree is its root. The baseline that the others are measured against. */
public final class NoDraft implements Drafter {
  private final DraftTree tree = DraftTree.rootedAt(0);

  /** The factory of drafters that propose nothing. */
  public static DrafterFactory factory() {
    return new Factory();
  }

  /** Makes drafters that propose nothing. */
  static final class Factory implements DrafterFactory {
    @Override
    public Drafter create(Session session) {
      return new NoDraft();
    }

    @Override
    public String name() {
      return "none";
    }
  }

  @Override
  public DraftTree propose(Context context) {
    tree.reset(context.lastToken());
    return tree;
  }
}
