package org.espalier;

/**
 * Proposes tokens for one sequence. An open interface: a drafter may be wrong as often as it likes,
 * it changes the speed and not the text. One drafter serves one sequence, on the thread of its
 * generation.
 */
@FunctionalInterface
public interface Drafter extends AutoCloseable {
  /** No hidden states. */
  int[] NO_LAYERS = {};

  /**
   * The draft tree of the next step. Its root is {@link Context#lastToken}; it keeps to {@link
   * Context#maxNodes} and {@link Context#maxDepth}. The tree is read before the next call, so it
   * may be the same object each time. For a step that is plain neither it nor {@link #observe} is
   * called, see {@link #learnsFromPlainSteps}.
   */
  DraftTree propose(Context context);

  /**
   * Learns from a step, after it was committed.
   *
   * @param verdict what was accepted of the proposed tree
   * @param scores of the tree's nodes, with the top tokens that {@link #topK} asks for
   */
  default void observe(Verdict verdict, Scores scores) {}

  /**
   * Most likely next tokens that {@link #observe} wants to see for each node, 0 to 64; asked after
   * each {@link #propose}.
   */
  default int topK() {
    return 0;
  }

  /**
   * Layers whose states the target's passes keep for {@link #observe}: 0 for the embedding, i for
   * the output of layer i. Each costs a session {@code maxNodes * hidden * 4} bytes, once.
   */
  default int[] hiddenLayers() {
    return NO_LAYERS;
  }

  /** Most laws that one tree's tokens are drawn from: rows of {@link DraftLaws}. */
  default int lawRows() {
    return 0;
  }

  /** What it promises together with the exact verifier. */
  default Exactness exactness() {
    return Exactness.LOSSLESS;
  }

  /**
   * Whether it is to be called in plain steps too, with {@link Context#maxNodes} 0. For drafters
   * that learn from the text as it comes, at a cost that is nothing beside a pass of the target.
   */
  default boolean learnsFromPlainSteps() {
    return false;
  }

  /**
   * Whether {@link #propose} may be called more than once before a step, the last tree being the
   * one that is sent, at a cost that is nothing beside a pass of the target. So trees can be
   * drafted just to see how far the text follows them.
   */
  default boolean mayBeAskedTwice() {
    return false;
  }

  /** The name in error messages. */
  default String describe() {
    return getClass().getName();
  }

  /** Frees what the drafter holds for its sequence. */
  @Override
  default void close() {}
}
