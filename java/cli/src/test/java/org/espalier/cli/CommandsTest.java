package org.espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.StreamSupport;
import org.espalier.DraftTree;
import org.espalier.Model;
import org.espalier.Sequence;
import org.espalier.Session;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The commands on the bundled model: what other tools rely on. */
final class CommandsTest {
  private static final Path GOLDEN = Path.of("../../tests/models/golden/llama-default");
  private static final String PROMPT = "public static int max(";

  @TempDir private Path dir;

  @Test
  void generateReportsTheKeysThatOtherToolsReadInOrder() {
    JsonNode json = generate("--drafter", "token-recycling", "--tree", "8").json();
    assertThat(json.fieldNames())
        .toIterable()
        .containsExactly(
            "text",
            "token_ids",
            "prompt_tokens",
            "finish_reason",
            "passes",
            "tokens_per_pass",
            "accept_len_histogram",
            "seconds",
            "tokens_per_second",
            "drafter",
            "verifier",
            "exactness",
            "device",
            "tree");
    long passes = json.get("passes").asLong();
    long histogram = 0;
    for (JsonNode count : json.get("accept_len_histogram")) {
      histogram += count.asLong();
    }
    assertThat(histogram).isEqualTo(passes);
    assertThat(json.get("tokens_per_pass").asDouble())
        .isEqualTo((double) json.get("token_ids").size() / passes, within(1e-9));
    assertThat(json.get("drafter").asText()).isEqualTo("token-recycling");
    assertThat(json.get("verifier").asText()).isEqualTo("exact");
    assertThat(json.get("exactness").asText()).isEqualTo("lossless");
    assertThat(json.get("device").asText()).isIn("cpu", "cuda");
  }

  @Test
  void generateStreamsTheSameTextAndKeepsStatisticsOnStandardError() {
    Run streamed = Run.of("generate", "--prompt", PROMPT, "--max-new-tokens", "24");
    assertThat(streamed.exitCode()).isZero();
    assertThat(streamed.out()).isEqualTo(generate().json().get("text").asText() + "\n");
    assertThat(streamed.err()).contains("tokens per pass").hasLineCount(1);
  }

  @ParameterizedTest(name = "{0}")
  @ValueSource(strings = {"prompt-lookup", "token-recycling", "draft-model:model=tiny-java-draft"})
  void aLosslessDrafterKeepsTheSampledTokens(String drafter) {
    String[] sampling = {"--temperature", "0.8", "--top-p", "0.9", "--seed", "7"};
    JsonNode plain = generate(sampling).json();
    JsonNode drafted = generate(and(sampling, "--drafter", drafter)).json();
    assertThat(drafted.get("token_ids")).isEqualTo(plain.get("token_ids"));
    JsonNode otherSeed = generate(and(sampling, "--seed", "8")).json();
    assertThat(otherSeed.get("token_ids")).isNotEqualTo(plain.get("token_ids"));
  }

  @Test
  void theSamplingVerifierSaysWhatItPromises() {
    JsonNode json = generate("--verifier", "sampling", "--temperature", "0.8").json();
    assertThat(json.get("verifier").asText()).isEqualTo("sampling");
    assertThat(json.get("exactness").asText()).isEqualTo("distribution");
  }

  @Test
  void aStopStringEndsTheTextBeforeIt() {
    String text = generate().json().get("text").asText();
    String stop = text.substring(5, 8);
    JsonNode json = generate("--stop", stop, "--stop", "no such text").json();
    assertThat(json.get("finish_reason").asText()).isEqualTo("stop");
    assertThat(json.get("text").asText()).isEqualTo(text.substring(0, text.indexOf(stop)));
  }

  @Test
  void aPromptFileIsThePrompt() throws IOException {
    Path file = Files.writeString(dir.resolve("prompt.txt"), PROMPT);
    Run run =
        Run.of("generate", "--prompt-file", file.toString(), "--max-new-tokens", "24", "--json");
    assertThat(run.json().get("token_ids")).isEqualTo(generate().json().get("token_ids"));
  }

