package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import org.espalier.DraftTree;
import org.espalier.GenerationOptions;
import org.espalier.LayerSet;
import org.espalier.Model;
import org.espalier.ModelOptions;
import org.espalier.OutOfDeviceMemoryException;
import org.espalier.Scores;
import org.espalier.Sequence;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.TokenStream;
import org.espalier.Verdict;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/**
 * Lifetimes, threads and arguments: each mistake is an exception that names it, none is a crash.
 */
class SessionTest {

  private static List<Scores> oneNode(Session session, Sequence sequence, int token) {
    return session.forward(List.of(sequence), List.of(DraftTree.rootedAt(token)), 0);
  }

  @Test
  void useAfterCloseIsRefused() {
    Session session = Fixtures.draft().newSession();
    Sequence sequence = session.newSequence();
    List<Scores> scores = oneNode(session, sequence, 5);
    session.close();
    session.close();
    sequence.close();
    assertThatThrownBy(session::newSequence)
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("the session is closed");
    assertThatThrownBy(() -> oneNode(session, sequence, 5))
        .isInstanceOf(IllegalStateException.class);
    assertThatThrownBy(session::verify).isInstanceOf(IllegalStateException.class);
    assertThatThrownBy(() -> scores.get(0).logits(0, new float[2048]))
        .isInstanceOf(IllegalStateException.class);
    assertThatThrownBy(() -> sequence.rollback(0)).isInstanceOf(IllegalStateException.class);
    assertThatThrownBy(sequence::fork).isInstanceOf(IllegalStateException.class);
  }

  @Test
  void closedSequenceIsRefused() {
    try (Session session = Fixtures.draft().newSession()) {
      Sequence sequence = session.newSequence();
      sequence.close();
      sequence.close();
      assertThatThrownBy(() -> sequence.prefill(new int[] {1}))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("the sequence is closed");
    }
  }

  /** A model that is closed makes nothing new; sessions that are open keep its weights. */
  @Test
  void modelClosesAfterItsSessions() {
    Model model = Model.embedded("tiny-java-draft", ModelOptions.defaults());
    Session session = model.newSession();
    TokenStream begun = model.generate("int", GenerationOptions.defaults());
    begun.next();
    model.close();
    model.close();
    assertThatThrownBy(begun::result)
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("the tokenizer's model is closed");
    assertThatThrownBy(model::newSession)
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("is closed");
    assertThatThrownBy(model::tokenizer).isInstanceOf(IllegalStateException.class);
    assertThatThrownBy(() -> model.generate("int", GenerationOptions.defaults()))
        .isInstanceOf(IllegalStateException.class);
    try (session) {
      Sequence sequence = session.newSequence();
      assertThat(oneNode(session, sequence, 5)).hasSize(1);
      assertThat(session.verify().get(0).acceptLen()).isZero();
    }
  }

  /** The second thread is told while the first one computes. */
  @Test
  @Timeout(60)
  void secondThreadIsRefused() throws InterruptedException {
    try (Session session = Fixtures.tinyJava().newSession();
        Sequence sequence = session.newSequence()) {
      AtomicReference<Throwable> seen = new AtomicReference<>();
      CountDownLatch begun = new CountDownLatch(1);
      Thread intruder =
          new Thread(
              () -> {
                begun.countDown();
                while (seen.get() == null && !Thread.currentThread().isInterrupted()) {
                  try {
                    session.verify();
                  } catch (IllegalStateException e) {
                    if (String.valueOf(e.getMessage()).contains("another thread")) {
                      seen.set(e);
                    }
                  }
                }
              });
      intruder.start();
      begun.await();
      int[] tokens = new int[64];
      for (int i = 0; i < 200 && seen.get() == null; i++) {
        try {
          sequence.prefill(tokens);
          sequence.rollback(0);
        } catch (IllegalStateException e) {
          seen.compareAndSet(null, e); // it may as well be this thread that is told
        }
      }
      intruder.interrupt();
      intruder.join();
      assertThat(seen.get())
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("the session is in use by another thread, expected one thread at a time");
      sequence.rollback(0);
      assertThat(oneNode(session, sequence, 5)).hasSize(1);
    }
  }

