package org.espalier.internal;

import static org.espalier.natives.global.espalier.ESPALIER_ABI_VERSION;
import static org.espalier.natives.global.espalier.ESPALIER_BAD_MODEL;
import static org.espalier.natives.global.espalier.ESPALIER_INVALID_ARGUMENT;
import static org.espalier.natives.global.espalier.ESPALIER_INVALID_STATE;
import static org.espalier.natives.global.espalier.ESPALIER_NOT_A_NUMBER;
import static org.espalier.natives.global.espalier.ESPALIER_OK;
import static org.espalier.natives.global.espalier.ESPALIER_OUT_OF_MEMORY;
import static org.espalier.natives.global.espalier.ESPALIER_UNAVAILABLE;
import static org.espalier.natives.global.espalier.ESPALIER_UNSUPPORTED;
import static org.espalier.natives.global.espalier.espalier_abi_version;
import static org.espalier.natives.global.espalier.espalier_backend_load;
import static org.espalier.natives.global.espalier.espalier_last_error;

import java.io.File;
import java.io.IOException;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Loader;
import org.espalier.BackendUnavailableException;
import org.espalier.EspalierException;
import org.espalier.ModelFormatException;
import org.espalier.NotANumberException;
import org.espalier.OutOfDeviceMemoryException;
import org.espalier.UnsupportedFeatureException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Loads the native library once, with the CUDA backend where its jar is there, and turns statuses
 * into exceptions.
 */
final class Natives {
  private static final Logger LOG = LoggerFactory.getLogger(Natives.class);
  private static final String CUDA_PLUGIN =
      "/org/espalier/natives/linux-x86_64/libespalier_cuda.so";

  static {
    // JavaCPP counts all native memory of the process, mapped weights too, and would stall on its
    // default limits.
    setUnlessSet("org.bytedeco.javacpp.maxBytes", "0");
    setUnlessSet("org.bytedeco.javacpp.maxPhysicalBytes", "0");
  }

  private Natives() {}

  /** Loads the library on first use. */
  static void load() {
    if (Holder.failure != null) {
      throw new BackendUnavailableException(Holder.failure);
    }
  }

  private static void setUnlessSet(String key, String value) {
    if (System.getProperty(key) == null) {
      System.setProperty(key, value);
    }
  }

  /** Throws the exception of a status that is not OK, with the native text. */
  static void check(int status) {
    if (status != ESPALIER_OK) {
      throw failure(status, text(espalier_last_error()));
    }
  }

  private static RuntimeException failure(int status, String text) {
    if (status == ESPALIER_INVALID_ARGUMENT) {
      return new IllegalArgumentException(text);
    } else if (status == ESPALIER_INVALID_STATE) {
      return new IllegalStateException(text);
    } else if (status == ESPALIER_UNSUPPORTED) {
      return new UnsupportedFeatureException(text);
    } else if (status == ESPALIER_BAD_MODEL) {
      return new ModelFormatException(text);
    } else if (status == ESPALIER_OUT_OF_MEMORY) {
      return new OutOfDeviceMemoryException(text);
    } else if (status == ESPALIER_UNAVAILABLE) {
      return new BackendUnavailableException(text);
    } else if (status == ESPALIER_NOT_A_NUMBER) {
      return new NotANumberException(text);
    }
    return new EspalierException(text);
  }

  /** The UTF-8 text at a pointer, up to its zero byte. */
  static String text(BytePointer pointer) {
    return pointer.getString(StandardCharsets.UTF_8);
  }

  private static final class Holder {
    static final @Nullable String failure = loadAll();

    private static @Nullable String loadAll() {
      try {
        Loader.load(org.espalier.natives.global.espalier.class);
      } catch (UnsatisfiedLinkError e) {
        return "native library = "
            + e.getMessage()
            + ", expected the classifier jar of this platform on the class path";
      }
      int abi = espalier_abi_version();
      if (abi != ESPALIER_ABI_VERSION) {
        return "ABI of libespalier = "
            + abi
            + ", expected "
            + ESPALIER_ABI_VERSION
            + "; use jars of one version";
      }
      loadCuda();
      return null;
    }

    private static void loadCuda() {
      URL plugin = Natives.class.getResource(CUDA_PLUGIN);
      if (plugin == null) {
        return;
      }
      try {
        File file = Loader.cacheResource(plugin);
        try (BytePointer path = new BytePointer(file.getPath(), StandardCharsets.UTF_8)) {
          if (espalier_backend_load(path) != ESPALIER_OK) {
            LOG.info("{}; running on the CPU backend", text(espalier_last_error()));
          }
        }
      } catch (IOException e) {
        LOG.warn("espalier_cuda not loaded: {}; running on the CPU backend", e.toString());
      }
    }
  }
}
