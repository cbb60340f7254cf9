package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayDeque;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import java.util.function.DoubleSupplier;
import java.util.function.IntToDoubleFunction;
import org.espalier.Verdict;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** On machines and drafters that are made up, with times that nobody waits for. */
class MeasuredSizeTest {
  private static final int MOST_NODES = 512;
  private static final double PLAIN = 1e6;

  /** What a tree costs that is not sent. */
  private static final double PEEK = 0.01 * PLAIN;

  /** Where a row costs 60 % of a pass. */
  private static double boundByArithmetic(int n) {
    return PLAIN * (1 + 0.6 * (n - 1));
  }

  /** Where a row costs 1 % of a pass. */
  private static double boundByMemory(int n) {
    return PLAIN * (1 + 0.01 * (n - 1));
  }

  /** Where rows are computed 8 at a time. */
  private static double inTiles(int n) {
    int tiles = (n + 7) / 8;
    return PLAIN * (0.7 + 0.3 * tiles);
  }

  private static double inWholeTiles(int n) {
    int tiles = (n + 7) / 8;
    return PLAIN * tiles;
  }

  /** Of 5 million parameters on two cores: the second row is cheap, the third is not. */
  private static double smallModel(int n) {
    return PLAIN * (n == 1 ? 1 : n == 2 ? 1.2 : 1.6 + 0.2 * (n - 3));
  }

  /** A machine, a drafter and the time that has passed. */
  private static final class World {
    final Random random;
    IntToDoubleFunction pass = MeasuredSizeTest::boundByMemory;
    IntToDoubleFunction draft = n -> 0;

    /** Share of the tokens that are foreseen. */
    double alpha;

    /** The same after one that was not: below alpha, there are runs. */
    double start = -1;

    /** Which tokens from `at` on are foreseen, as far as anybody looked. */
    final ArrayDeque<Boolean> foreseen = new ArrayDeque<>();

    boolean last;

    /** The tree that was looked at, and tokens until the text leaves it. */
    int peekSent;

    int peeked;
    int peekNodes;
    int peekAccepted;
    int peekLeft;

    /** Share of the steps in which the drafter finds something. */
    double found = 1;

    /** What the first draft after a plain step takes more. */
    double catchUp;

    /** Drafts that take five times as long: code is still being compiled. */
    int cold;

    /** What the first two passes with another size take, over the next ones. */
    double unsettled = 1;

    int lastAllowed;
    int sameSteps;

    /** What a pass takes while the machine is slow, which it is half of the time. */
    double slow = 1;

    boolean isSlow;

    /** What the first eight passes of a text take, over the next ones. */
    double slowStart = 1;

    int textSteps;

    /** Time of all steps without either, with slow spells, and what slow starts took. */
    double usualNanos;

    double slowNanos;
    double startNanos;

    int longest = 64;
    double noise;
    double nanos;
    long tokens;
    long asked;
    boolean drafting;

    /** Whether trees that are not sent are looked at. */
    boolean peeks;

    World(long seed) {
      random = new Random(seed);
    }

    World with(IntToDoubleFunction itsPass, double itsAlpha) {
      pass = itsPass;
      alpha = itsAlpha;
      return this;
    }

    /** With a draft model of depth 4. */
    World withDraftModel(IntToDoubleFunction itsPass, double itsAlpha) {
      draft = n -> 0.26 * PLAIN * (n - 1);
      longest = 5;
      return with(itsPass, itsAlpha);
    }

    double disturbance() {
      double spike = random.nextInt(50) == 0 ? 5 : 0;
      return 1 + noise * (random.nextDouble() + spike);
    }

    /** Sequences, all of which fare like the first one. */
    int batch = 1;

