package org.espalier.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.espalier.Model;
import org.espalier.ModelInfo;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** Tells what a model folder holds, and the memory it takes by context length. */
@Command(
    name = "inspect",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    sortSynopsis = false,
    versionProvider = Version.class,
    description = "Shows a model's architecture, parameters, types, and memory by context length.")
@SuppressWarnings("NullAway.Init") // picocli fills the fields
final class InspectCommand implements Runnable {
  private static final int SHORTEST_CONTEXT = 256;

  /** Memory of one sequence. */
  private record Memory(long contextTokens, long kvBytes, long totalBytes) {}

  @Mixin private ModelSource source;
  @Mixin private Output output;

  @Override
  public void run() {
    try (Model model = source.load()) {
      ModelInfo info = model.info();
      List<Memory> memory = memory(info);
      if (output.isJson()) {
        output.printJson(json(info, memory));
      } else {
        print(info, memory);
      }
    }
  }

  /**
   * Context lengths in steps of four, and the model's longest. The KV cache has the weights' type.
   */
  private static List<Memory> memory(ModelInfo info) {
    List<Memory> rows = new ArrayList<>();
    for (long tokens = SHORTEST_CONTEXT; tokens < info.maxPositions(); tokens *= 4) {
      rows.add(memory(info, tokens));
    }
    rows.add(memory(info, info.maxPositions()));
    return rows;
  }

  private static Memory memory(ModelInfo info, long tokens) {
    long kvBytes = info.kvBytes(tokens, info.weightType());
    return new Memory(tokens, kvBytes, info.weightBytes() + kvBytes);
  }

  private void print(ModelInfo info, List<Memory> memory) {
    PrintWriter out = output.out();
    line(out, "model", source.name());
    line(out, "architecture", info.architecture());
    line(
        out,
        "parameters",
        Units.grouped(info.numParameters()) + (info.tiedEmbeddings() ? " (tied embeddings)" : ""));
    line(out, "weights", info.weightType().label() + ", " + Units.bytes(info.weightBytes()));
    line(out, "layers", Integer.toString(info.numLayers()));
    line(out, "hidden", info.hidden() + ", intermediate " + info.intermediate());
    line(
        out,
        "attention",
        info.numQHeads()
            + " query heads, "
            + info.numKvHeads()
            + " kv heads, head_dim "
            + info.headDim());
    line(out, "vocabulary", Integer.toString(info.vocab()));
    line(
        out,
        "context",
        info.maxPositions()
            + " tokens, rope "
            + info.rope()
            + (info.slidingWindow() == 0 ? "" : ", sliding window " + info.slidingWindow()));
    out.println();
    Table table =
        new Table("context", "kv cache (" + info.weightType().label() + ")", "with weights");
    for (Memory row : memory) {
      table.add(
          Long.toString(row.contextTokens()),
          Units.bytes(row.kvBytes()),
          Units.bytes(row.totalBytes()));
    }
    out.print(table);
    out.flush();
  }

  private static void line(PrintWriter out, String name, String value) {
    out.printf("%-13s %s%n", name, value);
  }

  private Map<String, Object> json(ModelInfo info, List<Memory> memory) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("model", source.name());
    json.put("architecture", info.architecture());
    json.put("parameters", info.numParameters());
    json.put("weight_type", info.weightType().label());
    json.put("weight_bytes", info.weightBytes());
    json.put("tied_embeddings", info.tiedEmbeddings());
    json.put("num_layers", info.numLayers());
    json.put("hidden", info.hidden());
    json.put("intermediate", info.intermediate());
    json.put("num_q_heads", info.numQHeads());
    json.put("num_kv_heads", info.numKvHeads());
    json.put("head_dim", info.headDim());
    json.put("vocab", info.vocab());
    json.put("max_positions", info.maxPositions());
    json.put("rope", info.rope());
    json.put("sliding_window", info.slidingWindow());
    json.put("kv_type", info.weightType().label());
    json.put("memory", memory.stream().map(InspectCommand::json).toList());
    return json;
  }

  private static Map<String, Object> json(Memory row) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("context_tokens", row.contextTokens());
    json.put("kv_bytes", row.kvBytes());
    json.put("total_bytes", row.totalBytes());
    return json;
  }
}
