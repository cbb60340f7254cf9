package org.espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.imageio.ImageIO;
import org.espalier.analyze.InformationSurplus.Term;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The page of {@code compare --report}, as a browser shows it. Without Chromium on the PATH the
 * tests that need it are skipped, unless ESPALIER_REQUIRE_CHROMIUM is set.
 */
class ReportTest {
  @TempDir static Path dir;
  private static Path page = Path.of("");
  private static JsonNode data = JsonMapper.builder().build().nullNode();

  @BeforeAll
  static void compare() throws IOException {
    page = dir.resolve("report.html");
    Path prompts =
        Files.writeString(
            dir.resolve("prompts.jsonl"),
            """
            {"id": "max", "prompt": "public static int max("}
            {"id": "script", "prompt": "// </script><script>alert(1)</script>\\nprivate void "}
            """);
    Run run =
        Run.of(
            "compare",
            "--prompts",
            prompts.toString(),
            "--drafters",
            "token-recycling:tree=4x2x1,prompt-lookup",
            "--tree",
            "512",
            "--max-new-tokens",
            "24",
            "--report",
            page.toString(),
            "--report-prompt",
            "script");
    assertThat(run.exitCode()).as(run.err()).isZero();
    assertThat(run.err()).contains("report: " + page);
    Matcher json =
        Pattern.compile("<script type=\"application/json\" id=\"data\">(.*?)</script>")
            .matcher(Files.readString(page));
    assertThat(json.find()).isTrue();
    data = JsonMapper.builder().build().readTree(json.group(1));
  }

  /** Nothing is fetched, and no part of a file is left beside it. */
  @Test
  void pageNeedsNothingElse() throws IOException {
    assertThat(Files.readString(page))
        .doesNotContainPattern("(src|href)=")
        .doesNotContain("@DATA@");
    try (var files = Files.list(dir)) {
      assertThat(files.map(p -> p.getFileName().toString()))
          .containsExactlyInAnyOrder("report.html", "prompts.jsonl");
    }
  }

  /** The pieces are the text: each accepted node and each bonus token once, 24 in all. */
  @Test
  void everyTokenHasItsProposer() {
    assertThat(data.get("prompt_id").asText()).isEqualTo("script");
    assertThat(data.get("drafters")).hasSize(3);
    String plain = text(data.get("drafters").get(0));
    for (JsonNode drafter : data.get("drafters")) {
      assertThat(text(drafter)).isEqualTo(plain);
      assertThat(drafter.get("text")).hasSize(24);
      for (JsonNode piece : drafter.get("text")) {
        JsonNode step = drafter.get("steps").get(piece.get("step").asInt());
        List<String> proposed = new ArrayList<>();
        step.get("path")
            .forEach(node -> proposed.add(step.get("token").get(node.asInt()).asText()));
        String shown = Units.visible(piece.get("text").asText());
        if (piece.get("drafted").asBoolean()) {
          assertThat(proposed).contains(shown);
        } else {
          assertThat(step.get("bonus").asText()).isEqualTo(shown);
        }
      }
    }
    JsonNode recycling = data.get("drafters").get(1);
    assertThat(recycling.findValuesAsText("drafted")).contains("true", "false");
    double shareOfOne = recycling.get("accepted_by_depth").get(0).asDouble();
    assertThat(shareOfOne).isStrictlyBetween(0.0, 1.0);
    assertThat(recycling.get("accepted_by_depth").size()).isLessThanOrEqualTo(3);
  }

  private static String text(JsonNode drafter) {
    return String.join("", drafter.get("text").findValuesAsText("text"));
  }

