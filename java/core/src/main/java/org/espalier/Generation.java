package org.espalier;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * One run over a batch of prompts on one session: the decoding loop. Each prompt gets a sequence, a
 * drafter and the sampling stream of its place in the batch.
 *
 * <p>One thread at a time, the session's; {@link #cancel} may be called from any thread. After a
 * failure the generation is over, the session stays usable.
 */
public final class Generation implements AutoCloseable {
  /** Prompt tokens between two looks at the cancel flag. */
  private static final int PREFILL_TOKENS = 256;

  private final Session session;
  private final Verifier verifier;
  private final List<Run> runs = new ArrayList<>();

  private final List<Run> active = new ArrayList<>();
  private final List<Sequence> sequences = new ArrayList<>();
  private final List<DraftTree> trees = new ArrayList<>();
  private final List<Verdict> kept = new ArrayList<>();

  private volatile boolean cancelled;
  private boolean started;
  private boolean failed;
  private boolean closed;
  private long draftNanos;
  private long verifyNanos;
  private long otherNanos;
  private long prefillNanos;
  private int lawRows;

  /**
   * Prepares a run; nothing is computed yet.
   *
   * @param session of the target, with room for all sequences; the caller closes it
   * @throws IllegalArgumentException when a prompt is empty, longer than the session's sequences,
   *     or has ids beyond the vocabulary
   */
  public Generation(Session session, List<int[]> prompts, GenerationOptions options) {
    this.session = session;
    this.verifier = options.verifier();
    if (prompts.isEmpty() || prompts.size() > session.options().maxNodes()) {
      throw new IllegalArgumentException(
          "prompts = "
              + prompts.size()
              + ", expected 1 to "
              + session.options().maxNodes()
              + ", maxNodes of the session");
    }
    for (int[] prompt : prompts) {
      checkPrompt(prompt, session.model().info());
      if (prompt.length > session.options().maxTokens()) {
        throw new IllegalArgumentException(
            "prompt = "
                + prompt.length
                + " tokens, expected at most "
                + session.options().maxTokens()
                + ", maxTokens of the session");
      }
    }
    if (!options.stopStrings().isEmpty()) {
      session.model().tokenizer(); // stop strings need text
    }
    try {
      for (int b = 0; b < prompts.size(); b++) {
        Run run = newRun(prompts.get(b), b, options);
        runs.add(run);
        session.alsoKeepHidden(run.drafter().hiddenLayers());
      }
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  private Run newRun(int[] prompt, int b, GenerationOptions options) {
    Sampling sampling = options.sampling().withStream(options.sampling().stream() + b);
    Sequence sequence = session.newSequence();
    Drafter drafter = null;
    try {
      sequence.setSampling(sampling);
      drafter = options.drafter().create(session);
      DraftLaws laws = verifier.needsLaws() ? session.newLaws(lawRows, drafter.lawRows()) : null;
      lawRows += drafter.lawRows();
      return new Run(session, sequence, prompt, drafter, options, sampling, laws);
    } catch (RuntimeException e) {
      if (drafter != null) {
        drafter.close();
      }
      sequence.close();
      throw e;
    }
  }

  static void checkPrompt(int[] prompt, ModelInfo info) {
    if (prompt.length == 0) {
      throw new IllegalArgumentException("prompt = 0 tokens, expected at least 1");
    }
    if (prompt.length > info.maxPositions()) {
      throw new IllegalArgumentException(
          "prompt = "
              + prompt.length
              + " tokens, expected at most "
              + info.maxPositions()
              + ", the model's context");
    }
    for (int i = 0; i < prompt.length; i++) {
      if (prompt[i] < 0 || prompt[i] >= info.vocab()) {
        throw new IllegalArgumentException(
            "prompt["
                + i
                + "] = "
                + prompt[i]
                + ", expected 0 to "
                + (info.vocab() - 1)
                + ", the model's vocabulary");
      }
    }
  }

  /**
   * One decoding step of every sequence that is not finished; the first one also reads the prompts.
   *
   * @return whether a sequence is still not finished
   * @throws NotANumberException when the model computes NaN or infinite logits
   * @throws DrafterException when a drafter fails or proposes a malformed tree
   * @throws GenerationCancelledException when the thread is interrupted
   */
  public boolean step() {
    if (closed || failed) {
      throw new IllegalStateException(
          closed ? "the generation is closed" : "the generation has failed before");
    }
    failed = true; // until the step is through
    if (!started) {
      readPrompts();
      started = true;
    }
    if (!stopRequested() && !activeRuns().isEmpty()) {
      decode();
    }
    failed = false;
    return !stopRequested() && !activeRuns().isEmpty();
  }

  /** The loop's body: propose, forward, judge, commit, observe. */
  private void decode() {
    long start = System.nanoTime();
    int nodesForTree = session.options().maxNodes() / active.size();
    sequences.clear();
    trees.clear();
    kept.clear();
    int topK = 0;
    for (Run run : active) {
      sequences.add(run.sequence());
      trees.add(run.propose(nodesForTree));
      topK = Math.max(topK, run.drafter().topK());
    }
    long drafted = System.nanoTime();
    List<Scores> scores = session.forward(sequences, trees, topK);
    List<Verdict> verdicts = verifier.judge(session, trees, scores);
    long judged = System.nanoTime();
    for (int b = 0; b < active.size(); b++) {
      kept.add(active.get(b).emit(verdicts.get(b), trees.get(b)));
    }
    long emitted = System.nanoTime();
    session.commit(kept);
    long committed = System.nanoTime();
    for (int b = 0; b < active.size(); b++) {
      active.get(b).observe(kept.get(b), scores.get(b));
    }
    long end = System.nanoTime();
    draftNanos += drafted - start + end - committed;
    verifyNanos += judged - drafted + committed - emitted;
    otherNanos += emitted - judged;
  }

  private List<Run> activeRuns() {
    active.clear();
    for (Run run : runs) {
      if (!run.finished()) {
        active.add(run);
      }
    }
    return active;
  }

  private void readPrompts() {
    long start = System.nanoTime();
    for (Run run : runs) {
      int[] part = run.promptPart(0, PREFILL_TOKENS);
      for (int from = 0; part.length > 0 && !stopRequested(); from += part.length) {
        part = run.promptPart(from, PREFILL_TOKENS);
        run.sequence().prefill(part);
      }
    }
    prefillNanos = System.nanoTime() - start;
  }

  /** Looks at the cancel flag; a cancelled generation is finished. */
  private boolean stopRequested() {
    if (Thread.currentThread().isInterrupted()) {
      throw new GenerationCancelledException("the thread was interrupted while generating");
    }
    if (cancelled) {
      runs.forEach(Run::cancel);
    }
    return cancelled;
  }

  /** Runs to the end; the results are in the order of the prompts. */
  public List<GenerationResult> run() {
    while (step()) {}
    List<GenerationResult> results = new ArrayList<>();
    for (int b = 0; b < runs.size(); b++) {
      results.add(result(b));
    }
    return results;
  }

  /** Number of prompts. */
  public int batch() {
    return runs.size();
  }

  /** What sequence b emitted since this was asked last; empty when nothing was. */
  public Optional<TokenChunk> nextChunk(int b) {
    return runs.get(b).nextChunk();
  }

  /** The outcome of prompt b, once its sequence is finished. Times are those of the whole batch. */
  public GenerationResult result(int b) {
    return runs.get(b).result(draftNanos, verifyNanos, otherNanos, prefillNanos);
  }

  /**
   * The committed tokens and KV of prompt b's sequence: all but its last token. The generation
   * closes it.
   */
  public Sequence sequence(int b) {
    return runs.get(b).sequence();
  }

  /** Ends the run before its next step. From any thread. */
  public void cancel() {
    cancelled = true;
  }

  /** Frees sequences and drafters. */
  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    RuntimeException first = null;
    for (Run run : runs) {
      try {
        run.drafter().close();
      } catch (RuntimeException e) {
        first = first == null ? e : first; // the others are closed all the same
      }
      run.sequence().close();
    }
    if (first != null) {
      throw new DrafterException("a drafter failed to close: " + first, first);
    }
  }
}
