package org.espalier;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What one decoding step added.
 *
 * @param text whole code points; may be empty while a character or a possible stop string is not
 *     complete
 * @param tokenIds the tokens of the step
 * @param finishReason why the generation ended, in its last chunk; otherwise null
 */
public record TokenChunk(String text, List<Integer> tokenIds, @Nullable FinishReason finishReason) {

  public TokenChunk {
    tokenIds = List.copyOf(tokenIds);
  }
}
