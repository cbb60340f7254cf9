package org.espalier.internal;

import static org.espalier.natives.global.espalier.ESPALIER_DRAFT_NOISE;
import static org.espalier.natives.global.espalier.ESPALIER_FP32;
import static org.espalier.natives.global.espalier.ESPALIER_NO_NOISE;
import static org.espalier.natives.global.espalier.ESPALIER_TARGET_NOISE;
import static org.espalier.natives.global.espalier.espalier_buffer_create;
import static org.espalier.natives.global.espalier.espalier_buffer_destroy;
import static org.espalier.natives.global.espalier.espalier_buffer_read_row;
import static org.espalier.natives.global.espalier.espalier_buffer_write_row;
import static org.espalier.natives.global.espalier.espalier_sequence_create;
import static org.espalier.natives.global.espalier.espalier_sequence_destroy;
import static org.espalier.natives.global.espalier.espalier_sequence_fork;
import static org.espalier.natives.global.espalier.espalier_sequence_length;
import static org.espalier.natives.global.espalier.espalier_sequence_rollback;
import static org.espalier.natives.global.espalier.espalier_sequence_set_sampling;
import static org.espalier.natives.global.espalier.espalier_session_commit;
import static org.espalier.natives.global.espalier.espalier_session_create;
import static org.espalier.natives.global.espalier.espalier_session_destroy;
import static org.espalier.natives.global.espalier.espalier_session_draw;
import static org.espalier.natives.global.espalier.espalier_session_exit_head;
import static org.espalier.natives.global.espalier.espalier_session_forward_layers;
import static org.espalier.natives.global.espalier.espalier_session_grow;
import static org.espalier.natives.global.espalier.espalier_session_hidden;
import static org.espalier.natives.global.espalier.espalier_session_keep_hidden;
import static org.espalier.natives.global.espalier.espalier_session_logits;
import static org.espalier.natives.global.espalier.espalier_session_prefill;
import static org.espalier.natives.global.espalier.espalier_session_verify;
import static org.espalier.natives.global.espalier.espalier_session_verify_sampling;

import java.util.function.Supplier;
import org.espalier.Noise;
import org.espalier.Sampling;
import org.espalier.natives.espalier_buffer;
import org.espalier.natives.espalier_context;
import org.espalier.natives.espalier_model;
import org.espalier.natives.espalier_sampling;
import org.espalier.natives.espalier_session;
import org.espalier.natives.espalier_session_options;
import org.jspecify.annotations.Nullable;

/**
 * A native session: arrays in, arrays out, a status that is not OK as an exception. {@code Session}
 * guards its use.
 */
public final class NativeSession {
  private final Handle<espalier_context> context;
  private final Handle<espalier_model> model;
  private final espalier_session session = new espalier_session();
  private final int[] one = new int[1];
  private @Nullable espalier_buffer laws;

  /** A session with a context of its own. */
  public NativeSession(NativeModel model, int threads, int pageSize, int maxNodes, long numPages) {
    this(model.retain(), () -> model.newContext(threads), pageSize, maxNodes, numPages);
  }

  /** A session on the context of another one; both belong to one thread at a time. */
  public NativeSession(
      NativeModel model, NativeSession other, int pageSize, int maxNodes, long numPages) {
    this(model.retain(), other.context::retain, pageSize, maxNodes, numPages);
  }

  private NativeSession(
      Handle<espalier_model> model,
      Supplier<Handle<espalier_context>> context,
      int pageSize,
      int maxNodes,
      long numPages) {
    this.model = model;
    try {
      this.context = context.get();
    } catch (RuntimeException e) {
      model.release();
      throw e;
    }
    try (espalier_session_options options = new espalier_session_options()) {
      options
          .size(options.sizeof())
          .page_size(pageSize)
          .kv_type(0)
          .max_nodes(maxNodes)
          .num_pages(numPages);
      Natives.check(espalier_session_create(this.context.get(), model.get(), options, session));
    } catch (RuntimeException e) {
      this.context.release();
      model.release();
      throw e;
    }
  }

  public int newSequence() {
    Natives.check(espalier_sequence_create(session, one));
    return one[0];
  }

  public int fork(int seq) {
    Natives.check(espalier_sequence_fork(session, seq, one));
    return one[0];
  }

  public void closeSequence(int seq) {
    Natives.check(espalier_sequence_destroy(session, seq));
  }

