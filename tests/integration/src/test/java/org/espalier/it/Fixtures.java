package org.espalier.it;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.espalier.Model;
import org.espalier.ModelOptions;

/** The fixture models, shared by all tests, and the held-out prompts. */
public final class Fixtures {
  private static final ObjectMapper JSON = new ObjectMapper();

  private Fixtures() {}

  /** A held-out prompt. */
  public record Prompt(String id, String text) {
    @Override
    public String toString() {
      return id;
    }
  }

  private static final class Models {
    static final Model TINY_JAVA = Model.tinyJava();
    static final Model DRAFT = Model.embedded("tiny-java-draft", ModelOptions.defaults());
  }

  /** The target; lives as long as the tests do. */
  static Model tinyJava() {
    return Models.TINY_JAVA;
  }

  /** The small draft model. */
  static Model draft() {
    return Models.DRAFT;
  }

  /** Root of the source tree. */
  static Path root() {
    return Path.of(System.getProperty("espalier.test.root", "../.."));
  }

  /**
   * Whether everything is to be run, which takes a quarter of an hour: {@code
   * -Despalier.test.full=true}.
   */
  static boolean full() {
    return Boolean.getBoolean("espalier.test.full");
  }

  /** All held-out prompts in a full run, otherwise {@code few} of them, spread evenly. */
  static List<Prompt> prompts(int few) {
    List<Prompt> all = allPrompts();
    if (full()) {
      return all;
    }
    List<Prompt> some = new ArrayList<>();
    for (int i = 0; i < few; i++) {
      some.add(all.get(i * all.size() / few));
    }
    return some;
  }

  /** All held-out prompts. */
  public static List<Prompt> allPrompts() {
    List<Prompt> all = new ArrayList<>();
    try {
      for (String line : Files.readAllLines(root().resolve("tests/models/prompts.jsonl"))) {
        JsonNode json = JSON.readTree(line);
        all.add(new Prompt(json.get("id").asText(), json.get("prompt").asText()));
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return all;
  }

  /** The last tokens of a prompt, few enough to leave the time to decoding. */
  static int[] tokens(Prompt prompt, int most) {
    int[] all = tinyJava().tokenizer().encode(prompt.text());
    int length = Math.min(most, all.length);
    int[] last = new int[length];
    System.arraycopy(all, all.length - length, last, 0, length);
    return last;
  }
}
