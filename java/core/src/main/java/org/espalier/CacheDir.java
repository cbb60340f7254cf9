package org.espalier;

import java.nio.file.Path;

/**
 * Where the library keeps files of its own, what it extracted and measured: property {@code
 * espalier.cache.dir}, else the user's cache folder.
 */
public final class CacheDir {
  private CacheDir() {}

  /** The folder, which may not exist yet. */
  public static Path path() {
    String set = System.getProperty("espalier.cache.dir");
    if (set != null) {
      return Path.of(set);
    }
    String xdg = System.getenv("XDG_CACHE_HOME");
    Path base =
        xdg == null || xdg.isEmpty()
            ? Path.of(System.getProperty("user.home"), ".cache")
            : Path.of(xdg);
    return base.resolve("espalier");
  }
}
