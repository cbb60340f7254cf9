package org.espalier;

import java.util.List;

/**
 * The outcome of a generation.
 *
 * @param text the new text, cut before a stop string; without end tokens
 * @param tokenIds the new tokens, end token and the tokens of a stop string included
 * @param promptTokens length of the prompt
 * @param finishReason why it ended
 * @param stats how the tokens came about
 */
public record GenerationResult(
    String text,
    List<Integer> tokenIds,
    int promptTokens,
    FinishReason finishReason,
    SpeculationStats stats) {

  public GenerationResult {
    tokenIds = List.copyOf(tokenIds);
  }
}
