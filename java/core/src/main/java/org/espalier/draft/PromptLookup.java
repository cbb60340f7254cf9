package org.espalier.draft;

import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Session;

/**
 * Copies what followed the last few tokens when they stood in the context before.
 *
 * <p>Source: Prompt Lookup Decoding (Saxena, 2023), apoorvumang/prompt-lookup-decoding. As there:
 * for n = n_max .. 1 the last n tokens are the key; the leftmost earlier match that m tokens follow
 * gives the draft; without one the step is plain. What we changed: a draft that would pass the end
 * of the context or of the wanted tokens is cut.
 *
 * <p>Use it for summaries, code edits and answers that quote: texts that repeat themselves. A step
 * costs a scan of the context.
 */
public final class PromptLookup implements Drafter {
  private final int maxNgram;
  private final int draftLen;
  private final DraftTree tree = DraftTree.rootedAt(0);

  /**
   * A drafter.
   *
   * @param maxNgram longest key, n_max, 1 to 16
   * @param draftLen tokens of a draft, m, 1 to 256
   */
  public PromptLookup(int maxNgram, int draftLen) {
    this.maxNgram = Checks.inRange("n_max", maxNgram, 1, 16);
    this.draftLen = Checks.inRange("m", draftLen, 1, 256);
  }

  /** The factory of drafters with these parameters, see the constructor. */
  public static DrafterFactory factory(int maxNgram, int draftLen) {
    PromptLookup checked = new PromptLookup(maxNgram, draftLen);
    return new DrafterFactory() {
      @Override
      public Drafter create(Session session) {
        return new PromptLookup(checked.maxNgram, checked.draftLen);
      }

      @Override
      public String name() {
        return "prompt-lookup";
      }
    };
  }

  @Override
  public DraftTree propose(Context context) {
    tree.reset(context.lastToken());
    int from = continuation(context);
    if (from >= 0) {
      int most = Math.min(draftLen, Math.min(context.maxDepth(), context.maxNodes()));
      for (int i = 0; i < most; i++) {
        tree.append(context.token(from + i));
      }
    }
    return tree;
  }

  @Override
  public boolean mayBeAskedTwice() {
    return true;
  }

  /** Where the draft is copied from; -1 when no key matches. */
  private int continuation(Context context) {
    int length = context.length();
    for (int n = Math.min(maxNgram, length - 1); n >= 1; n--) {
      // The continuation begins before the key and is complete.
      int last = Math.min(length - n - 1, length - draftLen);
      for (int begin = n; begin <= last; begin++) {
        if (matches(context, begin - n, length - n, n)) {
          return begin;
        }
      }
    }
    return -1;
  }

  private static boolean matches(Context context, int a, int b, int n) {
    for (int i = 0; i < n; i++) {
      if (context.token(a + i) != context.token(b + i)) {
        return false;
      }
    }
    return true;
  }
}
