package org.espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import org.junit.jupiter.api.Test;

final class DrafterSpecsTest {
  @Test
  void parametersStayWithTheirDrafter() {
    assertThat(DrafterSpecs.split("none, a:x=1,y=b:c,d=2 ,e,f:g=h"))
        .containsExactly("none", "a:x=1,y=b:c,d=2", "e", "f:g=h");
  }

  @Test
  void anEmptyNameIsRefused() {
    assertThatExceptionOfType(BadInputException.class)
        .isThrownBy(() -> DrafterSpecs.split("none,,a"))
        .withMessage("--drafters = none,,a, expected names between the commas");
  }
}
