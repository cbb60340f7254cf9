package org.espalier.internal;

import java.util.function.Consumer;
import org.bytedeco.javacpp.Pointer;

/** A native object that several owners share: the last release destroys it. */
final class Handle<P extends Pointer> {
  private final P pointer;
  private final Consumer<P> destroy;
  private int owners = 1;

  Handle(P pointer, Consumer<P> destroy) {
    this.pointer = pointer;
    this.destroy = destroy;
  }

  /** The object; only for an owner. */
  P get() {
    return pointer;
  }

  /** One more owner. */
  synchronized Handle<P> retain() {
    owners++;
    return this;
  }

  /** One owner less. */
  synchronized void release() {
    if (--owners == 0) {
      destroy.accept(pointer);
    }
  }
}
