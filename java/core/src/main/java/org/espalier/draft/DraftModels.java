package org.espalier.draft;

import java.util.Optional;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Model;
import org.espalier.Session;
import org.jspecify.annotations.Nullable;

/**
 * A small model with the same tokenizer drafts a chain or a tree, see {@link FixedTree}. It is
 * loaded on first use.
 *
 * <p>Use it when there is such a model. A step costs gamma passes of it and one of the target, and
 * commits 1 to gamma + 1 tokens; the draft keeps a KV cache of its own.
 */
public final class DraftModels implements DrafterFactory {
  private final String nameOrDir;
  private final int gamma;
  private final int width;
  private @Nullable Model model;
  private boolean closed;

  /**
   * A factory.
   *
   * @param nameOrDir an embedded model's name, or a folder
   * @param gamma depth of a draft, 1 to 32
   * @param width 1 for a chain; children of a node, 2 to 8, for a tree
   */
  public DraftModels(String nameOrDir, int gamma, int width) {
    this.nameOrDir = nameOrDir;
    this.gamma = Checks.inRange("gamma", gamma, 1, 32);
    this.width = Checks.inRange("width", width, 1, 8);
  }

  @Override
  public Drafter create(Session session) {
    TreePolicy policy = new FixedTree(gamma, width);
    Model draft = draftOf(session.model());
    return new TreeDrafter(new DraftCache(draft, session, policy.mostNodes()), policy);
  }

  private synchronized Model draftOf(Model target) {
    if (closed) {
      throw new IllegalStateException("the draft model " + nameOrDir + " is closed");
    }
    if (model == null) {
      model = Model.open(nameOrDir, target.options());
    }
    check(model, target);
    return model;
  }

  private void check(Model draft, Model target) {
    if (draft.info().vocab() != target.info().vocab()) {
      throw new IllegalArgumentException(
          "draft model "
              + nameOrDir
              + ": vocab = "
              + draft.info().vocab()
              + ", expected "
              + target.info().vocab()
              + ", as the target has");
    }
    Optional<Boolean> same =
        draft.findTokenizer().flatMap(d -> target.findTokenizer().map(t -> d.sameVocabulary(t)));
    if (!same.orElse(true)) {
      throw new IllegalArgumentException(
          "draft model " + nameOrDir + " has another tokenizer, expected the tokens of " + target);
    }
  }

  @Override
  public String name() {
    return "draft-model";
  }

  @Override
  public synchronized void close() {
    closed = true;
    if (model != null) {
      model.close();
    }
  }
}