  /** A browser draws the bars, the curves, and the tree of the step that was asked for. */
  @Test
  void aBrowserShowsPlotsAndTheChosenTree() throws Exception {
    JsonNode drafter = data.get("drafters").get(1);
    int step = drafter.get("steps").size() - 1;
    while (step > 0 && drafter.get("steps").get(step).get("path").isEmpty()) {
      step--;
    }
    String dom = chromium("--dump-dom", page.toUri() + "#drafter=1&step=" + step);
    JsonNode shown = drafter.get("steps").get(step);
    String tree = part(dom, "<svg[^>]*id=\"tree-svg\".*?</svg>");
    int nodes = shown.get("token").size();
    int accepted = shown.get("path").size();
    assertThat(count(tree, "<path ")).isEqualTo(nodes); // the bonus token hangs there, too
    assertThat(count(tree, "class=\"accepted\"")).isEqualTo(accepted).isPositive();
    assertThat(count(tree, "class=\"rejected\"")).isEqualTo(nodes - 1 - accepted).isPositive();
    assertThat(count(tree, "class=\"bonus\"")).isEqualTo(1);
    assertThat(count(part(dom, "<div [^>]*id=\"tokens-per-pass\">.*?</div>"), "<rect "))
        .isEqualTo(3);
    assertThat(count(part(dom, "<div [^>]*id=\"time\">.*?</div>"), "<rect ")).isEqualTo(9);
    assertThat(count(part(dom, "<div [^>]*id=\"depth\">.*?</div>"), "<polyline ")).isPositive();
    assertThat(count(part(dom, "<pre id=\"text\">.*?</pre>"), "<span ")).isEqualTo(24);
    assertThat(count(dom, " chosen\"")).isEqualTo(accepted + 1);
    assertThat(part(dom, "<table id=\"summary\">.*?</table>"))
        .contains("token-recycling:tree=4x2x1", "prompt-lookup");
  }

  @Test
  void theWindowIsNotBlank() throws Exception {
    Path picture = dir.resolve("report.png");
    chromium("--window-size=1200,1600", "--screenshot=" + picture, page.toUri().toString());
    var image = ImageIO.read(picture.toFile());
    Files.delete(picture);
    Set<Integer> colors = new HashSet<>();
    for (int y = 0; y < image.getHeight(); y++) {
      for (int x = 0; x < image.getWidth(); x++) {
        colors.add(image.getRGB(x, y));
      }
    }
    assertThat(colors)
        .hasSizeGreaterThan(50)
        .contains(0xFF1A7F37, 0xFFB45309, 0xFF1F5FBF); // accepted, bonus, verify
  }

  /** Twelve drafters, with names wider than their column, in a window of a phone. */
  @Test
  void manyDraftersAreToldApartAndAreNotCutOff() throws Exception {
    ObjectNode many = data.deepCopy();
    ArrayNode rows = many.putArray("drafters");
    for (int i = 0; i < 12; i++) {
      ObjectNode row = data.get("drafters").get(1).deepCopy();
      rows.add(row.put("drafter", "layer-skip:r=0.45,w=32,opt_interval=1,depth=" + i));
    }
    String measure =
        """
        <script>
        const outside = [...document.querySelectorAll('.wide text')].filter(t => t.getBBox().x < 0);
        document.title = `outside ${outside.length}, page ${document.documentElement.scrollWidth > innerWidth}`;
        </script>
        </body>""";
    String html =
        Files.readString(page)
            .replaceFirst(
                "(?s)(id=\"data\">).*?(</script>)",
                "$1" + Matcher.quoteReplacement(many.toString().replace("<", "\\u003c")) + "$2")
            .replace("</body>", measure);
    Path copy = Files.writeString(Files.createTempFile("report", ".html"), html);
    try {
      String dom = chromium("--window-size=390,800", "--dump-dom", copy.toUri().toString());
      assertThat(dom).contains("<title>outside 0, page false</title>");
      String curves = part(dom, "<div [^>]*id=\"depth\">.*?</div>");
      Set<String> looks = new HashSet<>();
      Matcher curve = Pattern.compile("stroke=\"[^\"]*\"[^>]*?(/|>)").matcher("");
      curve.reset(curves.replaceAll("(?s)<(line|circle|text)[^>]*>", ""));
      while (curve.find()) {
        looks.add(curve.group());
      }
      assertThat(looks).hasSize(12);
    } finally {
      Files.delete(copy);
    }
  }

