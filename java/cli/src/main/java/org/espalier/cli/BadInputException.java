package org.espalier.cli;

/**
 * An input of the user that cannot be used: exit code 2 and this message, without a stack trace.
 */
final class BadInputException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  BadInputException(String message) {
    super(message);
  }
}
