package org.espalier;

/** Host or device memory, or the KV pages of a session, are used up. */
public final class OutOfDeviceMemoryException extends EspalierException {
  private static final long serialVersionUID = 1;

  public OutOfDeviceMemoryException(String message) {
    super(message);
  }

  public OutOfDeviceMemoryException(String message, Throwable cause) {
    super(message, cause);
  }
}
