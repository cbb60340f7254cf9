package org.espalier.cli;

import java.util.StringJoiner;
import org.espalier.Sampling;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** How tokens are chosen; greedy unless a temperature is given. */
@SuppressWarnings("NullAway.Init") // picocli fills the fields
final class SamplingOptions {
  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(
      names = "--temperature",
      paramLabel = "T",
      defaultValue = "0",
      description = "0 is greedy. Default: ${DEFAULT-VALUE}.")
  private float temperature;

  @Option(
      names = "--top-k",
      paramLabel = "K",
      defaultValue = "0",
      description = "Keep the K most likely tokens; 0 keeps all. Default: ${DEFAULT-VALUE}.")
  private int topK;

  @Option(
      names = "--top-p",
      paramLabel = "P",
      defaultValue = "1",
      description = "Keep the likeliest tokens up to this probability. Default: ${DEFAULT-VALUE}.")
  private float topP;

  @Option(
      names = "--min-p",
      paramLabel = "M",
      defaultValue = "0",
      description =
          "Keep tokens of at least this share of the highest probability. Default:"
              + " ${DEFAULT-VALUE}.")
  private float minP;

  @Option(
      names = "--repetition-penalty",
      paramLabel = "R",
      defaultValue = "1",
      description = "Above 1 makes repeating less likely. Default: ${DEFAULT-VALUE}.")
  private float repetitionPenalty;

  @Option(
      names = "--seed",
      paramLabel = "S",
      defaultValue = "0",
      description = "A seed gives the same text on every run. Default: ${DEFAULT-VALUE}.")
  private long seed;

  Sampling sampling() {
    check(
        temperature >= 0 && Float.isFinite(temperature),
        "--temperature",
        temperature,
        "a finite number, at least 0");
    check(topK >= 0, "--top-k", topK, "at least 0");
    check(topP > 0 && topP <= 1, "--top-p", topP, "above 0 and at most 1");
    check(minP >= 0 && minP < 1, "--min-p", minP, "at least 0 and below 1");
    check(
        repetitionPenalty > 0 && Float.isFinite(repetitionPenalty),
        "--repetition-penalty",
        repetitionPenalty,
        "a finite number above 0");
    return Sampling.greedy()
        .withTemperature(temperature)
        .withTopK(topK)
        .withTopP(topP)
        .withMinP(minP)
        .withRepetitionPenalty(repetitionPenalty)
        .withSeed(seed);
  }

  /** How tokens are chosen, in a line: what is not the default. */
  String describe() {
    boolean greedy = sampling().isGreedy();
    StringJoiner line = new StringJoiner(", ");
    line.add(greedy ? "greedy" : "temperature " + temperature);
    if (!greedy && topK > 0) {
      line.add("top-k " + topK);
    }
    if (!greedy && topP < 1) {
      line.add("top-p " + topP);
    }
    if (!greedy && minP > 0) {
      line.add("min-p " + minP);
    }
    if (repetitionPenalty != 1) {
      line.add("repetition penalty " + repetitionPenalty);
    }
    if (!greedy) {
      line.add("seed " + seed);
    }
    return line.toString();
  }

  /** The names of options, where the library would name its fields. */
  private void check(boolean holds, String option, Number got, String rule) {
    if (!holds) {
      throw new ParameterException(spec.commandLine(), option + " = " + got + ", expected " + rule);
    }
  }
}