  @Test
  void compareReportsPlainDecodingFirstAndEachDrafter() throws IOException {
    Run run =
        Run.of(
            "compare",
            "--prompts",
            prompts().toString(),
            "--drafters",
            "token-recycling,draft-model:model=tiny-java-draft,gamma=3",
            "--tree",
            "512",
            "--max-new-tokens",
            "16",
            "--json");
    assertThat(run.exitCode()).isZero();
    JsonNode json = run.json();
    assertThat(texts(json, "drafter"))
        .containsExactly("none", "token-recycling", "draft-model:model=tiny-java-draft,gamma=3");
    for (JsonNode row : json) {
      assertThat(row.fieldNames())
          .toIterable()
          .startsWith(
              "drafter",
              "identical",
              "tokens_per_pass",
              "speedup",
              "draft_ms",
              "verify_ms",
              "other_ms");
      assertThat(row.get("identical").asBoolean()).isTrue();
    }
    assertThat(json.get(0).get("tokens_per_pass").asDouble()).isEqualTo(1);
    assertThat(json.get(0).get("speedup").asDouble()).isEqualTo(1);
    assertThat(json.get(1).get("tokens_per_pass").asDouble()).isGreaterThan(1);
  }

  @Test
  void compareTakesSeveralSizesOfTrees() throws IOException {
    Run run =
        Run.of(
            "compare",
            "--prompts",
            prompts().toString(),
            "--drafters",
            "token-recycling",
            "--tree",
            "auto,1,4",
            "--max-new-tokens",
            "12",
            "--json");
    assertThat(run.exitCode()).as(run.err()).isZero();
    JsonNode json = run.json();
    assertThat(texts(json, "drafter"))
        .containsExactly(
            "none",
            "token-recycling tree=auto",
            "token-recycling tree=1",
            "token-recycling tree=4");
    assertThat(texts(json, "tree")).containsExactly("1", "auto", "1", "4");
    for (JsonNode row : json) {
      assertThat(row.get("identical").asBoolean()).isTrue();
    }
    assertThat(json.get(2).get("tokens_per_pass").asDouble()).isEqualTo(1);
    assertThat(json.get(3).get("tokens_per_pass").asDouble()).isGreaterThan(1);
    assertThat(json.get(3).get("accepted_by_depth").size()).isLessThanOrEqualTo(3);
  }

  @Test
  void compareShowsATableAndItsProgressElsewhere() throws IOException {
    Run run =
        Run.of(
            "compare",
            "--prompts",
            prompts().toString(),
            "--drafters",
            "prompt-lookup",
            "--max-new-tokens",
            "8");
    assertThat(run.exitCode()).isZero();
    assertThat(run.out().lines()).hasSize(3);
    assertThat(run.out().lines().findFirst().orElseThrow().split(" +"))
        .containsExactly(
            "drafter",
            "identical",
            "tokens_per_pass",
            "speedup",
            "draft_ms",
            "verify_ms",
            "other_ms");
    assertThat(run.err()).contains("4/4");
  }

  @Test
  void logitsAreThoseOfTheReference() throws IOException {
    List<String> ids = new ArrayList<>();
    JsonNode tokens = JsonMapper.builder().build().readTree(GOLDEN.resolve("tokens.json").toFile());
    tokens.get("tokens").forEach(id -> ids.add(id.asText()));
    JsonNode matrix =
        Run.of("logits", "--model", GOLDEN.toString(), "--tokens", String.join(",", ids)).json();
    FloatBuffer expected =
        ByteBuffer.wrap(Files.readAllBytes(GOLDEN.resolve("logits.bin")))
            .order(ByteOrder.LITTLE_ENDIAN)
            .asFloatBuffer();
    assertThat(matrix.size()).isEqualTo(ids.size());
    double error = 0;
    double norm = 0;
    for (JsonNode row : matrix) {
      for (JsonNode value : row) {
        double reference = expected.get();
        error += Math.pow(value.asDouble() - reference, 2);
        norm += Math.pow(reference, 2);
      }
    }
    assertThat(expected.hasRemaining()).isFalse();
    assertThat(Math.sqrt(error / norm)).isLessThan(1e-4);
  }

  @Test
  void logitsAreTheBitsOfTheSessionInEveryPart() {
    // More tokens than one pass takes: the second part goes on from the cache of the first.
    int[] tokens = new int[530];
    Arrays.setAll(tokens, i -> 300 + i % 97);
    String ids = Arrays.stream(tokens).mapToObj(Integer::toString).collect(Collectors.joining(","));
    JsonNode matrix = Run.of("logits", "--tokens", ids).json();
    assertThat(matrix.size()).isEqualTo(tokens.length);
    for (int at : new int[] {0, 511, 512, 529}) {
      float[] expected = logitsAfter(tokens, at);
      float[] got = new float[expected.length];
      for (int i = 0; i < got.length; i++) {
        got[i] = Float.parseFloat(matrix.get(at).get(i).asText());
      }
      assertThat(got).as("token " + at).isEqualTo(expected);
    }
  }