    void step(TreeSize size, Object drafter) {
      int allowed = size.next(drafter, batch);
      boolean drafts = allowed > 1;
      boolean finds = random.nextDouble() < found;
      int nodes = finds ? Math.min(allowed, longest) : 1;
      int accepted = accepted(nodes);
      double disturbance = disturbance();
      boolean resumed = drafts && !drafting;
      double draftNanos = drafts ? disturbance * draft.applyAsDouble(nodes) : 0;
      draftNanos *= asked < cold ? 5 : 1;
      draftNanos += resumed ? catchUp : 0;
      sameSteps = allowed == lastAllowed ? sameSteps + 1 : 0;
      lastAllowed = allowed;
      double passNanos = disturbance * pass.applyAsDouble(batch * nodes) + (batch - 1) * draftNanos;
      passNanos *= sameSteps < 2 ? unsettled : 1;
      double before = draftNanos + passNanos;
      isSlow ^= slow > 1 && random.nextInt(200) == 0;
      passNanos *= isSlow ? slow : 1;
      draftNanos *= isSlow ? slow : 1;
      usualNanos += before;
      slowNanos += draftNanos + passNanos;
      if (textSteps++ < 8) {
        startNanos += (slowStart - 1) * passNanos;
        passNanos *= slowStart;
      }
      drafting = drafts;
      int peek = peek(size, drafter, allowed, finds);
      for (int i = 0; i < accepted + 1; i++) {
        foreseen.remove();
      }
      peekLeft -= accepted + 1;
      nanos += draftNanos + passNanos;
      tokens += accepted + 1;
      asked += drafts ? 1 : 0;
      Verdict verdict = Trees.acceptedOfChain(accepted);
      size.observe(drafter, allowed, nodes, resumed, verdict, draftNanos, passNanos);
      nanos += peek > allowed ? PEEK : 0;
    }

    /** Nodes of a tree that is looked at; what the last one showed is told when it has ended. */
    private int peek(TreeSize size, Object drafter, int allowed, boolean finds) {
      if (peeks && peekLeft <= 0 && peeked > 0) {
        size.peeked(peekSent, peeked, peekNodes, Trees.acceptedOfChain(peekAccepted), PEEK);
        peeked = 0;
      }
      int peek = peeks && peekLeft <= 0 ? size.peek(drafter, allowed) : 0;
      if (peek > allowed) {
        peekSent = allowed;
        peeked = peek;
        peekNodes = finds ? Math.min(peek, longest) : 1;
        peekAccepted = accepted(peekNodes);
        peekLeft = peekAccepted + 1;
      }
      return peek;
    }

    /** What of a chain would be accepted. */
    private int accepted(int nodes) {
      while (foreseen.size() < nodes) {
        last = random.nextDouble() < (last || start < 0 ? alpha : start);
        foreseen.add(last);
      }
      int accepted = 0;
      for (boolean isForeseen : foreseen) {
        if (!isForeseen || accepted + 1 >= nodes) {
          break;
        }
        accepted++;
      }
      return accepted;
    }

    /** Nanoseconds for each token until so many more are there. */
    double run(TreeSize size, int moreTokens) {
      double before = nanos;
      long from = tokens;
      while (tokens < from + moreTokens) {
        step(size, this);
      }
      return (nanos - before) / (tokens - from);
    }

    /** Sixty texts of 128 tokens, each with an acceptance of its own; times are known. */
    void runTexts(DoubleSupplier alphaOfText) {
      MeasuredSize size = new MeasuredSize(known(pass), MOST_NODES);
      for (int text = 0; text < 60; text++) {
        alpha = alphaOfText.getAsDouble();
        drafting = false;
        textSteps = 0;
        run(size, 128);
        size.leave(this);
      }
    }

    /** Nanoseconds for each token with trees of at most n nodes. */
    double fixed(int n) {
      double expected = 1;
      for (int i = 1; i < Math.min(n, longest); i++) {
        expected += found * Math.pow(alpha, i);
      }
      double full = pass.applyAsDouble(n) + (n > 1 ? draft.applyAsDouble(n) : 0);
      double bare = pass.applyAsDouble(1) + (n > 1 ? draft.applyAsDouble(1) : 0);
      double mean = 1 + noise * (0.5 + 0.1);
      return mean * (found * full + (1 - found) * bare) / expected;
    }

    double bestFixed() {
      double least = Double.MAX_VALUE;
      for (int n = 1; n <= longest; n++) {
        least = Math.min(least, fixed(n));
      }
      return least;
    }
  }

  private static MeasuredSize unknown() {
    return new MeasuredSize(new TimeCurve(), MOST_NODES);
  }

  /** What a machine's passes take, as a file would tell it. */
  private static TimeCurve known(IntToDoubleFunction pass) {
    TimeCurve curve = new TimeCurve();
    for (int i = 0; i < TimeCurve.numSizes(); i++) {
      curve.begin(i, pass.applyAsDouble(TimeCurve.size(i)));
    }
    return curve;
  }

