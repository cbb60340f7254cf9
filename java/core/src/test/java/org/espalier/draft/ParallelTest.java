package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.function.IntSupplier;
import java.util.function.IntUnaryOperator;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterException;
import org.espalier.GenerationCancelledException;
import org.espalier.Sampling;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The published trace and rates, with a scripted draft and a target that is known. */
@Timeout(60)
class ParallelTest {

  /** A draft whose token at a position is a function of the position; it notes what it is told. */
  private static final class Scripted implements Parallel.Draft {
    private final IntUnaryOperator tokenAt;
    private final List<Integer> s = new ArrayList<>();
    private final List<String> calls = new ArrayList<>();
    private boolean closed;

    Scripted(IntUnaryOperator tokenAt) {
      this.tokenAt = tokenAt;
    }

    @Override
    public int[] draft(
        int keep, int[] tail, Sampling sampling, boolean laws, int g, BooleanSupplier dropped) {
      assertThat(Thread.currentThread().getName()).isEqualTo(DraftThread.NAME);
      assertThat(keep).isLessThanOrEqualTo(s.size());
      s.subList(keep, s.size()).clear();
      Arrays.stream(tail).forEach(s::add);
      calls.add("keep " + keep + ", tail " + tail.length + ", g " + g);
      int[] d = new int[g];
      Arrays.setAll(d, i -> tokenAt.applyAsInt(s.size() + i));
      return d;
    }

    @Override
    public float[] law(int i) {
      throw new IllegalStateException("nothing was drawn");
    }

    @Override
    public void close() {
      closed = true;
    }
  }

  /** Decodes a known text; what was proposed and committed in each step. */
  private static final class Target {
    private final int[] text;
    private int verified;
    private int steps;
    private final List<Integer> treeSizes = new ArrayList<>();
    private final List<Integer> lengths = new ArrayList<>();

    Target(int prompt, int... text) {
      this.text = text;
      this.verified = prompt;
    }

    /** One pass: the longest prefix of the chain that is the text, and the token after it. */
    void step(Drafter drafter) {
      int[] s = Arrays.copyOf(text, verified);
      DraftTree tree =
          drafter.propose(new ListContext(64, Math.max(0, text.length - verified - 1), s));
      int node = 1;
      while (node < tree.size() && tree.token(node) == text[verified]) {
        node++;
        verified++;
      }
      verified++;
      steps++;
      treeSizes.add(tree.size());
      lengths.add(verified);
    }

    boolean done() {
      return verified >= text.length;
    }
  }

  private static Parallel drafter(Parallel.Draft draft, int g) {
    DraftThread thread = new DraftThread();
    thread.enter();
    return new Parallel(thread, draft, new Parallel.Pace(g));
  }

  private static long draftThreads() {
    return Thread.getAllStackTraces().keySet().stream()
        .filter(thread -> thread.getName().equals(DraftThread.NAME))
        .count();
  }

  @AfterEach
  void noThreadIsLeft() {
    assertThat(draftThreads()).isZero();
  }

  /**
   * The published trace, g = 2, |S| = 4: d4 is verified, then d5 while d6 is rejected. S has 5,
   * then 7 verified tokens; the target reads 1, then 2 tokens; the draft goes back to the 6 tokens
   * before the rejected one.
   */
  @Test
  void trace() {
    Scripted draft = new Scripted(position -> position == 6 ? 0 : 100 + position);
    Target target = new Target(4, 1, 2, 3, 4, 104, 105, 106, 107, 108, 109, 110, 111);
    try (Parallel drafter = drafter(draft, 2)) {
      target.step(drafter); // pre-verify: the root alone, its choice is d4
      target.step(drafter); // post-verify: d5 is right, d6 of the next block is not
      target.step(drafter); // pre-verify again
    }
    assertThat(target.treeSizes).containsExactly(1, 2, 1);
    assertThat(target.lengths).containsExactly(5, 7, 8);
    // The block in flight began after d5, so the draft held 8 tokens at most; 5 are as they were,
    // then come d5 anew and the target's token.
    assertThat(draft.calls)
        .containsExactly("keep 0, tail 4, g 2", "keep 4, tail 2, g 2", "keep 5, tail 2, g 2");
    assertThat(draft.closed).isTrue();
  }

