package org.espalier;

/** The model computed NaN or infinite logits; the session stays usable. */
public final class NotANumberException extends EspalierException {
  private static final long serialVersionUID = 1;

  public NotANumberException(String message) {
    super(message);
  }

  public NotANumberException(String message, Throwable cause) {
    super(message, cause);
  }
}
