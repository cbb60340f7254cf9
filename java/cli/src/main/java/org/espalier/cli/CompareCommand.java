package org.espalier.cli;

import java.io.PrintWriter;
import java.lang.management.CompilationMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import me.tongfei.progressbar.DelegatingProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import org.espalier.DrafterFactory;
import org.espalier.Exactness;
import org.espalier.FinishReason;
import org.espalier.GenerationCancelledException;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.Model;
import org.espalier.TokenStream;
import org.espalier.Tokenizer;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.ExitCode;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Runs plain decoding and drafters side by side on the same prompts. */
@Command(
    name = "compare",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    sortSynopsis = false,
    versionProvider = Version.class,
    description =
        "Runs plain decoding (none) and each drafter on the same prompts, in turns that rotate.",
    footer = {
      "",
      "identical        every token of every prompt is that of plain decoding",
      "tokens_per_pass  tokens for each pass of the model, over all prompts",
      "speedup          time of plain decoding over the drafter's, prompts' reading excluded",
      "draft_ms         mean milliseconds of a step in the drafter",
      "verify_ms        in the model's pass, the verdict and the commit",
      "other_ms         in everything else",
      "",
      "A warm-up comes first and is not counted: a second for each drafter, up to four while code",
      "is still being compiled. A drafter keeps what it has learned from one prompt to the next.",
      "Exit code 1 when a lossless drafter's text differs.",
      "",
      "--tree may be a list, for each drafter with each size in turns: --tree auto,1,8.",
      "With --tree auto tokens_per_pass and the times depend on this machine, and differ from run",
      "to run; where no tree pays they are those of plain decoding. For what a drafter can do in",
      "itself give a size that its trees do not exceed: --tree 512."
    })
@SuppressWarnings("NullAway.Init") // picocli fills the fields
final class CompareCommand implements Callable<Integer> {
  private static final String PLAIN = "none";
  private static final int WARM_UP_TOKENS = 32;

  /** Nanoseconds for each drafter. */
  private static final long WARM_UP_NANOS = 1_000_000_000;

  /** As often at most, while compiling takes more than a share of the time. */
  private static final int MOST_REHEARSALS = 4;

  private static final double MOST_COMPILING = 0.01;

  @Spec private CommandSpec spec;
  @Mixin private ModelSource source;

  @Option(
      names = "--prompts",
      paramLabel = "FILE",
      required = true,
      description = "JSON lines, each an object with the strings \"id\" and \"prompt\".")
  private Path prompts;

  @Option(
      names = "--drafters",
      paramLabel = "SPEC,...",
      required = true,
      description = "Drafters as in 'espalier drafters'; key=value belongs to the one before it.")
  private String drafters;

  @Mixin private TreeOption tree;

  @Option(
      names = "--max-new-tokens",
      paramLabel = "N",
      defaultValue = "128",
      description = "Most tokens to generate for a prompt. Default: ${DEFAULT-VALUE}.")
  private int maxNewTokens;

  @Option(
      names = "--report",
      paramLabel = "FILE.html",
      description = "Also write a page with plots, draft trees and the text by who proposed it.")
  private @Nullable Path report;

  @Option(
      names = "--report-prompt",
      paramLabel = "ID",
      description = "The prompt that the page shows step by step. Default: the first one.")
  private @Nullable String reportPrompt;

  @Mixin private SamplingOptions sampling;
  @Mixin private Output output;

  @Override
  public Integer call() {
    if (maxNewTokens < 1) {
      throw new ParameterException(
          spec.commandLine(), "--max-new-tokens = " + maxNewTokens + ", expected at least 1");
    }
    List<String> sizes = tree.sizes();
    GenerationOptions options =
        GenerationOptions.defaults()
            .withMaxNewTokens(maxNewTokens)
            .withSampling(sampling.sampling());
    List<String> specs = specs();
    List<PromptFile.Prompt> given = PromptFile.read(prompts);
    try (Contestants contestants = new Contestants(specs, sizes, options);
        Model model = source.load()) {
      check(model, given);
      PromptFile.Prompt shown = shownPrompt(given);
      warmUp(model, specs, sizes, options, given);
      run(model, contestants.all, given);
      int exitCode = report(model.tokenizer(), contestants.all);
      if (report != null) {
        writeReport(report, model, contestants.all, given.size(), shown);
      }
      return exitCode;
    }
  }

