package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.espalier.Context;
import org.espalier.Drafter;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The drafters without a model keep what they need: a step makes no garbage. */
class StepAllocationTest {
  private static final int VOCAB = 32_000;
  private static final int PROMPT = 200;
  private static final int STEPS = 300;

  /** A text of phrases that return, after each step of three tokens. */
  private static List<Context> steps() {
    Random random = new Random(1);
    int[][] phrases = new int[40][];
    Arrays.setAll(phrases, i -> random.ints(9, 0, VOCAB).toArray());
    int[] text = new int[PROMPT + 3 * STEPS];
    for (int i = 0; i < text.length; i += 9) {
      int[] phrase = phrases[random.nextInt(phrases.length)];
      System.arraycopy(phrase, 0, text, i, Math.min(9, text.length - i));
    }
    List<Context> steps = new ArrayList<>();
    for (int i = 0; i < STEPS; i++) {
      steps.add(new ListContext(64, 64, Arrays.copyOf(text, PROMPT + 3 * i)));
    }
    return steps;
  }

  private static Drafter drafter(String name) {
    return switch (name) {
      case "prompt-lookup" -> new PromptLookup(3, 10);
      case "input-copy" -> new InputCopy(32);
      case "token-recycling" ->
          new TokenRecycling(TreeTemplate.parse("2.2.2"), new SuccessorTable(VOCAB, 8));
      default -> new Aded(TriGramTable.empty(VOCAB), 150, 24);
    };
  }

  @ParameterizedTest
  @ValueSource(strings = {"prompt-lookup", "input-copy", "token-recycling", "aded"})
  void stepMakesNoGarbage(String name) {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    List<Context> steps = steps();
    long[] bytes = new long[STEPS];
    long nodes = 0;
    try (Drafter drafter = drafter(name)) {
      for (int i = 0; i < STEPS; i++) {
        long before = threads.getCurrentThreadAllocatedBytes();
        nodes += drafter.propose(steps.get(i)).size() - 1;
        bytes[i] = threads.getCurrentThreadAllocatedBytes() - before;
      }
    }
    assertThat(nodes).as("draft nodes").isGreaterThan(STEPS);
    // The first steps size arrays, and a table doubles now and then as a text grows.
    Arrays.sort(bytes);
    assertThat(bytes[STEPS * 9 / 10]).as("bytes of a step, 90 of 100").isZero();
    assertThat(Arrays.stream(bytes).sum() / STEPS).as("bytes of a step, mean").isLessThan(4096);
  }
}