  @Test
  void badArgumentsAreNamed() {
    try (Session session = Fixtures.draft().newSession(SessionOptions.defaults().withMaxNodes(8));
        Session other = Fixtures.draft().newSession()) {
      Sequence sequence = session.newSequence();
      DraftTree root = DraftTree.rootedAt(5);
      DraftTree large = DraftTree.rootedAt(5);
      for (int i = 0; i < 8; i++) {
        large.append(0, i);
      }
      refused("trees = 0", () -> session.forward(List.of(), List.of(), 0));
      refused("trees = 1", () -> session.forward(List.of(sequence, sequence), List.of(root), 0));
      refused("topK = 65", () -> session.forward(List.of(sequence), List.of(root), 65));
      refused("topK = -1", () -> session.forward(List.of(sequence), List.of(root), -1));
      refused(
          "another session", () -> session.forward(List.of(other.newSequence()), List.of(root), 0));
      refused("seq[1]", () -> session.forward(List.of(sequence, sequence), List.of(root, root), 0));
      refused("tree_begin[1] = 9", () -> session.forward(List.of(sequence), List.of(large), 0));
      refused("token[0] = 2048", () -> oneNode(session, sequence, 2048));
      refused("token[0] = -1", () -> oneNode(session, sequence, -1));
      refused("token[1] = 4000", () -> sequence.prefill(new int[] {1, 4000}));
      refused("num_tokens = 1025", () -> sequence.prefill(new int[1025]));
      refused("length = 1", () -> sequence.rollback(1));
      refused("length = -1", () -> sequence.rollback(-1));
      assertThatThrownBy(session::verify)
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("no scores");

      Scores scores = oneNode(session, sequence, 5).get(0);
      refused("node = 1", () -> scores.logits(1, new float[2048]));
      refused("logits has 7 elements, expected 2048", () -> scores.logits(0, new float[7]));
      refused("layer = 1", () -> scores.hidden(1, 0, new float[session.model().info().hidden()]));
      refused("verdicts = 0", () -> session.commit(List.of()));
      refused("acceptLen = 1", () -> session.commit(List.of(Verdict.of(new int[] {1}, 0))));
      refused("layer[0] = 99", () -> session.keepHidden(99));
      assertThat(sequence.length()).isZero();
      oneNode(session, sequence, 5);
      session.commit(session.verify());
      assertThat(sequence.length()).isEqualTo(1);
    }
  }

  private static void refused(String message, Executable call) {
    assertThatThrownBy(call::execute)
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining(message);
  }

  /** Pages are used up by too many sequences; after one is closed there is room again. */
  @Test
  void usedUpPagesAreNamed() {
    SessionOptions small = SessionOptions.defaults().withMaxTokens(32).withMaxNodes(16);
    try (Session session = Fixtures.draft().newSession(small)) {
      Sequence first = session.newSequence();
      first.prefill(new int[30]);
      Sequence second = session.newSequence();
      assertThatThrownBy(
              () -> {
                for (int i = 0; i < 10; i++) {
                  second.prefill(new int[30]);
                }
              })
          .isInstanceOf(OutOfDeviceMemoryException.class)
          .hasMessageContaining("pages");
      first.close();
      second.rollback(0);
      second.prefill(new int[30]);
      assertThat(second.length()).isEqualTo(30);
    }
  }

