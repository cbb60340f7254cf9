package org.espalier;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.IntStream;
import org.espalier.internal.Leaks;
import org.espalier.internal.NativeModel;
import org.espalier.internal.NativeSession;
import org.jspecify.annotations.Nullable;

/**
 * The KV cache of a model's sequences, and forward passes over draft trees. A step is {@link
 * #forward}, a verification and {@link #commit}: three native calls, without allocation on the
 * native side.
 *
 * <p>One thread at a time; a second one gets an {@link IllegalStateException}. Other failures are
 * {@link IllegalArgumentException} and {@link EspalierException}; the session stays usable after
 * each.
 */
public final class Session implements AutoCloseable {
  /** Most tokens that {@link #forward} and {@link Scores#draw} give for a node. */
  public static final int MAX_TOP_K = 64;

  private final Model model;
  private final ModelInfo info;
  private final SessionOptions options;
  private final NativeSession nativeSession;
  private final Leaks.Watch leak;
  private final AtomicBoolean inUse = new AtomicBoolean();
  private volatile boolean closed;

  // The last forward pass: trees one after the other, as the native call takes them.
  private final List<Sequence> batch = new ArrayList<>();
  private final List<Scores> allScores = new ArrayList<>();
  private int[] seq = new int[1];
  private int[] treeBegin = new int[2];
  private int[] acceptLen = new int[1];
  private int[] bonus = new int[1];
  private int[] token = new int[0];
  private int[] parent = new int[0];
  private int[] scheme = new int[0];
  private int[] lawRow = new int[0];
  private int[] choice = new int[0];
  private int[] path = new int[0];
  private int[] topToken = new int[0];
  private int[] drawNode = new int[0];
  private int[] hiddenLayers = new int[0];
  private int topK;
  private boolean hasChoices;
  private int lawRows;

  Session(
      Model model, NativeModel nativeModel, SessionOptions options, @Nullable Session neighbour) {
    this.model = model;
    this.info = model.info();
    int longest =
        options.maxTokens() == 0
            ? info.maxPositions()
            : Math.min(options.maxTokens(), info.maxPositions());
    this.options = options.withMaxTokens(longest);
    int page = options.pageSize() == 0 ? 16 : options.pageSize();
    long pages =
        options.maxSequences() * (pagesOf(longest, page) + 1) + pagesOf(options.maxNodes(), page);
    this.nativeSession =
        neighbour == null
            ? new NativeSession(
                nativeModel, model.options().threads(), page, options.maxNodes(), pages)
            : new NativeSession(
                nativeModel, neighbour.nativeSession, page, options.maxNodes(), pages);
    this.leak = Leaks.watch(this, "a session of " + model);
  }

  private static long pagesOf(long tokens, int pageSize) {
    return (tokens + pageSize - 1) / pageSize;
  }

  /** The model, which the session borrows. */
  public Model model() {
    return model;
  }

  /** The options, with the length of a sequence filled in. */
  public SessionOptions options() {
    return options;
  }

  /**
   * A session of another model on the device threads of this one, for instance of a draft model.
   * The two are used by the same thread; each is closed by itself.
   */
  public Session newNeighbour(Model other, SessionOptions otherOptions) {
    return other.newSession(otherOptions, this);
  }

  /** An empty, greedy sequence. */
  public Sequence newSequence() {
    enter();
    try {
      return new Sequence(this, nativeSession.newSequence(), 0);
    } finally {
      exit();
    }
  }

  Sequence fork(Sequence from) {
    enter();
    try {
      return new Sequence(this, nativeSession.fork(open(from)), from.length());
    } finally {
      exit();
    }
  }

  void rollback(Sequence sequence, int length) {
    enter();
    try {
      nativeSession.rollback(open(sequence), length);
      sequence.setLength(length);
    } finally {
      exit();
    }
  }

  void setSampling(Sequence sequence, Sampling sampling) {
    enter();
    try {
      nativeSession.setSampling(open(sequence), sampling);
    } finally {
      exit();
    }
  }

  void prefill(Sequence sequence, int[] tokens) {
    enter();
    try {
      nativeSession.prefill(open(sequence), tokens, tokens.length);
      sequence.setLength(sequence.length() + tokens.length);
    } finally {
      exit();
    }
  }

  void close(Sequence sequence) {
    if (sequence.isClosed() || closed) {
      return;
    }
    enter();
    try {
      nativeSession.closeSequence(open(sequence));
      sequence.setClosed();
    } finally {
      exit();
    }
  }

