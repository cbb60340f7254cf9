package org.espalier.cli;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;

/** Text that a user hands over in a file or on standard input: UTF-8, or an error that names it. */
final class TextInput {
  private TextInput() {}

  static String read(Path file) {
    if (Files.isDirectory(file)) {
      throw new BadInputException(file + " is a folder, expected a file");
    }
    try {
      return decode(Files.readAllBytes(file), file.toString());
    } catch (NoSuchFileException e) {
      throw new BadInputException(file + " not found");
    } catch (IOException e) {
      throw new BadInputException(file + " cannot be read: " + e.getMessage());
    }
  }

  static String read(InputStream in) {
    try {
      return decode(in.readAllBytes(), "standard input");
    } catch (IOException e) {
      throw new BadInputException("standard input cannot be read: " + e.getMessage());
    }
  }

  private static String decode(byte[] bytes, String what) {
    try {
      // Unlike new String(bytes, UTF_8), a new decoder reports malformed input.
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException e) {
      throw new BadInputException(what + " is not UTF-8 text");
    }
  }
}
