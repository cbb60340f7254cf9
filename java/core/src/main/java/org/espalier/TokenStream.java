package org.espalier;

import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.jspecify.annotations.Nullable;

/**
 * The tokens of one prompt as they come, a chunk for each decoding step. Work is done by the thread
 * that asks for the next chunk; {@link #cancel} and {@link #close} may be called from any thread
 * and take effect before the next step. The native memory is freed at the end of the stream, after
 * a failure, or by {@link #close}.
 */
public final class TokenStream implements Iterator<TokenChunk>, AutoCloseable {
  private final Generation generation;
  private final Session session;
  private final ReentrantLock lock = new ReentrantLock();
  private boolean running = true;
  private boolean closed;
  private @Nullable TokenChunk next;
  private @Nullable GenerationResult result;

  TokenStream(Generation generation, Session session) {
    this.generation = generation;
    this.session = session;
  }

  @Override
  public boolean hasNext() {
    lock.lock();
    try {
      while (next == null && running) {
        advance();
      }
      return next != null;
    } finally {
      lock.unlock();
    }
  }

  private void advance() {
    boolean through = false;
    try {
      running = generation.step();
      next = generation.nextChunk(0).orElse(null);
      if (!running) {
        result = generation.result(0);
      }
      through = running;
    } finally {
      if (!through) {
        free();
      }
    }
  }

  private void free() {
    running = false;
    if (!closed) {
      closed = true;
      generation.close();
      session.close();
    }
  }

  @Override
  public TokenChunk next() {
    lock.lock();
    try {
      if (!hasNext() || next == null) {
        throw new NoSuchElementException("the generation is finished");
      }
      TokenChunk chunk = next;
      next = null;
      return chunk;
    } finally {
      lock.unlock();
    }
  }

  /**
   * Ends the generation before its next step; its finish reason is then {@link
   * FinishReason#CANCELLED}.
   */
  public void cancel() {
    generation.cancel();
  }

  /**
   * Generates what is left and returns the outcome.
   *
   * @throws IllegalStateException when the stream was closed before its end, or has failed
   */
  public GenerationResult result() {
    lock.lock();
    try {
      while (running) {
        advance();
      }
      if (result == null) {
        throw new IllegalStateException("the stream was closed or failed before its end");
      }
      return result;
    } finally {
      lock.unlock();
    }
  }

  /** The chunks as a Java stream, which closes this one. */
  public Stream<TokenChunk> stream() {
    int traits = Spliterator.ORDERED | Spliterator.NONNULL;
    return StreamSupport.stream(Spliterators.spliteratorUnknownSize(this, traits), false)
        .onClose(this::close);
  }

  /**
   * The chunks for one subscriber. The generation runs on the executor, only while chunks are asked
   * for; it must not be an event loop. Cancelling the subscription closes the stream.
   */
  public Flow.Publisher<TokenChunk> publisher(Executor executor) {
    return new TokenPublisher(this, executor);
  }

  /**
   * Cancels, and frees the native memory once a step that is under way is through. A chunk that
   * {@link #hasNext} has promised is there still.
   */
  @Override
  public void close() {
    cancel();
    lock.lock();
    try {
      free();
    } finally {
      lock.unlock();
    }
  }
}
