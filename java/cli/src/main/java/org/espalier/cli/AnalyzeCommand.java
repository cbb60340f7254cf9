package org.espalier.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.espalier.DraftTree;
import org.espalier.Model;
import org.espalier.ModelInfo;
import org.espalier.Scores;
import org.espalier.Sequence;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.analyze.InformationSurplus;
import org.espalier.analyze.InformationSurplus.Term;
import org.espalier.analyze.InformationSurplus.Text;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** The information surplus of hidden states: what a draft head could gain from reading them. */
@Command(
    name = "analyze",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    sortSynopsis = false,
    versionProvider = Version.class,
    description =
        "Estimates what hidden states know about the tokens behind the next one, by layer and"
            + " offset.",
    footer = {
      "",
      "surplus     nats: cross entropy of a head that sees the tokens alone, less that of one",
      "            that sees the state too; both are trained on three of four texts and",
      "            measured on the fourth. low and high: 95 %% by bootstrap over texts,",
      "            error: the standard error, likewise; half: learned from half of the texts",
      "agreement   how often the head's best token is the text's",
      "acceptance  what speculative sampling from the head accepts at least, 1 - sqrt(KL / 2)",
      "",
      "An interval that is not above 0 says nothing: no surplus is below 0, but a head that",
      "reads the state has more to learn. A surplus above half is still too low: more texts",
      "would raise it."
    })
@SuppressWarnings("NullAway.Init") // picocli fills the fields
final class AnalyzeCommand implements Runnable {
  private static final int TEXTS_FOR_ONE_HELD_OUT = 4;
  private static final int LEAST_TEXTS = 8;

  /** Terms of the surplus of one layer. */
  private record Row(int layer, Term term) {}

  /** Texts with the states of one layer after another, and what their tokens became. */
  private record States(List<int[]> token, List<float[][]> law, List<List<float[][]>> byLayer) {}

  @Spec private CommandSpec spec;
  @Mixin private ModelSource source;

  @Option(
      names = "--prompts",
      paramLabel = "FILE",
      required = true,
      description = "JSON lines with \"id\" and \"prompt\": the texts, at least 8.")
  private Path prompts;

  @Option(
      names = "--offsets",
      paramLabel = "N",
      defaultValue = "3",
      description = "Tokens behind the next one, 1 to 8. Default: ${DEFAULT-VALUE}.")
  private int offsets;

  @Option(
      names = "--layers",
      paramLabel = "I",
      split = ",",
      description = "Layers whose output is read, 0 for the embedding. Default: the last one.")
  private @Nullable List<Integer> layers;

  @Option(
      names = "--classes",
      paramLabel = "N",
      defaultValue = "256",
      description =
          "The most frequent tokens are told apart, all others are one. Default: ${DEFAULT-VALUE}.")
  private int classes;

  @Option(
      names = "--max-tokens",
      paramLabel = "N",
      defaultValue = "256",
      description = "Tokens of a text that are read, 3 to 512. Default: ${DEFAULT-VALUE}.")
  private int maxTokens;

  @Option(
      names = "--epochs",
      paramLabel = "N",
      defaultValue = "3",
      description = "Times that a text is learned from. Default: ${DEFAULT-VALUE}.")
  private int epochs;

  @Option(
      names = "--report",
      paramLabel = "FILE.html",
      description = "Also write a page with a plot of the surplus by layer.")
  private @Nullable Path report;

  @Mixin private Output output;

  @Override
  public void run() {
    require("--offsets", offsets, 1, 8);
    require("--max-tokens", maxTokens, 3, 512);
    require("--epochs", epochs, 1, 1000);
    ReportFile.check(report);
    List<PromptFile.Prompt> given = PromptFile.read(prompts);
    if (given.size() < LEAST_TEXTS) {
      throw new BadInputException(
          prompts + ": texts = " + given.size() + ", expected at least " + LEAST_TEXTS);
    }
    try (Model model = source.load()) {
      require("--classes", classes, 2, model.info().vocab());
      List<Row> rows = analyze(model, layersOf(model.info()), given);
      if (report != null) {
        writeReport(report, rows, given.size());
      }
      if (output.isJson()) {
        output.printJson(rows.stream().map(AnalyzeCommand::json).toList());
      } else {
        print(rows);
      }
    }
  }

