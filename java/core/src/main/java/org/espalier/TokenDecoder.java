package org.espalier;

import java.util.Arrays;

/**
 * Turns tokens into text as they come. A code point whose bytes lie in several tokens appears when
 * it is complete; the pieces joined are the text of all tokens decoded at once. One thread at a
 * time.
 *
 * <p>The text of a token may depend on the one before it (a leading space that is dropped at the
 * beginning), so it is what the token adds to the decoded text of its neighbours. Most tokens
 * behind the first add the same text everywhere; those come from {@link Tokenizer#piece}.
 */
public final class TokenDecoder {
  /**
   * Tokens of one code point: four bytes, one each. More of them end in a character that is truly
   * broken.
   */
  private static final int MAX_HELD = 4;

  private final Tokenizer tokenizer;
  private int[] window = new int[8];
  private int size;

  /** The tokens before this one in the window are shown already; they are there as context. */
  private int shown;

  /** Text was shown and ends in a whole character: the next token may have a text of its own. */
  private boolean wholeCharacters;

  TokenDecoder(Tokenizer tokenizer) {
    this.tokenizer = tokenizer;
  }

  /** Takes the next token and returns the text that is complete now, which may be empty. */
  public String next(int token) {
    if (wholeCharacters) {
      String piece = tokenizer.piece(token);
      if (piece != null) {
        window[0] = token;
        size = 1;
        shown = 1;
        return piece;
      }
    }
    if (size == window.length) {
      window = Arrays.copyOf(window, 2 * size);
    }
    window[size++] = token;
    String text = added();
    boolean incomplete = text.endsWith(Tokenizer.REPLACEMENT);
    if (incomplete && size - shown < MAX_HELD) {
      wholeCharacters = false;
      return "";
    }
    show();
    wholeCharacters = !incomplete && (wholeCharacters || !text.isEmpty());
    return text;
  }

  /**
   * The text of the tokens that are still held back; a broken code point is a replacement
   * character.
   */
  public String finish() {
    String text = added();
    show();
    return text;
  }

  private String added() {
    String before = tokenizer.decode(window, 0, shown);
    String all = tokenizer.decode(window, 0, size);
    return all.length() <= before.length() ? "" : all.substring(before.length());
  }

  /** What is new becomes context, and older context goes. */
  private void show() {
    System.arraycopy(window, shown, window, 0, size - shown);
    size -= shown;
    shown = size;
  }
}
