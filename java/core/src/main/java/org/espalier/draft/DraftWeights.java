package org.espalier.draft;

import java.util.Optional;
import org.espalier.Model;
import org.espalier.ModelOptions;
import org.jspecify.annotations.Nullable;

/** A draft model, loaded when it is asked for first. */
final class DraftWeights implements AutoCloseable {
  private final String nameOrDir;
  private @Nullable Model model;
  private boolean closed;

  /** A model that is not loaded yet: an embedded model's name, or a folder. */
  DraftWeights(String nameOrDir) {
    this.nameOrDir = nameOrDir;
  }

  /**
   * The model, for a target.
   *
   * @param options with which it is loaded
   * @throws IllegalArgumentException when its tokens are not those of the target
   */
  synchronized Model open(Model target, ModelOptions options) {
    if (closed) {
      throw new IllegalStateException("the draft model " + nameOrDir + " is closed");
    }
    if (model == null) {
      model = Model.open(nameOrDir, options);
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
  public synchronized void close() {
    closed = true;
    if (model != null) {
      model.close();
    }
  }
}