  /** A draft that is always right: one token in the first pass, g in every other one. */
  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 5, 32})
  void rightDraftsAreNeverWaitedFor(int g) {
    int[] text = new int[1 + 1 + 6 * g];
    Arrays.setAll(text, i -> i);
    Scripted draft = new Scripted(position -> position);
    Target target = new Target(1, text);
    try (Parallel drafter = drafter(draft, g)) {
      while (!target.done()) {
        target.step(drafter);
      }
    }
    assertThat(target.steps).isEqualTo(7);
    assertThat(target.lengths.get(0)).isEqualTo(2);
    for (int step = 1; step < 7; step++) {
      assertThat(target.lengths.get(step)).isEqualTo(2 + step * g);
    }
  }

  /** A draft that is always wrong: one token in each pass, and a bare root. */
  @Test
  void wrongDraftsCostNothingButTheirTime() {
    int[] text = new int[30];
    Arrays.setAll(text, i -> i);
    Target target = new Target(3, text);
    try (Parallel drafter = drafter(new Scripted(position -> position + 1), 4)) {
      while (!target.done()) {
        target.step(drafter);
      }
    }
    assertThat(target.steps).isEqualTo(27);
    assertThat(target.treeSizes).containsOnly(1);
  }

  /**
   * Wrong at the n-th token of a block that is judged, right otherwise: the next pass is a root.
   */
  @ParameterizedTest
  @CsvSource({"4, 0", "4, 1", "4, 2", "4, 3", "2, 1", "1, 0"})
  void rejectionDropsTheBlockInFlight(int g, int n) {
    int[] text = new int[40];
    Arrays.setAll(text, i -> i);
    // The first pass verifies position 1; the second judges positions 2 .. g + 1.
    int wrong = 2 + n;
    Scripted draft = new Scripted(position -> position == wrong ? 99 : position);
    Target target = new Target(1, text);
    try (Parallel drafter = drafter(draft, g)) {
      target.step(drafter);
      target.step(drafter);
      assertThat(target.lengths).containsExactly(2, wrong + 1);
      target.step(drafter);
      assertThat(target.treeSizes.get(2)).isEqualTo(1);
      while (!target.done()) {
        target.step(drafter);
      }
    }
    assertThat(draft.s).isEqualTo(Arrays.stream(text).limit(draft.s.size()).boxed().toList());
  }

  /**
   * (1 - a^g) / ((1 - a)(1 - a^g + a)) tokens a step when a share a of the draft's tokens is right.
   */
  @ParameterizedTest
  @Timeout(300)
  @CsvSource({"0.8, 5, 2.283", "0.5, 2, 1.2", "0.9, 1, 1.0", "0.9, 5, 3.127", "0.6, 5, 1.515"})
  void rateIsTheOneOfTheModel(double a, int g, double rate) {
    double ag = Math.pow(a, g);
    double model = (1 - ag) / ((1 - a) * (1 - ag + a));
    assertThat(model).isCloseTo(rate, within(6e-4));
    Random random = new Random(7);
    // Each token is right or wrong once for all: drafted anew it is drafted after another text.
    int[] text = new int[1 << 10];
    long steps = 0;
    long tokens = 0;
    DraftThread thread = new DraftThread();
    thread.enter(); // so that it stays from one text to the next
    while (steps < 100_000) {
      thread.enter();
      Scripted draft = new Scripted(position -> random.nextDouble() < a ? 0 : 1);
      try (Parallel drafter = new Parallel(thread, draft, new Parallel.Pace(g))) {
        Target target = new Target(1, text);
        target.step(drafter); // no block is there yet
        while (text.length - target.verified > 4 * g) {
          int before = target.verified;
          target.step(drafter);
          tokens += target.verified - before;
          steps++;
          draft.calls.clear();
        }
      }
    }
    thread.leave();
    assertThat((double) tokens / steps).isCloseTo(model, within(0.01 * model));
  }

  private static DraftTree chain(int root, int tokens, IntSupplier token) {
    DraftTree chain = DraftTree.rootedAt(root);
    for (int i = 0; i < tokens; i++) {
      chain.append(token.getAsInt());
    }
    return chain;
  }

  /**
   * Drafting and judging in turns yields (1 - a^(g+1)) / (1 - a) tokens a step, which takes twice
   * as long when drafting g tokens takes as long as a pass of the target. The published comparison.
   */
  @ParameterizedTest
  @CsvSource({"0.8, 5, 1.845, 2.283", "0.9, 5, 2.343, 3.127", "0.6, 5, 1.192, 1.515"})
  void turnsYieldLess(double a, int g, double turns, double parallel) {
    double perStep = (1 - Math.pow(a, g + 1)) / (1 - a);
    assertThat(perStep / 2).isCloseTo(turns, within(6e-4));
    assertThat(parallel / turns).isGreaterThan(a == 0.8 ? 1.237 : 1.2);
    int[] text = new int[1 << 10];
    long steps = 0;
    long tokens = 0;
    Random random = new Random(7);
    Drafter chain = context -> chain(context.lastToken(), g, () -> random.nextDouble() < a ? 0 : 1);
    while (steps < 100_000) {
      Target target = new Target(1, text);
      while (text.length - target.verified > 4 * g) {
        int before = target.verified;
        target.step(chain);
        tokens += target.verified - before;
        steps++;
      }
    }
    assertThat((double) tokens / steps).isCloseTo(perStep, within(0.01 * perStep));
  }

  /** No token is proposed beyond what is wanted, and no block is begun that nobody can use. */
  @Test
  void budgetIsKept() {
    Scripted draft = new Scripted(position -> position);
    try (Parallel drafter = drafter(draft, 4)) {
      assertThat(drafter.propose(new ListContext(64, 0, 0)).size()).isEqualTo(1);
      assertThat(draft.calls).isEmpty();
      assertThat(drafter.propose(new ListContext(64, 2, 0)).size()).isEqualTo(1);
      assertThat(drafter.propose(new ListContext(64, 1, 0, 1)).size()).isEqualTo(2);
      assertThat(draft.calls).containsExactly("keep 0, tail 1, g 3");
    }
    Scripted one = new Scripted(position -> position);
    try (Parallel drafter = drafter(one, 4)) {
      drafter.propose(new ListContext(64, 64, 0));
      assertThat(drafter.propose(new ListContext(1, 64, 0, 1)).size()).isEqualTo(2);
      // The tree was cut to 0 1 | 2, so the next block begins with 3; it has a node to be judged.
      assertThat(Trees.tokens(drafter.propose(new ListContext(64, 64, 0, 1, 2, 3))))
          .containsExactly(3, 4);
      int asked = one.calls.size();
      assertThat(drafter.propose(new ListContext(0, 64, 0, 1, 2, 3, 4)).size()).isEqualTo(1);
      assertThat(one.calls).as("with a plain step nothing is drafted").hasSize(asked);
    }
  }

  /** What was drafted after a rejected token is dropped even where it fits by chance. */
  @Test
  void blockAfterARejectedTokenIsNotUsed() throws InterruptedException {
    Scripted draft = new Scripted(position -> position);
    try (Parallel drafter = drafter(draft, 2)) {
      drafter.propose(new ListContext(64, 64, 0));
      assertThat(Trees.tokens(drafter.propose(new ListContext(64, 64, 0, 1))))
          .containsExactly(1, 2);
      Thread.sleep(50); // the block 3 4, after 0 1 2, is there
      assertThat(drafter.propose(new ListContext(64, 64, 0, 1, 3)).size()).isEqualTo(1);
    }
  }

  /** A block that nobody can use is not waited for. */
  @Test
  @Timeout(10)
  void blockAfterARejectedTokenIsNotWaitedFor() {
    int[] calls = {0};
    Parallel.Draft slow =
        new Parallel.Draft() {
          @Override
          public int[] draft(
              int keep, int[] tail, Sampling sampling, boolean laws, int g, BooleanSupplier drop) {
            while (calls[0] == 1 && !drop.getAsBoolean()) {
              Thread.onSpinWait(); // the second block takes until it is dropped
            }
            calls[0]++;
            return new int[] {1, 2};
          }

          @Override
          public float[] law(int i) {
            throw new IllegalStateException("nothing was drawn");
          }

          @Override
          public void close() {}
        };
    try (Parallel drafter = drafter(slow, 2)) {
      drafter.propose(new ListContext(64, 64, 0));
      assertThat(Trees.tokens(drafter.propose(new ListContext(64, 64, 0, 1))))
          .containsExactly(1, 2);
      assertThat(drafter.propose(new ListContext(64, 64, 0, 1, 9)).size()).isEqualTo(1);
    }
  }

  @Test
  void paceIsTheRatioOfTheTimes() {
    Parallel.Pace pace = new Parallel.Pace(0);
    assertThat(pace.g(1)).isEqualTo(4);
    pace.targetTook(1000);
    pace.drafted(4, 800);
    assertThat(pace.g(1)).isEqualTo(5);
    assertThat(pace.g(5)).isEqualTo(1);
    pace.targetTook(10_000);
    assertThat(pace.g(1)).isEqualTo(14);
    pace.targetTook(1_000_000);
    assertThat(pace.g(1)).isEqualTo(32);
    assertThat(new Parallel.Pace(7).g(3)).isEqualTo(7);
  }

  /** What went wrong on the draft thread is told by the next propose, whoever needed the block. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void failureOfTheDraftIsNamed(boolean needed) throws Exception {
    CountDownLatch thrown = new CountDownLatch(1);
    Parallel.Draft broken =
        new Parallel.Draft() {
          @Override
          public int[] draft(
              int keep, int[] tail, Sampling sampling, boolean laws, int g, BooleanSupplier drop) {
            thrown.countDown();
            throw new IllegalArgumentException("no more paper");
          }

          @Override
          public float[] law(int i) {
            throw new IllegalStateException("nothing was drawn");
          }

          @Override
          public void close() {}
        };
    try (Parallel drafter = drafter(broken, 2)) {
      drafter.propose(new ListContext(64, 64, 1));
      assertThat(thrown.await(10, java.util.concurrent.TimeUnit.SECONDS)).isTrue();
      ListContext next = needed ? new ListContext(64, 64, 1, 2) : new ListContext(64, 64, 1);
      for (int i = 0; i < 2; i++) {
        // The block may end after its failure is noted; asked again it has.
        Thread.sleep(20);
        assertThatThrownBy(() -> drafter.propose(next))
            .isInstanceOf(DrafterException.class)
            .hasMessageContaining("drafter parallel: the draft failed: ")
            .hasMessageContaining("no more paper")
            .hasCauseInstanceOf(IllegalArgumentException.class);
      }
    }
  }

  /** Closed in the middle of a block: the block is dropped, the draft closed, the thread ended. */
  @Test
  void closeEndsABlockInFlight() throws Exception {
    CountDownLatch started = new CountDownLatch(1);
    AtomicInteger drafted = new AtomicInteger();
    Parallel.Draft endless =
        new Parallel.Draft() {
          @Override
          public int[] draft(
              int keep, int[] tail, Sampling sampling, boolean laws, int g, BooleanSupplier drop) {
            started.countDown();
            while (!drop.getAsBoolean()) {
              Thread.onSpinWait();
            }
            drafted.incrementAndGet();
            return tail;
          }

          @Override
          public float[] law(int i) {
            throw new IllegalStateException("nothing was drawn");
          }

          @Override
          public void close() {
            drafted.addAndGet(10);
          }
        };
    Parallel drafter = drafter(endless, 2);
    drafter.propose(new ListContext(64, 64, 1));
    started.await();
    assertThat(draftThreads()).isEqualTo(1);
    // An interrupted wait is a cancel; the interrupt stays.
    Thread.currentThread().interrupt();
    assertThatThrownBy(() -> drafter.propose(new ListContext(64, 64, 1, 2)))
        .isInstanceOf(GenerationCancelledException.class);
    drafter.close();
    drafter.close();
    assertThat(Thread.interrupted()).isTrue();
    assertThat(drafted.get()).isEqualTo(11);
    assertThat(draftThreads()).isZero();
  }

  /** Two drafters share the thread; it ends with the last of them. */
  @Test
  void threadEndsWithItsLastUser() {
    DraftThread thread = new DraftThread();
    thread.enter();
    thread.enter();
    Parallel one = new Parallel(thread, new Scripted(p -> p), new Parallel.Pace(2));
    Parallel two = new Parallel(thread, new Scripted(p -> p), new Parallel.Pace(2));
    one.propose(new ListContext(64, 64, 0));
    two.propose(new ListContext(64, 64, 0));
    one.close();
    assertThat(draftThreads()).isEqualTo(1);
    assertThat(two.propose(new ListContext(64, 64, 0, 1)).size()).isEqualTo(2);
    two.close();
    assertThat(draftThreads()).isZero();
    thread.enter();
    Parallel three = new Parallel(thread, new Scripted(p -> p), new Parallel.Pace(2));
    three.propose(new ListContext(64, 64, 0));
    three.close();
  }

  @Test
  void parametersAreChecked() {
    assertThatThrownBy(() -> new ParallelDrafts("tiny-java-draft", 33, 0))
        .hasMessage("gamma = 33, expected 0 to 32");
    assertThatThrownBy(() -> new ParallelDrafts("tiny-java-draft", -1, 0))
        .hasMessage("gamma = -1, expected 0 to 32");
    assertThatThrownBy(() -> new ParallelDrafts("tiny-java-draft", 0, 1025))
        .hasMessage("threads = 1025, expected 0 to 1024");
  }
}
