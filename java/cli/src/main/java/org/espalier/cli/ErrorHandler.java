package org.espalier.cli;

import java.io.PrintWriter;
import java.io.UncheckedIOException;
import org.espalier.EspalierException;
import org.espalier.ModelFormatException;
import org.espalier.NotANumberException;
import org.espalier.UnsupportedFeatureException;
import picocli.CommandLine;
import picocli.CommandLine.ExitCode;
import picocli.CommandLine.IExecutionExceptionHandler;
import picocli.CommandLine.IParameterExceptionHandler;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;

/**
 * One line on stderr for a mistake of the user (exit code 2) or a failure (1); a stack trace only
 * for our own defects.
 */
final class ErrorHandler implements IParameterExceptionHandler, IExecutionExceptionHandler {
  @Override
  public int handleParseException(ParameterException e, String[] args) {
    CommandLine command = e.getCommandLine();
    PrintWriter err = command.getErr();
    err.println("espalier: " + e.getMessage());
    err.println("Try '" + command.getCommandSpec().qualifiedName() + " --help'.");
    return ExitCode.USAGE;
  }

  @Override
  public int handleExecutionException(Exception e, CommandLine command, ParseResult parsed) {
    PrintWriter err = command.getErr();
    if (e instanceof BadInputException
        || e instanceof IllegalArgumentException
        || e instanceof ModelFormatException
        || e instanceof NotANumberException
        || e instanceof UnsupportedFeatureException) {
      err.println("espalier: " + e.getMessage());
      return ExitCode.USAGE;
    }
    if (e instanceof EspalierException || e instanceof UncheckedIOException) {
      err.println("espalier: " + e.getMessage());
      return ExitCode.SOFTWARE;
    }
    err.println("espalier: a defect, please report it: " + e);
    e.printStackTrace(err);
    return ExitCode.SOFTWARE;
  }
}
