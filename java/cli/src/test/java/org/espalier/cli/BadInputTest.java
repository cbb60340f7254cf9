package org.espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What a user may get wrong: exit code 2, one message that names the thing, nothing on standard
 * output.
 */
final class BadInputTest {
  private static final Path GOLDEN = Path.of("../../tests/models/golden/llama-default");

  @TempDir private Path dir;

  static Stream<Arguments> mistakes() {
    return Stream.of(
        mistake("expected a command"),
        mistake("Unmatched argument", "frobnicate"),
        mistake("--prompt", "generate"),
        mistake("mutually exclusive", "generate", "--prompt", "a", "--prompt-file", "b"),
        mistake("prompt is empty", "generate", "--prompt", ""),
        mistake("no-such-file not found", "generate", "--prompt-file", "no-such-file"),
        mistake("--max-new-tokens = 0", "generate", "--prompt", "a", "--max-new-tokens", "0"),
        mistake("'x' is not an int", "generate", "--prompt", "a", "--max-new-tokens", "x"),
        mistake("--temperature = -1.0", "generate", "--prompt", "a", "--temperature", "-1"),
        mistake("--temperature = NaN", "generate", "--prompt", "a", "--temperature", "NaN"),
        mistake("--top-k = -1", "generate", "--prompt", "a", "--top-k", "-1"),
        mistake("--top-p = 1.5", "generate", "--prompt", "a", "--top-p", "1.5"),
        mistake("--top-p = 0.0", "generate", "--prompt", "a", "--top-p", "0"),
        mistake("--min-p = 1.0", "generate", "--prompt", "a", "--min-p", "1"),
        mistake(
            "--repetition-penalty = 0.0", "generate", "--prompt", "a", "--repetition-penalty", "0"),
        mistake("--stop is empty", "generate", "--prompt", "a", "--stop", ""),
        mistake("nonsense", "generate", "--prompt", "a", "--drafter", "nonsense"),
        mistake("bogus", "generate", "--prompt", "a", "--drafter", "prompt-lookup:bogus=1"),
        mistake(
            "parameter of prompt-lookup = m=2, expected m only once",
            "generate",
            "--prompt",
            "a",
            "--drafter",
            "prompt-lookup:m=1,m=2"),
        mistake(
            "file = src, expected a regular file",
            "generate",
            "--prompt",
            "a",
            "--drafter",
            "aded:table=src"),
        mistake(
            "file = src, expected a regular file",
            "generate",
            "--prompt",
            "a",
            "--drafter",
            "layer-skip:layers=src"),
        mistake(
            "file = missing/t, expected one in a folder that is there",
            "generate",
            "--prompt",
            "a",
            "--drafter",
            "dynamic-tree:source=layer-skip,layers=missing/t"),
        mistake("--prompt is not text", "generate", "--prompt", "a\ufffd"),
        mistake("--text is not text", "tokenize", "--text", "a\ufffd"),
        mistake("--tree = 0, expected auto, or 1", "generate", "--prompt", "a", "--tree", "0"),
        mistake("--tree = x, expected auto, or 1", "generate", "--prompt", "a", "--tree", "x"),
        mistake("--tree = 4097, expected", "generate", "--prompt", "a", "--tree", "4097"),
        mistake(
            "tree = 513, expected auto, or 1 to 512",
            "generate",
            "--prompt",
            "a",
            "--drafter",
            "prompt-lookup",
            "--tree",
            "513"),
        mistake(
            "--tree = , expected",
            "compare",
            "--drafters",
            "none",
            "--prompts",
            "p",
            "--tree",
            "1,"),
        mistake("verifier = lax", "generate", "--prompt", "a", "--verifier", "lax"),
        mistake("--device = tpu", "generate", "--prompt", "a", "--device", "tpu"),
        mistake("no-such-model", "generate", "--prompt", "a", "--model", "no-such-model"),
        mistake(
            "no-such-model",
            "generate",
            "--prompt",
            "a",
            "--drafter",
            "draft-model:model=no-such-model"),
        mistake("prompt = ", "generate", "--prompt", "int x; ".repeat(2000)),
        mistake("pom.xml is a file", "inspect", "--model", "pom.xml"),
        mistake("model = \"\", expected a model folder", "inspect", "--model", ""),
        mistake(
            "model = \"\", expected",
            "generate",
            "--prompt",
            "a",
            "--drafter",
            "draft-model:model="),
        mistake("--tokens", "logits"),
        mistake("'x' is not an int", "logits", "--tokens", "1,x"),
        mistake("--tokens has id -1", "logits", "--tokens", "1,-1"),
        mistake("--tokens has id 99999999", "logits", "--tokens", "99999999"),
        mistake("--tokens has 9000 ids", "logits", "--tokens", "1" + ",1".repeat(8999)),
        mistake("no-such-file not found", "tokenize", "--file", "no-such-file"),
        mistake("mutually exclusive", "tokenize", "--text", "a", "--file", "b"),
        mistake("--prompts", "compare", "--drafters", "none"),
        mistake("is a folder", "compare", "--drafters", "none", "--prompts", "src"));
  }

