package org.espalier;

/**
 * A model folder that is missing, corrupt or not supported; the message names the file, tensor or
 * field.
 */
public final class ModelFormatException extends EspalierException {
  private static final long serialVersionUID = 1;

  public ModelFormatException(String message) {
    super(message);
  }

  public ModelFormatException(String message, Throwable cause) {
    super(message, cause);
  }
}
