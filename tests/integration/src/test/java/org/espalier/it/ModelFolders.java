package org.espalier.it;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/**
 * Model folders that tests write: small random weights, or a copy of the draft model to be broken.
 */
final class ModelFolders {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int HIDDEN = 32;
  private static final int HEAD_DIM = 16;

  private ModelFolders() {}

  /** A Llama of one layer with random weights and no tokenizer. */
  static Path random(Path dir, int vocab, long seed, float spread) {
    return random(dir, vocab, seed, spread, 1);
  }

  /** A Llama of some layers with random weights and no tokenizer. */
  static Path random(Path dir, int vocab, long seed, float spread, int layers) {
    Random random = new Random(seed);
    Map<String, int[]> shapes = new LinkedHashMap<>();
    shapes.put("model.embed_tokens.weight", new int[] {vocab, HIDDEN});
    for (int l = 0; l < layers; l++) {
      String layer = "model.layers." + l + ".";
      shapes.put(layer + "input_layernorm.weight", new int[] {HIDDEN});
      shapes.put(layer + "self_attn.q_proj.weight", new int[] {2 * HEAD_DIM, HIDDEN});
      shapes.put(layer + "self_attn.k_proj.weight", new int[] {HEAD_DIM, HIDDEN});
      shapes.put(layer + "self_attn.v_proj.weight", new int[] {HEAD_DIM, HIDDEN});
      shapes.put(layer + "self_attn.o_proj.weight", new int[] {HIDDEN, 2 * HEAD_DIM});
      shapes.put(layer + "post_attention_layernorm.weight", new int[] {HIDDEN});
      shapes.put(layer + "mlp.gate_proj.weight", new int[] {HIDDEN, HIDDEN});
      shapes.put(layer + "mlp.up_proj.weight", new int[] {HIDDEN, HIDDEN});
      shapes.put(layer + "mlp.down_proj.weight", new int[] {HIDDEN, HIDDEN});
    }
    shapes.put("model.norm.weight", new int[] {HIDDEN});
    shapes.put("lm_head.weight", new int[] {vocab, HIDDEN});
    StringBuilder header = new StringBuilder("{");
    int bytes = 0;
    for (Map.Entry<String, int[]> tensor : shapes.entrySet()) {
      int size = 4;
      StringBuilder shape = new StringBuilder();
      for (int axis : tensor.getValue()) {
        size *= axis;
        shape.append(shape.length() == 0 ? "" : ",").append(axis);
      }
      header.append(header.length() == 1 ? "" : ",");
      header.append(
          "\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%d,%d]}"
              .formatted(tensor.getKey(), shape, bytes, bytes + size));
      bytes += size;
    }
    byte[] head = header.append("}").toString().getBytes(StandardCharsets.UTF_8);
    ByteBuffer file = ByteBuffer.allocate(8 + head.length + bytes).order(ByteOrder.LITTLE_ENDIAN);
    file.putLong(head.length).put(head);
    for (Map.Entry<String, int[]> tensor : shapes.entrySet()) {
      int count =
          tensor.getValue().length == 1 ? HIDDEN : tensor.getValue()[0] * tensor.getValue()[1];
      boolean norm = tensor.getKey().contains("norm");
      boolean head0 = tensor.getKey().startsWith("lm_head");
      for (int i = 0; i < count; i++) {
        file.putFloat(norm ? 1 : (float) random.nextGaussian() * (head0 ? spread : 0.4f));
      }
    }
    try {
      Files.createDirectories(dir);
      Files.write(dir.resolve("model.safetensors"), file.array());
      Files.writeString(dir.resolve("config.json"), config(vocab, layers));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return dir;
  }

  private static String config(int vocab, int layers) {
    return """
    {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": %d, "hidden_size": %d,
     "intermediate_size": %d, "num_hidden_layers": %d, "num_attention_heads": 2, "num_key_value_heads": 1,
     "head_dim": %d, "hidden_act": "silu", "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
     "rope_theta": 10000.0, "rope_scaling": null, "attention_bias": false, "mlp_bias": false,
     "tie_word_embeddings": false, "torch_dtype": "float32"}
    """
        .formatted(vocab, HIDDEN, HIDDEN, layers, HEAD_DIM);
  }

  /** A golden model whose layers are there again and again, up to so many. */
  static Path deeper(String golden, int layers, Path dir) {
    return remade(golden, layers, Integer.MAX_VALUE, dir.resolve(golden + layers));
  }

  /**
   * A golden model with so many layers, which repeat or are left out, and of its tokens the first
   * ones; none of them ends a text.
   */
  static Path remade(String golden, int layers, int mostTokens, Path dir) {
    Path from = Fixtures.root().resolve("tests/models/golden").resolve(golden);
    try {
      Files.createDirectories(dir);
      ObjectNode config = (ObjectNode) JSON.readTree(from.resolve("config.json").toFile());
      int had = config.path("num_hidden_layers").asInt();
      int vocab = Math.min(config.path("vocab_size").asInt(), mostTokens);
      config.put("num_hidden_layers", layers).put("vocab_size", vocab);
      if (config.has("layer_types")) {
        List<String> types = new ArrayList<>();
        for (int i = 0; i < layers; i++) {
          types.add(config.path("layer_types").get(i % had).asText());
        }
        config.set("layer_types", JSON.valueToTree(types));
      }
      if (mostTokens != Integer.MAX_VALUE) {
        config.remove(List.of("eos_token_id", "bos_token_id", "pad_token_id"));
      }
      JSON.writeValue(dir.resolve("config.json").toFile(), config);
      byte[] weights = Files.readAllBytes(from.resolve("model.safetensors"));
      Files.write(dir.resolve("model.safetensors"), remade(weights, had, layers, vocab));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return dir;
  }

  private static byte[] remade(byte[] weights, int had, int layers, int vocab) throws IOException {
    int headerLen = (int) ByteBuffer.wrap(weights).order(ByteOrder.LITTLE_ENDIAN).getLong(0);
    ObjectNode header = (ObjectNode) JSON.readTree(weights, 8, headerLen);
    ObjectNode out = JSON.createObjectNode();
    ByteArrayOutputStream data = new ByteArrayOutputStream();
    for (String name : (Iterable<String>) header::fieldNames) {
      if (name.equals("__metadata__")) {
        continue;
      }
      String[] parts = name.split("\\.", 4);
      boolean ofLayer = parts.length == 4 && parts[1].equals("layers");
      int at = ofLayer ? Integer.parseInt(parts[2]) : 0;
      for (int layer = at; layer < layers; layer += had) {
        ObjectNode tensor = header.path(name).deepCopy();
        int begin = tensor.path("data_offsets").get(0).asInt();
        int bytes = tensor.path("data_offsets").get(1).asInt() - begin;
        if (name.startsWith("model.embed_tokens") || name.startsWith("lm_head")) {
          ArrayNode shape = (ArrayNode) tensor.path("shape");
          bytes = bytes / shape.get(0).asInt() * vocab;
          shape.set(0, vocab);
        }
        tensor.putArray("data_offsets").add(data.size()).add(data.size() + bytes);
        data.write(weights, 8 + headerLen + begin, bytes);
        out.set(ofLayer ? "model.layers." + layer + "." + parts[3] : name, tensor);
        if (!ofLayer) {
          break;
        }
      }
    }
    byte[] head = out.toString().getBytes(StandardCharsets.UTF_8);
    ByteBuffer file =
        ByteBuffer.allocate(8 + head.length + data.size()).order(ByteOrder.LITTLE_ENDIAN);
    return file.putLong(head.length).put(head).put(data.toByteArray()).array();
  }

  /** The files of the draft model. */
  static Path copyOfDraft(Path dir) {
    return copyOf("tiny-java-draft", dir);
  }

  /** The files of an embedded model. */
  static Path copyOf(String name, Path dir) {
    try {
      Files.createDirectories(dir);
      for (String file :
          new String[] {
            "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"
          }) {
        String resource = "/org/espalier/models/" + name + "/" + file;
        try (InputStream in = ModelFolders.class.getResourceAsStream(resource)) {
          if (in == null) {
            throw new IllegalStateException("no " + resource + " on the class path");
          }
          Files.copy(in, dir.resolve(file));
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return dir;
  }

  /** Writes generation_config.json with these end tokens. */
  static void setEndTokens(Path dir, int... ids) {
    try {
      Files.writeString(
          dir.resolve("generation_config.json"),
          "{\"eos_token_id\": " + Arrays.toString(ids) + "}");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Replaces text in a file, which must be there. */
  static void edit(Path file, String from, String to) {
    try {
      String text = Files.readString(file);
      if (!text.contains(from)) {
        throw new IllegalArgumentException(file + " does not contain " + from);
      }
      Files.writeString(file, text.replace(from, to));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
