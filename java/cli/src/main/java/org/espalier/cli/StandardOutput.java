package org.espalier.cli;

import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** Standard output that remembers what became of it: a {@code PrintWriter} tells no reason. */
final class StandardOutput extends FilterOutputStream {
  private @Nullable IOException failure;

  StandardOutput(OutputStream out) {
    super(out);
  }

  @Override
  public void write(int b) throws IOException {
    write(new byte[] {(byte) b}, 0, 1);
  }

  @Override
  public void write(byte[] bytes, int offset, int length) throws IOException {
    try {
      out.write(bytes, offset, length);
    } catch (IOException e) {
      failure = e;
      throw e;
    }
  }

  /** Why something is lost; empty also when the reader went away, as {@code head} does. */
  Optional<String> failure() {
    String reason = failure == null ? null : String.valueOf(failure.getMessage());
    return Optional.ofNullable(reason).filter(why -> !why.contains("Broken pipe"));
  }
}