  /**
   * The state of the last layer, normed and multiplied with the LM head, is where logits come from;
   * here: it is there.
   */
  @Test
  void hiddenStatesOfChosenLayers() {
    try (Session session = Fixtures.draft().newSession()) {
      int hidden = session.model().info().hidden();
      int last = session.model().info().numLayers();
      session.keepHidden(0, last);
      Sequence sequence = session.newSequence();
      DraftTree tree = DraftTree.rootedAt(5);
      tree.append(9);
      Scores scores = session.forward(List.of(sequence), List.of(tree), 0).get(0);
      float[] embedding = new float[hidden];
      float[] other = new float[hidden];
      float[] state = new float[hidden];
      scores.hidden(0, 0, embedding);
      scores.hidden(0, 1, other);
      scores.hidden(last, 0, state);
      assertThat(embedding).isNotEqualTo(other).isNotEqualTo(state);
      session.commit(List.of(Verdict.of(new int[0], 0)));
      Scores again = oneNode(session, sequence, 9).get(0);
      float[] alone = new float[hidden];
      again.hidden(0, 0, alone);
      assertThat(alone).isEqualTo(other);
    }
  }

  /** Draft passes on the target's own sequence: they grow, and leave nothing behind. */
  @Test
  void draftPassGrowsAndLeavesTheSequenceAsItIs() {
    try (Session session = Fixtures.tinyJava().newSession()) {
      int layers = session.model().info().numLayers();
      int vocab = session.model().info().vocab();
      Sequence sequence = session.newSequence();
      sequence.prefill(new int[] {5, 9, 11});
      DraftTree tree = DraftTree.rootedAt(7);
      LayerSet half = LayerSet.first(layers / 2, layers);
      Scores scores = session.forward(List.of(sequence), List.of(tree), 0, half).get(0);
      tree.append(8);
      tree.append(0, 9);
      assertThat(session.grow(tree).numNodes()).isEqualTo(3);
      float[] grown = new float[vocab];
      scores.logits(2, grown);
      assertThatThrownBy(session::verify)
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("left out layers");
      session.forward(List.of(sequence), List.of(tree), 0, half);
      float[] whole = new float[vocab];
      scores.logits(2, whole);
      assertThat(grown).isEqualTo(whole);
      refused("expected the 3 of the last pass", () -> session.grow(DraftTree.rootedAt(7)));
      refused(
          "as the model has",
          () -> session.forward(List.of(sequence), List.of(tree), 0, LayerSet.first(1, 2)));
      refused("layers = 0", () -> LayerSet.first(0, layers));
      refused("leaves out all of 1 layers", () -> LayerSet.without(List.of(0), List.of(0), 1));
      assertThat(LayerSet.without(List.of(1), List.of(), 3).attentionLeftOut()).containsExactly(1);

      // The exit after half of the layers says what the draft pass said.
      session.keepHidden(layers / 2);
      session.forward(List.of(sequence), List.of(tree), 0);
      session.commit(List.of(Verdict.of(new int[] {1}, 0)));
      int[] token = new int[1];
      scores.exits(new int[] {layers / 2}, new int[] {2}, 1, token, new float[1]);
      int best = 0;
      for (int i = 0; i < vocab; i++) {
        best = whole[i] > whole[best] ? i : best;
      }
      assertThat(token[0]).isEqualTo(best);
      assertThat(sequence.length()).isEqualTo(5);
    }
  }

  /** Two generations on two threads share a model. */
  @Test
  @Timeout(120)
  void modelIsSharedByThreads() throws InterruptedException {
    GenerationOptions options = GenerationOptions.defaults().withMaxNewTokens(30);
    List<Integer> expected = Fixtures.draft().generate("public int ", options).result().tokenIds();
    AtomicReference<List<Integer>> other = new AtomicReference<>(List.of());
    Thread thread =
        new Thread(
            () -> {
              try (TokenStream tokens = Fixtures.draft().generate("public int ", options)) {
                other.set(tokens.result().tokenIds());
              }
            });
    thread.start();
    List<Integer> mine = Fixtures.draft().generate("public int ", options).result().tokenIds();
    thread.join();
    assertThat(mine).isEqualTo(expected);
    assertThat(other.get()).isEqualTo(expected);
  }
}
