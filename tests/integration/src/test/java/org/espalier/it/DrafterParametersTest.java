package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.espalier.DrafterFactory;
import org.espalier.DrafterInfo;
import org.espalier.Drafters;
import org.espalier.GenerationOptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Parameters of every drafter at and beyond their ranges, and what else may be wrong with them. */
class DrafterParametersTest {
  private static final String RANGES =
      """
      prompt-lookup:n_max; 1; 16
      prompt-lookup:m; 1; 256
      input-copy:m; 1; 256
      draft-model:gamma; 1; 32
      draft-model:width; 1; 8
      dynamic-tree:nodes; 1; 1024
      dynamic-tree:depth; 1; 32
      aded:iterations; 1; 1000
      aded:sentences; 2; 64
      parallel:gamma; 0; 32
      parallel:threads; 0; 1024
      early-exit:d_max; 1; 64
      layer-skip:w; 1; 256
      layer-skip:opt_interval; 1; 1000000
      layer-skip:bayes_interval; 1; 1000000
      layer-skip:max_iter; 0; 1000000
      layer-skip:max_stale; 0; 1000000
      layer-skip:depth; 1; 64
      token-recycling:k; 8; 64
      """;

  @ParameterizedTest(name = "{0} from {1} to {2}")
  @CsvSource(delimiter = ';', textBlock = RANGES)
  void endsOfARangeAreTakenAndWhatIsBeyondIsRefused(String parameter, int least, int most) {
    String name = parameter.substring(parameter.indexOf(':') + 1);
    for (int value : new int[] {least, most}) {
      try (DrafterFactory factory = Drafters.parse(parameter + "=" + value)) {
        assertThat(parameter).startsWith(factory.name() + ":");
      }
    }
    for (int value : new int[] {least - 1, most + 1, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
      assertThatThrownBy(() -> Drafters.parse(parameter + "=" + value))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(name + " = " + value + ", expected " + least + " to " + most);
    }
    assertThatThrownBy(() -> Drafters.parse(parameter + "=x"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining(name + " = x, expected a whole number");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      value = {
        "dynamic-tree:threshold=1; threshold = 1.0, expected at least 0 and below 1",
        "dynamic-tree:threshold=-0.1; threshold = -0.1, expected at least 0 and below 1",
        "dynamic-tree:threshold=NaN; threshold = NaN, expected at least 0 and below 1",
        "dynamic-tree:threshold=x; threshold = x, expected a number",
        "dynamic-tree:layers=a.json; layers = a.json, expected only with source = layer-skip",
        "dynamic-tree:source=early-exit,model=m; model = m, expected only with source = draft-model",
        "dynamic-tree:source=dice; source = dice, expected ",
        "layer-skip:r=0; r = 0.0, expected above 0 and below 1",
        "layer-skip:s_max=1.1; s_max = 1.1, expected 0.0 to 1.0",
        "layer-skip:stop=-0.5; stop = -0.5, expected 0.0 to 1.0",
        "token-recycling:tree=oops; tree = oops, expected ",
        "token-recycling:tree=0/0.1/2.0; tree path = [2, 0], expected ",
        "early-exit:layers=3; parameter of early-exit = layers=3, expected ",
        "aded:=3; parameter of aded = =3, expected ",
        "parallel:gamma; parameter of parallel = gamma, expected "
      })
  void otherMistakesAreNamed(String spec, String message) {
    assertThatThrownBy(() -> Drafters.parse(spec))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining(message);
  }

  /** No number of a drafter is left out above. */
  @Test
  void everyNumberHasItsRange() {
    Set<String> numbers = new TreeSet<>();
    for (DrafterInfo info : Drafters.list()) {
      for (DrafterInfo.Parameter parameter : info.parameters()) {
        if (parameter.type().equals("int")) {
          numbers.add(info.name() + ":" + parameter.name());
        }
      }
    }
    Set<String> tested = new TreeSet<>();
    RANGES.lines().forEach(line -> tested.add(line.substring(0, line.indexOf(';')).strip()));
    assertThat(tested).containsAll(numbers);
  }

  /** Whoever uses a draft model refuses one of another tokenizer and one that is not there. */
  @ParameterizedTest
  @CsvSource({"draft-model", "dynamic-tree", "parallel"})
  void draftModelOfAnotherTokenizerIsRefused(String name, @TempDir Path dir) {
    Path other = ModelFolders.copyOfDraft(dir.resolve("other"));
    ModelFolders.edit(other.resolve("tokenizer.json"), "\"id\": 0,", "\"id\": 1,");
    Path small = ModelFolders.random(dir.resolve("small"), 8, 1, 0.2f);
    for (Path folder : List.of(other, small)) {
      try (DrafterFactory drafter = Drafters.parse(name + ":model=" + folder)) {
        GenerationOptions options = GenerationOptions.defaults().withDrafter(drafter);
        assertThatThrownBy(() -> Fixtures.tinyJava().generate("int", options))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessageContaining("draft model " + folder)
            .hasMessageContaining("expected");
      }
    }
  }
}
