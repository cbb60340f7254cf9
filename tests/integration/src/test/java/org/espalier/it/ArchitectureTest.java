package org.espalier.it;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.lang.ArchRule;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Dependencies point one way. */
class ArchitectureTest {
  private static final JavaClasses CLASSES =
      new ClassFileImporter()
          .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
          .importPackages("org.espalier");

  private static final String[] NATIVE = {
    "org.bytedeco..", "org.espalier.natives..", "org.espalier.presets.."
  };

  static Stream<Arguments> rules() {
    return Stream.of(
        rule(
            "only the internal package touches JavaCPP",
            noClasses()
                .that()
                .resideOutsideOfPackages(
                    "org.espalier.internal..", "org.espalier.natives..", "org.espalier.presets..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(NATIVE)),
        rule(
            "nothing needs CUDA classes",
            noClasses().should().dependOnClassesThat().resideInAPackage("org.bytedeco.cuda..")),
        rule(
            "drafters and verifiers are written on the public API",
            noClasses()
                .that()
                .resideInAnyPackage(
                    "org.espalier.draft..", "org.espalier.verify..", "org.espalier.cli..")
                .should()
                .dependOnClassesThat()
                .resideInAPackage("org.espalier.internal..")),
        rule(
            "bindings know nothing of us",
            noClasses()
                .that()
                .resideInAnyPackage("org.espalier.natives..", "org.espalier.presets..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(
                    "org.espalier", "org.espalier.internal..", "org.espalier.draft..")),
        rule(
            "the core does not know the command line",
            noClasses()
                .that()
                .resideOutsideOfPackage("org.espalier.cli..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("org.espalier.cli..", "picocli..")),
        rule(
            "the tokenizer library stays behind Tokenizer",
            noClasses()
                .that()
                .doNotHaveFullyQualifiedName("org.espalier.Tokenizer")
                .should()
                .dependOnClassesThat()
                .resideInAPackage("ai.djl..")),
        rule(
            "strategies are final",
            classes()
                .that()
                .resideInAnyPackage("org.espalier.draft..", "org.espalier.verify..")
                .and()
                .areTopLevelClasses()
                .and()
                .areNotInterfaces()
                .should()
                .haveModifier(JavaModifier.FINAL)));
  }

  private static Arguments rule(String name, ArchRule rule) {
    return Arguments.of(name, rule);
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("rules")
  void dependenciesPointOneWay(String name, ArchRule rule) {
    rule.as(name).check(CLASSES);
  }
}
