package org.espalier.draft;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.UUID;

/** A file in which something learned goes from one process to the next. */
final class LearnedFile {
  private LearnedFile() {}

  /** Finds a name under which nothing could be kept, before something is learned. */
  static void check(Path file) {
    Path folder = file.toAbsolutePath().getParent();
    if (folder == null || !Files.isDirectory(folder)) {
      throw new IllegalArgumentException(
          "file = " + file + ", expected one in a folder that is there");
    }
    if (Files.exists(file) && !Files.isRegularFile(file)) {
      throw new IllegalArgumentException("file = " + file + ", expected a regular file");
    }
  }

  /**
   * Replaces the file, whole or not at all: the bytes are written under a name of their own beside
   * it and then moved. Of several writers the last one stays.
   */
  static void write(Path file, byte[] bytes) throws IOException {
    Path absolute = file.toAbsolutePath();
    Path part = absolute.resolveSibling(absolute.getFileName() + "." + UUID.randomUUID() + ".part");
    try {
      Files.write(part, bytes);
      Files.move(
          part, absolute, StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
    } finally {
      Files.deleteIfExists(part);
    }
  }
}
