package org.espalier;

import java.nio.file.Path;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.espalier.draft.Aded;
import org.espalier.draft.DraftModels;
import org.espalier.draft.EarlyExit;
import org.espalier.draft.InputCopy;
import org.espalier.draft.LayerSkip;
import org.espalier.draft.NoDraft;
import org.espalier.draft.ParallelDrafts;
import org.espalier.draft.PromptLookup;
import org.espalier.draft.TokenRecycling;
import org.espalier.draft.TreeTemplate;
import org.espalier.draft.TriGramTable;
import org.jspecify.annotations.Nullable;

/** The built-in drafters by name. */
public final class Drafters {
  private static final Map<String, Entry> ENTRIES = entries();

  private Drafters() {}

  private record Entry(DrafterInfo info, Function<Values, DrafterFactory> factory) {}

  private static Map<String, Entry> entries() {
    Map<String, Entry> entries = new LinkedHashMap<>();
    add(entries, "none", "plain decoding", List.of(), "", values -> NoDraft.factory());
    add(
        entries,
        "prompt-lookup",
        "copies what followed the last tokens earlier in the context",
        List.of(
            new DrafterInfo.Parameter("n_max", "int", "3", "longest key, in tokens"),
            new DrafterInfo.Parameter("m", "int", "10", "tokens of a draft")),
        "Prompt Lookup Decoding (Saxena 2023)",
        values -> PromptLookup.factory(values.number("n_max"), values.number("m")));
    add(
        entries,
        "token-recycling",
        "fills a fixed tree from a table of each token's last most likely successors",
        List.of(
            new DrafterInfo.Parameter("k", "int", "8", "successors that are remembered"),
            new DrafterInfo.Parameter(
                "tree",
                "tree",
                "2.2.2",
                "2.2.2, widths by level as 4x2x1, or paths of ranks as 0/1/0.0/0.1")),
        "Token Recycling, arXiv 2408.08696",
        values ->
            TokenRecycling.factory(TreeTemplate.parse(values.text("tree")), values.number("k")));
    add(
        entries,
        "draft-model",
        "a small model with the same tokenizer drafts a chain or a tree",
        List.of(
            new DrafterInfo.Parameter(
                "model", "model", "tiny-java-draft", "a folder, or an embedded model"),
            new DrafterInfo.Parameter("gamma", "int", "4", "depth of a draft"),
            new DrafterInfo.Parameter(
                "width", "int", "1", "1 for a chain; children of a node for a tree")),
        "Speculative Decoding, arXiv 2211.17192; SpecInfer, arXiv 2305.09781",
        values ->
            DraftModels.fixedTree(
                values.text("model"), values.number("gamma"), values.number("width")));
    add(
        entries,
        "dynamic-tree",
        "a tree that grows where its source, something cheaper than the model, is most sure",
        List.of(
            new DrafterInfo.Parameter(
                "source",
                "source",
                "draft-model",
                "what drafts: draft-model, early-exit or layer-skip"),
            new DrafterInfo.Parameter(
                "model", "model", "tiny-java-draft", "of draft-model: as there"),
            new DrafterInfo.Parameter("layers", "file", "none", "of layer-skip: as there"),
            new DrafterInfo.Parameter("nodes", "int", "64", "most nodes of a tree"),
            new DrafterInfo.Parameter("depth", "int", "8", "most levels"),
            new DrafterInfo.Parameter(
                "threshold",
                "number",
                "0",
                "least value of a node that gets children; 0: 1/nodes")),
        "DySpec: Faster Speculative Decoding with Dynamic Token Tree Structure",
        Drafters::dynamicTree);
    add(
        entries,
        "aded",
        "searches a table of tri-grams that learns from the text as it comes",
        List.of(
            new DrafterInfo.Parameter("iterations", "int", "150", "paths that are searched"),
            new DrafterInfo.Parameter("sentences", "int", "24", "paths that are drafted"),
            new DrafterInfo.Parameter(
                "table", "file", "none", "a table to begin with; it keeps what is learned")),
        "ADED, arXiv 2407.12021",
        Drafters::aded);
    add(
        entries,
        "input-copy",
        "copies the prompt in its order and finds the place again after a difference",
        List.of(new DrafterInfo.Parameter("m", "int", "32", "most tokens of a draft")),
        "Aggressive Decoding, arXiv 2205.10350",
        values -> InputCopy.factory(values.number("m")));
    add(
        entries,
        "parallel",
        "a small model drafts the next block while the target judges the last one",
        List.of(
            new DrafterInfo.Parameter(
                "model", "model", "tiny-java-draft", "a folder, or an embedded model"),
            new DrafterInfo.Parameter(
                "gamma", "int", "0", "tokens of a block; 0 follows the measured times"),
            new DrafterInfo.Parameter(
                "threads", "int", "0", "CPU threads of the draft; 0 for those the target leaves")),
        "PEARL, arXiv 2408.11850",
        values ->
            new ParallelDrafts(
                values.text("model"), values.number("gamma"), values.number("threads")));
    add(
        entries,
        "early-exit",
        "the model's own first layers draft; exit and length are chosen round by round",
        List.of(new DrafterInfo.Parameter("d_max", "int", "18", "longest draft, in tokens")),
        "DEL, arXiv 2504.05598",
        values -> EarlyExit.factory(values.number("d_max")));
    add(
        entries,
        "layer-skip",
        "the model without some attentions and MLPs drafts; which ones is searched as it runs",
        List.of(
            new DrafterInfo.Parameter("r", "number", "0.45", "share of sub-layers left out"),
            new DrafterInfo.Parameter("w", "int", "32", "tokens that a set is compared on"),
            new DrafterInfo.Parameter("opt_interval", "int", "1", "steps from one set to the next"),
            new DrafterInfo.Parameter(
                "bayes_interval",
                "int",
                "25",
                "of so many sets one is proposed by what is known, not random"),
            new DrafterInfo.Parameter(
                "max_iter", "int", "1000", "most sets of a text; 0: the first one stays"),
            new DrafterInfo.Parameter(
                "max_stale", "int", "300", "the search ends after more sets that are no better"),
            new DrafterInfo.Parameter(
                "s_max", "number", "0.95", "the search ends when more of the tokens match"),
            new DrafterInfo.Parameter("depth", "int", "25", "most levels of a draft"),
            new DrafterInfo.Parameter(
                "stop", "number", "0.8", "confidence below which a draft ends"),
            new DrafterInfo.Parameter(
                "layers", "file", "none", "the set to begin with; it keeps the best one found")),
        "SWIFT, arXiv 2410.06916",
        Drafters::layerSkip);
    return entries;
  }

