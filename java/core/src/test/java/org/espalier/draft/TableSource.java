package org.espalier.draft;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.espalier.Context;
import org.espalier.DraftLaws;
import org.espalier.DraftTree;
import org.espalier.Noise;
import org.espalier.Verdict;
import org.jspecify.annotations.Nullable;

/**
 * Laws from a table: what follows a path of tokens. Tokens are favoured in the order in which they
 * stand there, which for drawn tokens stands for the order of the draws.
 */
final class TableSource implements DraftSource {
  /** A token and its probability. */
  record Choice(char token, double probability) {}

  private final Map<String, List<Choice>> laws;
  private final List<String> paths = new ArrayList<>();
  private int scoredFrom;
  int passes;

  /** Most nodes that were scored in one pass. */
  int mostNodes;

  TableSource(Map<String, List<Choice>> laws) {
    this.laws = laws;
  }

  /** The law {@code A .6 B .3 C .1}. */
  static List<Choice> law(String text) {
    List<Choice> law = new ArrayList<>();
    String[] parts = text.split(" ", -1);
    for (int i = 0; i < parts.length; i += 2) {
      law.add(new Choice(parts[i].charAt(0), Double.parseDouble(parts[i + 1])));
    }
    return law;
  }

  /** The path of each node of a tree, the root's is empty. */
  static List<String> paths(DraftTree tree) {
    List<String> paths = new ArrayList<>(List.of(""));
    for (int i = 1; i < tree.size(); i++) {
      paths.add(paths.get(tree.parent(i)) + (char) tree.token(i));
    }
    return paths;
  }

  @Override
  public void begin(Context context) {
    paths.clear();
    paths.add("");
    scoredFrom = 0;
    passes++;
  }

  @Override
  public void extend(DraftTree tree, int from) {
    if (from != paths.size() || from >= tree.size()) {
      throw new IllegalStateException("from = " + from + ", scored = " + paths);
    }
    mostNodes = Math.max(mostNodes, tree.size());
    paths.clear();
    paths.addAll(paths(tree));
    scoredFrom = from;
    passes++;
  }

  @Override
  public void draw(
      int[] node,
      int numNodes,
      int k,
      Noise noise,
      int[] token,
      float[] logProb,
      @Nullable DraftLaws drawn,
      int firstRow) {
    for (int i = 0; i < numNodes; i++) {
      if (node[i] < scoredFrom) {
        throw new IllegalStateException("node = " + node[i] + ", scored from " + scoredFrom);
      }
      List<Choice> law = laws.getOrDefault(paths.get(node[i]), List.of());
      for (int r = 0; r < k; r++) {
        token[i * k + r] = r < law.size() ? law.get(r).token() : -1;
        logProb[i * k + r] = r < law.size() ? (float) Math.log(law.get(r).probability()) : 0;
      }
    }
  }

  @Override
  public int mostDraws() {
    return 64;
  }

  @Override
  public int room(Context context) {
    return Integer.MAX_VALUE;
  }

  @Override
  public void keep(Verdict verdict) {}

  @Override
  public void close() {}
}
