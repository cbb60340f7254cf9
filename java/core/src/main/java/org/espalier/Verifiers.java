package org.espalier;

import org.espalier.verify.ExactVerifier;
import org.espalier.verify.SamplingVerifier;

/** The built-in verifiers by name. */
public final class Verifiers {
  private Verifiers() {}

  /** The verifier {@code exact} or {@code sampling}. */
  public static Verifier parse(String name) {
    return switch (name) {
      case "exact" -> new ExactVerifier();
      case "sampling" -> new SamplingVerifier();
      default ->
          throw new IllegalArgumentException("verifier = " + name + ", expected exact or sampling");
    };
  }
}
