package org.espalier;

/**
 * How the target chooses a token. Order: penalties on the raw logits, temperature, top-k, top-p,
 * min-p, softmax.
 *
 * <p>The noise of a draw is a function of seed, stream, position and token alone, so a seed gives
 * the same text with any lossless drafter and on every run.
 *
 * @param temperature at least 0; at most 1e-5 is greedy
 * @param topK keeps the k most likely tokens; 0 is off, 1 is greedy
 * @param topP keeps the most likely tokens that together reach this probability, in (0, 1]; 1 is
 *     off
 * @param minP keeps tokens of at least this fraction of the highest probability, in [0, 1); 0 is
 *     off
 * @param repetitionPenalty above 0; divides positive and multiplies negative logits of tokens of
 *     the context; 1 is off
 * @param presencePenalty subtracted once from the logit of a token of the context; 0 is off
 * @param frequencyPenalty subtracted for each occurrence in the context; 0 is off
 * @param seed of the noise
 * @param stream tells apart sequences that share a seed
 */
public record Sampling(
    float temperature,
    int topK,
    float topP,
    float minP,
    float repetitionPenalty,
    float presencePenalty,
    float frequencyPenalty,
    long seed,
    long stream) {

  /** Temperatures up to this one are greedy. */
  public static final float GREEDY_TEMPERATURE = 1e-5f;

  public Sampling {
    check(
        temperature >= 0 && Float.isFinite(temperature),
        "temperature",
        temperature,
        "finite and at least 0");
    check(topK >= 0, "topK", topK, "at least 0");
    check(topP > 0 && topP <= 1, "topP", topP, "above 0 and at most 1");
    check(minP >= 0 && minP < 1, "minP", minP, "at least 0 and below 1");
    check(
        repetitionPenalty > 0 && Float.isFinite(repetitionPenalty),
        "repetitionPenalty",
        repetitionPenalty,
        "finite and above 0");
    check(Float.isFinite(presencePenalty), "presencePenalty", presencePenalty, "finite");
    check(Float.isFinite(frequencyPenalty), "frequencyPenalty", frequencyPenalty, "finite");
  }

  private static void check(boolean holds, String what, Number got, String rule) {
    if (!holds) {
      throw new IllegalArgumentException(what + " = " + got + ", expected " + rule);
    }
  }

  /** Always the most likely token, no penalties. */
  public static Sampling greedy() {
    return new Sampling(0, 0, 1, 0, 1, 0, 0, 0, 0);
  }

  /** Draws at a temperature, with a seed. */
  public static Sampling of(float temperature, long seed) {
    return greedy().withTemperature(temperature).withSeed(seed);
  }

  /** Whether the choice is the arg-max of the logits, after the penalties. */
  public boolean isGreedy() {
    return temperature <= GREEDY_TEMPERATURE || topK == 1;
  }

  public Sampling withTemperature(float value) {
    return new Sampling(
        value,
        topK,
        topP,
        minP,
        repetitionPenalty,
        presencePenalty,
        frequencyPenalty,
        seed,
        stream);
  }

  public Sampling withTopK(int value) {
    return new Sampling(
        temperature,
        value,
        topP,
        minP,
        repetitionPenalty,
        presencePenalty,
        frequencyPenalty,
        seed,
        stream);
  }

  public Sampling withTopP(float value) {
    return new Sampling(
        temperature,
        topK,
        value,
        minP,
        repetitionPenalty,
        presencePenalty,
        frequencyPenalty,
        seed,
        stream);
  }

  public Sampling withMinP(float value) {
    return new Sampling(
        temperature,
        topK,
        topP,
        value,
        repetitionPenalty,
        presencePenalty,
        frequencyPenalty,
        seed,
        stream);
  }

  public Sampling withRepetitionPenalty(float value) {
    return new Sampling(
        temperature, topK, topP, minP, value, presencePenalty, frequencyPenalty, seed, stream);
  }

  public Sampling withPresencePenalty(float value) {
    return new Sampling(
        temperature, topK, topP, minP, repetitionPenalty, value, frequencyPenalty, seed, stream);
  }

  public Sampling withFrequencyPenalty(float value) {
    return new Sampling(
        temperature, topK, topP, minP, repetitionPenalty, presencePenalty, value, seed, stream);
  }

  public Sampling withSeed(long value) {
    return new Sampling(
        temperature,
        topK,
        topP,
        minP,
        repetitionPenalty,
        presencePenalty,
        frequencyPenalty,
        value,
        stream);
  }

  public Sampling withStream(long value) {
    return new Sampling(
        temperature,
        topK,
        topP,
        minP,
        repetitionPenalty,
        presencePenalty,
        frequencyPenalty,
        seed,
        value);
  }
}
