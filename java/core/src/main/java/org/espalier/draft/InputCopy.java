package org.espalier.draft;

import java.util.Arrays;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.Session;
import org.jspecify.annotations.Nullable;

/**
 * Copies a source from one end to the other: as long as the output follows it the copy goes on, and
 * where the output differs the place is found again by its last tokens.
 *
 * <p>Source: input-guided aggressive decoding: Ge et al., Lossless Acceleration for Seq2seq
 * Generation with Aggressive Decoding, arXiv 2205.10350, in its letters: s is the source, o the
 * output, e the place in s where the draft begins. What we changed: for a model without an encoder
 * the prompt is the source, unless one is given; the copy goes on after a draft that was accepted
 * whole, where the method looks for the place anew; after a difference the place is looked for
 * first near the one where the copy broke, and a match that is not unique is better than none; a
 * draft is capped.
 *
 * <p>Use it where most of the output is a copy of the input in its order: edits of code,
 * corrections, answers that quote. A step costs a few comparisons, and a scan of the source when
 * the place is lost.
 */
public final class InputCopy implements Drafter {
  private static final int MAX_NGRAM = 3;

  /** An edit is rarely longer: so far behind the break the copy is looked for first. */
  private static final int WINDOW = 32;

  /** Tokens copied in a row that prove a place. */
  private static final int PROVEN = 2;

  private static final int NONE = -1;

  private final int draftLen;
  private final DraftTree tree = DraftTree.rootedAt(0);
  private int @Nullable [] s;

  /** Tokens of the context that were compared with the source. */
  private int seen;

  /** Where the copy goes on, {@link #NONE} when the place is lost. */
  private int e;

  /** Tokens that were copied since the place was found. */
  private int copied;

  /** Where the copy broke last. */
  private int broken = NONE;

  // Matches of the last g tokens in the source: how many, and where the first one ends.
  private final int[] matches = new int[MAX_NGRAM + 1];
  private final int[] firstEnd = new int[MAX_NGRAM + 1];

  /**
   * A drafter that copies the prompt.
   *
   * @param draftLen most tokens of a draft, m, 1 to 256
   */
  public InputCopy(int draftLen) {
    this.draftLen = Checks.inRange("m", draftLen, 1, 256);
  }

  /** A drafter that copies a given source, which the output is expected to begin with. */
  public InputCopy(int draftLen, int[] source) {
    this(draftLen);
    this.s = source.clone();
  }

  /** The factory of drafters that copy their prompts. */
  public static DrafterFactory factory(int draftLen) {
    int checked = new InputCopy(draftLen).draftLen;
    return new DrafterFactory() {
      @Override
      public Drafter create(Session session) {
        return new InputCopy(checked);
      }

      @Override
      public String name() {
        return "input-copy";
      }
    };
  }

  @Override
  public DraftTree propose(Context o) {
    tree.reset(o.lastToken());
    int[] source = follow(o);
    if (e == NONE) {
      e = findPlace(source, o);
      copied = 0;
    }
    if (e != NONE) {
      int most = Math.min(draftLen, Math.min(o.maxDepth(), o.maxNodes()));
      for (int i = e; i < Math.min(source.length, e + most); i++) {
        tree.append(source[i]);
      }
    }
    return tree;
  }

  @Override
  public boolean mayBeAskedTwice() {
    return true;
  }

  /** Moves e along with what was emitted, until it differs from the source. */
  private int[] follow(Context o) {
    if (seen == 0) {
      seen = o.length();
      if (s != null) {
        return s; // e = 0 at the first iteration
      }
      s = new int[o.length()];
      Arrays.setAll(s, o::token);
      e = NONE;
    }
    int[] source = s == null ? new int[0] : s;
    for (; seen < o.length(); seen++) {
      if (e != NONE && e < source.length && source[e] == o.token(seen)) {
        e++;
        copied++;
      } else {
        if (e != NONE && (copied >= PROVEN || broken == NONE)) {
          broken = e;
        }
        e = NONE;
      }
    }
    return source;
  }

  private int findPlace(int[] source, Context o) {
    if (broken != NONE) {
      scan(source, o, broken + 1, Math.min(source.length, broken + 1 + WINDOW));
      int near = longestMatch();
      if (near != NONE) {
        return near;
      }
    }
    scan(source, o, 1, source.length);
    int unique = uniqueMatch();
    return unique != NONE ? unique : longestMatch();
  }

  /** Counts the matches of the last g tokens of o that end in a range of the source, g = 1 to 3. */
  private void scan(int[] source, Context o, int from, int to) {
    Arrays.fill(matches, 0);
    int last = o.lastToken();
    for (int end = from; end < to; end++) {
      if (source[end - 1] != last) {
        continue;
      }
      int most = Math.min(MAX_NGRAM, Math.min(end, o.length()));
      for (int g = 1; g <= most && source[end - g] == o.token(o.length() - g); g++) {
        if (matches[g]++ == 0) {
          firstEnd[g] = end;
        }
      }
    }
  }

  /** match(o): the end of the shortest n-gram that stands in the source once. */
  private int uniqueMatch() {
    for (int g = 1; g <= MAX_NGRAM; g++) {
      if (matches[g] == 1) {
        return firstEnd[g];
      }
    }
    return NONE;
  }

  /** The end of the first match of the longest n-gram. */
  private int longestMatch() {
    for (int g = MAX_NGRAM; g >= 1; g--) {
      if (matches[g] > 0) {
        return firstEnd[g];
      }
    }
    return NONE;
  }

  /** match(o) alone, as the method has it. */
  static int match(int[] source, Context o) {
    InputCopy matcher = new InputCopy(1, source);
    matcher.scan(source, o, 1, source.length);
    return matcher.uniqueMatch();
  }
}
