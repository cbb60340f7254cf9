package org.espalier;

import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

/** A token stream for one subscriber of the Flow API. */
final class TokenPublisher implements Flow.Publisher<TokenChunk> {
  private final TokenStream tokens;
  private final Executor executor;
  private final AtomicBoolean subscribed = new AtomicBoolean();

  TokenPublisher(TokenStream tokens, Executor executor) {
    this.tokens = tokens;
    this.executor = executor;
  }

  @Override
  public void subscribe(Flow.Subscriber<? super TokenChunk> subscriber) {
    if (subscribed.compareAndSet(false, true)) {
      TokenSubscription subscription = new TokenSubscription(subscriber);
      subscriber.onSubscribe(subscription);
      subscription.start();
      return;
    }
    subscriber.onSubscribe(new NoSubscription());
    subscriber.onError(new IllegalStateException("the stream has a subscriber, expected one"));
  }

  private static final class NoSubscription implements Flow.Subscription {
    @Override
    public void request(long n) {}

    @Override
    public void cancel() {}
  }

  /** Signals are serial: one task at a time serves the demand, the first one after onSubscribe. */
  private final class TokenSubscription implements Flow.Subscription {
    private final Flow.Subscriber<? super TokenChunk> subscriber;
    private final AtomicLong demand = new AtomicLong(1); // one is taken back by start
    private volatile boolean over;
    private volatile boolean badRequest;

    TokenSubscription(Flow.Subscriber<? super TokenChunk> subscriber) {
      this.subscriber = subscriber;
    }

    void start() {
      if (demand.decrementAndGet() > 0) {
        executor.execute(this::serve);
      }
    }

    @Override
    public void request(long n) {
      if (n <= 0) {
        badRequest = true;
      }
      long more = Math.max(n, 1);
      if (demand.getAndUpdate(d -> d > Long.MAX_VALUE - more ? Long.MAX_VALUE : d + more) == 0) {
        executor.execute(this::serve);
      }
    }

    @Override
    public void cancel() {
      over = true;
      tokens.cancel();
      try {
        executor.execute(tokens::close);
      } catch (RejectedExecutionException e) {
        tokens.close(); // the executor is shut down, so nothing runs
      }
    }

    /** Serves until no demand is left; whoever raises it from zero then starts this anew. */
    private void serve() {
      for (long asked = demand.get(); asked > 0 && !over; asked = demand.addAndGet(-asked)) {
        for (long i = 0; i < asked && !over; i++) {
          serveOne();
        }
      }
    }

    private void serveOne() {
      try {
        if (badRequest) {
          throw new IllegalArgumentException("request = 0 or less, expected at least 1");
        }
        if (tokens.hasNext()) {
          subscriber.onNext(tokens.next());
        }
        if (!over && !tokens.hasNext()) {
          over = true;
          subscriber.onComplete();
        }
      } catch (RuntimeException e) {
        if (!over) {
          over = true;
          tokens.close();
          subscriber.onError(e);
        }
      }
    }
  }
}
