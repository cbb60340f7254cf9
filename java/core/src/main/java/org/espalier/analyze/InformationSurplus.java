package org.espalier.analyze;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;

/**
 * How much a hidden state knows about the tokens behind the next one: what a draft head that reads
 * it can gain over one that sees the tokens alone.
 *
 * <p>Surplus_K = I(H; W_1 .. W_{K-1} | W_0) = sum over k = 1 .. K-1 of I(H; W_k | W_0 .. W_{k-1}).
 * Each term is estimated as CE_blind(k) - CE_draft(k), in nats: the held-out cross entropy of two
 * heads of the same size, one of which has the state. It is a difference of plug-in estimates, a
 * lower bound only where the blind head is the best possible, so it comes with a bootstrap interval
 * over texts. No term is below 0, but an estimate may be: the head that reads the state has more to
 * learn. So each is made from half of the texts as well: one that grows with the texts is still too
 * low.
 *
 * <p>Source: the information-surplus diagnostic of "A Markov Categorical Framework for Language
 * Modeling". What we changed: the heads are low-rank linear ones, trained here on the given texts.
 */
public final class InformationSurplus {
  private static final int RESAMPLES = 400;

  /** Probabilities below this count as this. */
  private static final double LEAST = 1e-30;

  private static final float[] NO_STATE = new float[0];

  /**
   * One text.
   *
   * @param token [length] class of each token
   * @param state [length][hidden] the target's hidden state after each
   * @param law [length][classes] the target's own law of the token after each
   */
  @SuppressWarnings("ArrayRecordComponent") // rows of numbers, compared by nobody
  public record Text(int[] token, float[][] state, float[][] law) {
    public Text {
      if (token.length != state.length || token.length != law.length) {
        throw new IllegalArgumentException(
            "states, laws = "
                + state.length
                + ", "
                + law.length
                + ", expected "
                + token.length
                + ", one for each token");
      }
    }
  }

  /**
   * How the heads are trained.
   *
   * @param rank size of the heads' inner state
   * @param epochs times that each text is seen
   */
  public record Options(int rank, int epochs, long seed) {
    public Options {
      if (rank < 1 || rank > 1024 || epochs < 1 || epochs > 1000) {
        throw new IllegalArgumentException(
            "rank = " + rank + ", epochs = " + epochs + ", expected 1 to 1024 and 1 to 1000");
      }
    }

    /** Rank 32, three epochs. */
    public static Options defaults() {
      return new Options(32, 3, 1);
    }
  }

  /**
   * One term.
   *
   * @param offset k: tokens between the one that the state predicts and this one, from 1
   * @param blindCrossEntropy nats, of the head without the state
   * @param draftCrossEntropy nats, of the head with it
   * @param halfSurplus their difference when the heads learn from half of the texts
   * @param standardError of the difference, by bootstrap over the held-out texts
   * @param low lower end of the 95 % bootstrap interval of the difference
   * @param high upper end
   * @param tokens places in all texts, learned from and held out
   * @param targetEntropy mean entropy of the target's own laws at these places, nats
   * @param draftEntropy of the draft head's
   * @param divergence mean KL divergence of the draft head's law from the target's, nats
   * @param agreement share of held-out places where the draft head's best token is the text's
   */
  public record Term(
      int offset,
      double blindCrossEntropy,
      double draftCrossEntropy,
      double halfSurplus,
      double standardError,
      double low,
      double high,
      long tokens,
      double targetEntropy,
      double draftEntropy,
      double divergence,
      double agreement) {
    /** Estimate of I(H; W_k | W_0 .. W_{k-1}), nats. */
    public double surplus() {
      return blindCrossEntropy - draftCrossEntropy;
    }

    /** Whether the texts are enough to say that there is a surplus: the interval is above 0. */
    public boolean isFound() {
      return low > 0;
    }

    /** Least mean acceptance of speculative sampling from this head: 1 - sqrt(KL / 2), Pinsker. */
    public double acceptanceBound() {
      return Math.max(0, 1 - Math.sqrt(divergence / 2));
    }
  }

