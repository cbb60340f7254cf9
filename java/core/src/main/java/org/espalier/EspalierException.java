package org.espalier;

/**
 * Root of the failures that are Espalier's own; wrong arguments are {@link
 * IllegalArgumentException}.
 */
public class EspalierException extends RuntimeException {
  private static final long serialVersionUID = 1;

  public EspalierException(String message) {
    super(message);
  }

  public EspalierException(String message, Throwable cause) {
    super(message, cause);
  }
}
