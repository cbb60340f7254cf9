package org.espalier.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.espalier.GenerationResult;
import org.espalier.Tokenizer;

/**
 * A comparison as one HTML file that needs nothing else: tables, plots, and one text step by step
 * with its draft trees.
 */
final class ReportPage {
  private static final ObjectWriter JSON = JsonMapper.builder().build().writer();

  private final Tokenizer tokenizer;
  private final Map<String, Object> data = new LinkedHashMap<>();
  private final List<Map<String, Object>> drafters = new ArrayList<>();

  /**
   * A page without drafters yet.
   *
   * @param about what was compared, in one line
   * @param promptId the prompt whose text is shown
   */
  ReportPage(Tokenizer tokenizer, String about, String promptId) {
    this.tokenizer = tokenizer;
    data.put("about", about);
    data.put("prompt_id", promptId);
    data.put("drafters", drafters);
  }

  /** Adds a drafter's row, as {@link Contestant#json} has it, and the steps that made one text. */
  void add(Map<String, Object> row, GenerationResult result, List<StepRecorder.Step> steps) {
    Map<String, Object> drafter = new LinkedHashMap<>(row);
    drafter.put("text", text(result, steps));
    drafter.put("steps", steps.stream().map(this::json).toList());
    drafters.add(drafter);
  }

  /** Who proposed each token of the text, and in which step. */
  private List<Map<String, Object>> text(GenerationResult result, List<StepRecorder.Step> steps) {
    List<Map<String, Object>> pieces = new ArrayList<>();
    int wanted = result.tokenIds().size(); // the last step may have had more than was asked for
    for (int s = 0; s < steps.size(); s++) {
      StepRecorder.Step step = steps.get(s);
      for (int i = 0; i <= step.path().size() && pieces.size() < wanted; i++) {
        boolean drafted = i < step.path().size();
        int token = drafted ? step.token().get(step.path().get(i)) : step.bonus();
        Map<String, Object> piece = new LinkedHashMap<>();
        piece.put("text", tokenizer.decode(new int[] {token}));
        piece.put("drafted", drafted);
        piece.put("step", s);
        pieces.add(piece);
      }
    }
    return pieces;
  }

  private Map<String, Object> json(StepRecorder.Step step) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("token", step.token().stream().map(this::visible).toList());
    json.put("parent", step.parent());
    json.put("path", step.path());
    json.put("bonus", visible(step.bonus()));
    return json;
  }

  private String visible(int token) {
    return Units.visible(tokenizer.decode(new int[] {token}));
  }

  /** The page. */
  String html() {
    try (InputStream in = ReportPage.class.getResourceAsStream("report.html")) {
      String page = new String(Objects.requireNonNull(in).readAllBytes(), StandardCharsets.UTF_8);
      // No text of a model may end the script element.
      String json = JSON.writeValueAsString(data).replace("<", "\\u003c");
      return page.replace("@DATA@", json);
    } catch (JsonProcessingException e) {
      throw new IllegalStateException("a report that is not JSON", e);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