  private static DrafterFactory aded(Values values) {
    String table = values.text("table");
    int iterations = values.number("iterations");
    int sentences = values.number("sentences");
    return table.equals("none")
        ? Aded.factory((TriGramTable) null, iterations, sentences)
        : Aded.factory(Path.of(table), iterations, sentences);
  }

  private static DrafterFactory layerSkip(Values values) {
    LayerSkip.Search search =
        new LayerSkip.Search(
            values.decimal("r"),
            values.number("w"),
            values.number("opt_interval"),
            values.number("bayes_interval"),
            values.number("max_iter"),
            values.number("max_stale"),
            values.decimal("s_max"));
    return LayerSkip.factory(
        search, values.file("layers"), values.number("depth"), values.decimal("stop"));
  }

  private static DrafterFactory dynamicTree(Values values) {
    int nodes = values.number("nodes");
    int depth = values.number("depth");
    double threshold = values.decimal("threshold");
    String source = values.text("source");
    if (!source.equals("draft-model")) {
      values.refuse("model", "source = draft-model");
    }
    if (!source.equals("layer-skip")) {
      values.refuse("layers", "source = layer-skip");
    }
    return switch (source) {
      case "draft-model" -> DraftModels.dynamicTree(values.text("model"), nodes, depth, threshold);
      case "early-exit" -> EarlyExit.dynamicTree(nodes, depth, threshold);
      case "layer-skip" ->
          LayerSkip.dynamicTree(
              LayerSkip.Search.defaults(), values.file("layers"), nodes, depth, threshold);
      default ->
          throw new IllegalArgumentException(
              "dynamic-tree: source = "
                  + source
                  + ", expected draft-model, early-exit or layer-skip");
    };
  }

