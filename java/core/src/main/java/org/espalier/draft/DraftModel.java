package org.espalier.draft;

import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.Noise;
import org.espalier.Scores;

/**
 * A small model drafts gamma tokens, one after the other.
 *
 * <p>Source: Leviathan et al., arXiv 2211.17192, Algorithm 1, in its letters: p is the target's
 * distribution, q the draft's, gamma the draft length. For the exact verifier a token is drawn from
 * q with the noise that the target will use at its position; for the sampling verifier with noise
 * of its own, and q is kept.
 *
 * <p>Use it when a small model with the same tokenizer exists. A step costs gamma draft passes and
 * one target pass, and commits 1 to gamma + 1 tokens; the draft keeps a KV cache of its own.
 */
public final class DraftModel implements Drafter {
  private final DraftCache draft;
  private final int gamma;
  private final DraftTree x = DraftTree.rootedAt(0);
  private final int[] node = new int[1];
  private final int[] drawn = new int[1];

  DraftModel(DraftCache draft, int gamma) {
    this.draft = draft;
    this.gamma = gamma;
  }

  @Override
  public DraftTree propose(Context context) {
    x.reset(context.lastToken());
    int most = Math.min(gamma, Math.min(context.maxDepth(), context.maxNodes()));
    most = Math.min(most, draft.room(context));
    boolean chance = context.laws().isPresent() && !context.sampling().isGreedy();
    for (int i = 0; i < most; i++) {
      // q_i, the draft's distribution after x_1 .. x_i-1, [vocab]; it stays on the device.
      Scores q = i == 0 ? draft.begin(context) : draft.next(x.token(i));
      // x_i from q_i.
      node[0] = q.numNodes() - 1;
      if (chance) {
        q.draw(node, 1, 1, Noise.DRAFT, drawn, null, context.laws().orElseThrow(), i);
        x.childrenDrawn(
            i, DraftTree.Scheme.WITHOUT_REPLACEMENT, context.laws().orElseThrow().row(i));
      } else {
        q.draw(node, 1, 1, Noise.TARGET, drawn, null, null, 0);
      }
      draft.keep();
      x.append(drawn[0]);
    }
    return x;
  }

  @Override
  public int lawRows() {
    return gamma;
  }

  @Override
  public void close() {
    draft.close();
  }
}
