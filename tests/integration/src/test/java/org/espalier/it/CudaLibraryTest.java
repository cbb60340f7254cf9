package org.espalier.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Whatever the GPU jar holds, the command line answers: on the GPU, or on the CPU with the reason.
 */
class CudaLibraryTest {
  private static final String LIBRARY = "org/espalier/natives/linux-x86_64/libespalier_cuda.so";
  private static final Path PRESETS = Fixtures.root().resolve("presets/target");
  private static final List<String> GENERATE =
      List.of("generate", "--prompt", "int x =", "--max-new-tokens", "8", "--json");

  /** What a process printed. */
  private record Result(int exit, String out, String err) {
    JsonNode json() throws IOException {
      return new ObjectMapper().readTree(out);
    }
  }

  @TempDir Path dir;

  /** A folder in the place of the GPU jar. */
  private Path jar = Path.of("");

  @BeforeEach
  void makeJar() throws IOException {
    jar = dir.resolve("jar");
    Files.createDirectories(jar.resolve(LIBRARY).getParent());
  }

  @Test
  void aFileThatIsNoLibraryLeavesTheCpu() throws Exception {
    Files.writeString(jar.resolve(LIBRARY), "not a library");
    assertTheCpuAnswers("espalier_cuda not loaded: ");
  }

  @Test
  void aLibraryOfAnotherVersionLeavesTheCpu() throws Exception {
    Files.copy(testLibrary("other_abi"), jar.resolve(LIBRARY));
    assertTheCpuAnswers("= 4000000000, expected ");
  }

  @Test
  void aLibraryThatWorksIsUsedAndGivesTheSameTokens() throws Exception {
    Files.copy(testLibrary("cpu_library"), jar.resolve(LIBRARY));
    JsonNode devices = run(List.of("devices", "--json")).json();
    assertThat(devices.findValuesAsText("device"))
        .containsExactly("cpu", "cuda", "cuda:1", "cuda:2");
    assertThat(devices.get(1).get("name").asText()).isEqualTo("test card 0");
    assertThat(devices.get(2).get("reason").asText()).isEqualTo("too old");
    assertThat(devices.findValuesAsText("prompt_gemm"))
        .containsExactly("", "own kernels: a test", "", "");
    assertThat(run(List.of("devices")).out())
        .contains("cuda, prompts: own kernels: a test", "cuda:1: too old");
    JsonNode cpu = run(GENERATE, "--device", "cpu").json();
    assertThat(cpu.get("device").asText()).isEqualTo("cpu");
    for (String device : List.of("auto", "cuda")) {
      JsonNode cuda = run(GENERATE, "--device", device).json();
      assertThat(cuda.get("device").asText()).isEqualTo("cuda");
      assertThat(cuda.get("token_ids")).isEqualTo(cpu.get("token_ids"));
    }
  }

  /**
   * The library of this build, where there was an nvcc, on this machine, whether it has a GPU or
   * not.
   */
  @Test
  void theLibraryOfThisBuildComputesOrSaysWhyNot() throws Exception {
    Path built = PRESETS.resolve("native-gpu").resolve(LIBRARY);
    assumeTrue(Files.exists(built), "built without a CUDA toolkit");
    Files.copy(built, jar.resolve(LIBRARY));
    JsonNode cuda = run(List.of("devices", "--json")).json().get(1);
    if (cuda.get("available").asBoolean()) {
      assertThat(run(GENERATE, "--device", "cuda").json().get("device").asText()).isEqualTo("cuda");
    } else {
      assertThat(cuda.get("reason").asText()).contains("NVIDIA");
      assertTheCpuAnswers(cuda.get("reason").asText());
    }
  }

  private void assertTheCpuAnswers(String reason) throws Exception {
    Result devices = run(List.of("devices", "--json"));
    assertThat(devices.json().findValuesAsText("device")).containsExactly("cpu", "cuda");
    assertThat(devices.json().get(1).get("reason").asText()).contains(reason);
    Result auto = run(GENERATE, "--device", "auto");
    assertThat(auto.json().get("device").asText()).isEqualTo("cpu");
    Result cuda = run(GENERATE, "--device", "cuda");
    assertThat(cuda.exit()).isNotZero();
    assertThat(cuda.err()).contains(reason);
    for (Result result : List.of(devices, auto, cuda)) {
      assertThat(result.err()).doesNotContain("UnsatisfiedLinkError").doesNotContain("\tat ");
    }
  }

  private static Path testLibrary(String name) {
    return PRESETS.resolve("cmake/tests/conformance/backends/lib" + name + ".so");
  }

  /** The command line in a process of its own, because a library is loaded once. */
  private Result run(List<String> arguments, String... more) throws Exception {
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Dorg.bytedeco.javacpp.cachedir=" + dir.resolve("cache"),
                "-cp",
                jar
                    + ":"
                    + System.getProperty(
                        "surefire.test.class.path", System.getProperty("java.class.path")),
                "org.espalier.cli.Main"));
    command.addAll(arguments);
    command.addAll(List.of(more));
    Path out = dir.resolve("out");
    Path err = dir.resolve("err");
    Process process =
        new ProcessBuilder(command)
            .redirectOutput(out.toFile())
            .redirectError(err.toFile())
            .start();
    assertThat(process.waitFor(120, TimeUnit.SECONDS)).isTrue();
    return new Result(process.exitValue(), Files.readString(out), Files.readString(err));
  }
}
