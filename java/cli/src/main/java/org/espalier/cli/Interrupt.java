package org.espalier.cli;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.IntSupplier;

/**
 * Ctrl-C: the command is told to stop, gets some seconds to finish its step, print what it has and
 * close its native objects, and then the process ends.
 */
final class Interrupt {
  private static final int GRACE_SECONDS = 5;
  private static volatile boolean requested;
  private static volatile Runnable action = () -> {};

  private Interrupt() {}

  /** Runs a command; an interrupt lets it end first. */
  static int guard(IntSupplier command) {
    CountDownLatch ended = new CountDownLatch(1);
    Thread hook =
        new Thread(
            () -> {
              requested = true;
              action.run();
              await(ended);
            });
    Runtime.getRuntime().addShutdownHook(hook);
    try {
      return command.getAsInt();
    } finally {
      // From here on exit waits for nothing: the hook may already be running.
      ended.countDown();
    }
  }

  /** What to do when the user interrupts, until the next call. */
  static void onInterrupt(Runnable stop) {
    action = stop;
    if (requested) {
      stop.run();
    }
  }

  static boolean isRequested() {
    return requested;
  }

  private static void await(CountDownLatch ended) {
    try {
      if (!ended.await(GRACE_SECONDS, TimeUnit.SECONDS)) {
        Runtime.getRuntime().halt(130);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
