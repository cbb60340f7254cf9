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
  /** Some editors put it first; it is no part of the text. */
  private static final String BYTE_ORDER_MARK = "\ufeff";

  /** What the Java launcher makes of an argument's bytes that are no characters. */
  private static final char REPLACEMENT = '\ufffd';

  private TextInput() {}

  /** The text of an option; one whose bytes are lost is refused. */
  static String argument(String option, String text) {
    if (text.indexOf(REPLACEMENT) >= 0) {
      throw new BadInputException(
          option + " is not text in the encoding of the locale, expected UTF-8");
    }
    return text;
  }

  /** Text that JSON may spell as halves of a character; one without its other half is refused. */
  static String characters(String what, String text) {
    for (int i = 0; i < text.length(); i++) {
      if (Character.isHighSurrogate(text.charAt(i))
          && i + 1 < text.length()
          && Character.isLowSurrogate(text.charAt(i + 1))) {
        i++;
      } else if (Character.isSurrogate(text.charAt(i))) {
        throw new BadInputException(
            "%s has \\u%04x alone, expected a pair of surrogates"
                .formatted(what, (int) text.charAt(i)));
      }
    }
    return text;
  }

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
      String text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
      return text.startsWith(BYTE_ORDER_MARK) ? text.substring(1) : text;
    } catch (CharacterCodingException e) {
      throw new BadInputException(what + " is not UTF-8 text");
    }
  }
}
