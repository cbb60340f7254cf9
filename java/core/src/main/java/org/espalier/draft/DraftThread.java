package org.espalier.draft;

import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.jspecify.annotations.Nullable;

/**
 * The thread that drafts while the target computes. It is there as long as a drafter is, and does
 * one thing after the other in the order of asking.
 */
final class DraftThread {
  static final String NAME = "espalier-draft";

  private int users;
  private @Nullable ExecutorService executor;
  private volatile @Nullable Thread worker;

  /** One more user, who calls {@link #leave} at the end. */
  synchronized void enter() {
    if (users++ == 0) {
      executor =
          Executors.newSingleThreadExecutor(
              task -> {
                Thread thread = new Thread(task, NAME);
                thread.setDaemon(true);
                worker = thread;
                return thread;
              });
    }
  }

  /** Drafters that share the thread. */
  synchronized int users() {
    return users;
  }

  synchronized <T> Future<T> submit(Callable<T> task) {
    return open().submit(task);
  }

  synchronized void execute(Runnable task) {
    open().execute(task);
  }

  private ExecutorService open() {
    if (executor == null) {
      throw new IllegalStateException("the draft thread has ended");
    }
    return executor;
  }

  /** One user less; the last one ends the thread and waits for that. */
  void leave() {
    ExecutorService ended = null;
    synchronized (this) {
      if (--users == 0) {
        ended = executor;
        executor = null;
      }
    }
    if (ended != null) {
      Thread last = worker;
      ended.shutdown();
      if (last != null) {
        awaitEnd(last);
      }
    }
  }

  /** What is left to do is at most one pass of a draft that was dropped. */
  private static void awaitEnd(Thread ended) {
    boolean interrupted = false;
    while (ended.isAlive()) {
      try {
        ended.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