  private static float[] logitsAfter(int[] tokens, int at) {
    try (Model model = Model.tinyJava();
        Session session = model.newSession();
        Sequence sequence = session.newSequence()) {
      sequence.prefill(Arrays.copyOf(tokens, at));
      DraftTree root = DraftTree.rootedAt(tokens[at]);
      float[] logits = new float[model.info().vocab()];
      session.forward(List.of(sequence), List.of(root), 0).get(0).logits(0, logits);
      return logits;
    }
  }

  @Test
  void tokenizeShowsPiecesThatMakeUpTheText() {
    JsonNode json = Run.of("tokenize", "--text", PROMPT, "--json").json();
    assertThat(json.get("token_ids").size()).isEqualTo(json.get("pieces").size());
    assertThat(String.join("", texts(json.get("pieces")))).isEqualTo(PROMPT);
    Run lines = Run.of("tokenize", "--text", PROMPT);
    assertThat(lines.out()).hasLineCount(json.get("pieces").size());
  }

  @Test
  void aTextThatBeginsWithAnAtSignIsNotTheNameOfAFile() {
    JsonNode json = Run.of("tokenize", "--text", "@pom.xml", "--json").json();
    assertThat(String.join("", texts(json.get("pieces")))).isEqualTo("@pom.xml");
  }

  @Test
  void inspectTellsMemoryByContextLength() {
    JsonNode json = Run.of("inspect", "--model", "tiny-java", "--json").json();
    assertThat(json.get("architecture").asText()).isEqualTo("LlamaForCausalLM");
    JsonNode memory = json.get("memory");
    JsonNode last = memory.get(memory.size() - 1);
    assertThat(last.get("context_tokens").asLong()).isEqualTo(json.get("max_positions").asLong());
    // K and V of every layer, two bytes an element.
    assertThat(last.get("kv_bytes").asLong())
        .isEqualTo(
            2L
                * 2
                * json.get("num_layers").asLong()
                * json.get("num_kv_heads").asLong()
                * json.get("head_dim").asLong()
                * json.get("max_positions").asLong());
    assertThat(Run.of("inspect").out()).contains("LlamaForCausalLM");
  }

