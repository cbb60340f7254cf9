package org.espalier;

import java.util.List;
import org.espalier.draft.NoDraft;
import org.espalier.draft.SizedTrees;
import org.espalier.verify.ExactVerifier;

/**
 * How text is generated.
 *
 * @param maxNewTokens most tokens to emit, at least 1
 * @param sampling how tokens are chosen; sequence b of a batch adds b to its stream
 * @param drafter makes the drafters; the caller closes it
 * @param verifier judges the drafts
 * @param stopStrings the text ends before the first of these; none empty
 */
public record GenerationOptions(
    int maxNewTokens,
    Sampling sampling,
    DrafterFactory drafter,
    Verifier verifier,
    List<String> stopStrings) {

  public GenerationOptions {
    if (maxNewTokens < 1) {
      throw new IllegalArgumentException(
          "maxNewTokens = " + maxNewTokens + ", expected at least 1");
    }
    stopStrings = List.copyOf(stopStrings);
    if (stopStrings.contains("")) {
      throw new IllegalArgumentException("stopStrings has an empty string, expected none");
    }
  }

  /** 128 tokens, greedy, without drafts. */
  public static GenerationOptions defaults() {
    return new GenerationOptions(
        128, Sampling.greedy(), NoDraft.factory(), new ExactVerifier(), List.of());
  }

  public static Builder builder() {
    return new Builder();
  }

  public GenerationOptions withMaxNewTokens(int value) {
    return new GenerationOptions(value, sampling, drafter, verifier, stopStrings);
  }

  public GenerationOptions withSampling(Sampling value) {
    return new GenerationOptions(maxNewTokens, value, drafter, verifier, stopStrings);
  }

  public GenerationOptions withDrafter(DrafterFactory value) {
    return new GenerationOptions(maxNewTokens, sampling, value, verifier, stopStrings);
  }

  /**
   * With a built-in drafter, see {@link Drafters#parse}; its trees are sized for the machine, see
   * {@link SizedTrees#auto}.
   */
  public GenerationOptions withDrafter(String spec) {
    return withDrafter(SizedTrees.auto(Drafters.parse(spec)));
  }

  public GenerationOptions withVerifier(Verifier value) {
    return new GenerationOptions(maxNewTokens, sampling, drafter, value, stopStrings);
  }

  public GenerationOptions withStopStrings(List<String> value) {
    return new GenerationOptions(maxNewTokens, sampling, drafter, verifier, value);
  }

  /** Builds options from the defaults. */
  public static final class Builder {
    private GenerationOptions options = defaults();

    private Builder() {}

    public Builder maxNewTokens(int value) {
      options = options.withMaxNewTokens(value);
      return this;
    }

    public Builder sampling(Sampling value) {
      options = options.withSampling(value);
      return this;
    }

    public Builder drafter(DrafterFactory value) {
      options = options.withDrafter(value);
      return this;
    }

    /** A built-in drafter, see {@link GenerationOptions#withDrafter(String)}. */
    public Builder drafter(String spec) {
      options = options.withDrafter(spec);
      return this;
    }

    public Builder verifier(Verifier value) {
      options = options.withVerifier(value);
      return this;
    }

    public Builder stopStrings(List<String> value) {
      options = options.withStopStrings(value);
      return this;
    }

    public GenerationOptions build() {
      return options;
    }
  }
}