  private void writeReport(Path file, List<Row> rows, int texts) {
    SurplusPage page =
        new SurplusPage("%s, %d texts, %d classes".formatted(source.name(), texts, classes));
    rows.forEach(row -> page.add(row.layer(), row.term()));
    ReportFile.write(file, page.html());
    output.err().println("report: " + file);
  }

  private void require(String option, int got, int least, int most) {
    if (got < least || got > most) {
      throw new ParameterException(
          spec.commandLine(), option + " = " + got + ", expected " + least + " to " + most);
    }
  }

  private int[] layersOf(ModelInfo info) {
    List<Integer> asked = layers == null ? List.of(info.numLayers()) : layers;
    asked.forEach(layer -> require("--layers", layer, 0, info.numLayers()));
    return asked.stream().mapToInt(Integer::intValue).sorted().distinct().toArray();
  }

  private List<Row> analyze(Model model, int[] chosen, List<PromptFile.Prompt> given) {
    States states = read(model, chosen, given);
    InformationSurplus surplus =
        new InformationSurplus(
            classes, new InformationSurplus.Options(Math.min(32, classes), epochs, 1));
    List<Row> rows = new ArrayList<>();
    List<InformationSurplus.Blind> blind = new ArrayList<>();
    for (int l = 0; l < chosen.length; l++) {
      List<Text> train = new ArrayList<>();
      List<Text> heldOut = new ArrayList<>();
      for (int i = 0; i < states.token().size(); i++) {
        (i % TEXTS_FOR_ONE_HELD_OUT == 0 ? heldOut : train)
            .add(
                new Text(
                    states.token().get(i), states.byLayer().get(l).get(i), states.law().get(i)));
      }
      for (int offset = 1; offset <= offsets; offset++) {
        if (l == 0) {
          output.err().println("tokens alone, offset " + offset);
          blind.add(surplus.blind(offset, train, heldOut));
        }
        output.err().println("layer " + chosen[l] + ", offset " + offset);
        rows.add(new Row(chosen[l], surplus.term(blind.get(offset - 1), train, heldOut)));
      }
    }
    return rows;
  }

  /** One pass over each text, as a chain. */
  private States read(Model model, int[] chosen, List<PromptFile.Prompt> given) {
    List<int[]> tokens =
        given.stream()
            .map(text -> model.tokenizer().encode(text.text()))
            .map(all -> Arrays.copyOf(all, Math.min(all.length, maxTokens)))
            .filter(all -> all.length > 0)
            .toList();
    int[] classOf = classes(tokens, model.info().vocab());
    States states = new States(new ArrayList<>(), new ArrayList<>(), new ArrayList<>());
    for (int layer = 0; layer < chosen.length; layer++) {
      states.byLayer().add(new ArrayList<>());
    }
    float[] logits = new float[model.info().vocab()];
    try (Session session = model.newSession(SessionOptions.defaults().withMaxTokens(maxTokens))) {
      session.keepHidden(chosen);
      for (int[] text : tokens) {
        try (Sequence sequence = session.newSequence()) {
          DraftTree chain = DraftTree.rootedAt(text[0]);
          Arrays.stream(text).skip(1).forEach(chain::append);
          Scores scores = session.forward(List.of(sequence), List.of(chain), 0).get(0);
          float[][] law = new float[text.length][];
          for (int i = 0; i < text.length; i++) {
            scores.logits(i, logits);
            law[i] = law(logits, classOf);
          }
          for (int l = 0; l < chosen.length; l++) {
            float[][] state = new float[text.length][model.info().hidden()];
            for (int i = 0; i < text.length; i++) {
              scores.hidden(chosen[l], i, state[i]);
            }
            states.byLayer().get(l).add(state);
          }
          states.token().add(Arrays.stream(text).map(token -> classOf[token]).toArray());
          states.law().add(law);
        }
      }
    }
    return states;
  }

