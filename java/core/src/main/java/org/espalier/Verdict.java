package org.espalier;

import java.util.Arrays;

/**
 * What a verifier decided about one draft tree: its accepted nodes and the token after them.
 * Immutable.
 */
public final class Verdict {
  private final int[] path;
  private final int bonus;

  private Verdict(int[] path, int bonus) {
    this.path = path;
    this.bonus = bonus;
  }

  /**
   * A verdict.
   *
   * @param path accepted nodes of the tree, a chain of children from node 0, node 0 left out
   * @param bonus the target's token after the last of them
   */
  public static Verdict of(int[] path, int bonus) {
    return new Verdict(path.clone(), bonus);
  }

  /** The first {@code acceptLen} elements of {@code path} from {@code from} on. */
  static Verdict of(int[] path, int from, int acceptLen, int bonus) {
    return new Verdict(Arrays.copyOfRange(path, from, from + acceptLen), bonus);
  }

  /** Accepted draft tokens; the bonus token is not counted. */
  public int acceptLen() {
    return path.length;
  }

  /** The i-th accepted node, an index in the tree. */
  public int node(int i) {
    return path[i];
  }

  /** The token that the target adds. */
  public int bonus() {
    return bonus;
  }

  /** The last accepted node, 0 when no draft token was accepted. */
  public int lastNode() {
    return path.length == 0 ? 0 : path[path.length - 1];
  }

  /**
   * The verdict that keeps only the first {@code acceptLen} nodes of {@code tree}; the next node's
   * token is its bonus.
   */
  Verdict cutTo(int acceptLen, DraftTree tree) {
    return acceptLen == path.length
        ? this
        : new Verdict(Arrays.copyOf(path, acceptLen), tree.token(path[acceptLen]));
  }

  @Override
  public String toString() {
    return "Verdict[path=" + Arrays.toString(path) + ", bonus=" + bonus + "]";
  }
}