  /** What one head says about one place of a held-out text. */
  private record Place(
      double crossEntropy,
      double targetEntropy,
      double entropy,
      double divergence,
      boolean agrees) {}

  private final int classes;
  private final Options options;

  /**
   * An estimator.
   *
   * @param classes tokens that are told apart; tokens of the texts are 0 to classes - 1
   */
  public InformationSurplus(int classes, Options options) {
    if (classes < 2) {
      throw new IllegalArgumentException("classes = " + classes + ", expected at least 2");
    }
    this.classes = classes;
    this.options = options;
  }

  /** What the head that sees the tokens alone says: the same for the states of every layer. */
  public static final class Blind {
    private final int offset;
    private final List<List<Place>> places;
    private final List<List<Place>> halfPlaces;

    private Blind(int offset, List<List<Place>> places, List<List<Place>> halfPlaces) {
      this.offset = offset;
      this.places = places;
      this.halfPlaces = halfPlaces;
    }
  }

  /**
   * Trains and measures the head without a state.
   *
   * @param train texts that the heads learn from; their states are not read
   * @param heldOut texts that they are measured on, at least one longer than {@code offset + 1}
   */
  public Blind blind(int offset, List<Text> train, List<Text> heldOut) {
    if (offset < 1) {
      throw new IllegalArgumentException("offset = " + offset + ", expected at least 1");
    }
    return new Blind(
        offset, measure(offset, 0, train, heldOut), measure(offset, 0, half(train), heldOut));
  }

  /** The term of one offset, see {@link #term(Blind, List, List)}. */
  public Term term(int offset, List<Text> train, List<Text> heldOut) {
    return term(blind(offset, train, heldOut), train, heldOut);
  }

  /**
   * The term of one offset and one layer.
   *
   * @param ofTokens of the same texts
   * @param train texts with the states of the layer
   * @param heldOut likewise
   */
  public Term term(Blind ofTokens, List<Text> train, List<Text> heldOut) {
    int offset = ofTokens.offset;
    int hidden =
        train.stream()
            .filter(text -> text.state().length > 0)
            .findFirst()
            .map(text -> text.state()[0].length)
            .orElseThrow(
                () ->
                    new IllegalArgumentException("texts to learn from = 0 tokens, expected some"));
    List<Text> learned = normalised(train);
    List<Text> asked = normalised(heldOut);
    List<List<Place>> draft = measure(offset, hidden, learned, asked);
    List<Place> all = draft.stream().flatMap(List::stream).toList();
    if (all.isEmpty()) {
      throw new IllegalArgumentException(
          "held-out texts are shorter than " + (offset + 2) + " tokens, expected a longer one");
    }
    double[] means = resampledMeans(ofTokens.places, draft);
    List<List<Place>> half = measure(offset, hidden, half(learned), asked);
    return new Term(
        offset,
        crossEntropy(ofTokens.places),
        crossEntropy(draft),
        crossEntropy(ofTokens.halfPlaces) - crossEntropy(half),
        deviation(means),
        means[RESAMPLES / 40],
        means[RESAMPLES - 1 - RESAMPLES / 40],
        places(offset, train).size() + (long) all.size(),
        all.stream().mapToDouble(Place::targetEntropy).average().orElse(0),
        all.stream().mapToDouble(Place::entropy).average().orElse(0),
        all.stream().mapToDouble(Place::divergence).average().orElse(0),
        all.stream().filter(Place::agrees).count() / (double) all.size());
  }

  private static List<Text> half(List<Text> texts) {
    return IntStream.range(0, texts.size()).filter(i -> i % 2 == 0).mapToObj(texts::get).toList();
  }

  private static double crossEntropy(List<List<Place>> places) {
    return places.stream()
        .flatMap(List::stream)
        .mapToDouble(Place::crossEntropy)
        .average()
        .orElse(0);
  }