  /**
   * One pass of the model over a draft tree for each of some sequences. The root of a tree is the
   * sequence's last token, which is not committed yet.
   *
   * @param sequences of this session, all different
   * @param trees one for each sequence; together at most {@code options().maxNodes()} nodes
   * @param topKTokens most likely next tokens wanted for each node, 0 to 64
   * @return the scores of each tree; the same objects in each pass
   */
  public List<Scores> forward(List<Sequence> sequences, List<DraftTree> trees, int topKTokens) {
    return forward(sequences, trees, topKTokens, null);
  }

  /**
   * A draft pass: one through some of the layers. Its scores can be read, drawn from and grown, but
   * not verified or committed, and it keeps no hidden states. The cache's committed tokens stay as
   * they are.
   *
   * @param layers of this model; null for all, which is a pass like any other
   */
  public List<Scores> forward(
      List<Sequence> sequences, List<DraftTree> trees, int topKTokens, @Nullable LayerSet layers) {
    enter();
    try {
      if (layers != null && layers.numLayers() != info.numLayers()) {
        throw new IllegalArgumentException(
            "layers = " + layers + ", expected " + info.numLayers() + " layers, as the model has");
      }
      if (sequences.size() != trees.size() || trees.isEmpty()) {
        throw new IllegalArgumentException(
            "trees = "
                + trees.size()
                + ", expected one for each of "
                + sequences.size()
                + " sequences, and at least one");
      }
      if (topKTokens < 0 || topKTokens > Math.min(MAX_TOP_K, info.vocab())) {
        throw new IllegalArgumentException(
            "topK = " + topKTokens + ", expected 0 to " + Math.min(MAX_TOP_K, info.vocab()));
      }
      batch.clear();
      hasChoices = false;
      int size = trees.size();
      growBatch(size);
      int nodes = 0;
      for (int b = 0; b < size; b++) {
        seq[b] = open(sequences.get(b));
        treeBegin[b] = nodes;
        nodes += trees.get(b).size();
      }
      treeBegin[size] = nodes;
      growNodes(nodes, topKTokens);
      for (int b = 0; b < size; b++) {
        trees.get(b).copyTo(token, parent, scheme, lawRow, treeBegin[b]);
      }
      nativeSession.forward(
          size,
          seq,
          treeBegin,
          token,
          parent,
          layers == null ? null : layers.sublayers(),
          topKTokens,
          topKTokens == 0 ? null : topToken);
      topK = topKTokens;
      for (int b = 0; b < size; b++) {
        batch.add(sequences.get(b));
      }
      return Collections.unmodifiableList(allScores.subList(0, size));
    } finally {
      exit();
    }
  }

  /**
   * Computes the nodes that were appended to the tree of the last pass since then, through the same
   * layers: the pass must be over that tree alone, without top tokens, and not committed. Scores of
   * all nodes are there then, the same bits as of the whole tree at once.
   *
   * @param tree the tree of the last pass, or one that begins with the same nodes
   * @return its scores
   */
  public Scores grow(DraftTree tree) {
    enter();
    try {
      needPass();
      if (batch.size() != 1 || topK != 0) {
        throw new IllegalStateException(
            "the last pass has "
                + batch.size()
                + " trees and top-k = "
                + topK
                + ", expected one tree and none, to grow");
      }
      int from = treeBegin[1];
      int added = tree.size() - from;
      if (added < 0 || !tree.beginsWith(token, parent, from)) {
        throw new IllegalArgumentException(
            "tree has "
                + tree.size()
                + " nodes, expected the "
                + from
                + " of the last pass and more behind them");
      }
      if (added > 0) {
        growNodes(tree.size(), 0);
        tree.copyTo(token, parent, scheme, lawRow, 0);
        nativeSession.grow(
            added,
            Arrays.copyOfRange(token, from, tree.size()),
            Arrays.copyOfRange(parent, from, tree.size()));
        treeBegin[1] = tree.size();
        hasChoices = false;
      }
      return allScores.get(0);
    } finally {
      exit();
    }
  }

  private void growBatch(int size) {
    if (seq.length < size) {
      seq = new int[size];
      treeBegin = new int[size + 1];
      acceptLen = new int[size];
      bonus = new int[size];
    }
    while (allScores.size() < size) {
      allScores.add(new Scores(this, allScores.size()));
    }
  }

  private void growNodes(int nodes, int topKTokens) {
    if (token.length < nodes) {
      int room = Math.max(nodes, Math.min(2 * token.length, options.maxNodes()));
      token = new int[room];
      parent = new int[room];
      scheme = new int[room];
      lawRow = new int[room];
      choice = new int[room];
      path = new int[room];
    }
    if (topToken.length < nodes * topKTokens) {
      topToken = new int[nodes * topKTokens];
    }
  }

