package org.espalier;

/** A drafter failed or proposed a malformed tree; the session stays usable. */
public final class DrafterException extends EspalierException {
  private static final long serialVersionUID = 1;

  public DrafterException(String message) {
    super(message);
  }

  public DrafterException(String message, Throwable cause) {
    super(message, cause);
  }
}
