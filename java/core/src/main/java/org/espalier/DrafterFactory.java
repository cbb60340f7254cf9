package org.espalier;

/**
 * Makes a drafter for each sequence, and holds what they share: a table, a draft model. May be used
 * by several threads; close it when no generation uses it any more.
 */
@FunctionalInterface
public interface DrafterFactory extends AutoCloseable {

  /** A drafter for one sequence of a generation on a session of the target. */
  Drafter create(Session session);

  /** The name in reports. */
  default String name() {
    return "custom";
  }

  @Override
  default void close() {}
}