  /**
   * Exact verification of the last pass: the longest path on which each token is the target's own
   * choice.
   */
  public List<Verdict> verify() {
    enter();
    try {
      needPass();
      nativeSession.verify(choice, path, acceptLen);
      hasChoices = true;
      List<Verdict> verdicts = new ArrayList<>(batch.size());
      for (int b = 0; b < batch.size(); b++) {
        int first = treeBegin[b];
        int last = acceptLen[b] == 0 ? 0 : path[first + acceptLen[b] - 1];
        verdicts.add(Verdict.of(path, first, acceptLen[b], choice[first + last]));
      }
      return verdicts;
    } finally {
      exit();
    }
  }

  /** Speculative sampling of the last pass, by the schemes and laws that its trees name. */
  public List<Verdict> verifySampling() {
    enter();
    try {
      needPass();
      nativeSession.verifySampling(scheme, lawRow, path, acceptLen, bonus);
      List<Verdict> verdicts = new ArrayList<>(batch.size());
      for (int b = 0; b < batch.size(); b++) {
        verdicts.add(Verdict.of(path, treeBegin[b], acceptLen[b], bonus[b]));
      }
      return verdicts;
    } finally {
      exit();
    }
  }

  /**
   * Keeps the KV of the root and the accepted nodes of every tree of the last pass, and drops the
   * rest.
   */
  public void commit(List<Verdict> verdicts) {
    enter();
    try {
      needPass();
      if (verdicts.size() != batch.size()) {
        throw new IllegalArgumentException(
            "verdicts = " + verdicts.size() + ", expected " + batch.size() + ", one for each tree");
      }
      for (int b = 0; b < batch.size(); b++) {
        Verdict verdict = verdicts.get(b);
        if (verdict.acceptLen() >= treeLen(b)) {
          throw new IllegalArgumentException(
              "acceptLen = "
                  + verdict.acceptLen()
                  + ", expected at most "
                  + (treeLen(b) - 1)
                  + ", the draft nodes");
        }
        acceptLen[b] = verdict.acceptLen();
        for (int i = 0; i < acceptLen[b]; i++) {
          path[treeBegin[b] + i] = verdict.node(i);
        }
      }
      nativeSession.commit(path, acceptLen);
      for (int b = 0; b < batch.size(); b++) {
        Sequence sequence = batch.get(b);
        sequence.setLength(sequence.length() + acceptLen[b] + 1);
      }
    } finally {
      exit();
    }
  }

  /**
   * Chooses the layers whose states the next passes keep: 0 for the embedding, i for the output of
   * layer i; ascending.
   */
  public void keepHidden(int... layers) {
    enter();
    try {
      nativeSession.keepHidden(layers);
      hiddenLayers = layers.clone();
    } finally {
      exit();
    }
  }

  /** Keeps the states of further layers; those that are kept already stay so. */
  void alsoKeepHidden(int[] layers) {
    int[] union =
        IntStream.concat(Arrays.stream(hiddenLayers), Arrays.stream(layers))
            .sorted()
            .distinct()
            .toArray();
    if (union.length > hiddenLayers.length) {
      keepHidden(union);
    }
  }

  /**
   * Rows for the laws of a step's draft tokens. When they are more than before, laws that are there
   * now are lost; so ask between two steps.
   */
  public DraftLaws newLaws(int firstRow, int rows) {
    enter();
    try {
      if (firstRow < 0 || rows < 0) {
        throw new IllegalArgumentException(
            "firstRow = " + firstRow + ", rows = " + rows + ", expected at least 0");
      }
      if (firstRow + rows > lawRows) {
        nativeSession.allocateLaws(firstRow + rows, info.vocab());
        lawRows = firstRow + rows;
      }
      return new DraftLaws(this, firstRow, rows);
    } finally {
      exit();
    }
  }

  void readLaw(int row, float[] law) {
    enter();
    try {
      checkLength("law", law.length, info.vocab());
      nativeSession.readLaw(row, law);
    } finally {
      exit();
    }
  }

  void writeLaw(int row, float[] law) {
    enter();
    try {
      checkLength("law", law.length, info.vocab());
      nativeSession.writeLaw(row, law);
    } finally {
      exit();
    }
  }

  int treeLen(int tree) {
    return treeBegin[tree + 1] - treeBegin[tree];
  }

  int topK() {
    return topK;
  }

  int topToken(int tree, int node, int rank) {
    if (rank < 0 || rank >= topK) {
      throw new IllegalArgumentException(
          "rank = " + rank + ", expected 0 to " + (topK - 1) + ", the top-k of the pass");
    }
    return topToken[inBatch(tree, node) * topK + rank];
  }

  void topTokens(int tree, int count, int[] out) {
    if (count < 0 || count > topK) {
      throw new IllegalArgumentException(
          "count = " + count + ", expected 0 to " + topK + ", the top-k of the pass");
    }
    int first = inBatch(tree, 0);
    int nodes = treeLen(tree);
    checkRoom("out", out.length, nodes * count);
    if (count == topK) {
      System.arraycopy(topToken, first * topK, out, 0, nodes * topK);
      return;
    }
    for (int i = 0; i < nodes; i++) {
      System.arraycopy(topToken, (first + i) * topK, out, i * count, count);
    }
  }