  private static Term term(int offset, double surplus, double low) {
    return new Term(offset, surplus, 0, 0, 0.1, low, surplus + 0.2, 1000, 0, 0, 0, 0);
  }

  /** The page of {@code analyze --report} in the window of a phone, by day and by night. */
  @Test
  void theSurplusFitsNarrowAndDarkWindows() throws Exception {
    SurplusPage surplus = new SurplusPage("/home/somebody/" + "a-long-name-".repeat(12));
    for (int layer = 0; layer <= 8; layer++) {
      surplus.add(layer, term(1, 0.3, 0.1));
      surplus.add(layer, term(2, -0.1, -0.3));
    }
    String measure =
        """
        <script>
        const ink = getComputedStyle(document.querySelector('svg > text')).fill;
        const paper = getComputedStyle(document.body).backgroundColor;
        document.title = `wide ${document.documentElement.scrollWidth > innerWidth}, ${ink} on ${paper}`;
        </script>
        </body>""";
    Path file = Files.createTempFile("surplus", ".html");
    Files.writeString(file, surplus.html().replace("</body>", measure));
    String uri = file.toUri().toString();
    try {
      String day = chromium("--window-size=390,800", "--dump-dom", uri);
      assertThat(day).contains("<title>wide false, rgb(31, 35, 40) on rgb(255, 255, 255)</title>");
      assertThat(count(day, "stroke-dasharray")).as("terms that are not found").isEqualTo(9);
      String night = "--blink-settings=preferredColorScheme=0";
      assertThat(chromium(night, "--window-size=390,800", "--dump-dom", uri))
          .contains("<title>wide false, rgb(230, 237, 243) on rgb(22, 27, 34)</title>");
    } finally {
      Files.delete(file);
    }
  }

  @Test
  void thePageSaysHowTokensWereChosen() {
    assertThat(data.get("about").asText())
        .isEqualTo("tiny-java, 2 prompts, up to 24 new tokens, greedy");
  }

  @Test
  void reportsThatCannotBeWrittenAreRefusedBeforeTheWork() {
    Run run =
        Run.of(
            "compare",
            "--prompts",
            dir.resolve("prompts.jsonl").toString(),
            "--drafters",
            "none",
            "--report",
            dir.resolve("absent/report.html").toString());
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("expected a file in a folder that is there").doesNotContain("%");
    run =
        Run.of(
            "compare",
            "--prompts",
            dir.resolve("prompts.jsonl").toString(),
            "--drafters",
            "none",
            "--report",
            page.toString(),
            "--report-prompt",
            "min");
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("--report-prompt = min, expected an id of");
  }

  private static String part(String dom, String pattern) {
    Matcher found = Pattern.compile(pattern, Pattern.DOTALL).matcher(dom);
    assertThat(found.find()).as(pattern).isTrue();
    return found.group();
  }

  private static int count(String text, String what) {
    return text.split(Pattern.quote(what), -1).length - 1;
  }

  /** Standard output of headless Chromium. */
  private static String chromium(String... arguments) throws Exception {
    boolean required = System.getenv("ESPALIER_REQUIRE_CHROMIUM") != null;
    boolean there = new ProcessBuilder("sh", "-c", "command -v chromium").start().waitFor() == 0;
    assumeTrue(there || required, "chromium not found on the PATH");
    Path out = Files.createTempFile("chromium", ".out");
    Path profile = Files.createTempDirectory("chromium");
    List<String> command =
        new ArrayList<>(
            List.of(
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--virtual-time-budget=5000",
                "--user-data-dir=" + profile));
    command.addAll(List.of(arguments));
    Process browser =
        new ProcessBuilder(command)
            .redirectOutput(out.toFile())
            .redirectError(ProcessBuilder.Redirect.DISCARD)
            .start();
    try {
      assertThat(browser.waitFor(120, TimeUnit.SECONDS)).as("chromium ended in time").isTrue();
      assertThat(browser.exitValue()).isZero();
      return Files.readString(out);
    } finally {
      browser.destroyForcibly();
      Files.delete(out);
    }
  }
}
