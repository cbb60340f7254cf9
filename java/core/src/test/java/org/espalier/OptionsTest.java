package org.espalier;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class OptionsTest {

  static Stream<Arguments> badOptions() {
    Sampling greedy = Sampling.greedy();
    return Stream.of(
        bad("temperature = -1.0", () -> greedy.withTemperature(-1)),
        bad("temperature = NaN", () -> greedy.withTemperature(Float.NaN)),
        bad("topK = -1", () -> greedy.withTopK(-1)),
        bad("topP = 0.0", () -> greedy.withTopP(0)),
        bad("topP = 1.5", () -> greedy.withTopP(1.5f)),
        bad("topP = NaN", () -> greedy.withTopP(Float.NaN)),
        bad("minP = 1.0", () -> greedy.withMinP(1)),
        bad("repetitionPenalty = 0.0", () -> greedy.withRepetitionPenalty(0)),
        bad("presencePenalty = NaN", () -> greedy.withPresencePenalty(Float.NaN)),
        bad("frequencyPenalty = Infinity", () -> greedy.withFrequencyPenalty(1f / 0)),
        bad("maxNewTokens = 0", () -> GenerationOptions.defaults().withMaxNewTokens(0)),
        bad("stopStrings", () -> GenerationOptions.defaults().withStopStrings(List.of("a", ""))),
        bad("pageSize = 17", () -> SessionOptions.defaults().withPageSize(17)),
        bad("maxNodes = 0", () -> SessionOptions.defaults().withMaxNodes(0)),
        bad("maxSequences = 0", () -> SessionOptions.defaults().withMaxSequences(0)),
        bad("maxTokens = -1", () -> SessionOptions.defaults().withMaxTokens(-1)),
        bad("deviceIdx = -1", () -> ModelOptions.defaults().withDeviceIdx(-1)),
        bad("threads = -1", () -> ModelOptions.defaults().withThreads(-1)),
        bad("backend = tpu", () -> Backend.parse("tpu")),
        bad("verifier = judge", () -> Verifiers.parse("judge")),
        bad("drafter = magic, expected one of none, prompt-lookup", () -> Drafters.parse("magic")),
        bad("drafter = ", () -> Drafters.parse("")),
        bad("parameter of none = x=1, expected none", () -> Drafters.parse("none:x=1")),
        bad("parameter of prompt-lookup = q=1", () -> Drafters.parse("prompt-lookup:q=1")),
        bad("parameter of prompt-lookup = m", () -> Drafters.parse("prompt-lookup:m")),
        bad("parameter of prompt-lookup = , expected", () -> Drafters.parse("prompt-lookup:,")),
        bad("m = x, expected a whole number", () -> Drafters.parse("prompt-lookup:m=x")),
        bad("n_max = 0", () -> Drafters.parse("prompt-lookup:n_max=0")),
        bad("k = 7, expected 8 to 64", () -> Drafters.parse("token-recycling:k=7")),
        bad("tree = abc", () -> Drafters.parse("token-recycling:tree=abc")),
        bad("gamma = 0", () -> Drafters.parse("draft-model:gamma=0")),
        bad("width = 9", () -> Drafters.parse("draft-model:width=9")));
  }

  private static Arguments bad(String message, Supplier<?> make) {
    return Arguments.of(message, make);
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("badOptions")
  void outOfRangeIsRefusedByName(String message, Supplier<?> make) {
    assertThatThrownBy(make::get)
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining(message);
  }

  @Test
  void everyListedDrafterParsesWithItsDefaults() {
    for (DrafterInfo info : Drafters.list()) {
      StringBuilder spec = new StringBuilder(info.name());
      char before = ':';
      for (DrafterInfo.Parameter parameter : info.parameters()) {
        spec.append(before).append(parameter.name()).append('=').append(parameter.defaultValue());
        before = ',';
      }
      try (DrafterFactory factory = Drafters.parse(spec.toString())) {
        assertThat(factory.name()).isEqualTo(info.name());
      }
    }
    assertThat(Drafters.list()).extracting(DrafterInfo::name).contains("none", "draft-model");
  }

  @Test
  void weakerPromiseIsLeft() {
    assertThat(Exactness.LOSSLESS.and(Exactness.DISTRIBUTION)).isEqualTo(Exactness.DISTRIBUTION);
    assertThat(Exactness.APPROXIMATE.and(Exactness.LOSSLESS)).isEqualTo(Exactness.APPROXIMATE);
  }

  @Test
  void treeRefusesUnknownParents() {
    DraftTree tree = DraftTree.rootedAt(1);
    tree.append(2);
    assertThatThrownBy(() -> tree.append(2, 3)).hasMessage("parent = 2, expected 0 to 1");
    assertThatThrownBy(() -> tree.append(-1, 3)).hasMessage("parent = -1, expected 0 to 1");
    assertThat(tree.size()).isEqualTo(2);
    tree.append(0, 4);
    assertThat(tree.maxDepth()).isEqualTo(1);
  }
}
