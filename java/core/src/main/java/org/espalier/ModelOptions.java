package org.espalier;

/**
 * How a model is loaded.
 *
 * @param backend what computes
 * @param deviceIdx index among the backend's devices
 * @param threads CPU threads of each session, the calling one included; 0 for one per core
 */
public record ModelOptions(Backend backend, int deviceIdx, int threads) {

  public ModelOptions {
    if (deviceIdx < 0) {
      throw new IllegalArgumentException("deviceIdx = " + deviceIdx + ", expected at least 0");
    }
    if (threads < 0 || threads > 1024) {
      throw new IllegalArgumentException("threads = " + threads + ", expected 0 to 1024");
    }
  }

  /** The best backend, its first device, one thread per core. */
  public static ModelOptions defaults() {
    return new ModelOptions(Backend.AUTO, 0, 0);
  }

  public ModelOptions withBackend(Backend value) {
    return new ModelOptions(value, deviceIdx, threads);
  }

  public ModelOptions withDeviceIdx(int value) {
    return new ModelOptions(backend, value, threads);
  }

  public ModelOptions withThreads(int value) {
    return new ModelOptions(backend, deviceIdx, value);
  }
}