  private static Arguments mistake(String message, String... args) {
    return Arguments.of(message, List.of(args));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("mistakes")
  void aMistakeIsNamed(String message, List<String> args) {
    assertRefused(Run.of(args.toArray(new String[0])), message);
  }

  @Test
  void aMalformedPromptLineIsNamed() throws IOException {
    Path file =
        Files.writeString(dir.resolve("p.jsonl"), "{\"id\": \"a\", \"prompt\": \"b\"}\n{oops\n");
    Run run = Run.of("compare", "--prompts", file.toString(), "--drafters", "none");
    assertRefused(run, file + ", line 2: not JSON");
  }

  @Test
  void aPromptThatDoesNotFitIsNamed() throws IOException {
    String text = "int x; ".repeat(2000);
    Path file =
        Files.writeString(
            dir.resolve("p.jsonl"), "{\"id\": \"long\", \"prompt\": \"" + text + "\"}\n");
    Run run = Run.of("compare", "--prompts", file.toString(), "--drafters", "none");
    assertRefused(run, "prompt long: tokens = ");
  }

  @ParameterizedTest
  @ValueSource(strings = {"compare", "analyze"})
  void aReportReplacesNothingButAFile(String command) throws IOException {
    Path prompts = dir.resolve("p.jsonl");
    List<String> lines = new ArrayList<>();
    for (int i = 0; i < 8; i++) {
      lines.add("{\"id\": \"%d\", \"prompt\": \"int a = 0;\"}".formatted(i));
    }
    Files.write(prompts, lines);
    List<String> args = new ArrayList<>(List.of(command, "--prompts", prompts.toString()));
    if (command.equals("compare")) {
      args.addAll(List.of("--drafters", "none", "--max-new-tokens", "2"));
    }
    args.add("--report");
    Path pipe = dir.resolve("pipe");
    assertThat(new ProcessBuilder("mkfifo", pipe.toString()).start().onExit().join().exitValue())
        .isZero();
    for (Path bad : List.of(pipe, dir, dir.resolve("missing").resolve("r.html"))) {
      String[] all = Stream.concat(args.stream(), Stream.of(bad.toString())).toArray(String[]::new);
      assertRefused(Run.of(all), "--report = " + bad + ", expected a file");
    }
    assertThat(Files.readAttributes(pipe, BasicFileAttributes.class).isOther()).isTrue();
    try (Stream<Path> left = Files.list(dir)) {
      assertThat(left).containsExactlyInAnyOrder(pipe, prompts);
    }
  }

  @Test
  void aTruncatedModelIsRefused() throws IOException {
    Path weights = copyOfGolden().resolve("model.safetensors");
    byte[] bytes = Files.readAllBytes(weights);
    Files.write(weights, Arrays.copyOf(bytes, bytes.length / 2));
    assertRefused(Run.of("inspect", "--model", dir.toString()), "model.safetensors");
  }

  @Test
  void aModelWithoutTokenizerIsRefusedWhereTextIsNeeded() throws IOException {
    String model = copyOfGolden().toString();
    assertRefused(Run.of("generate", "--model", model, "--prompt", "a"), "tokenizer.json");
    assertRefused(Run.of("tokenize", "--model", model, "--text", "a"), "tokenizer.json");
  }

  @Test
  void weightsThatAreNotNumbersAreRefused() throws IOException {
    Path weights = copyOfGolden().resolve("model.safetensors");
    byte[] bytes = Files.readAllBytes(weights);
    // The last bytes of the file are fp32 weights; 0x7fc00000 is NaN.
    for (int i = bytes.length - 4 * 4096; i < bytes.length; i += 4) {
      bytes[i + 2] = (byte) 0xc0;
      bytes[i + 3] = 0x7f;
    }
    Files.write(weights, bytes);
    Run run = Run.of("logits", "--model", dir.toString(), "--tokens", "1,2,3");
    assertRefused(run, "expected a finite number");
  }

  private static void assertRefused(Run run, String message) {
    assertThat(run.exitCode()).as(run.err()).isEqualTo(2);
    assertThat(run.err()).startsWith("espalier: ").contains(message).doesNotContain("\tat ");
    assertThat(run.out()).isEmpty();
  }

  private Path copyOfGolden() throws IOException {
    for (String name : List.of("config.json", "model.safetensors")) {
      Files.copy(GOLDEN.resolve(name), dir.resolve(name));
    }
    return dir;
  }
}
