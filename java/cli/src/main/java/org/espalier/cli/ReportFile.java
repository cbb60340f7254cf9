package org.espalier.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/** The file of {@code --report}. */
final class ReportFile {
  private ReportFile() {}

  /**
   * Finds a name that no page can have, before anything is measured. Only a regular file is
   * replaced: never a device, a pipe or a folder.
   */
  static void check(@Nullable Path file) {
    if (file == null) {
      return;
    }
    Path folder = file.toAbsolutePath().getParent();
    if (folder == null || !Files.isDirectory(folder)) {
      throw new BadInputException(
          "--report = " + file + ", expected a file in a folder that is there");
    }
    boolean isFree = !Files.exists(file) && Files.isWritable(folder);
    if (!isFree && !(Files.isRegularFile(file) && Files.isWritable(file))) {
      throw new BadInputException("--report = " + file + ", expected a file that can be written");
    }
  }

  /** Writes the page, whole or not at all. */
  static void write(Path file, String html) {
    Path absolute = file.toAbsolutePath();
    Path part = absolute.resolveSibling(absolute.getFileName() + "." + UUID.randomUUID() + ".part");
    try {
      try {
        Files.writeString(part, html);
        Files.move(part, absolute, StandardCopyOption.REPLACE_EXISTING);
      } finally {
        Files.deleteIfExists(part);
      }
    } catch (IOException e) {
      throw new BadInputException("--report = " + file + ": cannot be written: " + e.getMessage());
    }
  }
}
