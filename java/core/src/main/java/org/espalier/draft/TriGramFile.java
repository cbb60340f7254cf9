package org.espalier.draft;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.zip.CRC32;
import org.espalier.EspalierException;

/**
 * A {@link TriGramTable} in a file, little-endian: the magic, i32 version, i32 vocab, i32 pairs p,
 * i32 triples n, u64 pair [p] ascending, i32 offset [p + 1], i32 token [n], fp32 weight [n], and
 * the CRC-32 of all that as i64. A row is offset[i] to offset[i + 1], heaviest first.
 */
public final class TriGramFile {
  private static final byte[] MAGIC = "ESPTRIGR".getBytes(StandardCharsets.US_ASCII);
  private static final int VERSION = 1;
  private static final int HEADER_BYTES = 8 + 4 * 4;

  private TriGramFile() {}

  /** A table file that is damaged. */
  public static final class CorruptException extends EspalierException {
    private static final long serialVersionUID = 1;

    CorruptException(String message) {
      super(message);
    }
  }

  /**
   * Writes a table, with what it reads through to. The file is replaced as a whole.
   *
   * @throws UncheckedIOException when it cannot be written
   */
  public static void save(TriGramTable table, Path file) {
    long[] pairs = pairs(table);
    long triples = 0;
    for (long pair : pairs) {
      triples += table.len(table.find(pair));
    }
    long bytes = HEADER_BYTES + 8L * pairs.length + 4L * (pairs.length + 1) + 8 * triples + 8;
    if (bytes > Integer.MAX_VALUE - 8) {
      throw new IllegalArgumentException(
          file + ": size = " + bytes + " bytes, expected less than 2 GiB");
    }
    ByteBuffer out = ByteBuffer.allocate((int) bytes).order(ByteOrder.LITTLE_ENDIAN);
    out.put(MAGIC).putInt(VERSION).putInt(table.vocab()).putInt(pairs.length).putInt((int) triples);
    for (long pair : pairs) {
      out.putLong(pair);
    }
    int offset = 0;
    out.putInt(offset);
    for (long pair : pairs) {
      offset += table.len(table.find(pair));
      out.putInt(offset);
    }
    for (long pair : pairs) {
      int row = table.find(pair);
      for (int i = 0; i < table.len(row); i++) {
        out.putInt(table.token(row, i));
      }
    }
    for (long pair : pairs) {
      int row = table.find(pair);
      for (int i = 0; i < table.len(row); i++) {
        out.putFloat(table.weight(row, i));
      }
    }
    out.putLong(crc(out.array(), out.position()));
    try {
      LearnedFile.write(file, out.array());
    } catch (IOException e) {
      throw new UncheckedIOException(file + " cannot be written: " + e, e);
    }
  }

  /** All pairs of a table and of those below it, ascending. */
  private static long[] pairs(TriGramTable table) {
    long[] pairs = new long[0];
    for (TriGramTable t = table; t != null; t = t.base()) {
      int before = pairs.length;
      pairs = Arrays.copyOf(pairs, before + t.numPairs());
      for (int row = 0; row < t.numPairs(); row++) {
        pairs[before + row] = t.pairOf(row);
      }
    }
    Arrays.sort(pairs);
    int unique = 0;
    for (int i = 0; i < pairs.length; i++) {
      if (i == 0 || pairs[i] != pairs[i - 1]) {
        pairs[unique++] = pairs[i];
      }
    }
    return Arrays.copyOf(pairs, unique);
  }

  /**
   * Reads a table; of each pair's successors the 12 heaviest.
   *
   * @throws UncheckedIOException when it cannot be read
   * @throws IllegalArgumentException when the file is something else, or of another version
   * @throws CorruptException when it is damaged
   */
  public static TriGramTable load(Path file) {
    byte[] bytes;
    try {
      bytes = Files.readAllBytes(file);
    } catch (IOException e) {
      throw new UncheckedIOException(file + " cannot be read: " + e, e);
    }
    require(bytes.length > 0, file, "size", 0, "a whole header"); // nothing of anybody's is lost
    if (bytes.length < MAGIC.length || !Arrays.equals(bytes, 0, 8, MAGIC, 0, 8)) {
      throw new IllegalArgumentException(file + " is not a tri-gram table, expected one");
    }
    ByteBuffer in = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).position(MAGIC.length);
    require(bytes.length >= HEADER_BYTES + 4 + 8, file, "size", bytes.length, "a whole header");
    int version = in.getInt();
    if (version != VERSION) {
      throw new IllegalArgumentException(file + ": version = " + version + ", expected " + VERSION);
    }
    int vocab = in.getInt();
    int numPairs = in.getInt();
    int numTriples = in.getInt();
    require(vocab >= 1, file, "vocab", vocab, "at least 1");
    require(numPairs >= 0, file, "pairs", numPairs, "at least 0");
    require(numTriples >= numPairs, file, "triples", numTriples, "one for each pair at least");
    long size = HEADER_BYTES + 8L * numPairs + 4L * (numPairs + 1) + 8L * numTriples + 8;
    require(bytes.length == size, file, "size", bytes.length, size + " bytes");
    long crc = in.getLong(bytes.length - 8);
    require(crc == crc(bytes, bytes.length - 8), file, "crc", crc, "that of the content");
    return read(file, in, TriGramTable.empty(vocab), numPairs, numTriples);
  }

  private static TriGramTable read(
      Path file, ByteBuffer in, TriGramTable table, int numPairs, int numTriples) {
    int offsets = HEADER_BYTES + 8 * numPairs;
    int tokens = offsets + 4 * (numPairs + 1);
    int weights = tokens + 4 * numTriples;
    require(in.getInt(offsets) == 0, file, "offset[0]", in.getInt(offsets), "0");
    int last = in.getInt(offsets + 4 * numPairs);
    require(last == numTriples, file, "last offset", last, numTriples + ", the triples");
    long before = -1;
    for (int p = 0; p < numPairs; p++) {
      long pair = in.getLong(HEADER_BYTES + 8 * p);
      require(pair > before, file, "pair " + p, pair, "more than the one before");
      before = pair;
      checkToken(file, table, (int) (pair >>> 32));
      checkToken(file, table, (int) pair);
      int first = in.getInt(offsets + 4 * p);
      int end = in.getInt(offsets + 4 * (p + 1));
      require(first < end && end <= numTriples, file, "offset " + p, end, "more than " + first);
      int row = table.addRow(pair, Math.min(TriGramTable.MAX_LOADED, end - first));
      float heaviest = Float.MAX_VALUE;
      for (int i = 0; i < table.len(row); i++) {
        int token = in.getInt(tokens + 4 * (first + i));
        float weight = in.getFloat(weights + 4 * (first + i));
        checkToken(file, table, token);
        require(weight >= 0 && weight <= heaviest, file, "weight", weight, "0 to " + heaviest);
        heaviest = weight;
        table.set(row, i, token, weight);
      }
    }
    return table;
  }

  private static void checkToken(Path file, TriGramTable table, int token) {
    require(
        token >= 0 && token < table.vocab(), file, "token", token, "0 to " + (table.vocab() - 1));
  }

  private static void require(boolean holds, Path file, String what, Number got, String rule) {
    if (!holds) {
      throw new CorruptException(
          "table " + file + ": " + what + " = " + got + ", expected " + rule);
    }
  }

  private static long crc(byte[] bytes, int length) {
    CRC32 crc = new CRC32();
    crc.update(bytes, 0, length);
    return crc.getValue();
  }
}
