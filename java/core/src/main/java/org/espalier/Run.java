package org.espalier;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** One sequence of a generation: its tokens, its drafter, its text so far. */
final class Run implements Context {
  private final Session session;
  private final Sequence sequence;
  private final Drafter drafter;
  private final GenerationOptions options;
  private final Sampling sampling;
  private final @Nullable DraftLaws laws;
  private final @Nullable TokenDecoder decoder;
  private final StopText stops;
  private final int[] endTokens;
  private final StatsCounter counter = new StatsCounter();
  private final int promptTokens;
  private final StringBuilder text = new StringBuilder();

  private int[] tokens;
  private int length;

  /** Tokens before this one are in the text. */
  private int decoded;

  private boolean textFinished;
  private int maxNodes;
  private int chunkBegin;
  private int chunkTextBegin;
  private @Nullable FinishReason finishReason;

  Run(
      Session session,
      Sequence sequence,
      int[] prompt,
      Drafter drafter,
      GenerationOptions options,
      Sampling sampling,
      @Nullable DraftLaws laws) {
    this.session = session;
    this.sequence = sequence;
    this.drafter = drafter;
    this.options = options;
    this.sampling = sampling;
    this.laws = laws;
    this.decoder = session.model().findTokenizer().map(Tokenizer::newDecoder).orElse(null);
    this.stops = new StopText(options.stopStrings());
    this.endTokens = session.model().endTokens().stream().mapToInt(Integer::intValue).toArray();
    this.promptTokens = prompt.length;
    this.tokens = Arrays.copyOf(prompt, prompt.length + 64);
    this.length = prompt.length;
    this.decoded = prompt.length;
    this.chunkBegin = prompt.length;
  }

  Drafter drafter() {
    return drafter;
  }

  boolean finished() {
    return finishReason != null;
  }

  /**
   * Prompt tokens from a position on, at most {@code most}, without the last: that one is the first
   * root.
   */
  int[] promptPart(int from, int most) {
    return Arrays.copyOfRange(tokens, from, Math.min(from + most, promptTokens - 1));
  }

  /** The tree of the next step, checked. */
  DraftTree propose(int nodesForTree) {
    maxNodes = nodesForTree - 1;
    DraftTree tree;
    try {
      tree = drafter.propose(this);
    } catch (EspalierException e) {
      throw e;
    } catch (RuntimeException e) {
      throw new DrafterException("drafter " + describe() + " failed to propose: " + e, e);
    }
    check(tree);
    return tree;
  }

  private void check(@Nullable DraftTree tree) {
    if (tree == null) {
      throw new DrafterException("drafter " + describe() + ": tree = null, expected a tree");
    }
    require(tree.token(0) == lastToken(), "root", tree.token(0), lastToken() + ", the last token");
    require(
        tree.size() - 1 <= maxNodes,
        "draft nodes",
        tree.size() - 1,
        "at most " + maxNodes + ", see Context.maxNodes");
    require(
        tree.maxDepth() <= maxDepth(),
        "depth",
        tree.maxDepth(),
        "at most " + maxDepth() + ", see Context.maxDepth");
    int vocab = session.model().info().vocab();
    for (int i = 1; i < tree.size(); i++) {
      int token = tree.token(i);
      if (token < 0 || token >= vocab) {
        require(false, "token of node " + i, token, "0 to " + (vocab - 1));
      }
    }
    if (laws != null) {
      checkLaws(tree, laws);
    }
  }

  /** Drawn children have a law, one of the drafter's own. */
  private void checkLaws(DraftTree tree, DraftLaws own) {
    for (int i = 0; i < tree.size(); i++) {
      if (tree.scheme(i) != DraftTree.Scheme.POINT_MASS && !own.has(tree.lawRow(i))) {
        int row = tree.lawRow(i);
        require(false, "law row of node " + i, row, own.rule());
      }
    }
  }

  private void require(boolean holds, String what, int got, String rule) {
    if (!holds) {
      throw new DrafterException(
          "drafter " + describe() + ": " + what + " = " + got + ", expected " + rule);
    }
  }

  private String describe() {
    return drafter.describe();
  }

  /** Lets the drafter learn. */
  void observe(Verdict verdict, Scores scores) {
    try {
      drafter.observe(verdict, scores);
    } catch (EspalierException e) {
      throw e;
    } catch (RuntimeException e) {
      throw new DrafterException("drafter " + describe() + " failed to observe: " + e, e);
    }
  }

