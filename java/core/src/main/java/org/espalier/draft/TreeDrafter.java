package org.espalier.draft;

import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.Scores;
import org.espalier.Verdict;

/**
 * Something cheaper than the target drafts a tree: what it is says the source, which shape the tree
 * has the policy.
 *
 * <p>For the exact verifier tokens are drawn with the noise that the target will use at their
 * positions; for the sampling verifier with noise of their own, and the laws are kept.
 */
final class TreeDrafter implements Drafter {
  private final DraftSource source;
  private final TreePolicy policy;
  private final GradedTree tree = new GradedTree();

  TreeDrafter(DraftSource source, TreePolicy policy) {
    this.source = source;
    this.policy = policy;
  }

  @Override
  public DraftTree propose(Context context) {
    tree.reset(context.lastToken());
    policy.grow(context, source, tree);
    return tree.best(Math.min(context.maxNodes(), policy.nodes()));
  }

  @Override
  public void observe(Verdict verdict, Scores scores) {
    source.keep(tree.inAll(verdict));
    source.learn(verdict, scores);
  }

  @Override
  public int topK() {
    return source.topK();
  }

  @Override
  public int[] hiddenLayers() {
    return source.hiddenLayers();
  }

  @Override
  public int lawRows() {
    return policy.lawRows();
  }

  @Override
  public void close() {
    source.close();
  }
}