  public int length(int seq) {
    Natives.check(espalier_sequence_length(session, seq, one));
    return one[0];
  }

  public void rollback(int seq, int length) {
    Natives.check(espalier_sequence_rollback(session, seq, length));
  }

  public void setSampling(int seq, Sampling s) {
    try (espalier_sampling sampling = new espalier_sampling()) {
      sampling
          .size(sampling.sizeof())
          .temperature(s.temperature())
          .top_k(s.topK())
          .top_p(s.topP())
          .min_p(s.minP())
          .repetition_penalty(s.repetitionPenalty())
          .presence_penalty(s.presencePenalty())
          .frequency_penalty(s.frequencyPenalty())
          .seed(s.seed())
          .stream(s.stream());
      Natives.check(espalier_sequence_set_sampling(session, seq, sampling));
    }
  }

  public void prefill(int seq, int[] token, int numTokens) {
    Natives.check(espalier_session_prefill(session, seq, token, numTokens));
  }

  public void forward(
      int batch,
      int[] seq,
      int[] treeBegin,
      int[] token,
      int[] parent,
      int @Nullable [] sublayers,
      int topK,
      int @Nullable [] topKToken) {
    Natives.check(
        espalier_session_forward_layers(
            session, batch, seq, treeBegin, token, parent, sublayers, topK, topKToken));
  }

  public void grow(int numNodes, int[] token, int[] parent) {
    Natives.check(espalier_session_grow(session, numNodes, token, parent));
  }

  public void verify(int[] choice, int[] path, int[] acceptLen) {
    Natives.check(espalier_session_verify(session, choice, path, acceptLen));
  }

  public void verifySampling(int[] scheme, int[] lawRow, int[] path, int[] acceptLen, int[] bonus) {
    Natives.check(
        espalier_session_verify_sampling(session, scheme, laws, lawRow, path, acceptLen, bonus));
  }

  public void commit(int[] path, int[] acceptLen) {
    Natives.check(espalier_session_commit(session, path, acceptLen));
  }

  /**
   * Draws; {@code lawsOf} is the session that keeps the laws, from row {@code lawRow} on, or null.
   */
  public void draw(
      int numNodes,
      int[] node,
      int k,
      Noise noise,
      int[] token,
      float @Nullable [] logProb,
      @Nullable NativeSession lawsOf,
      int lawRow) {
    espalier_buffer out = lawsOf == null ? null : lawsOf.laws;
    Natives.check(
        espalier_session_draw(
            session, numNodes, node, k, code(noise), token, logProb, out, lawRow));
  }

  private static int code(Noise noise) {
    return switch (noise) {
      case TARGET -> ESPALIER_TARGET_NOISE;
      case DRAFT -> ESPALIER_DRAFT_NOISE;
      case NONE -> ESPALIER_NO_NOISE;
    };
  }

  /** Makes room for laws, [rows, vocab] fp32; what was there is lost. */
  public void allocateLaws(int rows, int vocab) {
    espalier_buffer made = new espalier_buffer();
    Natives.check(
        espalier_buffer_create(context.get(), ESPALIER_FP32, 2, new long[] {rows, vocab}, made));
    freeLaws();
    laws = made;
  }

  public void readLaw(int row, float[] law) {
    Natives.check(espalier_buffer_read_row(laws, row, law, law.length));
  }

  public void writeLaw(int row, float[] law) {
    Natives.check(espalier_buffer_write_row(laws, row, law, law.length));
  }

  private void freeLaws() {
    if (laws != null) {
      espalier_buffer_destroy(laws);
      laws = null;
    }
  }

  public void logits(int node, float[] logits, int vocab) {
    Natives.check(espalier_session_logits(session, node, logits, vocab));
  }

  public void keepHidden(int[] layer) {
    Natives.check(espalier_session_keep_hidden(session, layer, layer.length));
  }

  public void hidden(int layer, int node, float[] state, int hidden) {
    Natives.check(espalier_session_hidden(session, layer, node, state, hidden));
  }

  public void exitHead(int[] layer, int[] node, int numNodes, int[] token, float[] prob) {
    Natives.check(
        espalier_session_exit_head(session, layer.length, layer, numNodes, node, token, prob));
  }

  /** Frees everything; to be called once. */
  public void destroy() {
    freeLaws();
    espalier_session_destroy(session);
    model.release();
    context.release();
  }
}
