package org.espalier.cli;

import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.espalier.DrafterFactory;
import org.espalier.Exactness;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.Model;
import org.espalier.SpeculationStats;
import org.espalier.TokenStream;
import org.espalier.Verifier;
import org.espalier.Verifiers;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/**
 * Continues a prompt: text to standard output as it comes, one line of statistics to standard
 * error.
 */
@Command(
    name = "generate",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    sortSynopsis = false,
    versionProvider = Version.class,
    description = "Continues a prompt.")
@SuppressWarnings("NullAway.Init") // picocli fills the fields
final class GenerateCommand implements Runnable {
  private static final class Prompt {
    @Option(
        names = "--prompt",
        paramLabel = "T",
        required = true,
        description = "The text to continue.")
    private @Nullable String text;

    @Option(
        names = "--prompt-file",
        paramLabel = "F",
        required = true,
        description = "A file that holds the text to continue.")
    private @Nullable Path file;

    String read() {
      return file == null
          ? TextInput.argument("--prompt", String.valueOf(text))
          : TextInput.read(file);
    }
  }

  @Spec private CommandSpec spec;

  @ArgGroup(multiplicity = "1")
  private Prompt prompt;

  @Mixin private ModelSource source;

  @Option(
      names = "--max-new-tokens",
      paramLabel = "N",
      defaultValue = "128",
      description = "Most tokens to generate. Default: ${DEFAULT-VALUE}.")
  private int maxNewTokens;

  @Option(
      names = "--drafter",
      paramLabel = "SPEC",
      defaultValue = "none",
      description =
          "NAME or NAME:key=value,...; see 'espalier drafters'. Default: ${DEFAULT-VALUE}.")
  private String drafter;

  @Mixin private TreeOption tree;

  @Option(
      names = "--verifier",
      paramLabel = "exact|sampling",
      defaultValue = "exact",
      description =
          "exact: the text of plain decoding. sampling: text of the same distribution. Default:"
              + " ${DEFAULT-VALUE}.")
  private String verifier;

  @Mixin private SamplingOptions sampling;

  @Option(
      names = "--stop",
      paramLabel = "T",
      description = "End before this text. May be given several times.")
  private List<String> stop = List.of();

  @Mixin private Output output;

  @Override
  public void run() {
    String text = prompt.read();
    if (text.isEmpty()) {
      throw new BadInputException("prompt is empty, expected some text");
    }
    try (DrafterFactory drafts = TreeOption.drafter(drafter, tree.size())) {
      GenerationOptions options = options(drafts);
      try (Model model = source.load()) {
        long start = System.nanoTime();
        GenerationResult result = generate(model, text, options);
        double seconds = (System.nanoTime() - start) * 1e-9;
        Report report = new Report(model, options.verifier(), seconds, result);
        if (output.isJson()) {
          output.printJson(report.json());
        } else {
          output.err().println(report.line());
        }
      }
    }
  }

  private GenerationOptions options(DrafterFactory drafts) {
    if (maxNewTokens < 1) {
      throw new ParameterException(
          spec.commandLine(), "--max-new-tokens = " + maxNewTokens + ", expected at least 1");
    }
    if (stop.contains("")) {
      throw new ParameterException(spec.commandLine(), "--stop is empty, expected some text");
    }
    return GenerationOptions.builder()
        .maxNewTokens(maxNewTokens)
        .sampling(sampling.sampling())
        .drafter(drafts)
        .verifier(Verifiers.parse(verifier))
        .stopStrings(stop)
        .build();
  }

  private GenerationResult generate(Model model, String text, GenerationOptions options) {
    PrintWriter out = output.out();
    try (TokenStream tokens = model.generate(text, options)) {
      Interrupt.onInterrupt(tokens::cancel);
      while (tokens.hasNext()) {
        String added = tokens.next().text();
        if (!output.isJson()) {
          out.print(added);
          if (out.checkError()) { // flushes; true when the reader has gone
            tokens.cancel();
          }
        }
      }
      if (!output.isJson()) {
        out.println();
      }
      return tokens.result();
    }
  }

  /** What is told about a generation. */
  private final class Report {
    private final Model model;
    private final Verifier verifier;
    private final double seconds;
    private final GenerationResult result;

    Report(Model model, Verifier verifier, double seconds, GenerationResult result) {
      this.model = model;
      this.verifier = verifier;
      this.seconds = seconds;
      this.result = result;
    }

    Map<String, Object> json() {
      SpeculationStats stats = result.stats();
      Map<String, Object> json = new LinkedHashMap<>();
      json.put("text", result.text());
      json.put("token_ids", result.tokenIds());
      json.put("prompt_tokens", result.promptTokens());
      json.put("finish_reason", result.finishReason().label());
      json.put("passes", stats.passes());
      json.put("tokens_per_pass", stats.tokensPerPass());
      json.put("accept_len_histogram", stats.acceptLenHistogram());
      json.put("seconds", seconds);
      json.put("tokens_per_second", tokensPerSecond());
      json.put("drafter", drafter);
      json.put("verifier", verifier.name());
      json.put("exactness", exactness().label());
      json.put("device", device());
      json.put("tree", tree.size());
      return json;
    }

    String line() {
      SpeculationStats stats = result.stats();
      return String.format(
          Locale.ROOT,
          "%d tokens in %.2f s, %.1f tokens/s; %d passes, %.2f tokens per pass; %s, %s; ended by"
              + " %s",
          result.tokenIds().size(),
          seconds,
          tokensPerSecond(),
          stats.passes(),
          stats.tokensPerPass(),
          drafter,
          exactness().label(),
          result.finishReason().label());
    }

    private double tokensPerSecond() {
      return result.tokenIds().size() / seconds;
    }

    private Exactness exactness() {
      return verifier.exactness().and(DrafterSpecs.exactness(drafter));
    }

    private String device() {
      return model.options().backend().label();
    }
  }
}
