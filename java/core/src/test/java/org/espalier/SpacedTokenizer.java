package org.espalier;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import java.util.StringJoiner;
import java.util.stream.IntStream;

/**
 * A tokenizer.json in the manner of SentencePiece: ids 0 to 255 are bytes, then come words with a
 * leading space, then word ends without one.
 */
final class SpacedTokenizer {
  static final int FIRST_WORD = 256;
  private static final int WORDS = 8;

  private SpacedTokenizer() {}

  static Tokenizer in(Path dir, String decoder) throws IOException {
    StringJoiner vocab = new StringJoiner(",", "{", "}");
    for (int b = 0; b < 256; b++) {
      vocab.add("\"<0x%02X>\":%d".formatted(b, b));
    }
    for (int w = 0; w < WORDS; w++) {
      vocab.add("\"\u2581word%d\":%d".formatted(w, FIRST_WORD + w));
      vocab.add("\"end%d\":%d".formatted(w, FIRST_WORD + WORDS + w));
    }
    Files.writeString(
        dir.resolve("tokenizer.json"),
        """
        {"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
         "pre_tokenizer":null,"post_processor":null,"decoder":%s,
         "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
           "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":true,"ignore_merges":false,
           "vocab":%s,"merges":[]}}
        """
            .formatted(decoder, vocab));
    return Tokenizer.load(dir, FIRST_WORD + 2 * WORDS);
  }

  /** Words, word ends, and where asked for whole characters in single bytes. */
  static int[] sentence(Random random, boolean withBytes) {
    return IntStream.range(0, 20)
        .flatMap(
            i ->
                withBytes && random.nextInt(4) == 0
                    ? character(random)
                    : IntStream.of(FIRST_WORD + random.nextInt(2 * WORDS)))
        .toArray();
  }

  private static IntStream character(Random random) {
    String[] characters = {"x", "\u00e9", "\u4e16", "\ud83d\ude00"};
    byte[] bytes = characters[random.nextInt(4)].getBytes(StandardCharsets.UTF_8);
    int[] tokens = new int[bytes.length];
    Arrays.setAll(tokens, i -> bytes[i] & 0xFF);
    return Arrays.stream(tokens);
  }
}
