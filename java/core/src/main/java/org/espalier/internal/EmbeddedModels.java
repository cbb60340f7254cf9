package org.espalier.internal;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.espalier.CacheDir;
import org.espalier.ModelFormatException;

/**
 * Models that come in a jar. A model's files are extracted once into a folder that is named by
 * their content.
 */
public final class EmbeddedModels {
  private static final String ROOT = "/org/espalier/models/";
  private static final List<String> NEEDED =
      List.of("config.json", "model.safetensors", "tokenizer.json");
  private static final List<String> OPTIONAL =
      List.of("generation_config.json", "tokenizer_config.json");

  private EmbeddedModels() {}

  /** Whether a name is one of ours; other names are folders. */
  public static boolean isName(String model) {
    return model.equals("tiny-java") || model.equals("tiny-java-draft");
  }

  /** The folder with an embedded model's files. */
  public static Path folder(String name) {
    if (!isName(name)) {
      throw new IllegalArgumentException(
          "model = " + name + ", expected tiny-java or tiny-java-draft");
    }
    try {
      Map<String, byte[]> files = read(name);
      Path folder = CacheDir.path().resolve("models").resolve(name + "-" + hash(files));
      if (!isComplete(folder, files)) {
        extract(files, folder);
      }
      return folder;
    } catch (IOException e) {
      throw new UncheckedIOException(
          "embedded model "
              + name
              + " cannot be unpacked into "
              + CacheDir.path()
              + ": "
              + e
              + "; set XDG_CACHE_HOME or the property espalier.cache.dir to a folder that can be"
              + " written",
          e);
    }
  }

  private static Map<String, byte[]> read(String name) throws IOException {
    List<String> wanted = new ArrayList<>(NEEDED);
    wanted.addAll(OPTIONAL);
    Map<String, byte[]> files = new LinkedHashMap<>();
    for (String file : wanted) {
      try (InputStream in = EmbeddedModels.class.getResourceAsStream(ROOT + name + "/" + file)) {
        if (in != null) {
          files.put(file, in.readAllBytes());
        } else if (NEEDED.contains(file)) {
          throw new ModelFormatException(
              "embedded model "
                  + name
                  + ": no "
                  + file
                  + ", expected the jar espalier-tiny-java on the class path");
        }
      }
    }
    return files;
  }

  private static String hash(Map<String, byte[]> files) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      for (byte[] content : files.values()) {
        digest.update(digest(content));
      }
      return HexFormat.of().formatHex(digest.digest(), 0, 8);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  private static byte[] digest(byte[] content) throws NoSuchAlgorithmException {
    return MessageDigest.getInstance("SHA-256").digest(content);
  }

  private static boolean isComplete(Path folder, Map<String, byte[]> files) throws IOException {
    for (Map.Entry<String, byte[]> file : files.entrySet()) {
      Path path = folder.resolve(file.getKey());
      if (!Files.isRegularFile(path) || Files.size(path) != file.getValue().length) {
        return false;
      }
    }
    return true;
  }

  /** Each file appears whole or not at all: it is written under another name and then moved. */
  private static void extract(Map<String, byte[]> files, Path folder) throws IOException {
    Files.createDirectories(folder);
    for (Map.Entry<String, byte[]> file : files.entrySet()) {
      Path part = Files.createTempFile(folder, file.getKey(), ".part");
      try {
        Files.write(part, file.getValue());
        Files.move(part, folder.resolve(file.getKey()), StandardCopyOption.ATOMIC_MOVE);
      } finally {
        Files.deleteIfExists(part);
      }
    }
  }
}
