package org.espalier;

import java.util.Locale;

/** Element types of weights and caches. */
public enum ElementType {
  FP32(4),
  BF16(2),
  FP16(2);

  private final int bytes;

  ElementType(int bytes) {
    this.bytes = bytes;
  }

  /** Bytes of one element. */
  public int bytes() {
    return bytes;
  }

  /** The name in reports: fp32, bf16 or fp16. */
  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }
}
