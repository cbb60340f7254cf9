package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.Sampling;
import org.espalier.Session;
import org.espalier.Tokenizer;
import org.espalier.draft.InputCopy;
import org.espalier.draft.PromptLookup;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The held-out editing task of {@code tests/models/edits.jsonl}: tokens per pass when the target
 * writes the edited text, whatever was drafted. That measures a drafter alone; no model of a few
 * million parameters follows an instruction to edit.
 */
class EditingTaskTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final List<Edit> EDITS = new ArrayList<>();

  private record Edit(String kind, List<Integer> prompt, List<Integer> edited) {}

  @BeforeAll
  static void read() throws IOException {
    Tokenizer tokenizer = Fixtures.tinyJava().tokenizer();
    for (String line : Files.readAllLines(Fixtures.root().resolve("tests/models/edits.jsonl"))) {
      JsonNode json = JSON.readTree(line);
      EDITS.add(
          new Edit(
              json.get("kind").asText(),
              tokens(tokenizer, json.get("prompt").asText()),
              tokens(tokenizer, json.get("edited").asText())));
    }
  }

  private static List<Integer> tokens(Tokenizer tokenizer, String text) {
    return Arrays.stream(tokenizer.encode(text)).boxed().toList();
  }

  /** What is written so far. */
  private record Written(List<Integer> all, int length) implements Context {
    @Override
    public int token(int i) {
      return all.get(i);
    }

    @Override
    public int maxNodes() {
      return 511;
    }

    @Override
    public int maxDepth() {
      return all.size() - length - 1;
    }

    @Override
    public Sampling sampling() {
      return Sampling.greedy();
    }

    @Override
    public Session session() {
      throw new UnsupportedOperationException("no session here");
    }

    @Override
    public Optional<DraftLaws> laws() {
      return Optional.empty();
    }
  }

  /** Passes until the edited text is complete. */
  private static int passes(Edit edit, Drafter drafter) {
    List<Integer> all = new ArrayList<>(edit.prompt);
    all.addAll(edit.edited);
    int passes = 0;
    for (int length = edit.prompt.size(); length < all.size(); passes++) {
      DraftTree chain = drafter.propose(new Written(all, length));
      int accepted = 0;
      while (accepted + 1 < chain.size()
          && chain.token(accepted + 1) == all.get(length + accepted)) {
        accepted++;
      }
      length += accepted + 1;
    }
    return passes;
  }

  private static double tokensPerPass(String kind, boolean inputCopy, int draftLen) {
    long passes = 0;
    long tokens = 0;
    for (Edit edit : EDITS) {
      if (kind.equals("all") || edit.kind.equals(kind)) {
        Drafter drafter = inputCopy ? new InputCopy(draftLen) : new PromptLookup(3, draftLen);
        passes += passes(edit, drafter);
        tokens += edit.edited.size();
      }
    }
    return (double) tokens / passes;
  }

  @ParameterizedTest(name = "{0}, m = {1}: {2} tokens per pass at least")
  @CsvSource({
    "all, 10, 7.4",
    "all, 32, 13.0",
    "rename, 32, 9.5",
    "modifier, 32, 16.5",
    "typo, 32, 14.5"
  })
  void copyingTheInputBeatsLookingThePromptUp(String kind, int draftLen, double least) {
    double lookup = tokensPerPass(kind, false, draftLen);
    double copy = tokensPerPass(kind, true, draftLen);
    assertThat(copy).isGreaterThan(lookup).isGreaterThan(least);
  }
}
