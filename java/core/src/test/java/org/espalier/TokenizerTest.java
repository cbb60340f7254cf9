package org.espalier;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TokenizerTest {
  private static final String LLAMA_2_DECODER =
      """
      {"type":"Sequence","decoders":[
        {"type":"Replace","pattern":{"String":"\u2581"},"content":" "},{"type":"ByteFallback"},
        {"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}""";
  private static final String METASPACE_DECODER =
      """
      {"type":"Metaspace","replacement":"\u2581","prepend_scheme":"always","split":true}""";

  /** What comes behind Fuse may look across tokens. */
  private static final String SPACES_REPLACED_LAST_DECODER =
      """
      {"type":"Sequence","decoders":[{"type":"Fuse"},
        {"type":"Replace","pattern":{"String":"\u2581"},"content":" "}]}""";

  @TempDir Path dir;

  /** The library's default is to cut at 512 tokens. */
  @Test
  void longTextIsNotCut() throws IOException {
    Tokenizer tokenizer = ByteTokenizer.in(dir, 257);
    assertThat(tokenizer.encode("word ".repeat(2000))).hasSize(10_000);
  }

  @Test
  void decodeUndoesEncode() throws IOException {
    Tokenizer tokenizer = ByteTokenizer.in(dir, 257);
    String text = "int x = 1; // \u00e9\u4e16\ud83d\ude00 \"quoted\"\n\t}";
    assertThat(tokenizer.decode(tokenizer.encode(text))).isEqualTo(text);
    assertThat(tokenizer.decode(new int[0])).isEmpty();
  }

  /** Random code points in one token per byte: no piece has half of one, and nothing is late. */
  @Test
  void decoderNeverSplitsACodePoint() throws IOException {
    Tokenizer tokenizer = ByteTokenizer.in(dir, 257);
    for (int seed = 0; seed < 200; seed++) {
      String text = codePoints(new Random(seed));
      byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
      TokenDecoder decoder = tokenizer.newDecoder();
      StringBuilder joined = new StringBuilder();
      for (int i = 0; i < bytes.length; i++) {
        String piece = decoder.next(bytes[i] & 0xFF);
        assertThat(piece).as("seed %d", seed).doesNotContain("\uFFFD");
        joined.append(piece);
        boolean complete = i + 1 == bytes.length || (bytes[i + 1] & 0xC0) != 0x80;
        String soFar = new String(bytes, 0, i + 1, StandardCharsets.UTF_8);
        assertThat(complete ? joined.toString() : soFar)
            .as("seed %d, byte %d", seed, i)
            .isEqualTo(soFar);
      }
      assertThat(joined.append(decoder.finish()).toString()).as("seed %d", seed).isEqualTo(text);
    }
  }

  private static String codePoints(Random random) {
    StringBuilder text = new StringBuilder();
    int[] bounds = {0x20, 0x7F, 0xA1, 0x7FF, 0x800, 0xD7FF, 0x10000, 0x1FFFF};
    for (int i = 0; i < 20; i++) {
      int kind = 2 * random.nextInt(4);
      text.appendCodePoint(bounds[kind] + random.nextInt(bounds[kind + 1] - bounds[kind]));
    }
    return text.toString();
  }

  /** Bytes that never become a character: they appear in the end, and what follows is right. */
  @Test
  void brokenBytesAreReplaced() throws IOException {
    Tokenizer tokenizer = ByteTokenizer.in(dir, 257);
    TokenDecoder decoder = tokenizer.newDecoder();
    StringBuilder joined = new StringBuilder();
    for (int token : new int[] {'a', 0xF0, 0x9F, 'b', 0xC3, 0xC3, 0xC3, 0xC3, 0xC3, 'c', 0xE4}) {
      joined.append(decoder.next(token));
    }
    joined.append(decoder.finish());
    assertThat(joined.toString().replace("\uFFFD", "")).isEqualTo("abc");
    assertThat(joined.toString())
        .startsWith(tokenizer.decode(new int[] {'a', 0xF0, 0x9F, 'b'}))
        .endsWith("c\uFFFD");
  }

  @Test
  void specialTokensAreNoText() throws IOException {
    Tokenizer tokenizer = ByteTokenizer.in(dir, 257);
    TokenDecoder decoder = tokenizer.newDecoder();
    assertThat(decoder.next('a') + decoder.next(256) + decoder.next('b')).isEqualTo("ab");
  }

  /**
   * Sentences of pieces with leading spaces and of single bytes: the first piece loses its space,
   * the others do not, and texts are right whether pieces are met for the first time or not.
   */
  @ParameterizedTest
  @ValueSource(strings = {LLAMA_2_DECODER, METASPACE_DECODER, SPACES_REPLACED_LAST_DECODER})
  void streamedTextIsTheTextOfAllTokens(String decoder) throws IOException {
    Tokenizer tokenizer = SpacedTokenizer.in(dir, decoder);
    boolean fallsBack = decoder.equals(LLAMA_2_DECODER);
    for (int seed = 0; seed < 200; seed++) {
      int[] tokens = SpacedTokenizer.sentence(new Random(seed), fallsBack);
      TokenDecoder stream = tokenizer.newDecoder();
      StringBuilder joined = new StringBuilder();
      for (int token : tokens) {
        joined.append(stream.next(token));
      }
      joined.append(stream.finish());
      assertThat(joined.toString()).as("seed %d", seed).isEqualTo(tokenizer.decode(tokens));
    }
  }

  /** Tokens that were met once need the library no more; those with half a character do. */
  @Test
  void piecesAreKnownWhereTheyStandAlone() throws IOException {
    Tokenizer bytes = ByteTokenizer.in(dir, 257);
    assertThat(bytes.piece('a')).isEqualTo("a");
    assertThat(bytes.piece(' ')).isEqualTo(" ");
    assertThat(bytes.piece(256)).isEmpty();
    assertThat(bytes.piece(0xC3)).isNull();
    assertThat(bytes.piece(257)).isNull();
    assertThat(SpacedTokenizer.in(dir, LLAMA_2_DECODER).piece(SpacedTokenizer.FIRST_WORD))
        .isEqualTo(" word0");
    assertThat(
            SpacedTokenizer.in(dir, SPACES_REPLACED_LAST_DECODER).piece(SpacedTokenizer.FIRST_WORD))
        .isNull();
  }

  @Test
  void idsBeyondTheVocabularyAreRefused() throws IOException {
    assertThatThrownBy(() -> ByteTokenizer.in(dir, 256))
        .isInstanceOf(ModelFormatException.class)
        .hasMessageContaining("id of token \"<end>\" = 256, expected 0 to 255");
    Tokenizer tokenizer = ByteTokenizer.in(dir, 257);
    assertThatThrownBy(() -> tokenizer.decode(new int[] {257}))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("token = 257, expected 0 to 256");
  }

  @Test
  void missingOrBrokenFileIsNamed() throws IOException {
    assertThatThrownBy(() -> Tokenizer.load(dir, 257))
        .isInstanceOf(ModelFormatException.class)
        .hasMessageContaining("tokenizer.json: no such file");
    Files.writeString(dir.resolve("tokenizer.json"), "{\"model\": ");
    assertThatThrownBy(() -> Tokenizer.load(dir, 257))
        .isInstanceOf(ModelFormatException.class)
        .hasMessageContaining("tokenizer.json");
  }
}