  /** Trains a head and measures it; for each held-out text its places. */
  private List<List<Place>> measure(int offset, int hidden, List<Text> train, List<Text> heldOut) {
    Probe probe = new Probe(classes, hidden, offset, options.rank(), options.seed());
    List<int[]> order = places(offset, train);
    Random random = new Random(options.seed());
    for (int epoch = 0; epoch < options.epochs(); epoch++) {
      Collections.shuffle(order, random);
      for (int[] place : order) {
        if (Thread.currentThread().isInterrupted()) {
          throw new IllegalStateException("interrupted while training");
        }
        Text text = train.get(place[0]);
        int t = place[1];
        probe.learn(state(text, t, hidden), text.token(), t + 1, text.token()[t + 1 + offset]);
      }
    }
    List<List<Place>> measured = new ArrayList<>();
    for (Text text : heldOut) {
      List<Place> ofText = new ArrayList<>();
      for (int[] place : places(offset, List.of(text))) {
        int t = place[1];
        float[] law = probe.law(state(text, t, hidden), text.token(), t + 1);
        ofText.add(judge(law, text.law()[t + offset], text.token()[t + 1 + offset]));
      }
      measured.add(ofText);
    }
    return measured;
  }

  /** State t sees nothing; W_0 is token t + 1, which it predicts, and W_offset the one to guess. */
  private static List<int[]> places(int offset, List<Text> texts) {
    List<int[]> places = new ArrayList<>();
    for (int i = 0; i < texts.size(); i++) {
      for (int t = 0; t + 1 + offset < texts.get(i).token().length; t++) {
        places.add(new int[] {i, t});
      }
    }
    return places;
  }

  private static float[] state(Text text, int t, int hidden) {
    return hidden == 0 ? NO_STATE : text.state()[t];
  }

  /** The texts with states of root mean square 1, so that layers of any scale train alike. */
  private static List<Text> normalised(List<Text> texts) {
    return texts.stream()
        .map(
            text ->
                new Text(
                    text.token(),
                    Arrays.stream(text.state())
                        .map(InformationSurplus::normalised)
                        .toArray(float[][]::new),
                    text.law()))
        .toList();
  }

  private static float[] normalised(float[] state) {
    double squares = 0;
    for (float value : state) {
      squares += value * value;
    }
    float scale = (float) (1 / Math.sqrt(squares / state.length + 1e-6));
    float[] normalised = new float[state.length];
    for (int i = 0; i < state.length; i++) {
      normalised[i] = state[i] * scale;
    }
    return normalised;
  }

  private static Place judge(float[] draft, float[] target, int token) {
    int best = 0;
    double divergence = 0;
    for (int k = 0; k < draft.length; k++) {
      if (draft[k] > draft[best]) {
        best = k;
      }
      if (target[k] > 0) {
        divergence += target[k] * Math.log(target[k] / Math.max(draft[k], LEAST));
      }
    }
    double crossEntropy = -Math.log(Math.max(draft[token], LEAST));
    return new Place(crossEntropy, entropy(target), entropy(draft), divergence, best == token);
  }

  private static double entropy(float[] law) {
    double entropy = 0;
    for (float probability : law) {
      if (probability > 0) {
        entropy -= probability * Math.log(probability);
      }
    }
    return entropy;
  }

  /** Mean differences when texts are drawn with replacement, ascending. */
  private double[] resampledMeans(List<List<Place>> blind, List<List<Place>> draft) {
    Random random = new Random(options.seed());
    double[] means = new double[RESAMPLES];
    for (int s = 0; s < RESAMPLES; s++) {
      double sum = 0;
      long count = 0;
      for (int i = 0; i < draft.size(); i++) {
        int text = random.nextInt(draft.size());
        for (int j = 0; j < draft.get(text).size(); j++) {
          sum += blind.get(text).get(j).crossEntropy() - draft.get(text).get(j).crossEntropy();
          count++;
        }
      }
      means[s] = count == 0 ? 0 : sum / count;
    }
    Arrays.sort(means);
    return means;
  }

  private static double deviation(double[] values) {
    double mean = Arrays.stream(values).average().orElse(0);
    double squares = Arrays.stream(values).map(v -> (v - mean) * (v - mean)).sum();
    return Math.sqrt(squares / (values.length - 1));
  }
}
