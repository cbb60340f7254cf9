package org.espalier;

import java.util.Locale;

/**
 * What a method promises about its text, compared with plain decoding by the same model. Strongest
 * first.
 */
public enum Exactness {
  /** The same tokens, greedy or sampled with a seed. */
  LOSSLESS,
  /** Other tokens, drawn from the same distribution. */
  DISTRIBUTION,
  /** Neither; the text may differ in kind. */
  APPROXIMATE;

  /** What is left when two methods work together: the weaker promise. */
  public Exactness and(Exactness other) {
    return compareTo(other) >= 0 ? this : other;
  }

  /** The name in reports: lossless, distribution or approximate. */
  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }
}
