package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The README's first example is compiled and run as it stands. */
class ReadmeTest {
  @TempDir Path dir;

  @Test
  void firstExampleRuns() throws Exception {
    List<String> readme = Files.readAllLines(Fixtures.root().resolve("README.md"));
    int begin = readme.indexOf("```java");
    int end = begin + readme.subList(begin, readme.size()).indexOf("```");
    List<String> example = readme.subList(begin + 1, end);
    assertThat(begin).as("line of the example").isBetween(0, 29);
    assertThat(example.stream().filter(line -> !line.isBlank())).as("example").hasSizeLessThan(15);
    assertThat(run(example)).isNotBlank();
  }

  private String run(List<String> example) throws IOException, ReflectiveOperationException {
    Path source = Files.write(dir.resolve("Example.java"), example);
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    ByteArrayOutputStream errors = new ByteArrayOutputStream();
    String classPath =
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    int status =
        compiler.run(
            null,
            null,
            errors,
            "-proc:none",
            "-cp",
            classPath,
            "-d",
            dir.toString(),
            source.toString());
    assertThat(status).as(errors.toString(StandardCharsets.UTF_8)).isZero();

    PrintStream console = System.out;
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    try (URLClassLoader loader =
            new URLClassLoader(new URL[] {dir.toUri().toURL()}, getClass().getClassLoader());
        PrintStream out = new PrintStream(printed, true, StandardCharsets.UTF_8)) {
      System.setOut(out);
      loader
          .loadClass("Example")
          .getMethod("main", String[].class)
          .invoke(null, (Object) new String[0]);
    } finally {
      System.setOut(console);
    }
    return printed.toString(StandardCharsets.UTF_8);
  }
}
