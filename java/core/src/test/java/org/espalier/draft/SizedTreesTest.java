package org.espalier.draft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.espalier.DrafterFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SizedTreesTest {
  @ParameterizedTest
  @ValueSource(strings = {"0", "-1", "4097", "x", "", "1.5", "AUTO", "99999999999"})
  void badSizesAreNamed(String size) {
    assertThatThrownBy(() -> SizedTrees.of(size, NoDraft.factory()))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("tree = " + size + ", expected auto, or 1 to 4096 nodes");
  }

  @ParameterizedTest
  @ValueSource(strings = {"auto", "1", "4096"})
  void sizedTreesKeepTheNameOfTheDrafter(String size) {
    assertThat(SizedTrees.of(size, PromptLookup.factory(3, 8)).name()).isEqualTo("prompt-lookup");
  }

  /** No passes are measured for trees that nobody will draft. */
  @Test
  void plainDecodingHasNoSize() {
    DrafterFactory none = NoDraft.factory();
    assertThat(SizedTrees.auto(none)).isSameAs(none);
  }
}
