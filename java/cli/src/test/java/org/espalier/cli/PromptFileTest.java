package org.espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class PromptFileTest {
  private static final String GOOD = "{\"id\": \"a\", \"prompt\": \"int x\"}\n";

  @TempDir private Path dir;

  @Test
  void readsPromptsInOrderAndSkipsBlankLines() throws IOException {
    Path file = write(GOOD + "\n{\"prompt\": \"ü\\ud83d\\ude00\\n\", \"id\": \"b\"}");
    assertThat(PromptFile.read(file))
        .containsExactly(
            new PromptFile.Prompt("a", "int x"), new PromptFile.Prompt("b", "ü\ud83d\ude00\n"));
  }

  @ParameterizedTest(name = "{0}")
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "{\"id\": \"b\"             | not JSON",
        "{\"id\": \"b\"} {}         | more than one JSON value",
        "{\"id\": \"b\", \"id\": \"c\", \"prompt\": \"p\"} | not JSON",
        "[1]                        | expected an object",
        "{\"id\": \"b\"}            | \"prompt\" is missing",
        "{\"id\": 7, \"prompt\": \"p\"} | \"id\" = 7, expected a string",
        "{\"id\": \"b\", \"prompt\": \"\"} | prompt is empty",
        "{\"id\": \"b\", \"prompt\": \"x\\ud83d\"} | \"prompt\" has \\ud83d alone, expected a pair",
        "{\"id\": \"b\", \"prompt\": \"\\ude00\\ud83d\"} | \"prompt\" has \\ude00 alone",
        "{\"id\": \"\\ud83dx\", \"prompt\": \"p\"} | \"id\" has \\ud83d alone",
        "{\"id\": \"a\", \"prompt\": \"p\"} | id = a, expected one not used before",
      })
  void namesTheLineThatBreaksARule(String line, String message) throws IOException {
    Path file = write(GOOD + line + "\n" + GOOD.replace("\"a\"", "\"z\""));
    assertThatExceptionOfType(BadInputException.class)
        .isThrownBy(() -> PromptFile.read(file))
        .withMessageContaining(file + ", line 2: ")
        .withMessageContaining(message);
  }

  @Test
  void aFileWithoutPromptsIsRefused() throws IOException {
    Path file = write("\n\n");
    assertThatExceptionOfType(BadInputException.class)
        .isThrownBy(() -> PromptFile.read(file))
        .withMessage(file + ": prompts = 0, expected at least one line");
  }

  @Test
  void aByteOrderMarkIsNoText() throws IOException {
    assertThat(PromptFile.read(write("\ufeff" + GOOD))).isEqualTo(PromptFile.read(write(GOOD)));
    assertThat(TextInput.read(write("\ufeffint"))).isEqualTo("int");
    assertThat(TextInput.read(write("\ufeff"))).isEmpty();
  }

  @Test
  void textThatIsNotUtf8IsRefused() throws IOException {
    Path file = Files.write(dir.resolve("latin1.jsonl"), "ü".getBytes(StandardCharsets.ISO_8859_1));
    assertThatExceptionOfType(BadInputException.class)
        .isThrownBy(() -> PromptFile.read(file))
        .withMessage(file + " is not UTF-8 text");
  }

  private Path write(String text) throws IOException {
    return Files.writeString(dir.resolve("prompts.jsonl"), text);
  }
}