  /** The most frequent tokens get classes of their own, the last class is all others. */
  private int[] classes(List<int[]> tokens, int vocab) {
    int[] count = new int[vocab];
    tokens.forEach(text -> Arrays.stream(text).forEach(token -> count[token]++));
    int[] classOf = new int[vocab];
    Arrays.fill(classOf, classes - 1);
    int[] frequent =
        IntStream.range(0, vocab)
            .boxed()
            .sorted((a, b) -> count[a] != count[b] ? count[b] - count[a] : a - b)
            .limit(classes - 1)
            .mapToInt(Integer::intValue)
            .toArray();
    for (int rank = 0; rank < frequent.length; rank++) {
      classOf[frequent[rank]] = rank;
    }
    return classOf;
  }

  private float[] law(float[] logits, int[] classOf) {
    float most = Float.NEGATIVE_INFINITY;
    for (float logit : logits) {
      most = Math.max(most, logit);
    }
    double[] sums = new double[classes];
    double total = 0;
    for (int token = 0; token < logits.length; token++) {
      double weight = Math.exp(logits[token] - most);
      sums[classOf[token]] += weight;
      total += weight;
    }
    float[] law = new float[classes];
    for (int k = 0; k < classes; k++) {
      law[k] = (float) (sums[k] / total);
    }
    return law;
  }

  private void print(List<Row> rows) {
    Table table =
        new Table(
            "layer",
            "offset",
            "blind",
            "draft",
            "surplus",
            "error",
            "half",
            "low",
            "high",
            "agreement",
            "acceptance",
            "target_entropy",
            "draft_entropy");
    for (Row row : rows) {
      Term term = row.term();
      table.add(
          Integer.toString(row.layer()),
          Integer.toString(term.offset()),
          Units.fixed(term.blindCrossEntropy(), 3),
          Units.fixed(term.draftCrossEntropy(), 3),
          Units.fixed(term.surplus(), 3),
          Units.fixed(term.standardError(), 3),
          Units.fixed(term.halfSurplus(), 3),
          Units.fixed(term.low(), 3),
          Units.fixed(term.high(), 3),
          Units.fixed(term.agreement(), 3),
          Units.fixed(term.acceptanceBound(), 3),
          Units.fixed(term.targetEntropy(), 3),
          Units.fixed(term.draftEntropy(), 3));
    }
    output.out().print(table);
    rows.stream()
        .filter(row -> !row.term().isFound())
        .forEach(row -> output.out().println(tooFew(row)));
    output.out().flush();
  }

  private static String tooFew(Row row) {
    Term term = row.term();
    return "layer %d, offset %d: too few texts to say anything: %d tokens, surplus %s; %s from half"
        .formatted(
            row.layer(),
            term.offset(),
            term.tokens(),
            Units.fixed(term.surplus(), 3),
            Units.fixed(term.halfSurplus(), 3));
  }

  private static Map<String, Object> json(Row row) {
    Map<String, Object> json = new LinkedHashMap<>();
    Term term = row.term();
    json.put("layer", row.layer());
    json.put("offset", term.offset());
    json.put("blind_cross_entropy", term.blindCrossEntropy());
    json.put("draft_cross_entropy", term.draftCrossEntropy());
    json.put("surplus", term.surplus());
    json.put("standard_error", term.standardError());
    json.put("half_surplus", term.halfSurplus());
    json.put("low", term.low());
    json.put("high", term.high());
    json.put("found", term.isFound());
    json.put("tokens", term.tokens());
    json.put("agreement", term.agreement());
    json.put("acceptance_bound", term.acceptanceBound());
    json.put("target_entropy", term.targetEntropy());
    json.put("draft_entropy", term.draftEntropy());
    return json;
  }
}
