package org.espalier.draft;

import java.util.List;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.LayerSet;
import org.espalier.Noise;
import org.espalier.Scores;
import org.espalier.Session;
import org.espalier.Verdict;
import org.jspecify.annotations.Nullable;

/**
 * The target without some of its layers, on the target's own session: it reads the KV of the
 * committed tokens and leaves its own behind them, where the target's pass overwrites it. So
 * nothing is copied, and nothing is left to be kept.
 */
final class SelfDraft implements DraftSource {
  private final DraftTree root = DraftTree.rootedAt(0);
  private final LayerChoice choice;
  private @Nullable Session session;
  private @Nullable Scores scores;

  SelfDraft(LayerChoice choice) {
    this.choice = choice;
  }

  @Override
  public void begin(Context context) {
    LayerSet layers = choice.choose(context);
    root.reset(context.lastToken());
    scores =
        context.session().forward(List.of(context.sequence()), List.of(root), 0, layers).get(0);
    session = context.session();
  }

  @Override
  public void extend(DraftTree tree, int from) {
    if (session == null) {
      throw new IllegalStateException("extend before begin");
    }
    session.grow(tree);
  }

  @Override
  public void draw(
      int[] node,
      int numNodes,
      int k,
      Noise noise,
      int[] token,
      float[] logProb,
      @Nullable DraftLaws laws,
      int firstRow) {
    if (scores == null) {
      throw new IllegalStateException("draw before begin");
    }
    scores.draw(node, numNodes, k, noise, token, logProb, laws, firstRow);
  }

  @Override
  public int mostDraws() {
    if (session == null) {
      throw new IllegalStateException("mostDraws before begin");
    }
    return Math.min(Session.MAX_TOP_K, session.model().info().vocab());
  }

  @Override
  public int room(Context context) {
    return context.maxDepth();
  }

  @Override
  public int mostNodes(Context context) {
    return context.session().options().maxNodes();
  }

  @Override
  public void keep(Verdict verdict) {}

  @Override
  public void learn(Verdict verdict, Scores scoresOfAll) {
    choice.learn(verdict, scoresOfAll);
  }

  @Override
  public int topK() {
    return choice.topK();
  }

  @Override
  public int[] hiddenLayers() {
    return choice.hiddenLayers();
  }

  @Override
  public void close() {
    choice.close();
  }
}
