package org.espalier.draft;

import java.util.function.Supplier;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Model;
import org.espalier.Session;

/**
 * A small model with the same tokenizer drafts. It is loaded on first use.
 *
 * <p>Use it when there is such a model. A step costs a pass of it for each level of the tree and
 * one of the target, and commits 1 to levels + 1 tokens; the draft keeps a KV cache of its own.
 */
public final class DraftModels implements DrafterFactory {
  private final String name;
  private final DraftWeights weights;
  private final Supplier<TreePolicy> policies;
  private final int mostNodes;

  /**
   * Drafts trees of one shape, see {@link FixedTree}.
   *
   * @param nameOrDir an embedded model's name, or a folder
   * @param gamma depth of a draft, 1 to 32
   * @param width 1 for a chain; children of a node, 2 to 8, for a tree
   */
  public static DraftModels fixedTree(String nameOrDir, int gamma, int width) {
    return new DraftModels("draft-model", nameOrDir, () -> new FixedTree(gamma, width));
  }

  /**
   * Drafts trees whose shape follows the draft's probabilities, see {@link DynamicTree}.
   *
   * @param nameOrDir an embedded model's name, or a folder
   * @param nodes most draft nodes of a tree, 1 to 1024
   * @param depth most levels, 1 to 32
   * @param threshold a node of less value gets no children, below 1; 0 stands for 1 / nodes
   */
  public static DraftModels dynamicTree(String nameOrDir, int nodes, int depth, double threshold) {
    return new DraftModels(
        DynamicTree.NAME, nameOrDir, () -> new DynamicTree(nodes, depth, threshold));
  }

  private DraftModels(String name, String nameOrDir, Supplier<TreePolicy> policies) {
    this.name = name;
    this.weights = new DraftWeights(nameOrDir);
    this.policies = policies;
    this.mostNodes = policies.get().mostNodes(); // parameters are checked now
  }

  @Override
  public Drafter create(Session session) {
    Model target = session.model();
    Model draft = weights.open(target, target.options());
    return new TreeDrafter(new DraftCache(draft, session, mostNodes), policies.get());
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public void close() {
    weights.close();
  }
}
