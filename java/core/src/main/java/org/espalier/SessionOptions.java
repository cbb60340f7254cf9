package org.espalier;

/**
 * The size of a session.
 *
 * @param pageSize tokens of a KV page: 16, 32, 64 or 128; 0 for the backend's default
 * @param maxNodes most nodes of one forward pass, 1 to 4096
 * @param maxSequences sequences that the KV pages suffice for at full length
 * @param maxTokens full length of a sequence; 0 for the model's longest context
 */
public record SessionOptions(int pageSize, int maxNodes, int maxSequences, int maxTokens) {

  public SessionOptions {
    if (pageSize != 0 && pageSize != 16 && pageSize != 32 && pageSize != 64 && pageSize != 128) {
      throw new IllegalArgumentException(
          "pageSize = " + pageSize + ", expected 16, 32, 64 or 128, or 0 for the default");
    }
    if (maxNodes < 1 || maxNodes > 4096) {
      throw new IllegalArgumentException("maxNodes = " + maxNodes + ", expected 1 to 4096");
    }
    if (maxSequences < 1) {
      throw new IllegalArgumentException(
          "maxSequences = " + maxSequences + ", expected at least 1");
    }
    if (maxTokens < 0) {
      throw new IllegalArgumentException("maxTokens = " + maxTokens + ", expected at least 0");
    }
  }

  /** One sequence of the model's longest context, passes of up to 512 nodes. */
  public static SessionOptions defaults() {
    return new SessionOptions(0, 512, 1, 0);
  }

  public SessionOptions withPageSize(int value) {
    return new SessionOptions(value, maxNodes, maxSequences, maxTokens);
  }

  public SessionOptions withMaxNodes(int value) {
    return new SessionOptions(pageSize, value, maxSequences, maxTokens);
  }

  public SessionOptions withMaxSequences(int value) {
    return new SessionOptions(pageSize, maxNodes, value, maxTokens);
  }

  public SessionOptions withMaxTokens(int value) {
    return new SessionOptions(pageSize, maxNodes, maxSequences, value);
  }
}
