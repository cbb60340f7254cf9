package org.espalier;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.espalier.internal.EmbeddedModels;
import org.espalier.internal.Leaks;
import org.espalier.internal.NativeDevices;
import org.espalier.internal.NativeModel;
import org.jspecify.annotations.Nullable;

/**
 * The weights and the tokenizer of a Hugging Face model folder. May be shared between threads, each
 * with sessions of its own. Whoever loads it closes it, after the last text; sessions that are
 * still open go on without a tokenizer.
 */
public final class Model implements AutoCloseable {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Path dir;
  private final ModelOptions options;
  private final NativeModel nativeModel;
  private final ModelInfo info;
  private final List<Integer> endTokens;
  private final Leaks.Watch leak;
  private @Nullable Tokenizer tokenizer;
  private boolean closed;

  private Model(Path dir, ModelOptions options, NativeModel nativeModel, List<Integer> endTokens) {
    this.dir = dir;
    this.options = options;
    this.nativeModel = nativeModel;
    this.info = nativeModel.info();
    this.endTokens = endTokens;
    this.leak = Leaks.watch(this, "model " + dir);
  }

  /** Loads a folder with the default options. */
  public static Model load(Path dir) {
    return load(dir, ModelOptions.defaults());
  }

  /**
   * Loads a folder: config.json, model.safetensors or its shards, tokenizer.json,
   * generation_config.json. Weights are mapped, not read.
   *
   * @throws ModelFormatException when the folder is missing, corrupt or not supported
   * @throws BackendUnavailableException when the backend is not there
   */
  public static Model load(Path dir, ModelOptions options) {
    Backend backend = resolve(options.backend());
    NativeModel nativeModel = NativeModel.load(dir, backend, options.deviceIdx());
    try {
      return new Model(
          dir,
          options.withBackend(backend),
          nativeModel,
          readEndTokens(dir, nativeModel.info().vocab()));
    } catch (RuntimeException e) {
      nativeModel.close();
      throw e;
    }
  }

  /** The small model of Java code that comes with Espalier. */
  public static Model tinyJava() {
    return embedded("tiny-java", ModelOptions.defaults());
  }

  /**
   * A model of the jar espalier-tiny-java.
   *
   * @param name tiny-java or tiny-java-draft
   */
  public static Model embedded(String name, ModelOptions options) {
    return load(EmbeddedModels.folder(name), options);
  }

  /** An embedded model when {@code nameOrDir} is the name of one, otherwise the folder. */
  public static Model open(String nameOrDir, ModelOptions options) {
    if (nameOrDir.isBlank()) {
      throw new IllegalArgumentException(
          "model = \"" + nameOrDir + "\", expected a model folder or the name of a bundled model");
    }
    return EmbeddedModels.isName(nameOrDir)
        ? embedded(nameOrDir, options)
        : load(Path.of(nameOrDir), options);
  }

  private static Backend resolve(Backend asked) {
    Backend backend =
        asked == Backend.AUTO
            ? Backend.parse(System.getProperty("espalier.backend", "auto"))
            : asked;
    if (backend != Backend.AUTO) {
      return backend;
    }
    boolean cuda =
        NativeDevices.list().stream().anyMatch(d -> d.backend() == Backend.CUDA && d.available());
    return cuda ? Backend.CUDA : Backend.CPU;
  }

  /** The eos_token_id of generation_config.json, or else of config.json: a number or a list. */
  private static List<Integer> readEndTokens(Path dir, int vocab) {
    for (String name : List.of("generation_config.json", "config.json")) {
      Path file = dir.resolve(name);
      if (!Files.isRegularFile(file)) {
        continue;
      }
      JsonNode found;
      try {
        found = JSON.readTree(file.toFile()).path("eos_token_id");
      } catch (IOException e) {
        throw new ModelFormatException(file + ": " + e.getMessage(), e);
      }
      if (found.isMissingNode() || found.isNull()) {
        continue;
      }
      List<Integer> ids = new ArrayList<>();
      for (JsonNode id : found.isArray() ? found : List.of(found)) {
        if (!id.isInt() || id.asInt() < 0 || id.asInt() >= vocab) {
          throw new ModelFormatException(
              file + ": eos_token_id = " + found + ", expected ids of 0 to " + (vocab - 1));
        }
        ids.add(id.asInt());
      }
      return List.copyOf(ids);
    }
    return List.of();
  }

  /** What the folder holds. */
  public ModelInfo info() {
    return info;
  }

  /** The options that it was loaded with; the backend is the one in use. */
  public ModelOptions options() {
    return options;
  }

  /** The tokens that end a text. */
  public List<Integer> endTokens() {
    return endTokens;
  }

  /**
   * The tokenizer, read when it is asked for first.
   *
   * @throws ModelFormatException when tokenizer.json is missing, broken, or has ids beyond the
   *     model's vocabulary
   */
  public synchronized Tokenizer tokenizer() {
    checkOpen();
    if (tokenizer == null) {
      tokenizer = Tokenizer.load(dir, info.vocab());
    }
    return tokenizer;
  }

  /** The tokenizer of a folder that has one; a model of random weights may have none. */
  public Optional<Tokenizer> findTokenizer() {
    return Files.isRegularFile(dir.resolve("tokenizer.json"))
        ? Optional.of(tokenizer())
        : Optional.empty();
  }

  /** A session for one sequence of the model's longest context. */
  public Session newSession() {
    return newSession(SessionOptions.defaults());
  }

  /** A session with threads of its own. */
  public Session newSession(SessionOptions sessionOptions) {
    return newSession(sessionOptions, null);
  }

  synchronized Session newSession(SessionOptions sessionOptions, @Nullable Session neighbour) {
    checkOpen();
    return new Session(this, nativeModel, sessionOptions, neighbour);
  }

  /** Continues a text; see {@link #generate(int[], GenerationOptions)}. */
  public TokenStream generate(String prompt, GenerationOptions generationOptions) {
    return generate(tokenizer().encode(prompt), generationOptions);
  }

  /**
   * Continues a sequence of tokens, in a session that the stream closes.
   *
   * @throws IllegalArgumentException when the prompt is empty, longer than the context, or has ids
   *     beyond the vocabulary
   */
  public TokenStream generate(int[] prompt, GenerationOptions generationOptions) {
    long tokens = (long) prompt.length + generationOptions.maxNewTokens();
    int room = (int) Math.max(1, Math.min(tokens, info.maxPositions()));
    Generation.checkPrompt(prompt, info);
    Session session = newSession(SessionOptions.defaults().withMaxTokens(room));
    try {
      return new TokenStream(new Generation(session, List.of(prompt), generationOptions), session);
    } catch (RuntimeException e) {
      session.close();
      throw e;
    }
  }

  private void checkOpen() {
    if (closed) {
      throw new IllegalStateException(this + " is closed");
    }
  }

  /** Unmaps the weights, once no session uses them. */
  @Override
  public synchronized void close() {
    if (closed) {
      return;
    }
    closed = true;
    leak.closed();
    nativeModel.close();
    if (tokenizer != null) {
      tokenizer.close();
    }
  }

  @Override
  public String toString() {
    return "model " + dir;
  }
}