  @Test
  void draftersAndDevicesAreListed() {
    JsonNode drafters = Run.of("drafters", "--json").json();
    assertThat(texts(drafters, "name"))
        .contains("none", "prompt-lookup", "token-recycling", "draft-model");
    for (JsonNode drafter : drafters) {
      assertThat(Run.of("drafters").out()).contains(drafter.get("name").asText());
    }
    JsonNode devices = Run.of("devices", "--json").json();
    assertThat(texts(devices, "backend")).contains("cpu", "cuda");
    for (JsonNode device : devices) {
      // A device that cannot be used says why.
      assertThat(device.get("reason").asText().isEmpty())
          .isEqualTo(device.get("available").asBoolean());
    }
    assertThat(Run.of("devices").out()).contains("cpu");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "generate",
        "compare",
        "drafters",
        "logits",
        "tokenize",
        "inspect",
        "analyze",
        "devices"
      })
  void everyCommandHelps(String command) {
    Run run = Run.of(command, "--help");
    assertThat(run.exitCode()).isZero();
    assertThat(run.out()).contains("Usage: espalier " + command, "--json");
    assertThat(run.err()).isEmpty();
  }

  @Test
  void analyzeHasARowForEachLayerAndOffset() throws IOException {
    List<String> texts;
    try (var lines = Files.lines(Path.of("../../tests/models/prompts.jsonl"))) {
      texts = lines.limit(8).toList();
    }
    Path file = Files.write(dir.resolve("texts.jsonl"), texts);
    String[] command = {
      "analyze",
      "--prompts",
      file.toString(),
      "--layers",
      "8,0",
      "--offsets",
      "2",
      "--classes",
      "32",
      "--max-tokens",
      "48",
      "--epochs",
      "2",
      "--json"
    };
    JsonNode rows = Run.of(command).json();
    assertThat(texts(rows, "layer")).containsExactly("0", "0", "8", "8");
    assertThat(texts(rows, "offset")).containsExactly("1", "2", "1", "2");
    for (JsonNode row : rows) {
      double surplus = row.get("surplus").asDouble();
      assertThat(surplus)
          .isBetween(row.get("low").asDouble(), row.get("high").asDouble())
          .isEqualTo(
              row.get("blind_cross_entropy").asDouble()
                  - row.get("draft_cross_entropy").asDouble());
      assertThat(row.get("standard_error").asDouble()).isPositive();
      assertThat(row.get("half_surplus")).isNotEqualTo(row.get("surplus"));
      assertThat(row.get("found").asBoolean()).isEqualTo(row.get("low").asDouble() > 0);
      assertThat(row.get("tokens").asInt())
          .as("places of 8 texts of 48 tokens")
          .isEqualTo(8 * (47 - row.get("offset").asInt()));
      assertThat(row.get("agreement").asDouble()).isBetween(0.0, 1.0);
      assertThat(row.get("target_entropy").asDouble()).isPositive();
    }
    // The same seed, the same heads.
    Path page = dir.resolve("surplus.html");
    assertThat(Run.of(and(command, "--report", page.toString())).json()).isEqualTo(rows);
    String html = Files.readString(page);
    assertThat(html).contains("tiny-java, 8 texts, 32 classes").doesNotContain("http", "src=");
    assertThat(html.split("<polyline", -1)).hasSize(3); // one for each offset
    assertThat(html.split("<line", -1))
        .hasSize(1 + 2 + 4); // the axes, and an interval for each row
    double least = 0;
    for (JsonNode row : rows) {
      least = Math.min(least, row.get("low").asDouble());
    }
    assertThat(html).contains(">" + Units.fixed(least, 2) + "<");
    // What is not found is said to be so, in a line of its own.
    String table = Run.of(Arrays.copyOf(command, command.length - 1)).out();
    int unsaid = 0;
    for (JsonNode row : rows) {
      String line =
          "layer %d, offset %d: too few texts to say anything: %d tokens, surplus %s; %s from half"
              .formatted(
                  row.get("layer").asInt(),
                  row.get("offset").asInt(),
                  row.get("tokens").asInt(),
                  Units.fixed(row.get("surplus").asDouble(), 3),
                  Units.fixed(row.get("half_surplus").asDouble(), 3));
      assertThat(table.contains(line)).isNotEqualTo(row.get("found").asBoolean());
      assertThat(row.has("tokens_needed")).as("a guess").isFalse();
      unsaid += row.get("found").asBoolean() ? 0 : 1;
    }
    assertThat(unsaid).as("terms that 8 texts do not show").isPositive();
    // The heads of an offset differ in the state alone; without it they are one head.
    assertThat(rows.get(0).get("blind_cross_entropy"))
        .isEqualTo(rows.get(2).get("blind_cross_entropy"));
    assertThat(rows.get(0).get("draft_cross_entropy"))
        .isNotEqualTo(rows.get(2).get("draft_cross_entropy"));
  }

  @Test
  void analyzeNeedsTextsAndLayersThatAreThere() throws IOException {
    Run few = Run.of("analyze", "--prompts", prompts().toString());
    assertThat(few.exitCode()).isEqualTo(2);
    assertThat(few.err()).contains("texts = 2, expected at least 8");
    Run nowhere =
        Run.of("analyze", "--prompts", prompts().toString(), "--report", "no-such-dir/a.html");
    assertThat(nowhere.exitCode()).isEqualTo(2);
    assertThat(nowhere.err())
        .contains("--report = no-such-dir/a.html, expected a file in a folder");
    Run deep = Run.of("analyze", "--prompts", "../../tests/models/prompts.jsonl", "--layers", "9");
    assertThat(deep.exitCode()).isEqualTo(2);
    assertThat(deep.err()).contains("--layers = 9, expected 0 to 8");
  }

  @Test
  void theVersionIsPrinted() {
    assertThat(Run.of("--version").out()).startsWith("espalier ");
  }

  private static Run generate(String... options) {
    String[] base = {"generate", "--prompt", PROMPT, "--max-new-tokens", "24", "--json"};
    Run run = Run.of(and(base, options));
    assertThat(run.exitCode()).as(run.err()).isZero();
    return run;
  }

  private static String[] and(String[] first, String... second) {
    List<String> all = new ArrayList<>(List.of(first));
    for (int i = 0; i < second.length; i++) {
      int at =
          second[i].startsWith("--") && !second[i].equals("--stop") ? all.indexOf(second[i]) : -1;
      if (at >= 0) {
        all.set(at + 1, second[++i]);
      } else {
        all.add(second[i]);
      }
    }
    return all.toArray(new String[0]);
  }

  private Path prompts() throws IOException {
    return Files.writeString(
        dir.resolve("prompts.jsonl"),
        """
        {"id": "max", "prompt": "public static int max("}
        {"id": "list", "prompt": "  private final List<String> names = new "}
        """);
  }

  private static List<String> texts(JsonNode array, String key) {
    return array.findValuesAsText(key);
  }

  private static List<String> texts(JsonNode array) {
    return StreamSupport.stream(array.spliterator(), false).map(JsonNode::asText).toList();
  }
}
