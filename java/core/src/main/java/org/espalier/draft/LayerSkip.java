package org.espalier.draft;

import java.nio.file.Path;
import java.util.BitSet;
import java.util.List;
import java.util.Optional;
import java.util.function.Supplier;
import org.espalier.Context;
import org.espalier.DraftTree;
import org.espalier.Drafter;
import org.espalier.DrafterFactory;
import org.espalier.LayerSet;
import org.espalier.Noise;
import org.espalier.Scores;
import org.espalier.Sequence;
import org.espalier.Session;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The target without some attentions and MLPs drafts. Which ones is searched while the text is
 * generated: a candidate is replayed over the text's first tokens, and the one that would have said
 * most of them drafts, see {@link LayerSearch}.
 *
 * <p>Source: SWIFT, arXiv 2410.06916, in its letters. What we changed: matchness counts the tokens
 * that the candidate would have chosen with the target's penalties and noise, and only for the
 * sampling verifier those that it finds most likely; the replay runs on a fork of the sequence and
 * the draft behind the committed tokens, so that the cache is not copied; a text searches by
 * itself, so its drafts do not depend on other texts. What was found is handed on in a file.
 *
 * <p>Use it for long texts of one kind with a large model, which has layers to spare. A step costs
 * a pass over the layers that are left for each level of the draft, and while the search is on a
 * pass over w tokens. On a model of few layers a search gains little; with a file and {@code
 * max_iter=0} there is none.
 */
public final class LayerSkip implements DrafterFactory {
  private static final Logger LOG = LoggerFactory.getLogger(LayerSkip.class);
  private static final String NAME = "layer-skip";

  /**
   * How layers are searched.
   *
   * @param r share of the inner layers' attentions and MLPs that is left out, above 0 and below 1
   * @param w tokens that a candidate is compared on, 1 to 256; at most as many as a pass of the
   *     session has nodes
   * @param optInterval steps from one candidate to the next, 1 to 1,000,000
   * @param bayesInterval of so many candidates one is proposed by a Gaussian process, the others
   *     are random; 1 to 1,000,000
   * @param maxIter most candidates of a text; 0: the first set stays
   * @param maxStale the search ends after more candidates than these without a better one
   * @param sMax the search ends when a set matches more than this share of the tokens, 0 to 1
   */
  public record Search(
      double r, int w, int optInterval, int bayesInterval, int maxIter, int maxStale, double sMax) {
    private static final int MOST = 1_000_000;

    public Search {
      if (!(r > 0 && r < 1)) {
        throw new IllegalArgumentException("r = " + r + ", expected above 0 and below 1");
      }
      Checks.inRange("w", w, 1, 256);
      Checks.inRange("opt_interval", optInterval, 1, MOST);
      Checks.inRange("bayes_interval", bayesInterval, 1, MOST);
      Checks.inRange("max_iter", maxIter, 0, MOST);
      Checks.inRange("max_stale", maxStale, 0, MOST);
      Checks.inRange("s_max", sMax, 0, 1);
    }

    /** As published. */
    public static Search defaults() {
      return new Search(0.45, 32, 1, 25, 1000, 300, 0.95);
    }
  }

  private final String name;
  private final Search search;
  private final @Nullable Path file;
  private final Supplier<TreePolicy> policies;

  // What texts begin with, and the text that gained most over it.
  private @Nullable LayerSet start;
  private @Nullable LayerSearch found;
  private boolean warned;
  private boolean closed;

  private LayerSkip(
      String name, Search search, @Nullable Path file, Supplier<TreePolicy> policies) {
    if (file != null) {
      LearnedFile.check(file);
    }
    this.name = name;
    this.search = search;
    this.file = file;
    this.policies = policies;
  }

  /**
   * The factory of drafters as published: a chain with side leaves, see {@link CombTree}.
   *
   * @param file the set to begin with, which may be missing; when the factory is closed it gets the
   *     set that gained most. Null for none
   * @param depth most levels of a draft, 1 to 64
   * @param stop a draft ends where the draft is less sure than this, 0 to 1
   */
  public static LayerSkip factory(Search search, @Nullable Path file, int depth, double stop) {
    new CombTree(depth, stop); // parameters are checked now
    return new LayerSkip(NAME, search, file, () -> new CombTree(depth, stop));
  }

