package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.espalier.FinishReason;
import org.espalier.GenerationCancelledException;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.Sampling;
import org.espalier.TokenChunk;
import org.espalier.TokenStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Tokens as they come: iterator, Java stream and Flow give the same, and stop when they are told
 * to.
 */
@Timeout(120)
class TokenStreamTest {
  private static final String PROMPT = "    public static int indexOf(";
  private static final GenerationOptions OPTIONS =
      GenerationOptions.defaults()
          .withMaxNewTokens(40)
          .withSampling(Sampling.of(0.8f, 5))
          .withDrafter("token-recycling");

  private static TokenStream stream(GenerationOptions options) {
    return Fixtures.tinyJava().generate(PROMPT, options);
  }

  private static GenerationResult reference() {
    return stream(OPTIONS).result();
  }

  @Test
  void chunksAddUpToTheResult() {
    try (TokenStream tokens = stream(OPTIONS)) {
      StringBuilder text = new StringBuilder();
      List<Integer> ids = new ArrayList<>();
      FinishReason last = null;
      while (tokens.hasNext()) {
        TokenChunk chunk = tokens.next();
        assertThat(last).as("chunks after the finish reason").isNull();
        text.append(chunk.text());
        ids.addAll(chunk.tokenIds());
        last = chunk.finishReason();
      }
      GenerationResult result = tokens.result();
      assertThat(text.toString()).isEqualTo(result.text());
      assertThat(ids).isEqualTo(result.tokenIds());
      assertThat(last).isEqualTo(result.finishReason());
      assertThat(result.text()).isEqualTo(reference().text());
      assertThat(result.promptTokens())
          .isEqualTo(Fixtures.tinyJava().tokenizer().encode(PROMPT).length);
      assertThatThrownBy(tokens::next).isInstanceOf(NoSuchElementException.class);
    }
  }

  @Test
  void javaStreamClosesTheTokens() {
    TokenStream tokens = stream(OPTIONS);
    try (Stream<TokenChunk> chunks = tokens.stream()) {
      assertThat(chunks.map(TokenChunk::text).collect(Collectors.joining()))
          .isEqualTo(reference().text());
    }
    TokenStream cut = stream(OPTIONS);
    try (Stream<TokenChunk> chunks = cut.stream()) {
      assertThat(chunks.limit(1).toList()).hasSize(1);
    }
    assertThat(cut.hasNext()).isFalse();
    assertThatThrownBy(cut::result).isInstanceOf(IllegalStateException.class);
  }

  @Test
  void cancelKeepsWhatIsThere() {
    try (TokenStream tokens = stream(OPTIONS)) {
      TokenChunk first = tokens.next();
      tokens.cancel();
      assertThat(tokens.hasNext()).isFalse();
      GenerationResult result = tokens.result();
      assertThat(result.finishReason()).isEqualTo(FinishReason.CANCELLED);
      assertThat(result.tokenIds()).isEqualTo(first.tokenIds());
    }
  }

  @Test
  void cancelFromAnotherThread() throws Exception {
    GenerationOptions endless = OPTIONS.withMaxNewTokens(100_000).withDrafter("none");
    try (TokenStream tokens = Fixtures.draft().generate(PROMPT, endless)) {
      CompletableFuture<FinishReason> reason =
          CompletableFuture.supplyAsync(() -> tokens.result().finishReason());
      Thread.sleep(20);
      tokens.cancel();
      // A text that ended by itself within 20 ms would be no failure of ours.
      assertThat(reason.get(60, TimeUnit.SECONDS))
          .isIn(FinishReason.CANCELLED, FinishReason.END, FinishReason.CONTEXT);
    }
  }

  @Test
  void closeBeforeTheEndFreesAndForbids() {
    TokenStream tokens = stream(OPTIONS);
    tokens.next();
    tokens.close();
    tokens.close();
    assertThat(tokens.hasNext()).isFalse();
    assertThatThrownBy(tokens::result).isInstanceOf(IllegalStateException.class);
  }

  /** Closed between hasNext and next, by this thread or another one: next keeps the promise. */
  @Test
  void closeKeepsWhatHasNextPromised() {
    TokenStream tokens = stream(OPTIONS);
    assertThat(tokens.hasNext()).isTrue();
    tokens.close();
    assertThat(tokens.hasNext()).isTrue();
    assertThat(tokens.next().tokenIds()).isNotEmpty();
    assertThat(tokens.hasNext()).isFalse();
  }

