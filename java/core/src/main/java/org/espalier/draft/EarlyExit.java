package org.espalier.draft;

import java.util.stream.IntStream;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.LayerSet;
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
  private final int maxLength;
  private final int numLayers;
  private final ExitStatistics statistics;
  private final SelfDraft draft;
  private final int[] exits;
  private final DraftTree x = DraftTree.rootedAt(0);
  private final int[] node = new int[1];
  private final int[] drawn = new int[1];
  private final float[] logProb = new float[1];

  EarlyExit(int maxLength, int numLayers) {
    this.maxLength = maxLength;
    this.numLayers = numLayers;
    this.statistics = new ExitStatistics(numLayers, maxLength);
    this.draft = new SelfDraft(LayerSet.first(1, numLayers));
    this.exits = IntStream.range(1, numLayers).toArray();
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
        int layers = session.model().info().numLayers();
        if (layers < 2) {
          throw new IllegalArgumentException(
              "early-exit: layers of the model = "
                  + layers
                  + ", expected at least 2, to exit from");
        }
        return new EarlyExit(maxLength, layers);
      }

      @Override
      public String name() {
        return "early-exit";
      }
    };
  }

  @Override
  public DraftTree propose(Context context) {
    x.reset(context.lastToken());
    double tau = statistics.tau();
    int most = Double.isNaN(tau) ? statistics.length() : maxLength;
    most = Math.min(most, Math.min(context.maxDepth(), context.maxNodes()));
    if (most == 0) {
      return x;
    }
    draft.use(LayerSet.first(statistics.exit(), numLayers));
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
    int columns = scores.numNodes();
    int[] nodes = IntStream.range(0, columns).toArray();
    int[] target = new int[columns];
    for (int i = 0; i < columns; i++) {
      target[i] = scores.topToken(i, 0);
    }
    // Shadow tokens: what each exit would have said at the tokens of this round.
    int[] shadow = new int[exits.length * columns];
    float[] prob = new float[shadow.length];
    scores.exits(exits, nodes, columns, shadow, prob);
    statistics.observe(shadow, prob, target, columns);
  }

  @Override
  public int topK() {
    return 1;
  }

  @Override
  public int[] hiddenLayers() {
    return exits;
  }

  @Override
  public int lawRows() {
    return maxLength;
  }
}
