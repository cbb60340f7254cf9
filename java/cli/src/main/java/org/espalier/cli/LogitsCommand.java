package org.espalier.cli;

import java.util.List;
import org.espalier.DraftTree;
import org.espalier.Model;
import org.espalier.ModelInfo;
import org.espalier.NotANumberException;
import org.espalier.Scores;
import org.espalier.Sequence;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.espalier.Verdict;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Raw logits of given tokens, for checking against other engines. */
@Command(
    name = "logits",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    sortSynopsis = false,
    versionProvider = Version.class,
    description = {
      "Prints the raw logits after each token as a JSON matrix [tokens, vocab].",
      "Numbers are fp32, in the shortest form that reads back to the same bits."
    })
@SuppressWarnings("NullAway.Init") // picocli fills the fields
final class LogitsCommand implements Runnable {
  @Spec private CommandSpec spec;
  @Mixin private ModelSource source;

  @Option(
      names = "--tokens",
      paramLabel = "ID",
      required = true,
      split = ",",
      description = "Token ids, separated by commas.")
  private List<Integer> tokens;

  @Mixin private Output output;

  @Override
  public void run() {
    try (Model model = source.load()) {
      check(model.info());
      output.printJson(logits(model));
    }
  }

  private void check(ModelInfo info) {
    if (tokens.size() > info.maxPositions()) {
      throw new ParameterException(
          spec.commandLine(),
          "--tokens has " + tokens.size() + " ids, expected 1 to " + info.maxPositions());
    }
    for (int token : tokens) {
      if (token < 0 || token >= info.vocab()) {
        throw new ParameterException(
            spec.commandLine(),
            "--tokens has id " + token + ", expected 0 to " + (info.vocab() - 1));
      }
    }
  }

  /**
   * The tokens as one chain of draft nodes; a long one in parts, each committed before the next.
   */
  private float[][] logits(Model model) {
    int vocab = model.info().vocab();
    float[][] logits = new float[tokens.size()][vocab];
    try (Session session =
            model.newSession(SessionOptions.defaults().withMaxTokens(tokens.size()));
        Sequence sequence = session.newSequence()) {
      int maxNodes = session.options().maxNodes();
      for (int from = 0; from < tokens.size(); from += maxNodes) {
        List<Integer> part = tokens.subList(from, Math.min(tokens.size(), from + maxNodes));
        Scores scores = session.forward(List.of(sequence), List.of(chain(part)), 0).get(0);
        for (int i = 0; i < part.size(); i++) {
          scores.logits(i, logits[from + i]);
          checkFinite(logits[from + i], from + i);
        }
        session.commit(List.of(wholeChain(part.size())));
      }
    }
    return logits;
  }

  private static DraftTree chain(List<Integer> part) {
    DraftTree chain = DraftTree.rootedAt(part.get(0));
    part.subList(1, part.size()).forEach(chain::append);
    return chain;
  }

  /** Keeps every node; the token after them is not used. */
  private static Verdict wholeChain(int size) {
    int[] path = new int[size - 1];
    for (int i = 0; i < path.length; i++) {
      path[i] = i + 1;
    }
    return Verdict.of(path, 0);
  }

  /** JSON has no NaN, and a model that computes one is broken. */
  private void checkFinite(float[] row, int position) {
    for (int id = 0; id < row.length; id++) {
      if (!Float.isFinite(row[id])) {
        throw new NotANumberException(
            source.name()
                + ": logit of token "
                + id
                + " at position "
                + position
                + " = "
                + row[id]
                + ", expected a finite number; the weights are broken");
      }
    }
  }
}
