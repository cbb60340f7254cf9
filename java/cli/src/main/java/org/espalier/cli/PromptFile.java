package org.espalier.cli;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.exc.MismatchedInputException;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** Prompts as JSON lines: an object with the strings {@code id} and {@code prompt} on each. */
final class PromptFile {
  /** One prompt with its name in reports. */
  record Prompt(String id, String text) {}

  private static final ObjectReader READER =
      JsonMapper.builder()
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
          .build()
          .readerFor(JsonNode.class);

  private PromptFile() {}

  /** Reads the whole file; the first line that breaks a rule is named. Blank lines are skipped. */
  static List<Prompt> read(Path file) {
    List<Prompt> prompts = new ArrayList<>();
    Set<String> ids = new HashSet<>();
    int number = 0;
    for (String line : TextInput.read(file).split("\\R", -1)) {
      number++;
      if (line.isBlank()) {
        continue;
      }
      String where = file + ", line " + number;
      Prompt prompt = parse(line, where);
      if (!ids.add(prompt.id())) {
        throw new BadInputException(
            where + ": id = " + prompt.id() + ", expected one not used before");
      }
      prompts.add(prompt);
    }
    if (prompts.isEmpty()) {
      throw new BadInputException(file + ": prompts = 0, expected at least one line");
    }
    return prompts;
  }

  private static Prompt parse(String line, String where) {
    JsonNode node;
    try {
      node = READER.readTree(line);
    } catch (MismatchedInputException e) { // of trailing tokens; its own text names a setting
      throw new BadInputException(where + ": more than one JSON value, expected one object");
    } catch (JsonProcessingException e) {
      throw new BadInputException(where + ": not JSON: " + e.getOriginalMessage());
    }
    if (!node.isObject()) {
      throw new BadInputException(where + ": expected an object with \"id\" and \"prompt\"");
    }
    Prompt prompt = new Prompt(string(node, "id", where), string(node, "prompt", where));
    if (prompt.text().isEmpty()) {
      throw new BadInputException(where + ": prompt is empty, expected some text");
    }
    return prompt;
  }

  private static String string(JsonNode node, String key, String where) {
    JsonNode value = node.get(key);
    if (value == null) {
      throw new BadInputException(where + ": \"" + key + "\" is missing, expected a string");
    }
    if (!value.isTextual()) {
      throw new BadInputException(where + ": \"" + key + "\" = " + value + ", expected a string");
    }
    return TextInput.characters(where + ": \"" + key + '"', value.textValue());
  }
}
