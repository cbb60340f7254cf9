package org.espalier.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.espalier.Model;
import org.espalier.Tokenizer;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Shows the tokens of a text. */
@Command(
    name = "tokenize",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    sortSynopsis = false,
    versionProvider = Version.class,
    description = "Shows the tokens of a text, from an option, a file or standard input.")
@SuppressWarnings("NullAway.Init") // picocli fills the fields
final class TokenizeCommand implements Runnable {
  private static final class Source {
    @Option(names = "--text", paramLabel = "T", description = "The text.")
    private @Nullable String text;

    @Option(names = "--file", paramLabel = "F", description = "A file that holds the text.")
    private @Nullable Path file;
  }

  @ArgGroup private @Nullable Source text;
  @Mixin private ModelSource source;
  @Mixin private Output output;

  @Override
  public void run() {
    String given = text();
    try (Model model = source.load()) {
      Tokenizer tokenizer = model.tokenizer();
      int[] ids = tokenizer.encode(given);
      List<String> pieces = new ArrayList<>();
      for (int id : ids) {
        pieces.add(tokenizer.decode(new int[] {id}));
      }
      if (output.isJson()) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("token_ids", ids);
        json.put("pieces", pieces);
        output.printJson(json);
        return;
      }
      for (int i = 0; i < ids.length; i++) {
        output.out().println(ids[i] + "\t" + Units.visible(pieces.get(i)));
      }
    }
  }

  private String text() {
    if (text != null && text.text != null) {
      return TextInput.argument("--text", text.text);
    }
    if (text != null && text.file != null) {
      return TextInput.read(text.file);
    }
    return TextInput.read(System.in);
  }
}