  /** The prompt of the page; bad options are found before anything is measured. */
  private PromptFile.Prompt shownPrompt(List<PromptFile.Prompt> given) {
    ReportFile.check(report);
    if (reportPrompt == null) {
      return given.get(0);
    }
    return given.stream()
        .filter(prompt -> prompt.id().equals(reportPrompt))
        .findFirst()
        .orElseThrow(
            () ->
                new BadInputException(
                    "--report-prompt = " + reportPrompt + ", expected an id of " + prompts));
  }

  /** Each drafter writes the shown text once more, with what it knows by now. */
  private void writeReport(
      Path file,
      Model model,
      List<Contestant> contestants,
      int numPrompts,
      PromptFile.Prompt shown) {
    String about =
        "%s, %d prompts, up to %d new tokens, %s"
            .formatted(source.name(), numPrompts, maxNewTokens, sampling.describe());
    ReportPage page = new ReportPage(model.tokenizer(), about, shown.id());
    double plainSeconds = contestants.get(0).seconds();
    for (Contestant contestant : contestants) {
      StepRecorder recorder = new StepRecorder(contestant.options.verifier());
      GenerationResult result = generate(model, shown, contestant.options.withVerifier(recorder));
      page.add(contestant.json(plainSeconds), result, recorder.steps());
    }
    ReportFile.write(file, page.html());
    output.err().println("report: " + file);
  }

  /** Plain decoding first, then the drafters in their order, each once. */
  private List<String> specs() {
    List<String> specs = new ArrayList<>();
    specs.add(PLAIN);
    for (String drafter : DrafterSpecs.split(drafters)) {
      if (!specs.contains(drafter)) {
        specs.add(drafter);
      }
    }
    return specs;
  }

  /** Finds a prompt that cannot be used before anything is measured. */
  private void check(Model model, List<PromptFile.Prompt> given) {
    int longest = model.info().maxPositions();
    for (PromptFile.Prompt prompt : given) {
      int tokens = model.tokenizer().encode(prompt.text()).length;
      if (tokens == 0 || tokens > longest) {
        throw new BadInputException(
            prompts
                + ", prompt "
                + prompt.id()
                + ": tokens = "
                + tokens
                + ", expected 1 to "
                + longest);
      }
    }
  }

  /**
   * Rehearsals, each with drafters of its own, so that those that are measured have seen nothing: a
   * second for each drafter, and again while the virtual machine still compiles much of what runs.
   */
  private void warmUp(
      Model model,
      List<String> specs,
      List<String> sizes,
      GenerationOptions options,
      List<PromptFile.Prompt> given) {
    GenerationOptions few =
        options.withMaxNewTokens(Math.min(options.maxNewTokens(), WARM_UP_TOKENS));
    double compiling = 1;
    try (ProgressBar progress = progressBar("warm-up", -1)) {
      for (int i = 0; i < MOST_REHEARSALS && compiling > MOST_COMPILING; i++) {
        long begin = System.nanoTime();
        double compiled = compilationNanos();
        try (Contestants contestants = new Contestants(specs, sizes, i == 0 ? few : options)) {
          long end = begin + contestants.all.size() * WARM_UP_NANOS;
          for (int p = 0; p == 0 || System.nanoTime() < end; p++) {
            for (Contestant contestant : contestants.all) {
              generate(model, given.get(p % given.size()), contestant.options);
              progress.step();
            }
          }
        }
        compiling = (compilationNanos() - compiled) / (System.nanoTime() - begin);
      }
    }
  }

  /** What the virtual machine has spent on compiling so far; 0 where it only interprets. */
  private static double compilationNanos() {
    CompilationMXBean compiler = ManagementFactory.getCompilationMXBean();
    return compiler == null ? 0 : 1e6 * compiler.getTotalCompilationTime();
  }

