package org.espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileObject;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Every program in docs/tutorial.md compiles and runs. */
final class TutorialTest {
  private static final Path TUTORIAL = Path.of("../../docs/tutorial.md");
  private static final Pattern PROGRAM = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL);
  private static final Pattern CLASS = Pattern.compile("public class (\\w+)");

  /** Surefire's own, where it starts the tests from a jar that only names the class path. */
  private static final String CLASS_PATH =
      System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));

  @TempDir private Path dir;

  static Stream<String> programs() throws IOException {
    return PROGRAM.matcher(Files.readString(TUTORIAL)).results().map(r -> className(r.group(1)));
  }

  @Test
  void thereArePrograms() throws IOException {
    assertThat(programs()).hasSizeGreaterThanOrEqualTo(4);
  }

  @ParameterizedTest
  @MethodSource("programs")
  void aProgramRuns(String name) throws IOException, InterruptedException {
    compile(name);
    Path log = dir.resolve("log");
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-cp",
                dir + ":" + CLASS_PATH,
                name)
            .redirectErrorStream(true)
            .redirectOutput(log.toFile())
            .start();
    assertThat(process.waitFor(300, TimeUnit.SECONDS)).isTrue();
    String output = Files.readString(log);
    assertThat(process.exitValue()).as(output).isZero();
    assertThat(output).isNotBlank().doesNotContain("a defect");
  }

  private void compile(String name) throws IOException {
    String source =
        PROGRAM
            .matcher(Files.readString(TUTORIAL))
            .results()
            .map(r -> r.group(1))
            .filter(program -> className(program).equals(name))
            .findFirst()
            .orElseThrow();
    Path file = Files.writeString(dir.resolve(name + ".java"), source);
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    StringWriter messages = new StringWriter();
    try (StandardJavaFileManager files = compiler.getStandardFileManager(null, null, null)) {
      Iterable<? extends JavaFileObject> units = files.getJavaFileObjects(file);
      List<String> options = List.of("-d", dir.toString(), "-proc:none", "-cp", CLASS_PATH);
      assertThat(compiler.getTask(messages, files, null, options, null, units).call())
          .as(messages.toString())
          .isTrue();
    }
  }

  private static String className(String program) {
    return CLASS
        .matcher(program)
        .results()
        .map((MatchResult r) -> r.group(1))
        .findFirst()
        .orElseThrow();
  }
}
