package org.espalier;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.StringJoiner;

/**
 * A byte-level tokenizer.json with one token for each byte, ids 0 to 255, and a special token 256.
 */
final class ByteTokenizer {
  private ByteTokenizer() {}

  static Tokenizer in(Path dir, int vocab) throws IOException {
    Files.writeString(dir.resolve("tokenizer.json"), json());
    return Tokenizer.load(dir, vocab);
  }

  private static String json() {
    StringJoiner vocab = new StringJoiner(",", "{", "}");
    int shifted = 0;
    for (int b = 0; b < 256; b++) {
      // Bytes that print stand for themselves; the others are moved above 255 in order.
      boolean prints = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      String letter = Character.toString(prints ? b : 256 + shifted++);
      vocab.add(
          "\"" + (letter.equals("\"") || letter.equals("\\") ? "\\" : "") + letter + "\":" + b);
    }
    return """
    {"version":"1.0","truncation":null,"padding":null,
     "added_tokens":[{"id":256,"content":"<end>","single_word":false,"lstrip":false,"rstrip":false,
       "normalized":false,"special":true}],
     "normalizer":null,
     "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
     "post_processor":null,
     "decoder":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
     "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
       "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,
       "vocab":%s,"merges":[]}}
    """
        .formatted(vocab);
  }
}
