package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LearnedFileTest {
  private static final int WRITERS = 4;
  private static final int BYTES = 1 << 18;

  @TempDir private Path dir;

  /** As of two processes that end at once: what is there is always all of one of them. */
  @Test
  void writersAtOnceLeaveOneOfTheirs() throws Exception {
    Path file = dir.resolve("table");
    LearnedFile.write(file, of(0));
    ExecutorService threads = Executors.newFixedThreadPool(WRITERS);
    List<Future<?>> writers = new ArrayList<>();
    for (int i = 0; i < WRITERS; i++) {
      byte[] bytes = of(i);
      writers.add(
          threads.submit(
              () -> {
                for (int round = 0; round < 50; round++) {
                  LearnedFile.write(file, bytes);
                  assertThat(isWhole(Files.readAllBytes(file))).isTrue();
                }
                return null;
              }));
    }
    for (Future<?> writer : writers) {
      writer.get();
    }
    threads.shutdown();
    try (Stream<Path> left = Files.list(dir)) {
      assertThat(left).containsExactly(file);
    }
  }

  @Test
  void whatCannotBeWrittenLeavesNothing() throws IOException {
    Path folder = dir.resolve("table");
    Files.createDirectories(folder.resolve("not empty"));
    assertThatThrownBy(() -> LearnedFile.write(folder, of(1))).isInstanceOf(IOException.class);
    try (Stream<Path> left = Files.list(dir)) {
      assertThat(left).containsExactly(folder);
    }
  }

  private static byte[] of(int value) {
    byte[] bytes = new byte[BYTES];
    Arrays.fill(bytes, (byte) value);
    return bytes;
  }

  private static boolean isWhole(byte[] bytes) {
    return bytes.length == BYTES && Arrays.equals(bytes, of(bytes[0]));
  }
}
