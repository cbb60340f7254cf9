package org.espalier.internal;

import static org.espalier.natives.global.espalier.ESPALIER_BF16;
import static org.espalier.natives.global.espalier.ESPALIER_CPU;
import static org.espalier.natives.global.espalier.ESPALIER_CUDA;
import static org.espalier.natives.global.espalier.ESPALIER_FP16;
import static org.espalier.natives.global.espalier.espalier_context_create;
import static org.espalier.natives.global.espalier.espalier_model_describe;
import static org.espalier.natives.global.espalier.espalier_model_load;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.bytedeco.javacpp.BytePointer;
import org.espalier.Backend;
import org.espalier.ElementType;
import org.espalier.ModelInfo;
import org.espalier.natives.espalier_context;
import org.espalier.natives.espalier_model;
import org.espalier.natives.espalier_model_info;
import org.espalier.natives.global.espalier;

/** A loaded model. Native memory lives until the model and all its sessions are closed. */
public final class NativeModel implements AutoCloseable {
  private final Handle<espalier_context> context;
  private final Handle<espalier_model> model;
  private final Backend backend;
  private final int deviceIdx;
  private boolean closed;

  private NativeModel(
      Handle<espalier_context> context,
      Handle<espalier_model> model,
      Backend backend,
      int deviceIdx) {
    this.context = context;
    this.model = model;
    this.backend = backend;
    this.deviceIdx = deviceIdx;
  }

  /** Loads a model folder for a device; the backend is CPU or CUDA. */
  public static NativeModel load(Path dir, Backend backend, int deviceIdx) {
    Handle<espalier_context> context = newContext(backend, deviceIdx, 1);
    espalier_model model = new espalier_model();
    try (BytePointer path = new BytePointer(dir.toString(), StandardCharsets.UTF_8)) {
      Natives.check(espalier_model_load(context.get(), path, model));
    } catch (RuntimeException e) {
      context.release();
      throw e;
    }
    return new NativeModel(
        context, new Handle<>(model, espalier::espalier_model_destroy), backend, deviceIdx);
  }

  private static Handle<espalier_context> newContext(Backend backend, int deviceIdx, int threads) {
    Natives.load();
    espalier_context context = new espalier_context();
    int kind = backend == Backend.CUDA ? ESPALIER_CUDA : ESPALIER_CPU;
    Natives.check(espalier_context_create(kind, deviceIdx, threads, context));
    return new Handle<>(context, espalier::espalier_context_destroy);
  }

  /** A context of its own for a session, on this model's device. */
  synchronized Handle<espalier_context> newContext(int threads) {
    return newContext(backend, deviceIdx, threads);
  }

  /** The model, for one more owner. */
  synchronized Handle<espalier_model> retain() {
    if (closed) {
      throw new IllegalStateException("the model is closed");
    }
    return model.retain();
  }

  public Backend backend() {
    return backend;
  }

  /** What the folder holds. */
  public ModelInfo info() {
    try (espalier_model_info info = new espalier_model_info()) {
      info.size(info.sizeof());
      Natives.check(espalier_model_describe(model.get(), info));
      return new ModelInfo(
          Natives.text(info.architecture()),
          info.num_layers(),
          info.hidden(),
          info.intermediate(),
          info.num_q_heads(),
          info.num_kv_heads(),
          info.head_dim(),
          info.vocab(),
          info.max_positions(),
          info.sliding_window(),
          type(info.weight_type()),
          info.tied_embeddings() != 0,
          info.num_parameters(),
          info.weight_bytes(),
          info.kv_elements_per_token(),
          Natives.text(info.rope()));
    }
  }

  private static ElementType type(int code) {
    if (code == ESPALIER_BF16) {
      return ElementType.BF16;
    }
    return code == ESPALIER_FP16 ? ElementType.FP16 : ElementType.FP32;
  }

  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      model.release();
      context.release();
    }
  }
}
