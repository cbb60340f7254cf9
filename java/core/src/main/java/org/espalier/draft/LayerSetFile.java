package org.espalier.draft;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.espalier.LayerSet;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The sub-layers that a draft bypasses in a file: {@code {"espalier_layer_set": 1, "layers": 8,
 * "attention": [2, 5], "mlp": [3], "matchness": 0.8}}, layers from 0.
 */
final class LayerSetFile {
  private static final Logger LOG = LoggerFactory.getLogger(LayerSetFile.class);
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String MAGIC = "espalier_layer_set";
  private static final int VERSION = 1;

  private LayerSetFile() {}

  /** Writes a set. The file is replaced as a whole. */
  static void save(LayerSet set, double matchness, Path file) {
    ObjectNode json = JSON.createObjectNode().put(MAGIC, VERSION).put("layers", set.numLayers());
    json.set("attention", JSON.valueToTree(set.attentionLeftOut()));
    json.set("mlp", JSON.valueToTree(set.mlpLeftOut()));
    json.put("matchness", matchness);
    try {
      LearnedFile.write(file, (json + "\n").getBytes(StandardCharsets.UTF_8));
    } catch (IOException e) {
      throw new UncheckedIOException(file + " cannot be written: " + e, e);
    }
  }

  /**
   * Reads a set.
   *
   * @return empty when there is no file, and with a warning when it is damaged
   * @throws IllegalArgumentException when the file is something else, of another version or for
   *     another model, and when it bypasses what has to run
   * @throws UncheckedIOException when it cannot be read
   */
  static Optional<LayerSet> load(Path file, int numLayers) {
    if (!Files.exists(file)) {
      return Optional.empty();
    }
    byte[] bytes;
    try {
      bytes = Files.readAllBytes(file);
    } catch (IOException e) {
      throw new UncheckedIOException(file + " cannot be read: " + e, e);
    }
    if (bytes.length == 0) {
      return damaged(file, "is empty"); // nothing of anybody's is lost
    }
    String text = new String(bytes, StandardCharsets.UTF_8);
    if (!text.stripLeading().startsWith("{") || !text.contains('"' + MAGIC + '"')) {
      throw new IllegalArgumentException(file + " is not a layer set, expected one");
    }
    JsonNode json;
    try {
      json = JSON.readTree(text);
    } catch (IOException e) {
      return damaged(file, "is no JSON");
    }
    if (!json.path(MAGIC).isInt() || !json.path("layers").isInt()) {
      return damaged(file, "has no version or no layers");
    }
    require(json.path(MAGIC).asInt() == VERSION, file, MAGIC, json.path(MAGIC), "" + VERSION);
    require(
        json.path("layers").asInt() == numLayers,
        file,
        "layers",
        json.path("layers"),
        numLayers + ", as the model has");
    List<List<Integer>> leftOut = new ArrayList<>();
    for (String key : List.of("attention", "mlp")) {
      List<Integer> layers = new ArrayList<>();
      if (!json.path(key).isArray()) {
        return damaged(file, "has no list " + key);
      }
      for (JsonNode layer : json.path(key)) {
        if (!layer.isInt()) {
          return damaged(file, "has no whole numbers in " + key);
        }
        require(
            layer.asInt() >= 1 && layer.asInt() <= numLayers - 2,
            file,
            key + " layer",
            layer,
            "1 to " + (numLayers - 2) + "; the first and the last layer always run");
        layers.add(layer.asInt());
      }
      leftOut.add(layers);
    }
    return Optional.of(LayerSet.without(leftOut.get(0), leftOut.get(1), numLayers));
  }

  private static Optional<LayerSet> damaged(Path file, String what) {
    LOG.warn("layer set {} {}; it is begun anew", file, what);
    return Optional.empty();
  }

  private static void require(boolean holds, Path file, String what, JsonNode got, String rule) {
    if (!holds) {
      throw new IllegalArgumentException(
          "layer set " + file + ": " + what + " = " + got + ", expected " + rule);
    }
  }
}
