package org.espalier.draft;

import java.util.stream.IntStream;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Noise;
import org.espalier.Scores;
import org.espalier.Session;
import org.espalier.Verdict;

/**
 * The target's first layers with its own LM head draft a chain. Where to exit and how far to draft
 * is chosen anew each round, from what every exit would have said at the tokens just verified.
 *
 * <p>Source: DEL, arXiv 2504.05598; early exits: LayerSkip, arXiv 2404.16710. What we changed: the
 * target's pass computes all layers of all nodes in one go instead of going on from the draft's
 * states, which by law 1 gives the same bits and costs the first layers once more; the prompt's
 * last tokens are not used as context columns, as a prefill keeps no states; where tau is not
 * defined yet, the draft has the length d* that tokens per layer choose, and none when d* is 0; the
 * confidence that is compared with tau is that of the exit's most likely token at any temperature.
 *
 * <p>Use it with a model that was trained with early-exit losses, or whose early layers can predict
 * all the same. A step costs up to {@code d_max} passes over the first layers, and a pass of the LM
 * head over {@code (layers - 1) * (draft + 1)} rows.
 */
public final class EarlyExit implements Drafter {
  private static final String NAME = "early-exit";

  private final int maxLength;
  private final ExitChoice exits;
  private final SelfDraft draft;
  private final DraftTree x = DraftTree.rootedAt(0);
  private final int[] node = new int[1];
  private final int[] drawn = new int[1];
  private final float[] logProb = new float[1];

  private EarlyExit(int maxLength, Session session) {
    this.maxLength = maxLength;
    this.exits = new ExitChoice(NAME, session.model().info().numLayers(), maxLength);
    this.draft = new SelfDraft(exits);
  }

  /**
   * The factory.
   *
   * @param maxLength longest draft, 1 to 64
   */
  public static DrafterFactory factory(int maxLength) {
    Checks.inRange("d_max", maxLength, 1, 64);
    return new DrafterFactory() {
      @Override
      public Drafter create(Session session) {
        return new EarlyExit(maxLength, session);
      }

      @Override
      public String name() {
        return NAME;
      }
    };
  }

  /**
   * The factory of drafters that grow trees from the first layers, see {@link DynamicTree}: the
   * exit is chosen as for a chain, the shape follows the exit's probabilities.
   *
   * @param nodes most draft nodes of a tree, 1 to 1024
   * @param depth most levels, 1 to 32
   * @param threshold a node of less value gets no children, below 1; 0 stands for 1 / nodes
   */
  public static DrafterFactory dynamicTree(int nodes, int depth, double threshold) {
    new DynamicTree(nodes, depth, threshold); // parameters are checked now
    return new DrafterFactory() {
      @Override
      public Drafter create(Session session) {
        int layers = session.model().info().numLayers();
        SelfDraft source = new SelfDraft(new ExitChoice(NAME, layers, depth));
        return new TreeDrafter(source, new DynamicTree(nodes, depth, threshold));
      }

      @Override
      public String name() {
        return DynamicTree.NAME;
      }
    };
  }

  @Override
  public DraftTree propose(Context context) {
    x.reset(context.lastToken());
    double tau = exits.statistics().tau();
    int most = Double.isNaN(tau) ? exits.statistics().length() : maxLength;
    most = Math.min(most, Math.min(context.maxDepth(), context.maxNodes()));
    if (most == 0) {
      return x;
    }
    draft.begin(context);
    for (int i = 0; i < most; i++) {
      if (i > 0) {
        draft.extend(x, i);
      }
      node[0] = i;
      draft.draw(node, 1, 1, Noise.NONE, drawn, logProb, null, 0);
      double confidence = Math.exp((double) logProb[0]);
      x.append(next(context, i));
      if (confidence < tau || context.session().model().endTokens().contains(x.token(i + 1))) {
        break;
      }
    }
    return x;
  }

  /** x_i from the exit's law. */
  private int next(Context context, int i) {
    if (context.laws().isPresent() && !context.sampling().isGreedy()) {
      DraftLaws laws = context.laws().orElseThrow();
      draft.draw(node, 1, 1, Noise.DRAFT, drawn, logProb, laws, i);
      x.childrenDrawn(i, DraftTree.Scheme.WITHOUT_REPLACEMENT, laws.row(i));
    } else {
      draft.draw(node, 1, 1, Noise.TARGET, drawn, logProb, null, 0);
    }
    return drawn[0];
  }

  @Override
  public void observe(Verdict verdict, Scores scores) {
    exits.learn(IntStream.range(0, scores.numNodes()).toArray(), scores);
  }

  @Override
  public int topK() {
    return exits.topK();
  }

  @Override
  public int[] hiddenLayers() {
    return exits.hiddenLayers();
  }

  @Override
  public int lawRows() {
    return maxLength;
  }
}