  @ParameterizedTest
  @ValueSource(doubles = {0, 0.2, 0.4, 0.55})
  void whereNoTreePaysDecodingIsPlain(double alpha) {
    for (long seed = 1; seed <= 20; seed++) {
      World world = new World(seed).with(MeasuredSizeTest::boundByArithmetic, alpha);
      double perToken = world.run(unknown(), 4000);
      assertThat(perToken / PLAIN).as("seed %d", seed).isLessThan(1.03);
    }
  }

  /** From the beginning on: 128 tokens, with the times of passes known. */
  @Test
  void aShortTextIsHardlySlowerThanPlain() {
    double sum = 0;
    for (long seed = 1; seed <= 100; seed++) {
      World world = new World(seed).with(MeasuredSizeTest::boundByArithmetic, 0.3);
      sum +=
          world.run(new MeasuredSize(known(MeasuredSizeTest::boundByArithmetic), MOST_NODES), 128)
              / PLAIN;
    }
    assertThat(sum / 100).isLessThan(1.04);
  }

  /** The passes are cheap, the drafter is not. */
  @Test
  void aDrafterThatIsTooDearIsNotAsked() {
    for (long seed = 1; seed <= 20; seed++) {
      World world = new World(seed).with(MeasuredSizeTest::boundByMemory, 0.6);
      world.draft = n -> 0.8 * PLAIN * n;
      double perToken = world.run(unknown(), 4000);
      assertThat(perToken / PLAIN).as("seed %d", seed).isLessThan(1.03);
      assertThat((double) world.asked / world.tokens).isBetween(0.001, 0.05);
    }
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.3, 0.6, 0.8, 0.95})
  void whereTreesPayItIsTheBestFixedSize(double alpha) {
    for (IntToDoubleFunction pass :
        List.<IntToDoubleFunction>of(MeasuredSizeTest::boundByMemory, MeasuredSizeTest::inTiles)) {
      double sum = 0;
      for (long seed = 1; seed <= 20; seed++) {
        World world = new World(seed).with(pass, alpha);
        world.noise = 0.1;
        sum += world.run(unknown(), 10000) / world.bestFixed();
      }
      assertThat(sum / 20).isLessThan(1.05);
    }
  }

  /** Within 1000 tokens, with known times: trees that are not sent tell the acceptance. */
  @ParameterizedTest
  @ValueSource(doubles = {0.1, 0.3, 0.6, 0.8})
  void treesThatAreNotSentSpareTrials(double alpha) {
    for (IntToDoubleFunction pass :
        List.<IntToDoubleFunction>of(
            MeasuredSizeTest::boundByMemory,
            MeasuredSizeTest::inTiles,
            MeasuredSizeTest::boundByArithmetic)) {
      double sum = 0;
      for (long seed = 1; seed <= 50; seed++) {
        World world = new World(seed).with(pass, alpha);
        world.peeks = true;
        sum += world.run(new MeasuredSize(known(pass), MOST_NODES), 1000) / world.bestFixed();
      }
      assertThat(sum / 50).isLessThan(1.05);
    }
  }

  /**
   * Copied passages are accepted whole and the rest not at all. A large tree is through with a
   * passage in a few steps; smaller ones would have been accepted more often there.
   */
  @Test
  void runsAreNoReasonForLargeTrees() {
    IntToDoubleFunction pass = n -> n <= 4 ? PLAIN : 1.5 * inWholeTiles(n);
    double sum = 0;
    for (long seed = 1; seed <= 40; seed++) {
      double least = Double.MAX_VALUE;
      for (int nodes : new int[] {1, 2, 4, 8, 16}) {
        World fixed = new World(seed).with(pass, 0.93);
        fixed.start = 0.15;
        least = Math.min(least, fixed.run(new SizedTrees.Fixed(nodes, NoDraft.factory()), 4000));
      }
      World world = new World(seed).with(pass, 0.93);
      world.start = 0.15;
      world.peeks = true;
      sum += world.run(new MeasuredSize(known(pass), MOST_NODES), 4000) / least;
    }
    assertThat(sum / 40).isLessThan(1.05);
  }

  /**
   * Time over that of the best fixed size, the mean of some seeds, of a draft model of depth 4 on a
   * machine whose times are known.
   */
  private static double overBest(
      IntToDoubleFunction pass, double alpha, int tokens, Consumer<World> set) {
    double sum = 0;
    for (long seed = 1; seed <= 40; seed++) {
      World world = new World(seed).withDraftModel(pass, alpha);
      set.accept(world);
      double best = world.bestFixed();
      sum += world.run(new MeasuredSize(known(pass), MOST_NODES), tokens) / best;
    }
    return sum / 40;
  }

  /**
   * A draft model that has to read the text first, which takes as long as six passes: what it finds
   * out for that is more than a few steps tell.
   */
  @Test
  void whoHasCaughtUpGoesOn() {
    double over =
        overBest(
            MeasuredSizeTest::smallModel,
            0.73,
            1000,
            world -> {
              world.catchUp = 6 * PLAIN;
              world.noise = 0.1;
            });
    assertThat(over).isLessThan(1.05);
  }

  /** The first draft takes long and the second says little: that is no reason to give up. */
  @Test
  void theFirstDraftsAreATrial() {
    IntToDoubleFunction pass = n -> n == 2 ? 1.1 * PLAIN : smallModel(n);
    double over =
        overBest(
            pass,
            0.73,
            400,
            world -> {
              world.catchUp = 6 * PLAIN;
              world.cold = 3;
            });
    assertThat(over).isLessThan(1.08);
  }

  /** Passes with another size are slow at first, which says nothing about the size. */
  @Test
  void passesOfATrialCountWhenTheyHaveSettled() {
    double over = overBest(MeasuredSizeTest::smallModel, 0.6, 8000, world -> world.unsettled = 1.6);
    assertThat(over).isLessThan(1.05);
  }

  /**
   * A machine that takes twice as long half of the time, some 200 steps on end, and for the first
   * passes of each text: neither is a reason to take a size for slow.
   */
  @Test
  void slowSpellsAreNoReasonToStopDrafting() {
    double sum = 0;
    for (long seed = 1; seed <= 100; seed++) {
      World world = new World(seed).withDraftModel(MeasuredSizeTest::smallModel, 0.73);
      world.catchUp = 4 * PLAIN;
      world.noise = 0.1;
      world.slow = 2;
      world.slowStart = 2;
      world.runTexts(() -> 0.73);
      double best = world.fixed(2) + world.catchUp / 128;
      double slowness = world.slowNanos / world.usualNanos;
      sum += (world.nanos - world.startNanos) / world.tokens / best / slowness;
    }
    assertThat(sum / 100).isLessThan(1.045);
  }

  /** Texts differ, and a drafter that stops has to read what it missed when it is asked again. */
  @Test
  void whoStopsMayHaveToCatchUpAgain() {
    double sum = 0;
    for (long seed = 1; seed <= 100; seed++) {
      World world = new World(seed).withDraftModel(MeasuredSizeTest::smallModel, 0);
      world.catchUp = 8 * PLAIN;
      world.runTexts(() -> 0.5 + 0.4 * world.random.nextDouble());
      sum += world.nanos / world.tokens;
    }
    assertThat(sum / 100 / PLAIN).isLessThan(0.973);
  }

  /** A drafter whose trees have five nodes at most: larger sizes are the same trees. */
  @Test
  void sizesThatNoTreeReachesAreNotTried() {
    IntToDoubleFunction pass = n -> PLAIN * (1 + 0.2 * (n - 1) + (n > 2 ? 0.2 : 0));
    for (long seed = 1; seed <= 20; seed++) {
      World world = new World(seed).with(pass, 0.7);
      world.draft = n -> 0.25 * PLAIN * (n - 1);
      world.longest = 5;
      MeasuredSize size = new MeasuredSize(known(pass), MOST_NODES);
      int largest = 0;
      while (world.tokens < 10000) {
        largest = Math.max(largest, size.next(world, 1));
        world.step(size, world);
      }
      assertThat(largest).as("seed %d", seed).isEqualTo(8);
    }
  }

  /** A few lucky steps are no reason to go on with a trial: unsent trees tell what it yields. */
  @Test
  void trialsOfTimesAreShort() {
    IntToDoubleFunction pass = n -> PLAIN * (1 + 0.2 * (n - 1) + (n > 2 ? 0.4 : 0));
    int larger = 0;
    int steps = 0;
    for (long seed = 1; seed <= 20; seed++) {
      World world = new World(seed).with(pass, 0.9);
      world.start = 0.15;
      world.peeks = true;
      MeasuredSize size = new MeasuredSize(known(pass), MOST_NODES);
      world.run(size, 2000);
      for (int i = 0; i < 4000; i++) {
        larger += size.next(world, 1) > 2 ? 1 : 0;
        world.step(size, world);
      }
      steps += 4000;
    }
    assertThat((double) larger / steps).isLessThan(0.011);
  }

  /**
   * The machine was busy in the first trial: that is no reason to wait for long with the second.
   */
  @Test
  void aSlowStepOfATrialIsNotPaidForWhole() {
    IntToDoubleFunction pass = n -> PLAIN * (1 + 0.5 * (n - 1));
    World world = new World(1).with(pass, 0);
    MeasuredSize size = new MeasuredSize(known(pass), MOST_NODES);
    int steps = 0;
    while (size.next(world, 1) == 1) {
      world.step(size, world);
    }
    world.pass = n -> 12 * pass.applyAsDouble(n);
    world.step(size, world);
    world.pass = pass;
    while (size.next(world, 1) > 1) {
      world.step(size, world);
    }
    while (size.next(world, 1) == 1) {
      world.step(size, world);
      steps++;
    }
    assertThat(steps).isLessThan(450);
  }

  /** Steps in which nothing is found cost no rows, and do not speak against large trees. */
  @Test
  void emptyDraftsAreNoReasonForSmallTrees() {
    double sum = 0;
    for (long seed = 1; seed <= 20; seed++) {
      World world = new World(seed).with(n -> PLAIN * (1 + 0.2 * (n - 1)), 0.9);
      world.found = 0.2;
      world.longest = 11;
      sum += world.run(unknown(), 8000) / world.bestFixed();
    }
    assertThat(sum / 20).isLessThan(1.05);
  }

  @Test
  void itNoticesThatDraftingPaysAgain() {
    for (long seed = 1; seed <= 20; seed++) {
      World world = new World(seed).with(n -> PLAIN * (1 + 0.2 * (n - 1)), 0.02);
      MeasuredSize size = unknown();
      assertThat(world.run(size, 5000) / PLAIN).isLessThan(1.03);
      world.alpha = 0.9;
      world.run(size, 3000);
      assertThat(world.run(size, 3000) / world.bestFixed()).as("seed %d", seed).isLessThan(1.08);
      world.alpha = 0.02;
      world.run(size, 500);
      assertThat(world.run(size, 3000) / PLAIN).as("seed %d", seed).isLessThan(1.03);
    }
  }

  /**
   * What one text showed is no reason not to draft in the next one, nor is what all showed one to
   * go on.
   */
  @Test
  void aTextBeginsWithWhatAllHaveShown() {
    for (long seed = 1; seed <= 20; seed++) {
      World world = new World(seed).with(n -> PLAIN * (1 + 0.3 * (n - 1)), 0.8);
      MeasuredSize size = unknown();
      world.run(size, 4000);
      size.leave(world);
      world.alpha = 0;
      world.run(size, 300);
      long asked = world.asked;
      world.run(size, 200);
      assertThat(world.asked - asked).as("seed %d, a bad text", seed).isLessThan(20);
      size.leave(world);
      assertThat(size.next(world, 1)).as("seed %d, the next one", seed).isGreaterThan(1);
    }
  }

  /** The machine became one whose rows are cheap: times are learned anew too. */
  @Test
  void itNoticesThatPassesChange() {
    for (long seed = 1; seed <= 20; seed++) {
      World world = new World(seed).with(MeasuredSizeTest::boundByArithmetic, 0.7);
      MeasuredSize size = new MeasuredSize(known(MeasuredSizeTest::boundByArithmetic), MOST_NODES);
      world.run(size, 2000);
      world.pass = MeasuredSizeTest::boundByMemory;
      world.run(size, 10000);
      assertThat(world.run(size, 3000) / world.bestFixed()).as("seed %d", seed).isLessThan(1.1);
    }
  }

  /** With times from a file a tree that costs next to nothing is sent at once. */
  @Test
  void knownTimesSpareTheClimb() {
    World world = new World(1).with(n -> PLAIN * (1 + 0.001 * n), 0.9);
    assertThat(new MeasuredSize(known(world.pass), MOST_NODES).next(world, 1)).isBetween(64, 256);
    world.pass = MeasuredSizeTest::boundByArithmetic;
    assertThat(new MeasuredSize(known(world.pass), MOST_NODES).next(world, 1)).isEqualTo(1);
  }

  /** Of 256 tokens the first ones count, with trees that are not sent and without. */
  @ParameterizedTest
  @ValueSource(doubles = {0.1, 0.3, 0.6, 0.85})
  void aShortTextIsDraftedFromTheBeginning(double alpha) {
    for (IntToDoubleFunction pass :
        List.<IntToDoubleFunction>of(
            MeasuredSizeTest::boundByMemory, n -> n <= 4 ? PLAIN : 1.5 * inWholeTiles(n))) {
      for (boolean peeks : new boolean[] {false, true}) {
        double sum = 0;
        for (long seed = 1; seed <= 100; seed++) {
          World world = new World(seed).with(pass, alpha);
          world.peeks = peeks;
          world.draft = n -> peeks ? 0 : 0.03 * PLAIN * Math.min(n, 6);
          sum += world.run(new MeasuredSize(known(pass), MOST_NODES), 256) / world.bestFixed();
        }
        assertThat(sum / 100).as("peeks: %s", peeks).isLessThan(1.06);
      }
    }
  }

  /** What a tree costs in a batch are as many rows as all its trees have. */
  @ParameterizedTest
  @ValueSource(ints = {2, 8, 16})
  void aBatchPaysForAllItsRows(int batch) {
    List<IntToDoubleFunction> machines =
        List.of(
            n -> PLAIN * Math.max(1, n / 64.0), // 64 rows are free
            MeasuredSizeTest::inTiles,
            MeasuredSizeTest::boundByArithmetic);
    for (IntToDoubleFunction pass : machines) {
      double sum = 0;
      for (long seed = 1; seed <= 20; seed++) {
        World world = new World(seed).with(n -> pass.applyAsDouble(batch * n), 0.7);
        double best = world.bestFixed() / pass.applyAsDouble(batch);
        world.pass = pass;
        world.batch = batch;
        double perToken = world.run(new MeasuredSize(known(pass), MOST_NODES), 1000);
        sum += perToken / pass.applyAsDouble(batch) / best;
      }
      assertThat(sum / 20).isLessThan(1.06);
    }
  }

  /** A drafter that is too dear is no less dear because all sequences have one. */
  @Test
  void aBatchPaysForAllItsDrafters() {
    for (long seed = 1; seed <= 20; seed++) {
      World world = new World(seed).with(n -> PLAIN, 0.6);
      world.batch = 8;
      world.draft = n -> 0.3 * PLAIN;
      assertThat(world.run(new MeasuredSize(known(world.pass), MOST_NODES), 4000) / PLAIN)
          .as("seed %d", seed)
          .isLessThan(1.03);
    }
  }

  /** Where no times are known, in a batch whose rows are between two sizes. */
  @Test
  void aBatchLearnsItsTimes() {
    World world = new World(1).with(n -> PLAIN * (1 + 0.001 * n), 0.7);
    world.batch = 5;
    assertThat(world.run(unknown(), 2000) / PLAIN).isLessThan(0.5);
  }

  /** In a batch nobody tries another size than the first one. */
  @Test
  void aBatchHasOneSize() {
    World world = new World(1).with(MeasuredSizeTest::boundByMemory, 0.7);
    MeasuredSize size = unknown();
    Object first = new Object();
    Object second = new Object();
    for (int i = 0; i < 500; i++) {
      int allowed = size.next(first, 2);
      assertThat(size.next(second, 2)).isEqualTo(allowed);
      world.step(size, first);
    }
    size.leave(first);
    for (int i = 0; i < 500; i++) {
      world.step(size, second);
    }
    assertThat(world.nanos / world.tokens).isLessThan(PLAIN / 2);
  }

  @Test
  void noTreeIsLargerThanAPassMayBe() {
    World world = new World(1).with(n -> PLAIN, 0.99);
    MeasuredSize size = new MeasuredSize(new TimeCurve(), 24);
    int largest = 0;
    for (int i = 0; i < 2000; i++) {
      largest = Math.max(largest, size.next(world, 1));
      world.step(size, world);
    }
    assertThat(largest).isBetween(16, 24);
    MeasuredSize one = new MeasuredSize(new TimeCurve(), 1);
    world.run(one, 100);
    assertThat(one.next(world, 1)).isEqualTo(1);
  }
}
