package org.espalier.cli;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.OutputStream;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.ExitCode;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/**
 * The command {@code espalier}. Results go to standard output, everything else to standard error.
 */
@Command(
    name = "espalier",
    description = "Decodes language models in fewer passes, with the same text.",
    versionProvider = Version.class,
    mixinStandardHelpOptions = true,
    subcommands = {
      GenerateCommand.class,
      CompareCommand.class,
      DraftersCommand.class,
      LogitsCommand.class,
      TokenizeCommand.class,
      InspectCommand.class,
      AnalyzeCommand.class,
      DevicesCommand.class
    },
    footer = {
      "",
      "Exit codes: 0 ok, 2 bad usage or input, 1 failure.",
      "Each command has --help and --json."
    })
@SuppressWarnings("NullAway.Init") // picocli fills the fields
public final class Main implements Runnable {
  @Spec private CommandSpec spec;

  /** Runs one command and ends the process with its exit code. */
  public static void main(String[] args) {
    OutputStream out = new FileOutputStream(FileDescriptor.out);
    OutputStream err = new FileOutputStream(FileDescriptor.err);
    System.exit(Interrupt.guard(() -> run(out, err, args)));
  }

  /** Runs one command. A result that cannot be written is a failure. */
  static int run(OutputStream out, OutputStream err, String... args) {
    StandardOutput results = new StandardOutput(out);
    PrintWriter messages = writer(err);
    int exitCode = newCommandLine(writer(results), messages).execute(args);
    if (exitCode == ExitCode.OK && results.failure().isPresent()) {
      messages.println(
          "espalier: standard output cannot be written: " + results.failure().orElseThrow());
      return ExitCode.SOFTWARE;
    }
    return exitCode;
  }

  static CommandLine newCommandLine(PrintWriter out, PrintWriter err) {
    ErrorHandler errors = new ErrorHandler();
    return new CommandLine(new Main())
        .setOut(out)
        .setErr(err)
        .setUsageHelpWidth(100)
        .setExpandAtFiles(false) // a prompt may well be "@Override"
        .setCaseInsensitiveEnumValuesAllowed(true)
        .setParameterExceptionHandler(errors)
        .setExecutionExceptionHandler(errors);
  }

  @Override
  public void run() {
    throw new ParameterException(spec.commandLine(), "expected a command");
  }

  /** UTF-8 whatever the locale, because model text is. */
  private static PrintWriter writer(OutputStream stream) {
    return new PrintWriter(new OutputStreamWriter(stream, StandardCharsets.UTF_8), true);
  }
}
