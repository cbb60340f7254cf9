package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.espalier.Model;
import org.espalier.ModelOptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The models in the jar are extracted once, whole, and again when a file is damaged. */
class EmbeddedModelTest {
  @TempDir Path cache;

  @Test
  void extractedOnceAndRepaired() throws IOException {
    String before = System.getProperty("espalier.cache.dir");
    System.setProperty("espalier.cache.dir", cache.toString());
    try {
      Model.embedded("tiny-java-draft", ModelOptions.defaults()).close();
      Path weights = only("model.safetensors");
      long size = Files.size(weights);
      Object written = Files.getLastModifiedTime(weights);
      Model.embedded("tiny-java-draft", ModelOptions.defaults()).close();
      assertThat(Files.getLastModifiedTime(weights)).isEqualTo(written);

      Files.write(weights, new byte[10]);
      Model.embedded("tiny-java-draft", ModelOptions.defaults()).close();
      assertThat(Files.size(weights)).isEqualTo(size);
      assertThat(files()).noneMatch(file -> file.toString().endsWith(".part"));
    } finally {
      if (before == null) {
        System.clearProperty("espalier.cache.dir");
      } else {
        System.setProperty("espalier.cache.dir", before);
      }
    }
  }

  @Test
  void whereNothingCanBeWrittenTheFolderIsNamed() throws IOException {
    Path file = Files.writeString(cache.resolve("file"), "");
    String before = System.getProperty("espalier.cache.dir");
    System.setProperty("espalier.cache.dir", file.toString());
    try {
      assertThatThrownBy(() -> Model.embedded("tiny-java-draft", ModelOptions.defaults()))
          .isInstanceOf(UncheckedIOException.class)
          .hasMessageContaining("tiny-java-draft cannot be unpacked into " + file)
          .hasMessageContaining("set XDG_CACHE_HOME or the property espalier.cache.dir");
    } finally {
      if (before == null) {
        System.clearProperty("espalier.cache.dir");
      } else {
        System.setProperty("espalier.cache.dir", before);
      }
    }
  }

  private List<Path> files() throws IOException {
    try (Stream<Path> walk = Files.walk(cache)) {
      return walk.filter(Files::isRegularFile).toList();
    }
  }

  private Path only(String name) throws IOException {
    List<Path> found = files().stream().filter(file -> file.endsWith(name)).toList();
    assertThat(found).hasSize(1);
    return found.get(0);
  }
}
