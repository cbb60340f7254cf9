package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Drafters;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.Model;
import org.espalier.draft.TriGramFile;
import org.espalier.draft.TriGramTable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The file of a table: what one run learned helps the next, and damage does no harm. */
class AdedTableTest {
  @TempDir private Path dir;

  private static GenerationResult decode(DrafterFactory drafter) {
    int[] prompt = Fixtures.tokens(Fixtures.prompts(3).get(1), 60);
    return Fixtures.tinyJava()
        .generate(prompt, GenerationOptions.defaults().withMaxNewTokens(60).withDrafter(drafter))
        .result();
  }

  private GenerationResult decodeWith(Path file) {
    try (DrafterFactory drafter = Drafters.parse("aded:table=" + file)) {
      return decode(drafter);
    }
  }

  @Test
  void nextRunBeginsWithWhatWasLearned() {
    Path file = dir.resolve("table");
    GenerationResult plain = decode(Drafters.none());
    GenerationResult first = decodeWith(file);
    assertThat(file).exists();
    assertThat(TriGramFile.load(file).numPairs()).isGreaterThan(20);
    GenerationResult second = decodeWith(file);
    assertThat(first.tokenIds()).isEqualTo(plain.tokenIds());
    assertThat(second.tokenIds()).isEqualTo(plain.tokenIds());
    assertThat(second.stats().passes()).isLessThan(first.stats().passes());
  }

  /** Within a factory drafts do not depend on earlier texts. */
  @Test
  void textsOfAFactoryBeginAlike() {
    try (DrafterFactory drafter = Drafters.parse("aded:table=" + dir.resolve("table"))) {
      GenerationResult first = decode(drafter);
      GenerationResult second = decode(drafter);
      assertThat(second.stats().passes()).isEqualTo(first.stats().passes());
      assertThat(second.stats().drafted()).isEqualTo(first.stats().drafted());
    }
  }

  @ParameterizedTest
  @ValueSource(doubles = {0, 0.5})
  void damagedFileIsBegunAnew(double left) throws IOException {
    Path file = dir.resolve("table");
    GenerationResult first = decodeWith(file);
    byte[] bytes = Files.readAllBytes(file);
    Files.write(file, Arrays.copyOf(bytes, (int) (left * bytes.length)));
    ByteArrayOutputStream log = new ByteArrayOutputStream();
    PrintStream before = System.err;
    System.setErr(new PrintStream(log, true, StandardCharsets.UTF_8));
    GenerationResult again;
    try {
      again = decodeWith(file);
    } finally {
      System.setErr(before);
    }
    assertThat(log.toString(StandardCharsets.UTF_8))
        .contains("WARN", "table " + file + ": size = ", "it is begun anew");
    assertThat(again.tokenIds()).isEqualTo(first.tokenIds());
    assertThat(again.stats().passes()).isEqualTo(first.stats().passes());
    assertThat(Files.readAllBytes(file)).isEqualTo(bytes);
  }

  @Test
  void tableOfAnotherVocabularyIsRefused() throws IOException {
    Path file = dir.resolve("table");
    TriGramFile.save(TriGramTable.count(8, List.of(new int[] {1, 2, 3})), file);
    byte[] before = Files.readAllBytes(file);
    try (DrafterFactory drafter = Drafters.parse("aded:table=" + file)) {
      assertThatThrownBy(() -> decode(drafter))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("table " + file + ": vocab = 8, expected 2048, as the target has");
    }
    assertThat(Files.readAllBytes(file)).isEqualTo(before);
    try (Model model = Model.load(ModelFolders.random(dir.resolve("model"), 8, 1, 0.2f));
        DrafterFactory drafter = Drafters.parse("aded:table=" + file)) {
      GenerationOptions options = GenerationOptions.defaults().withMaxNewTokens(9);
      assertThat(
              model
                  .generate(new int[] {1, 2}, options.withDrafter(drafter))
                  .result()
                  .stats()
                  .drafted())
          .isPositive();
    }
  }

  /** A drafter that is closed twice has learned once. */
  @Test
  void closingTwiceLearnsOnce() {
    Path once = dir.resolve("once");
    Path twice = dir.resolve("twice");
    for (Path file : List.of(once, twice)) {
      try (DrafterFactory factory = Drafters.parse("aded:table=" + file)) {
        decode(
            target -> {
              Drafter drafter = factory.create(target);
              return new Drafter() {
                @Override
                public DraftTree propose(Context context) {
                  return drafter.propose(context);
                }

                @Override
                public void close() {
                  drafter.close();
                  if (file.equals(twice)) {
                    drafter.close();
                  }
                }
              };
            });
      }
    }
    assertThat(twice).hasSameBinaryContentAs(once);
  }
}
