package org.espalier.draft;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Map;
import org.espalier.CacheDir;
import org.espalier.DeviceInfo;
import org.espalier.Devices;
import org.espalier.Model;
import org.espalier.ModelOptions;
import org.espalier.Session;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * How long a model's passes take on a device, by the nodes of the tree: measured once, and kept in
 * a file from one process to the next. A file that is damaged, or of something else, is begun anew
 * with a warning; one that cannot be written costs no more than the measurement.
 */
final class PassTimes {
  private static final Logger LOG = LoggerFactory.getLogger(PassTimes.class);
  private static final ObjectMapper JSON = new ObjectMapper();

  /** Of the file, and of what the times mean. */
  private static final int VERSION = 4;

  /** Times that differ by less are not worth writing. */
  private static final double NEWS = 0.25;

  private static final double MOST_NANOS = 1e12;

  private final Path file;
  private final String key;
  private final TimeCurve curve = new TimeCurve();
  private final double[] saved = new double[TimeCurve.numSizes()];

  /** The times that a file holds. */
  PassTimes(Path file, String key) {
    this.file = file;
    this.key = key;
    try {
      read();
    } catch (IOException | IllegalArgumentException e) {
      LOG.warn("{}: no pass times: {}; they are measured anew", file, reason(e));
    }
    for (int i = 0; i < saved.length; i++) {
      if (saved[i] > 0) {
        curve.begin(i, saved[i]);
      }
    }
  }

  /** The times of a session's model, from the user's cache, or measured when none are there. */
  static PassTimes of(Session session) {
    String key = key(session.model());
    PassTimes times =
        new PassTimes(CacheDir.path().resolve("pass-times").resolve(hash(key) + ".json"), key);
    if (times.curve.largest() == 0) {
      PassMeasurement.run(session, times.curve);
      times.save();
    }
    return times;
  }

  /**
   * What the times depend on: the shapes of the model, not its weights; device; threads; version.
   */
  static String key(Model model) {
    ModelOptions options = model.options();
    int threads =
        options.threads() == 0 ? Runtime.getRuntime().availableProcessors() : options.threads();
    String device =
        Devices.list().stream()
            .filter(d -> d.backend() == options.backend() && d.idx() == options.deviceIdx())
            .map(DeviceInfo::toString)
            .findFirst()
            .orElse("");
    String library = String.valueOf(PassTimes.class.getPackage().getImplementationVersion());
    return String.join(
        "; ", "version " + VERSION, library, model.info().toString(), device, "threads " + threads);
  }

  private static String hash(String key) {
    try {
      byte[] digest =
          MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
      return HexFormat.of().formatHex(digest, 0, 8);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("SHA-256 is part of every Java platform", e);
    }
  }

  TimeCurve curve() {
    return curve;
  }

  private void read() throws IOException {
    if (!Files.exists(file)) {
      return;
    }
    JsonNode root = JSON.readTree(file.toFile());
    if (!root.path("key").asText().equals(key)) {
      throw new IllegalArgumentException("its key is not that of this model and device");
    }
    double[] nanos = new double[saved.length];
    for (Map.Entry<String, JsonNode> time : root.path("nanos").properties()) {
      int i = TimeCurve.indexOf(Integer.parseInt(time.getKey()));
      double value = time.getValue().asDouble();
      if (i < 0 || !(value > 0 && value < MOST_NANOS)) {
        throw new IllegalArgumentException("nanos of " + time.getKey() + " = " + time.getValue());
      }
      nanos[i] = value;
    }
    System.arraycopy(nanos, 0, saved, 0, saved.length);
  }

  private static String reason(Exception e) {
    return e instanceof JsonProcessingException broken
        ? broken.getOriginalMessage()
        : String.valueOf(e.getMessage());
  }

  /** Writes the times when they are news; sizes that only the file knows stay there. */
  void save() {
    if (!isNews()) {
      return;
    }
    try {
      read();
    } catch (IOException | IllegalArgumentException e) {
      LOG.debug("{} is replaced: {}", file, reason(e)); // whoever read it first has said so
    }
    ObjectNode root = JSON.createObjectNode();
    root.put("key", key);
    ObjectNode nanos = root.putObject("nanos");
    for (int i = 0; i < saved.length; i++) {
      if (curve.known(i) > 0) {
        saved[i] = curve.known(i);
      }
      if (saved[i] > 0) {
        nanos.put(String.valueOf(TimeCurve.size(i)), Math.rint(saved[i]));
      }
    }
    try {
      Files.createDirectories(file.toAbsolutePath().getParent());
      LearnedFile.write(file, JSON.writeValueAsBytes(root));
    } catch (IOException e) {
      LOG.warn("{}: pass times cannot be written: {}", file, e.toString());
    }
  }

  private boolean isNews() {
    for (int i = 0; i < saved.length; i++) {
      if (Math.abs(curve.known(i) - saved[i]) > NEWS * saved[i] && curve.known(i) > 0) {
        return true;
      }
    }
    return false;
  }
}