  @Test
  void interruptStopsTheStep() {
    try (TokenStream tokens = stream(OPTIONS)) {
      tokens.next();
      Thread.currentThread().interrupt();
      assertThatThrownBy(tokens::result).isInstanceOf(GenerationCancelledException.class);
    } finally {
      assertThat(Thread.interrupted()).as("interrupt status").isTrue();
    }
  }

  /**
   * The stop string is cut from the text that plain decoding gives, in one token or across several.
   */
  @ParameterizedTest
  @ValueSource(ints = {1, 2, 5, 12})
  void stopStringEndsTheText(int length) {
    String text = reference().text();
    int at = text.length() / 2;
    String stop = text.substring(at, at + length);
    GenerationResult stopped =
        stream(OPTIONS.withStopStrings(List.of("never to be seen", stop))).result();
    assertThat(stopped.finishReason()).isEqualTo(FinishReason.STOP);
    assertThat(stopped.text()).isEqualTo(text.substring(0, text.indexOf(stop)));
    assertThat(reference().tokenIds().subList(0, stopped.tokenIds().size()))
        .isEqualTo(stopped.tokenIds());
    String shown =
        stream(OPTIONS.withStopStrings(List.of(stop))).stream()
            .map(TokenChunk::text)
            .collect(Collectors.joining());
    assertThat(shown).isEqualTo(stopped.text());
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 3, Long.MAX_VALUE})
  void publisherGivesWhatIsAskedFor(long atATime) throws Exception {
    ExecutorService executor = Executors.newSingleThreadExecutor();
    try {
      Collector collector = new Collector(atATime, Integer.MAX_VALUE);
      stream(OPTIONS).publisher(executor).subscribe(collector);
      assertThat(collector.text.get(60, TimeUnit.SECONDS)).isEqualTo(reference().text());
    } finally {
      executor.shutdownNow();
    }
  }

  @Test
  void publisherStopsWhenCancelled() throws Exception {
    ExecutorService executor = Executors.newSingleThreadExecutor();
    try {
      TokenStream tokens = stream(OPTIONS);
      Flow.Publisher<TokenChunk> publisher = tokens.publisher(executor);
      Collector collector = new Collector(1, 2);
      publisher.subscribe(collector);
      executor.submit(() -> {}).get(60, TimeUnit.SECONDS);
      collector.cancelled.get(60, TimeUnit.SECONDS);
      executor.shutdown();
      assertThat(executor.awaitTermination(60, TimeUnit.SECONDS)).isTrue();
      assertThat(collector.chunks).hasSize(2);
      assertThat(tokens.hasNext()).isFalse();

      Collector late = new Collector(1, 1);
      publisher.subscribe(late);
      assertThatThrownBy(() -> late.text.get(1, TimeUnit.SECONDS))
          .hasCauseInstanceOf(IllegalStateException.class);
    } finally {
      executor.shutdownNow();
    }
  }

  @Test
  void publisherRefusesToGiveNothing() {
    Collector collector = new Collector(0, 1);
    stream(OPTIONS).publisher(Runnable::run).subscribe(collector);
    assertThatThrownBy(() -> collector.text.get(1, TimeUnit.SECONDS))
        .hasCauseInstanceOf(IllegalArgumentException.class);
  }

  private static final class Collector implements Flow.Subscriber<TokenChunk> {
    private final long atATime;
    private final int most;
    private final List<TokenChunk> chunks = new ArrayList<>();
    private final CompletableFuture<String> text = new CompletableFuture<>();
    private final CompletableFuture<Boolean> cancelled = new CompletableFuture<>();
    private Flow.@Nullable Subscription subscription;
    private long left;

    Collector(long atATime, int most) {
      this.atATime = atATime;
      this.most = most;
    }

    private void ask() {
      if (subscription != null) {
        left = atATime;
        subscription.request(atATime);
      }
    }

    @Override
    public void onSubscribe(Flow.Subscription given) {
      subscription = given;
      ask();
      if (atATime == Long.MAX_VALUE) {
        ask(); // more than there can be
      }
    }

    @Override
    public void onNext(TokenChunk chunk) {
      chunks.add(chunk);
      if (chunks.size() == most && subscription != null) {
        subscription.cancel();
        cancelled.complete(true);
      } else if (--left == 0) {
        ask();
      }
    }

    @Override
    public void onError(Throwable failure) {
      text.completeExceptionally(failure);
    }

    @Override
    public void onComplete() {
      text.complete(chunks.stream().map(TokenChunk::text).collect(Collectors.joining()));
    }
  }
}
