package org.espalier;

/** A backend or device that was asked for is not there; the message says why. */
public final class BackendUnavailableException extends EspalierException {
  private static final long serialVersionUID = 1;

  public BackendUnavailableException(String message) {
    super(message);
  }

  public BackendUnavailableException(String message, Throwable cause) {
    super(message, cause);
  }
}
