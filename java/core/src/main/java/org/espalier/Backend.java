package org.espalier;

import java.util.Locale;

/** What computes. */
public enum Backend {
  /**
   * System property {@code espalier.backend} when it is set, else CUDA where it works, else the
   * CPU.
   */
  AUTO,
  CPU,
  CUDA;

  /** The name in options and reports: auto, cpu or cuda. */
  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The backend of a {@link #label()}. */
  public static Backend parse(String label) {
    for (Backend backend : values()) {
      if (backend.label().equals(label)) {
        return backend;
      }
    }
    throw new IllegalArgumentException("backend = " + label + ", expected auto, cpu or cuda");
  }
}
