package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.espalier.Backend;
import org.espalier.BackendUnavailableException;
import org.espalier.DeviceInfo;
import org.espalier.Devices;
import org.espalier.Drafters;
import org.espalier.Generation;
import org.espalier.GenerationOptions;
import org.espalier.Model;
import org.espalier.ModelFormatException;
import org.espalier.ModelOptions;
import org.espalier.NotANumberException;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.UnsupportedFeatureException;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Broken folders and prompts: an exception that names the thing, and nothing else happens. */
class BadInputTest {
  @TempDir Path dir;
  private Path folder;

  @BeforeEach
  void copy() {
    folder = ModelFolders.copyOfDraft(dir.resolve("model"));
  }

  private void notLoaded(String... parts) {
    assertThatThrownBy(() -> Model.load(folder).close())
        .isInstanceOfAny(ModelFormatException.class, UnsupportedFeatureException.class)
        .hasMessageContainingAll(parts);
  }

  @Test
  void copyLoads() {
    try (Model model = Model.load(folder)) {
      assertThat(model.endTokens()).containsExactly(0);
      assertThat(model.info()).isEqualTo(Fixtures.draft().info());
    }
  }

  @Test
  void missingFolder() {
    folder = dir.resolve("nowhere");
    notLoaded("nowhere");
  }

