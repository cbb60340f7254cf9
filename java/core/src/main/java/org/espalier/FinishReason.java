package org.espalier;

import java.util.Locale;

/** Why a generation ended. */
public enum FinishReason {
  /** The most new tokens that were asked for are there. */
  LENGTH,
  /** A stop string appeared. */
  STOP,
  /** The model ended its text with an end token. */
  END,
  /** The model's context is full. */
  CONTEXT,
  /** The caller cancelled. */
  CANCELLED;

  /** The name in reports: length, stop, end, context or cancelled. */
  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }
}
