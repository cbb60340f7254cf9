package org.espalier;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicReferenceArray;
import org.jspecify.annotations.Nullable;

/** Text to tokens and back, by a model folder's tokenizer.json. May be used from any thread. */
public final class Tokenizer {
  static final String REPLACEMENT = "\uFFFD";

  private static final ObjectMapper JSON = new ObjectMapper();

  static {
    // The library would otherwise look for a CUDA build of itself on the network.
    setUnlessSet("RUST_FLAVOR", "cpu");
    setUnlessSet("ai.djl.offline", "true");
    setUnlessSet("OPT_OUT_TRACKING", "true");
    setUnlessSet("ENGINE_CACHE_DIR", CacheDir.path().resolve("tokenizers").toString());
  }

  private final HuggingFaceTokenizer tokenizer;
  private final Map<String, Integer> ids;
  private final int vocab;
  private final boolean piecesJoin;

  /** What {@link #piece} found out so far. */
  private final AtomicReferenceArray<@Nullable String> pieces;

  private volatile boolean closed;

  private Tokenizer(
      HuggingFaceTokenizer tokenizer, Map<String, Integer> ids, int vocab, boolean piecesJoin) {
    this.tokenizer = tokenizer;
    this.ids = ids;
    this.vocab = vocab;
    this.piecesJoin = piecesJoin;
    this.pieces = new AtomicReferenceArray<>(piecesJoin ? vocab : 0);
  }

  private static void setUnlessSet(String key, String value) {
    if (System.getProperty(key) == null && System.getenv(key) == null) {
      System.setProperty(key, value);
    }
  }

  /** Reads tokenizer.json of a folder; all its ids must be below {@code vocab}, the model's. */
  static Tokenizer load(Path dir, int vocab) {
    Path file = dir.resolve("tokenizer.json");
    if (!Files.isRegularFile(file)) {
      throw new ModelFormatException(file + ": no such file, expected the model's tokenizer");
    }
    try {
      JsonNode root = JSON.readTree(file.toFile());
      Map<String, Integer> ids = ids(root);
      for (Map.Entry<String, Integer> entry : ids.entrySet()) {
        if (entry.getValue() < 0 || entry.getValue() >= vocab) {
          throw new ModelFormatException(
              file
                  + ": id of token \""
                  + entry.getKey()
                  + "\" = "
                  + entry.getValue()
                  + ", expected 0 to "
                  + (vocab - 1)
                  + ", the model's vocabulary");
        }
      }
      Map<String, String> options = Map.of("truncation", "false", "padding", "false");
      return new Tokenizer(
          HuggingFaceTokenizer.newInstance(file, options),
          ids,
          vocab,
          piecesJoin(root.path("decoder")));
    } catch (IOException | RuntimeException e) {
      if (e instanceof ModelFormatException known) {
        throw known;
      }
      throw new ModelFormatException(file + ": " + e.getMessage(), e);
    }
  }

  /**
   * All tokens with their ids: a map, or for a unigram model a list in order, and the added ones.
   */
  private static Map<String, Integer> ids(JsonNode root) {
    Map<String, Integer> ids = new TreeMap<>();
    JsonNode vocab = root.path("model").path("vocab");
    if (vocab.isObject()) {
      vocab.properties().forEach(entry -> ids.put(entry.getKey(), entry.getValue().asInt(-1)));
    } else {
      for (JsonNode piece : vocab) {
        ids.put(piece.path(0).asText(), ids.size());
      }
    }
    for (JsonNode added : root.path("added_tokens")) {
      ids.put(added.path("content").asText(), added.path("id").asInt(-1));
    }
    return ids;
  }

  /**
   * Whether a decoder turns each token into bytes by itself and joins them, but for what it strips
   * from the beginning of the text. False when that is not known.
   */
  private static boolean piecesJoin(JsonNode decoder) {
    return switch (decoder.path("type").asText()) {
      case "ByteLevel", "Metaspace", "Replace", "ByteFallback" -> true;
      case "Sequence" -> {
        boolean fused = false;
        for (JsonNode part : decoder.path("decoders")) {
          String type = part.path("type").asText();
          // What comes behind Fuse sees the whole text; at its beginning it may strip.
          boolean strips = type.equals("Strip") && part.path("stop").asInt(-1) == 0;
          if (!strips && !type.equals("Fuse") && (fused || !piecesJoin(part))) {
            yield false;
          }
          fused |= type.equals("Fuse");
        }
        yield true;
      }
      default -> false;
    };
  }

  /** The tokens of a text, with the special tokens that the model's tokenizer adds; never cut. */
  public int[] encode(String text) {
    checkOpen();
    long[] encoded = tokenizer.encode(text, true, false).getIds();
    return Arrays.stream(encoded).mapToInt(Math::toIntExact).toArray();
  }

  /** The text of tokens, without special tokens; broken UTF-8 becomes replacement characters. */
  public String decode(int[] tokens) {
    return decode(tokens, 0, tokens.length);
  }

  String decode(int[] tokens, int from, int to) {
    checkOpen();
    long[] wide = new long[to - from];
    for (int i = from; i < to; i++) {
      if (tokens[i] < 0 || tokens[i] >= vocab) {
        throw new IllegalArgumentException(
            "token = " + tokens[i] + ", expected 0 to " + (vocab - 1));
      }
      wide[i - from] = tokens[i];
    }
    return wide.length == 0 ? "" : tokenizer.decode(wide, true);
  }

  /**
   * What a token adds to a text that ends in a whole character, whatever that text is; null when it
   * depends on the text, or when the token has parts of characters.
   */
  @Nullable String piece(int token) {
    checkOpen();
    if (!piecesJoin || token < 0 || token >= vocab) {
      return null;
    }
    String piece = pieces.get(token);
    if (piece == null) {
      // Behind itself a token is not the first, which may lose its leading space.
      String once = decode(new int[] {token});
      String twice = decode(new int[] {token, token});
      piece = twice.startsWith(once) ? twice.substring(once.length()) : REPLACEMENT;
      pieces.set(token, piece);
    }
    return piece.contains(REPLACEMENT) ? null : piece;
  }

  /** A decoder of one stream of tokens. */
  public TokenDecoder newDecoder() {
    return new TokenDecoder(this);
  }

  /** Tokens that ids stand for. */
  public int size() {
    return ids.size();
  }

  /** Whether ids mean the same tokens as another tokenizer's. */
  public boolean sameVocabulary(Tokenizer other) {
    return ids.equals(other.ids);
  }

  private void checkOpen() {
    if (closed) {
      throw new IllegalStateException("the tokenizer's model is closed");
    }
  }

  void close() {
    closed = true;
    tokenizer.close();
  }
}
