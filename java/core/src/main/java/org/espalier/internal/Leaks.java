package org.espalier.internal;

import java.lang.ref.Cleaner;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Warns of native objects that were never closed. It frees nothing: who closes what is the caller's
 * business.
 */
public final class Leaks {
  private static final Logger LOG = LoggerFactory.getLogger(Leaks.class);
  private static final Cleaner CLEANER = Cleaner.create();

  private Leaks() {}

  /** Watches an owner; {@link Watch#closed} ends it. */
  public static Watch watch(Object owner, String what) {
    Watch watch = new Watch(what);
    CLEANER.register(owner, watch);
    return watch;
  }

  /** Whether one owner was closed. */
  public static final class Watch implements Runnable {
    private final String what;
    private volatile boolean closed;

    private Watch(String what) {
      this.what = what;
    }

    /** The owner was closed. */
    public void closed() {
      closed = true;
    }

    @Override
    public void run() {
      if (!closed) {
        LOG.warn("{} was not closed, its native memory is lost; use try-with-resources", what);
      }
    }
  }
}
