package org.espalier;

/** The thread of a generation was interrupted; its interrupt status stays set. */
public final class GenerationCancelledException extends EspalierException {
  private static final long serialVersionUID = 1;

  public GenerationCancelledException(String message) {
    super(message);
  }

  public GenerationCancelledException(String message, Throwable cause) {
    super(message, cause);
  }
}
