package org.espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What becomes of a result that cannot be written. */
final class MainTest {
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  @ParameterizedTest
  @ValueSource(
      strings = {
        "--help",
        "drafters",
        "drafters --json",
        "devices",
        "inspect --json",
        "tokenize --text int",
        "logits --tokens 1,2",
        "generate --prompt int --max-new-tokens 4",
        "generate --prompt int --max-new-tokens 4 --json"
      })
  void aFullDiskIsAFailure(String command) throws IOException {
    try (OutputStream full = new FileOutputStream("/dev/full")) {
      assertThat(Main.run(full, err, command.split(" "))).as(command).isEqualTo(1);
    }
    assertThat(err.toString(StandardCharsets.UTF_8))
        .contains("espalier: standard output cannot be written: No space left on device");
  }

  @ParameterizedTest
  @ValueSource(strings = {"drafters", "generate --prompt int --max-new-tokens 4"})
  void aReaderThatHasSeenEnoughIsNone(String command) {
    OutputStream gone =
        new OutputStream() {
          @Override
          public void write(int b) throws IOException {
            throw new IOException("Broken pipe");
          }
        };
    assertThat(Main.run(gone, err, command.split(" "))).as(command).isZero();
    assertThat(err.toString(StandardCharsets.UTF_8)).doesNotContain("espalier:");
  }
}
