package org.espalier.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import org.espalier.Backend;
import org.espalier.Model;
import org.espalier.ModelOptions;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** The model that a command works with, and the device it runs on. */
@SuppressWarnings("NullAway.Init") // picocli fills the fields
final class ModelSource {
  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "DIR|tiny-java",
      defaultValue = "tiny-java",
      description = "A Hugging Face model folder, or the bundled model. Default: ${DEFAULT-VALUE}.")
  private String model;

  @Option(
      names = "--device",
      paramLabel = "auto|cpu|cuda",
      defaultValue = "auto",
      description = "What computes. Default: ${DEFAULT-VALUE}.")
  private String device;

  String name() {
    return model;
  }

  Model load() {
    Path dir = Path.of(model);
    if (Files.exists(dir) && !Files.isDirectory(dir)) {
      throw new BadInputException("--model = " + model + " is a file, expected a model folder");
    }
    return Model.open(model, ModelOptions.defaults().withBackend(backend()));
  }

  private Backend backend() {
    try {
      return Backend.parse(device);
    } catch (IllegalArgumentException e) {
      throw new ParameterException(
          spec.commandLine(), "--device = " + device + ", expected auto, cpu or cuda");
    }
  }
}
