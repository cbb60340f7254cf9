package org.espalier;

import java.util.List;

/**
 * How the tokens of a generation came about. A pass is one forward pass of the target, counted once
 * for each sequence in it.
 *
 * @param passes passes of the target
 * @param tokens emitted tokens
 * @param drafted draft tokens that were proposed
 * @param accepted draft tokens that were emitted
 * @param acceptLenHistogram entry n: passes that kept n draft tokens
 * @param depthAcceptance entry d: share of the passes with a tree of depth d + 1 or more that
 *     accepted a node of that depth
 * @param draftNanos time in the drafter, in nanoseconds
 * @param verifyNanos time in forward, verify and commit of the target, in nanoseconds
 * @param otherNanos rest of the steps' time since the prompt was read, in nanoseconds; text is made
 *     of the tokens when it is asked for, between steps, unless there are stop strings
 * @param prefillNanos time to read the prompt, in nanoseconds
 */
public record SpeculationStats(
    long passes,
    long tokens,
    long drafted,
    long accepted,
    List<Long> acceptLenHistogram,
    List<Double> depthAcceptance,
    long draftNanos,
    long verifyNanos,
    long otherNanos,
    long prefillNanos) {

  public SpeculationStats {
    acceptLenHistogram = List.copyOf(acceptLenHistogram);
    depthAcceptance = List.copyOf(depthAcceptance);
  }

  /** Emitted tokens for each pass of the target; 1 for plain decoding, 0 before the first pass. */
  public double tokensPerPass() {
    return passes == 0 ? 0 : (double) tokens / passes;
  }

  /** Mean accepted draft tokens of a pass, without the bonus token. */
  public double meanAcceptLen() {
    return passes == 0 ? 0 : (double) accepted / passes;
  }

  /** Time of decoding, without reading the prompt, in seconds. */
  public double decodeSeconds() {
    return (draftNanos + verifyNanos + otherNanos) * 1e-9;
  }
}