  int choice(int tree, int node) {
    if (!hasChoices) {
      throw new IllegalStateException(
          "the last pass has no choices, expected Session.verify before");
    }
    return choice[inBatch(tree, node)];
  }

  void logits(int tree, int node, float[] out) {
    enter();
    try {
      checkLength("logits", out.length, info.vocab());
      nativeSession.logits(inBatch(tree, node), out, info.vocab());
    } finally {
      exit();
    }
  }

  void hidden(int tree, int layer, int node, float[] out) {
    enter();
    try {
      checkLength("state", out.length, info.hidden());
      nativeSession.hidden(layer, inBatch(tree, node), out, info.hidden());
    } finally {
      exit();
    }
  }

  void exits(int tree, int[] layer, int[] node, int numNodes, int[] exitToken, float[] prob) {
    enter();
    try {
      checkRoom("token", exitToken.length, layer.length * numNodes);
      checkRoom("prob", prob.length, layer.length * numNodes);
      nativeSession.exitHead(layer, batchNodes(tree, node, numNodes), numNodes, exitToken, prob);
    } finally {
      exit();
    }
  }

  /** Indices of a tree's nodes in the whole pass, in an array that is used again. */
  private int[] batchNodes(int tree, int[] node, int numNodes) {
    if (numNodes < 1 || numNodes > node.length) {
      throw new IllegalArgumentException(
          "numNodes = " + numNodes + ", expected 1 to " + node.length);
    }
    if (drawNode.length < numNodes) {
      drawNode = new int[numNodes];
    }
    for (int i = 0; i < numNodes; i++) {
      drawNode[i] = inBatch(tree, node[i]);
    }
    return drawNode;
  }

  void draw(
      int tree,
      int[] node,
      int numNodes,
      int k,
      Noise noise,
      int[] drawn,
      float @Nullable [] logProb,
      @Nullable DraftLaws laws,
      int firstRow) {
    enter();
    try {
      if (k < 1 || k > MAX_TOP_K) {
        throw new IllegalArgumentException("k = " + k + ", expected 1 to " + MAX_TOP_K);
      }
      int[] nodes = batchNodes(tree, node, numNodes);
      checkRoom("token", drawn.length, numNodes * k);
      if (logProb != null) {
        checkRoom("logProb", logProb.length, numNodes * k);
      }
      int row = 0;
      NativeSession lawsOf = null;
      if (laws != null) {
        row = laws.row(firstRow);
        laws.row(firstRow + numNodes - 1);
        lawsOf = laws.session().nativeSession;
      }
      nativeSession.draw(numNodes, nodes, k, noise, drawn, logProb, lawsOf, row);
    } finally {
      exit();
    }
  }

  private static void checkLength(String what, int got, int expected) {
    if (got != expected) {
      throw new IllegalArgumentException(what + " has " + got + " elements, expected " + expected);
    }
  }

  private static void checkRoom(String what, int got, int least) {
    if (got < least) {
      throw new IllegalArgumentException(
          what + " has " + got + " elements, expected at least " + least);
    }
  }

  /** Index of a tree's node in the whole pass. */
  private int inBatch(int tree, int node) {
    if (tree >= batch.size()) {
      throw new IllegalStateException(
          "no scores of tree " + tree + ", expected a forward pass with it before");
    }
    if (node < 0 || node >= treeLen(tree)) {
      throw new IllegalArgumentException(
          "node = " + node + ", expected 0 to " + (treeLen(tree) - 1));
    }
    return treeBegin[tree] + node;
  }

  private void needPass() {
    if (batch.isEmpty()) {
      throw new IllegalStateException("no scores, expected a forward pass before");
    }
  }

  private int open(Sequence sequence) {
    if (sequence.session() != this) {
      throw new IllegalArgumentException(
          "the sequence is of another session, expected one of this");
    }
    if (sequence.isClosed()) {
      throw new IllegalStateException("the sequence is closed");
    }
    return sequence.id();
  }

  private void enter() {
    if (!inUse.compareAndSet(false, true)) {
      throw new IllegalStateException(
          "the session is in use by another thread, expected one thread at a time");
    }
    if (closed) {
      inUse.set(false);
      throw new IllegalStateException("the session is closed");
    }
  }

  private void exit() {
    inUse.set(false);
  }

  /** Frees the cache and all sequences. */
  @Override
  public void close() {
    if (closed) {
      return;
    }
    enter();
    closed = true;
    leak.closed();
    nativeSession.destroy();
    exit();
  }
}