  @ParameterizedTest
  @ValueSource(strings = {"config.json", "model.safetensors"})
  void missingFile(String file) throws IOException {
    Files.delete(folder.resolve(file));
    notLoaded(file);
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 7, 8, 100, 5000, 1_000_000})
  void truncatedWeights(int bytes) throws IOException {
    Path weights = folder.resolve("model.safetensors");
    byte[] all = Files.readAllBytes(weights);
    Files.write(weights, Arrays.copyOf(all, bytes));
    notLoaded("model.safetensors");
  }

  @ParameterizedTest
  @ValueSource(longs = {-1, Long.MAX_VALUE, 1L << 40, 2_000_000})
  void headerLongerThanTheFile(long headerBytes) throws IOException {
    Path weights = folder.resolve("model.safetensors");
    byte[] all = Files.readAllBytes(weights);
    ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN).putLong(headerBytes);
    Files.write(weights, all);
    notLoaded("model.safetensors");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      value = {
        "LlamaForCausalLM; MambaForCausalLM; MambaForCausalLM",
        "\"num_attention_heads\": 2; \"num_attention_heads\": 0; num_attention_heads",
        "\"hidden_size\"; \"hidden_sizes\"; hidden_size",
        "\"vocab_size\": 2048; \"vocab_size\": 4096; embed_tokens",
        "\"vocab_size\": 2048; \"vocab_size\": -5; vocab_size",
        "\"rope_scaling\": null; \"rope_scaling\": {\"rope_type\": \"spiral\", \"factor\": 2.0};"
            + " spiral",
        "\"hidden_act\": \"silu\"; \"hidden_act\": \"gelu\"; hidden_act"
      })
  void badConfig(String from, String to, String named) {
    ModelFolders.edit(folder.resolve("config.json"), from, to);
    notLoaded(named);
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "{", "[]", "{\"architectures\": 3}", "nonsense"})
  void configThatIsNoConfig(String text) throws IOException {
    Files.writeString(folder.resolve("config.json"), text);
    notLoaded("config.json");
  }

  @ParameterizedTest
  @ValueSource(strings = {"2048", "-1", "\"x\"", "[0, 4000]"})
  void badEndTokens(String ids) throws IOException {
    Files.writeString(folder.resolve("generation_config.json"), "{\"eos_token_id\": " + ids + "}");
    notLoaded("generation_config.json", "eos_token_id", "expected");
  }

  @Test
  void endTokensFromEitherFile() throws IOException {
    ModelFolders.setEndTokens(folder, 3, 17);
    try (Model model = Model.load(folder)) {
      assertThat(model.endTokens()).containsExactly(3, 17);
    }
    Files.delete(folder.resolve("generation_config.json"));
    try (Model model = Model.load(folder)) {
      assertThat(model.endTokens()).containsExactly(0);
    }
  }

  @Test
  void tokenizerIsNamed() throws IOException {
    Path tokenizer = folder.resolve("tokenizer.json");
    ModelFolders.edit(tokenizer, "\"id\": 0,", "\"id\": 2048,");
    try (Model model = Model.load(folder)) {
      assertThatThrownBy(model::tokenizer)
          .isInstanceOf(ModelFormatException.class)
          .hasMessageContaining("tokenizer.json: id of token \"<|endoftext|>\" = 2048");
    }
    Files.delete(tokenizer);
    try (Model model = Model.load(folder)) {
      assertThatThrownBy(() -> model.generate("int", GenerationOptions.defaults()))
          .isInstanceOf(ModelFormatException.class)
          .hasMessageContaining("tokenizer.json: no such file");
      assertThat(model.generate(new int[] {1}, GenerationOptions.defaults()).result().text())
          .isEmpty();
    }
  }

  @Test
  void badPrompts() {
    Model model = Fixtures.draft();
    GenerationOptions options = GenerationOptions.defaults();
    refusedPrompt("prompt = 0 tokens, expected at least 1", () -> model.generate("", options));
    refusedPrompt(
        "prompt = 1025 tokens, expected at most 1024",
        () -> model.generate(new int[1025], options));
    refusedPrompt(
        "prompt[1] = 2048, expected 0 to 2047", () -> model.generate(new int[] {1, 2048}, options));
    refusedPrompt(
        "prompt[0] = -1, expected 0 to 2047", () -> model.generate(new int[] {-1}, options));
    try (Session session = model.newSession(SessionOptions.defaults().withMaxTokens(8))) {
      refusedPrompt(
          "prompt = 9 tokens, expected at most 8",
          () -> new Generation(session, List.of(new int[9]), options));
      refusedPrompt(
          "prompts = 0, expected 1 to 512", () -> new Generation(session, List.of(), options));
    }
    assertThat(model.generate(new int[1024], options).result().tokenIds()).hasSize(1);
    assertThat(model.generate(new int[] {7}, options.withMaxNewTokens(2)).result().tokenIds())
        .hasSize(2);
  }

  private static void refusedPrompt(String message, Executable call) {
    assertThatThrownBy(call::execute)
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining(message);
  }

  /**
   * One NaN in the weights: the logits that meet it are named, other tokens still work on the same
   * session.
   */
  @Test
  void notANumber() throws IOException {
    Path random = ModelFolders.random(dir.resolve("random"), 8, 1, 0.2f);
    Path weights = random.resolve("model.safetensors");
    byte[] all = Files.readAllBytes(weights);
    ByteBuffer bytes = ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN);
    int embedding = (int) bytes.getLong(0) + 8;
    bytes.putFloat(embedding + 5 * 32 * 4, Float.NaN); // the row of token 5
    Files.write(weights, all);
    try (Model model = Model.load(random);
        Session session = model.newSession()) {
      GenerationOptions options = GenerationOptions.defaults().withMaxNewTokens(1);
      for (String drafter : List.of("none", "token-recycling")) {
        try (Generation generation =
            new Generation(session, List.of(new int[] {1, 5}), options.withDrafter(drafter))) {
          assertThatThrownBy(generation::run)
              .isInstanceOf(NotANumberException.class)
              .hasMessageContaining("NaN")
              .hasMessageContaining("embed_tokens");
          assertThatThrownBy(generation::step).isInstanceOf(IllegalStateException.class);
        }
      }
      try (Generation generation = new Generation(session, List.of(new int[] {1, 2}), options)) {
        assertThat(generation.run().get(0).tokenIds()).hasSize(1);
      }
    }
  }

  @Test
  void draftModelOfAnotherVocabulary() throws IOException {
    Path other = ModelFolders.random(dir.resolve("random"), 8, 1, 0.2f);
    ModelFolders.edit(folder.resolve("tokenizer.json"), "\"id\": 0,", "\"id\": 1,");
    for (String spec : List.of("draft-model:model=" + other, "draft-model:model=" + folder)) {
      try (var drafter = Drafters.parse(spec)) {
        assertThatThrownBy(
                () ->
                    Fixtures.tinyJava()
                        .generate("int", GenerationOptions.defaults().withDrafter(drafter)))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessageContaining("draft model ")
            .hasMessageContaining("expected");
      }
    }
  }

  @Test
  void missingDraftModelIsNamed() {
    try (var drafter = Drafters.parse("draft-model:model=" + dir.resolve("nowhere"))) {
      assertThatThrownBy(
              () ->
                  Fixtures.tinyJava()
                      .generate("int", GenerationOptions.defaults().withDrafter(drafter)))
          .isInstanceOf(ModelFormatException.class)
          .hasMessageContaining("nowhere");
    }
  }

  /** Where a backend is missing the reason is there, and asking for it says so. */
  @Test
  void missingBackendIsNamed() {
    List<DeviceInfo> devices = Devices.list();
    assertThat(devices)
        .anyMatch(d -> d.backend() == Backend.CPU && d.available() && d.threads() > 0);
    for (DeviceInfo device : devices) {
      assertThat(device.available()).isEqualTo(device.reason().isEmpty());
    }
    if (devices.stream().noneMatch(d -> d.backend() == Backend.CUDA && d.available())) {
      assertThatThrownBy(
              () -> Model.load(folder, ModelOptions.defaults().withBackend(Backend.CUDA)))
          .isInstanceOf(BackendUnavailableException.class);
    }
    assertThatThrownBy(
            () ->
                Model.load(
                    folder, ModelOptions.defaults().withBackend(Backend.CPU).withDeviceIdx(7)))
        .isInstanceOfAny(BackendUnavailableException.class, IllegalArgumentException.class);
  }

  @Test
  void embeddedNamesAreChecked() {
    assertThatThrownBy(() -> Model.embedded("huge-java", ModelOptions.defaults()))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("model = huge-java, expected tiny-java or tiny-java-draft");
  }
}
