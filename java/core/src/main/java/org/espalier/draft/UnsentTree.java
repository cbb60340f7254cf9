package org.espalier.draft;

import java.util.Arrays;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Verdict;

/**
 * A tree that was drafted and not sent: the text that comes shows what would have been accepted.
 */
final class UnsentTree {
  private int[] token = new int[64];
  private int[] parent = new int[64];
  private int size;
  private int sent;
  private int allowed;
  private double nanos;

  /** Index in the text of the token that is compared next. */
  private int at;

  private int node;
  private int[] path = new int[8];
  private int acceptLen;

  /**
   * Becomes a copy of a tree.
   *
   * @param begin index in the text of the token after the root
   * @param itsSent nodes that the tree which is sent in its place is allowed to have
   * @param itsAllowed nodes that it was allowed to have
   * @param itsNanos what it cost to draft
   */
  void copy(DraftTree tree, int begin, int itsSent, int itsAllowed, double itsNanos) {
    size = tree.size();
    if (token.length < size) {
      token = new int[2 * size];
      parent = new int[2 * size];
    }
    for (int i = 0; i < size; i++) {
      token[i] = tree.token(i);
      parent[i] = tree.parent(i);
    }
    sent = itsSent;
    allowed = itsAllowed;
    nanos = itsNanos;
    at = begin;
    node = 0;
    acceptLen = 0;
  }

  /** Goes along with the text as far as it is there; false while more text may follow the tree. */
  boolean follow(Context text) {
    while (hasChild()) {
      if (at == text.length()) {
        return false;
      }
      int child = child(text.token(at));
      if (child < 0) {
        return true;
      }
      if (acceptLen == path.length) {
        path = Arrays.copyOf(path, 2 * acceptLen);
      }
      path[acceptLen++] = child;
      node = child;
      at++;
    }
    return true;
  }

  private boolean hasChild() {
    for (int i = node + 1; i < size; i++) {
      if (parent[i] == node) {
        return true;
      }
    }
    return false;
  }

  /** The child of the node that has a token, -1 for none. */
  private int child(int itsToken) {
    for (int i = node + 1; i < size; i++) {
      if (parent[i] == node && token[i] == itsToken) {
        return i;
      }
    }
    return -1;
  }

  /** Tells what was seen of it. */
  void tell(TreeSize treeSize) {
    int[] accepted = Arrays.copyOf(path, acceptLen);
    treeSize.peeked(sent, allowed, size, Verdict.of(accepted, 0), nanos);
  }
}
