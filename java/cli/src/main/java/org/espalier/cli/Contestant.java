package org.espalier.cli;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.espalier.Exactness;
import org.espalier.GenerationOptions;
import org.espalier.GenerationResult;
import org.espalier.SpeculationStats;
import org.espalier.Tokenizer;
import org.jspecify.annotations.Nullable;

/** One drafter and the sums of its runs. */
final class Contestant {
  /** The first token that is not that of plain decoding; -1 stands for the end of the text. */
  record Difference(String promptId, int position, int plainToken, int token) {
    String describe(String drafter, Tokenizer tokenizer) {
      return String.format(
          "%s differs from plain decoding: prompt %s, new token %d: plain %s, drafted %s",
          drafter, promptId, position, show(plainToken, tokenizer), show(token, tokenizer));
    }

    Map<String, Object> json() {
      Map<String, Object> json = new LinkedHashMap<>();
      json.put("id", promptId);
      json.put("position", position);
      json.put("plain_token", plainToken);
      json.put("token", token);
      return json;
    }

    private static String show(int token, Tokenizer tokenizer) {
      return token < 0
          ? "the end"
          : token + " " + Units.visible(tokenizer.decode(new int[] {token}));
    }
  }

  final String name;
  private final String tree;
  final GenerationOptions options;
  final Exactness exactness;
  private long passes;
  private long tokens;
  private long draftNanos;
  private long verifyNanos;
  private long otherNanos;

  /** Entry n: passes that kept n draft tokens. */
  private final List<Long> acceptLens = new ArrayList<>();

  @Nullable Difference difference;

  /**
   * A drafter.
   *
   * @param name in reports
   * @param tree size of its trees, as in --tree
   * @param options with a drafter of that spec and size
   */
  Contestant(String name, String spec, String tree, GenerationOptions options) {
    this.name = name;
    this.tree = tree;
    this.options = options;
    this.exactness = options.verifier().exactness().and(DrafterSpecs.exactness(spec));
  }

  void add(String promptId, GenerationResult result, List<Integer> plain) {
    SpeculationStats stats = result.stats();
    passes += stats.passes();
    tokens += stats.tokens();
    draftNanos += stats.draftNanos();
    verifyNanos += stats.verifyNanos();
    otherNanos += stats.otherNanos();
    List<Long> lens = stats.acceptLenHistogram();
    for (int n = 0; n < lens.size(); n++) {
      if (n == acceptLens.size()) {
        acceptLens.add(0L);
      }
      acceptLens.set(n, acceptLens.get(n) + lens.get(n));
    }
    List<Integer> ids = result.tokenIds();
    if (difference == null && !ids.equals(plain)) {
      int i = 0;
      while (i < ids.size() && i < plain.size() && ids.get(i).equals(plain.get(i))) {
        i++;
      }
      difference = new Difference(promptId, i, at(plain, i), at(ids, i));
    }
  }

  private static int at(List<Integer> ids, int i) {
    return i < ids.size() ? ids.get(i) : -1;
  }

  double seconds() {
    return (draftNanos + verifyNanos + otherNanos) * 1e-9;
  }

  private double tokensPerPass() {
    return (double) tokens / Math.max(1, passes);
  }

  private double perPass(long nanos) {
    return nanos * 1e-6 / Math.max(1, passes);
  }

  /** Entry d: share of the passes that kept at least d + 1 draft tokens. */
  private List<Double> acceptedByDepth() {
    List<Double> shares = new ArrayList<>();
    for (int d = 1; d < acceptLens.size(); d++) {
      long kept = acceptLens.stream().skip(d).mapToLong(Long::longValue).sum();
      shares.add((double) kept / passes);
    }
    return shares;
  }

  void addTo(Table table, double plainSeconds) {
    table.add(
        name,
        difference == null ? "yes" : "NO",
        Units.fixed(tokensPerPass(), 2),
        Units.fixed(plainSeconds / seconds(), 2) + "x",
        Units.fixed(perPass(draftNanos), 3),
        Units.fixed(perPass(verifyNanos), 3),
        Units.fixed(perPass(otherNanos), 3));
  }

  Map<String, Object> json(double plainSeconds) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("drafter", name);
    json.put("identical", difference == null);
    json.put("tokens_per_pass", tokensPerPass());
    json.put("speedup", plainSeconds / seconds());
    json.put("draft_ms", perPass(draftNanos));
    json.put("verify_ms", perPass(verifyNanos));
    json.put("other_ms", perPass(otherNanos));
    json.put("accepted_by_depth", acceptedByDepth());
    json.put("exactness", exactness.label());
    json.put("passes", passes);
    json.put("tokens", tokens);
    json.put("seconds", seconds());
    json.put("tree", tree);
    if (difference != null) {
      json.put("first_difference", difference.json());
    }
    return json;
  }
}
