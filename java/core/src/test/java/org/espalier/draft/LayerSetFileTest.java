package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.espalier.LayerSet;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class LayerSetFileTest {
  @TempDir private Path dir;
  private Path file;

  @BeforeEach
  void name() {
    file = dir.resolve("set.json");
  }

  @Test
  void readsWhatWasWritten() {
    assertThat(LayerSetFile.load(file, 6)).isEmpty();
    for (LayerSet set :
        List.of(
            LayerSet.without(List.of(1, 4), List.of(2), 6),
            LayerSet.without(List.of(), List.of(), 6))) {
      LayerSetFile.save(set, .75, file);
      assertThat(LayerSetFile.load(file, 6)).contains(set);
    }
  }

  /** All of it at most cut off: what is left is damaged, and nobody's own file. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "{\"espalier_layer_set\":1,\"layers\":6,\"attention\":[1",
        "{\"espalier_layer_set\":1,\"layers\":6,\"attention\":[1]}",
        "{\"espalier_layer_set\":1,\"layers\":6,\"attention\":[1],\"mlp\":2}",
        "{\"espalier_layer_set\":1,\"layers\":6,\"attention\":[1.5],\"mlp\":[2]}",
        "{\"espalier_layer_set\":1,\"attention\":[1],\"mlp\":[2]}",
        "{\"espalier_layer_set\"",
        ""
      })
  void damagedFileIsBegunAnew(String text) throws IOException {
    Files.writeString(file, text);
    assertThat(LayerSetFile.load(file, 6)).isEmpty();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{\"espalier_layer_set\":1,\"layers\":8,\"attention\":[1],\"mlp\":[2]}| layer set %s:"
            + " layers = 8, expected 6, as the model has",
        "{\"espalier_layer_set\":2,\"layers\":6,\"attention\":[1],\"mlp\":[2]}| layer set %s:"
            + " espalier_layer_set = 2, expected 1",
        "{\"espalier_layer_set\":1,\"layers\":6,\"attention\":[0,1,2,3,4,5],\"mlp\":[0,1,2,3,4,5]}|"
            + " layer set %s: attention layer = 0, expected 1 to 4; the first and the last layer"
            + " always run",
        "{\"espalier_layer_set\":1,\"layers\":6,\"attention\":[],\"mlp\":[5]}| layer set %s: mlp"
            + " layer = 5, expected 1 to 4; the first and the last layer always run",
        "class Dear {}| %s is not a layer set, expected one"
      })
  void otherFilesAreRefused(String text, String message) throws IOException {
    Files.writeString(file, text);
    assertThatThrownBy(() -> LayerSetFile.load(file, 6))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(message, file);
    assertThat(file).hasContent(text);
  }
}
