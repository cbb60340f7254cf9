package org.espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.espalier.Exactness;
import org.espalier.FinishReason;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.Model;
import org.espalier.SpeculationStats;
import org.espalier.Verifiers;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

/**
 * What compare says about drafters whose text is not that of plain decoding, which no built-in
 * drafter does.
 */
final class CompareReportTest {
  private static final List<Integer> PLAIN = List.of(65, 66, 67);

  private final StringWriter out = new StringWriter();
  private final StringWriter err = new StringWriter();

  @Test
  void aLosslessDrafterThatDiffersIsAFailureWithItsFirstDifference() throws IOException {
    Contestant drafter = contestant("prompt-lookup", GenerationOptions.defaults());
    drafter.add("first", result(PLAIN), PLAIN);
    drafter.add("second", result(List.of(65, 98, 99)), PLAIN);
    drafter.add("third", result(List.of(97)), PLAIN);

    assertThat(report(drafter, "--json")).isEqualTo(1);
    assertThat(err.toString())
        .isEqualTo(
            "prompt-lookup differs from plain decoding: prompt second, new token 1:"
                + " plain 66 \"b\", drafted 98 \"%s\"%n".formatted(text(98)));
    JsonNode row = JsonMapper.builder().build().readTree(out.toString()).get(1);
    assertThat(row.get("identical").asBoolean()).isFalse();
    assertThat(row.get("first_difference").toString())
        .isEqualTo("{\"id\":\"second\",\"position\":1,\"plain_token\":66,\"token\":98}");
  }

  @Test
  void aTextThatEndsEarlyDiffersAtItsEnd() {
    Contestant drafter = contestant("prompt-lookup", GenerationOptions.defaults());
    drafter.add("first", result(PLAIN.subList(0, 2)), PLAIN);

    assertThat(report(drafter)).isEqualTo(1);
    assertThat(err.toString()).contains("new token 2: plain 67 \"c\", drafted the end");
    assertThat(out.toString()).contains(" NO ");
  }

  @Test
  void aDrafterThatPromisesLessMayDiffer() {
    Contestant drafter =
        contestant(
            "prompt-lookup",
            GenerationOptions.defaults().withVerifier(Verifiers.parse("sampling")));
    drafter.add("first", result(List.of(1)), PLAIN);

    assertThat(drafter.exactness).isEqualTo(Exactness.DISTRIBUTION);
    assertThat(report(drafter)).isZero();
    assertThat(err.toString()).contains("differs from plain decoding");
  }

  /** Each contestant is first as often as another one, and comes as often after each other one. */
  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 5, 6, 21})
  void theOrderFavoursNobody(int num) {
    int rounds = num % 2 == 0 ? num : 2 * num;
    int[] first = new int[num];
    int[][] after = new int[num][num];
    for (int round = 0; round < rounds; round++) {
      int[] order = CompareCommand.order(round, num);
      assertThat(order).hasSize(num).doesNotHaveDuplicates();
      first[order[0]]++;
      for (int i = 1; i < num; i++) {
        after[order[i]][order[i - 1]]++;
      }
    }
    for (int i = 0; i < num; i++) {
      assertThat(first[i]).isEqualTo(rounds / num);
      for (int j = 0; j < num; j++) {
        assertThat(after[i][j]).isEqualTo(i == j ? 0 : rounds / num);
      }
    }
  }

  private int report(Contestant drafter, String... options) {
    Contestant plain = contestant("none", GenerationOptions.defaults());
    plain.add("first", result(PLAIN), PLAIN);
    CommandLine main = Main.newCommandLine(new PrintWriter(out, true), new PrintWriter(err, true));
    String[] args = {"compare", "--prompts", "p", "--drafters", "none"};
    main.parseArgs(concat(args, options));
    CompareCommand compare =
        Objects.requireNonNull(main.getSubcommands().get("compare")).getCommand();
    try (Model model = Model.tinyJava()) {
      return compare.report(model.tokenizer(), List.of(plain, drafter));
    }
  }

  private static Contestant contestant(String spec, GenerationOptions options) {
    return new Contestant(spec, spec, "1", options.withDrafter(spec));
  }

  private static GenerationResult result(List<Integer> ids) {
    SpeculationStats stats =
        new SpeculationStats(
            ids.size(), ids.size(), 0, 0, List.of((long) ids.size()), List.of(), 1, 2, 3, 4);
    return new GenerationResult("", ids, 1, FinishReason.LENGTH, stats);
  }

  private static String text(int token) {
    try (Model model = Model.tinyJava()) {
      return model.tokenizer().decode(new int[] {token});
    }
  }

  private static String[] concat(String[] first, String[] second) {
    String[] all = Arrays.copyOf(first, first.length + second.length);
    System.arraycopy(second, 0, all, first.length, second.length);
    return all;
  }
}