  /** All of them write each prompt's text, in an order that favours none. */
  private void run(Model model, List<Contestant> contestants, List<PromptFile.Prompt> given) {
    int num = contestants.size();
    GenerationResult[] results = new GenerationResult[num];
    try (ProgressBar progress = progressBar("compare", given.size() * num)) {
      for (int p = 0; p < given.size(); p++) {
        PromptFile.Prompt prompt = given.get(p);
        progress.setExtraMessage(prompt.id());
        for (int i : order(p, num)) {
          results[i] = generate(model, prompt, contestants.get(i).options);
          progress.step();
        }
        for (int i = 0; i < num; i++) {
          contestants.get(i).add(prompt.id(), results[i], results[0].tokenIds());
        }
      }
    }
    output.err().println();
  }

  /**
   * Who comes when in a round, a Williams design: over the rounds each is first as often as any
   * other one, since a machine that is slow for a while is so for all, and comes as often after
   * each other one, since large trees leave the caches in another state than small ones.
   */
  static int[] order(int round, int num) {
    int[] order = new int[num];
    boolean backwards = num % 2 == 1 && round / num % 2 == 1;
    for (int turn = 0; turn < num; turn++) {
      int step = turn % 2 == 0 ? turn / 2 : num - (turn + 1) / 2;
      order[backwards ? num - 1 - turn : turn] = (round + step) % num;
    }
    return order;
  }

  private ProgressBar progressBar(String task, int steps) {
    PrintWriter err = output.err();
    return new ProgressBarBuilder()
        .setTaskName(task)
        .setInitialMax(steps)
        .setStyle(ProgressBarStyle.ASCII)
        .setUpdateIntervalMillis(500)
        .setConsumer(
            new DelegatingProgressBarConsumer(
                line -> {
                  err.print("\r" + line);
                  err.flush();
                },
                99))
        .build();
  }

  private static GenerationResult generate(
      Model model, PromptFile.Prompt prompt, GenerationOptions options) {
    try (TokenStream tokens = model.generate(prompt.text(), options)) {
      Interrupt.onInterrupt(tokens::cancel);
      while (tokens.hasNext()) {
        tokens.next();
      }
      GenerationResult result = tokens.result();
      if (result.finishReason() == FinishReason.CANCELLED) {
        throw new GenerationCancelledException("compare was interrupted at prompt " + prompt.id());
      }
      return result;
    }
  }

  int report(Tokenizer tokenizer, List<Contestant> contestants) {
    double plainSeconds = contestants.get(0).seconds();
    if (output.isJson()) {
      output.printJson(contestants.stream().map(c -> c.json(plainSeconds)).toList());
    } else {
      Table table =
          new Table(
              "drafter",
              "identical",
              "tokens_per_pass",
              "speedup",
              "draft_ms",
              "verify_ms",
              "other_ms");
      contestants.forEach(c -> c.addTo(table, plainSeconds));
      output.out().print(table);
      output.out().flush();
    }
    boolean broken = false;
    for (Contestant contestant : contestants) {
      if (contestant.difference != null) {
        output.err().println(contestant.difference.describe(contestant.name, tokenizer));
        broken |= contestant.exactness == Exactness.LOSSLESS;
      }
    }
    return broken ? ExitCode.SOFTWARE : ExitCode.OK;
  }

  /** Drafters that are open together. */
  private static final class Contestants implements AutoCloseable {
    final List<Contestant> all = new ArrayList<>();

    Contestants(List<String> specs, List<String> sizes, GenerationOptions options) {
      for (String spec : specs) {
        for (String size : spec.equals(PLAIN) ? List.of("1") : sizes) {
          String name = spec.equals(PLAIN) || sizes.size() == 1 ? spec : spec + " tree=" + size;
          DrafterFactory drafts = TreeOption.drafter(spec, size);
          all.add(new Contestant(name, spec, size, options.withDrafter(drafts)));
        }
      }
    }

    @Override
    public void close() {
      all.forEach(contestant -> contestant.options.drafter().close());
    }
  }
}