  /**
   * The factory of drafters whose trees follow the draft's probabilities, see {@link DynamicTree}.
   *
   * @param file as in {@link #factory}
   * @param nodes most draft nodes of a tree, 1 to 1024
   * @param depth most levels, 1 to 32
   * @param threshold a node of less value gets no children, below 1; 0 stands for 1 / nodes
   */
  public static LayerSkip dynamicTree(
      Search search, @Nullable Path file, int nodes, int depth, double threshold) {
    new DynamicTree(nodes, depth, threshold); // parameters are checked now
    return new LayerSkip(
        DynamicTree.NAME, search, file, () -> new DynamicTree(nodes, depth, threshold));
  }

  /**
   * A drafter; one of plain decoding when r leaves out no sub-layer of the model.
   *
   * @throws IllegalArgumentException for a model of less than 3 layers, and when the file is no
   *     layer set of this model; a damaged one is begun anew, with a warning
   */
  @Override
  public synchronized Drafter create(Session session) {
    int layers = session.model().info().numLayers();
    if (layers < 3) {
      throw new IllegalArgumentException(
          NAME
              + ": layers of the model = "
              + layers
              + ", expected at least 3; the first and the last always run");
    }
    if (LayerSearch.numSkip(layers, search.r()) == 0) {
      if (!warned) {
        LOG.warn("{}: r = {} leaves out nothing of {} layers: no drafts", NAME, search.r(), layers);
      }
      warned = true;
      return NoDraft.factory().create(session);
    }
    if (start == null || start.numLayers() != layers) {
      Optional<LayerSet> loaded = file == null ? Optional.empty() : LayerSetFile.load(file, layers);
      start = loaded.orElseGet(() -> LayerSearch.oddLayers(layers));
    }
    LayerSearch ofText = new LayerSearch(search, start);
    return new TreeDrafter(new SelfDraft(new Choice(ofText, session)), policies.get());
  }

  private synchronized void finished(LayerSearch ofText) {
    if (ofText.measured() && (found == null || ofText.gain() > found.gain())) {
      found = ofText;
    }
  }

  @Override
  public String name() {
    return name;
  }

  /** Writes the file, when there is one and a set was measured. */
  @Override
  public synchronized void close() {
    if (!closed && file != null && found != null) {
      LayerSetFile.save(found.best(), found.bestScore(), file);
    }
    closed = true;
  }

  /** The share of the tokens that are those of the text. */
  static double matchness(int[] drawn, int[] next) {
    int matches = 0;
    for (int i = 0; i < next.length; i++) {
      matches += drawn[i] == next[i] ? 1 : 0;
    }
    return (double) matches / next.length;
  }

  /** The layers of one text's drafts. */
  private final class Choice implements LayerChoice {
    private final LayerSearch ofText;
    private final int w;
    private final DraftTree g = DraftTree.rootedAt(0);
    private final int[] next;
    private final int[] node;
    private final int[] drawn;
    private int from = -1;
    private int steps;

    Choice(LayerSearch ofText, Session session) {
      this.ofText = ofText;
      this.w = Math.min(search.w(), session.options().maxNodes());
      this.next = new int[w];
      this.node = new int[w];
      this.drawn = new int[w];
    }

    @Override
    public LayerSet choose(Context context) {
      if (from < 0) {
        from = context.length(); // g_0 is the first generated token
      }
      boolean due = steps++ % search.optInterval() == 0;
      if (ofText.on() && due && context.length() > from + w) {
        BitSet z = ofText.next();
        ofText.record(z, matchness(context, z));
      }
      return ofText.best();
    }

    /** The share of g_1 .. g_w that the model without z would have chosen. */
    private double matchness(Context context, BitSet z) {
      Session session = context.session();
      if (g.size() < w) {
        g.reset(context.token(from));
        for (int i = 0; i < w; i++) {
          next[i] = context.token(from + i + 1);
          node[i] = i;
          if (i + 1 < w) {
            g.append(next[i]);
          }
        }
      }
      boolean chance = context.laws().isPresent() && !context.sampling().isGreedy();
      try (Sequence replay = context.sequence().fork()) {
        replay.rollback(from);
        LayerSet layers = LayerSearch.layers(z, session.model().info().numLayers());
        Scores scores = session.forward(List.of(replay), List.of(g), 0, layers).get(0);
        scores.draw(node, w, 1, chance ? Noise.NONE : Noise.TARGET, drawn, null, null, 0);
      }
      return LayerSkip.matchness(drawn, next);
    }

    @Override
    public void close() {
      finished(ofText);
    }
  }
}