  /**
   * Emits the tokens of a verdict, up to an end token, a stop string or the last token asked for.
   *
   * @return what of the verdict was emitted, with its last token as the bonus
   */
  Verdict emit(Verdict verdict, DraftTree tree) {
    int emitted = 0;
    while (finishReason == null && emitted <= verdict.acceptLen()) {
      boolean drafted = emitted < verdict.acceptLen();
      append(drafted ? tree.token(verdict.node(emitted)) : verdict.bonus());
      emitted++;
    }
    counter.pass(tree, emitted, Math.min(emitted, verdict.acceptLen()));
    return verdict.cutTo(emitted - 1, tree);
  }

  private void append(int token) {
    if (length == tokens.length) {
      tokens = Arrays.copyOf(tokens, 2 * length);
    }
    tokens[length++] = token;
    if (isEnd(token)) {
      finishReason = FinishReason.END;
      return;
    }
    if (!options.stopStrings().isEmpty()) {
      updateText();
    }
    if (stops.found()) {
      finishReason = FinishReason.STOP;
    } else if (length - promptTokens == options.maxNewTokens()) {
      finishReason = FinishReason.LENGTH;
    } else if (length > session.options().maxTokens()) {
      finishReason = FinishReason.CONTEXT;
    }
  }

  private boolean isEnd(int token) {
    for (int end : endTokens) {
      if (token == end) {
        return true;
      }
    }
    return false;
  }

  /**
   * Brings the text up to the last token, an end token left out. A finished run shows what was held
   * back too: incomplete characters, the beginning of a stop string.
   */
  private void updateText() {
    if (decoder == null) {
      return;
    }
    int end = finishReason == FinishReason.END ? length - 1 : length;
    while (decoded < end) {
      text.append(stops.next(decoder.next(tokens[decoded++])));
    }
    if (finishReason != null && !textFinished) {
      textFinished = true;
      if (!stops.found()) {
        text.append(stops.next(decoder.finish()));
        text.append(stops.finish());
      }
    }
  }

  /** Ends the run before its time. */
  void cancel() {
    if (finishReason == null) {
      finishReason = FinishReason.CANCELLED;
    }
  }

  /** What was emitted since the last chunk; empty when nothing was. */
  Optional<TokenChunk> nextChunk() {
    updateText();
    if (chunkBegin == length && chunkTextBegin == text.length()) {
      return Optional.empty();
    }
    TokenChunk chunk =
        new TokenChunk(text.substring(chunkTextBegin), ids(chunkBegin), finishReason);
    chunkBegin = length;
    chunkTextBegin = text.length();
    return Optional.of(chunk);
  }

  private List<Integer> ids(int from) {
    List<Integer> ids = new ArrayList<>(length - from);
    for (int i = from; i < length; i++) {
      ids.add(tokens[i]);
    }
    return ids;
  }

  GenerationResult result(long draftNanos, long verifyNanos, long otherNanos, long prefillNanos) {
    if (finishReason == null) {
      throw new IllegalStateException("the generation is not finished");
    }
    updateText();
    SpeculationStats stats = counter.stats(draftNanos, verifyNanos, otherNanos, prefillNanos);
    return new GenerationResult(
        text.toString(), ids(promptTokens), promptTokens, finishReason, stats);
  }

  @Override
  public int length() {
    return length;
  }

  @Override
  public int token(int i) {
    if (i < 0 || i >= length) {
      throw new IndexOutOfBoundsException("token " + i + ", expected 0 to " + (length - 1));
    }
    return tokens[i];
  }

  @Override
  public int maxNodes() {
    return maxNodes;
  }

  @Override
  public int maxDepth() {
    int forContext = session.options().maxTokens() - length;
    int wanted = promptTokens + options.maxNewTokens() - length - 1;
    return Math.max(0, Math.min(forContext, wanted));
  }

  @Override
  public Sampling sampling() {
    return sampling;
  }

  @Override
  public Session session() {
    return session;
  }

  @Override
  public Sequence sequence() {
    return sequence;
  }

  @Override
  public Optional<DraftLaws> laws() {
    return Optional.ofNullable(laws);
  }
}