  private static void add(
      Map<String, Entry> entries,
      String name,
      String summary,
      List<DrafterInfo.Parameter> parameters,
      String source,
      Function<Values, DrafterFactory> factory) {
    DrafterInfo info = new DrafterInfo(name, summary, parameters, Exactness.LOSSLESS, source);
    entries.put(name, new Entry(info, factory));
  }

  /** What there is. */
  public static List<DrafterInfo> list() {
    return ENTRIES.values().stream().map(Entry::info).toList();
  }

  /** Plain decoding. */
  public static DrafterFactory none() {
    return NoDraft.factory();
  }

  /**
   * A drafter by {@code name} or {@code name:key=value,...}, with the names and defaults of {@link
   * #list}.
   *
   * @return the factory, which the caller closes when it holds a model, as {@code draft-model} does
   * @throws IllegalArgumentException for an unknown name or parameter, or a value out of range
   */
  public static DrafterFactory parse(String spec) {
    int colon = spec.indexOf(':');
    String name = colon < 0 ? spec : spec.substring(0, colon);
    Entry entry = ENTRIES.get(name);
    if (entry == null) {
      throw new IllegalArgumentException(
          "drafter = " + name + ", expected one of " + String.join(", ", ENTRIES.keySet()));
    }
    Values values = new Values(entry.info());
    if (colon >= 0) {
      for (String pair : spec.substring(colon + 1).split(",", -1)) {
        values.set(pair);
      }
    }
    return entry.factory().apply(values);
  }

  /** The parameters of one spec. */
  private static final class Values {
    private final DrafterInfo info;
    private final Map<String, String> values = new LinkedHashMap<>();
    private final Set<String> given = new HashSet<>();

    Values(DrafterInfo info) {
      this.info = info;
      info.parameters().forEach(p -> values.put(p.name(), p.defaultValue()));
    }

    void set(String pair) {
      int equals = pair.indexOf('=');
      String key = equals < 0 ? pair : pair.substring(0, equals);
      if (equals < 0 || !values.containsKey(key)) {
        String known =
            values.keySet().stream().map(k -> k + "=...").collect(Collectors.joining(", "));
        throw new IllegalArgumentException(
            "parameter of "
                + info.name()
                + " = "
                + pair
                + ", expected "
                + (known.isEmpty() ? "none" : known));
      }
      if (!given.add(key)) {
        throw new IllegalArgumentException(
            "parameter of " + info.name() + " = " + pair + ", expected " + key + " only once");
      }
      values.put(key, pair.substring(equals + 1));
    }

    /** Refuses a parameter that is of no use with the others, unless it has its default. */
    void refuse(String key, String needed) {
      boolean isDefault =
          info.parameters().stream()
              .anyMatch(p -> p.name().equals(key) && p.defaultValue().equals(text(key)));
      if (!isDefault) {
        throw new IllegalArgumentException(
            info.name() + ": " + key + " = " + text(key) + ", expected only with " + needed);
      }
    }

    String text(String key) {
      return values.getOrDefault(key, "");
    }

    @Nullable Path file(String key) {
      return text(key).equals("none") ? null : Path.of(text(key));
    }

    int number(String key) {
      try {
        return Integer.parseInt(text(key));
      } catch (NumberFormatException e) {
        throw new IllegalArgumentException(
            info.name() + ": " + key + " = " + text(key) + ", expected a whole number", e);
      }
    }

    double decimal(String key) {
      try {
        return Double.parseDouble(text(key));
      } catch (NumberFormatException e) {
        throw new IllegalArgumentException(
            info.name() + ": " + key + " = " + text(key) + ", expected a number", e);
      }
    }
  }
}
