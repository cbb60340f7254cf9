package org.espalier.cli;

import java.util.List;
import java.util.stream.Stream;
import org.espalier.DrafterFactory;
import org.espalier.Drafters;
import org.espalier.draft.SizedTrees;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** How large draft trees are. */
@SuppressWarnings("NullAway.Init") // picocli fills the fields
final class TreeOption {
  private static final String PLAIN = "none";

  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(
      names = "--tree",
      paramLabel = "auto|N",
      defaultValue = "auto",
      description =
          "Nodes of a draft tree, the last token included. auto: the number that is fastest here,"
              + " measured while decoding; where no tree pays that is 1, plain decoding. N: at most"
              + " N, the same on every run. Default: ${DEFAULT-VALUE}.")
  private String tree;

  /** The size; a bad one is found before anything is loaded. */
  String size() {
    return check(tree);
  }

  /** The sizes of a list: {@code auto,1,8}. */
  List<String> sizes() {
    return Stream.of(tree.split(",", -1)).map(this::check).distinct().toList();
  }

  private String check(String size) {
    try {
      SizedTrees.of(size, Drafters.none()).close();
      return size;
    } catch (IllegalArgumentException e) {
      throw new ParameterException(spec.commandLine(), "--" + e.getMessage(), e);
    }
  }

  /** A drafter with trees of a size. Plain decoding has none, so nothing is measured there. */
  static DrafterFactory drafter(String drafterSpec, String size) {
    DrafterFactory drafts = Drafters.parse(drafterSpec);
    return drafterSpec.equals(PLAIN) ? drafts : SizedTrees.of(size, drafts);
  }
}
