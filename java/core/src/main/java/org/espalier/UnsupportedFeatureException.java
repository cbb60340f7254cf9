package org.espalier;

/** A known feature that this build or backend cannot do. */
public final class UnsupportedFeatureException extends EspalierException {
  private static final long serialVersionUID = 1;

  public UnsupportedFeatureException(String message) {
    super(message);
  }

  public UnsupportedFeatureException(String message, Throwable cause) {
    super(message, cause);
  }
}
