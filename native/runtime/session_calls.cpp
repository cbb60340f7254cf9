// The ABI functions of sessions and sequences.
#include "runtime/session.h"

using namespace espalier;

namespace {

/** Runs one call on a session, alone. */
template <class Body>
espalier_status on(const char* call, espalier_session* session, Body&& body) {
  return guarded(call, [&] {
    need(session, "session");
    Claim claim(session->session.device());
    body(session->session);
  });
}

}  // namespace

espalier_status espalier_session_create(
    espalier_context* ctx, const espalier_model* model, const espalier_session_options* options,
    espalier_session** session) {
  return guarded("espalier_session_create", [&] {
    need(ctx, "ctx");
    need(model, "model");
    need(options, "options");
    need(session, "session");
    if (options->size != sizeof *options) {
      fail(
          ESPALIER_INVALID_ARGUMENT, "options.size = %u, expected %zu", options->size,
          sizeof *options);
    }
    if (model->model->kind() != ctx->device->backend->kind()) {
      fail(
          ESPALIER_INVALID_ARGUMENT,
          "the model is on another kind of device, expected the context's");
    }
    Claim claim(*ctx->device);
    *session = new espalier_session{Session(ctx->device, model->model, *options)};
  });
}

void espalier_session_destroy(espalier_session* session) { delete session; }

espalier_status espalier_sequence_create(espalier_session* session, int32_t* seq) {
  return on("espalier_sequence_create", session, [&](Session& s) {
    need(seq, "seq");
    *seq = s.create_sequence();
  });
}

espalier_status espalier_sequence_fork(espalier_session* session, int32_t seq, int32_t* forked) {
  return on("espalier_sequence_fork", session, [&](Session& s) {
    need(forked, "forked");
    *forked = s.fork_sequence(seq);
  });
}

espalier_status espalier_sequence_destroy(espalier_session* session, int32_t seq) {
  return on("espalier_sequence_destroy", session, [&](Session& s) { s.destroy_sequence(seq); });
}

espalier_status espalier_sequence_length(espalier_session* session, int32_t seq, int32_t* length) {
  return on("espalier_sequence_length", session, [&](Session& s) {
    need(length, "length");
    *length = s.sequence_length(seq);
  });
}

espalier_status espalier_sequence_rollback(espalier_session* session, int32_t seq, int32_t length) {
  return on("espalier_sequence_rollback", session, [&](Session& s) { s.rollback(seq, length); });
}

espalier_status espalier_sequence_set_sampling(
    espalier_session* session, int32_t seq, const espalier_sampling* sampling) {
  return on("espalier_sequence_set_sampling", session, [&](Session& s) {
    need(sampling, "sampling");
    s.set_sampling(seq, *sampling);
  });
}

espalier_status espalier_session_prefill(
    espalier_session* session, int32_t seq, const int32_t* token, int32_t num_tokens) {
  return on(
      "espalier_session_prefill", session, [&](Session& s) { s.prefill(seq, token, num_tokens); });
}

espalier_status espalier_session_forward(
    espalier_session* session, int32_t batch, const int32_t* seq, const int32_t* tree_begin,
    const int32_t* token, const int32_t* parent, int32_t top_k, int32_t* top_k_token) {
  return on("espalier_session_forward", session, [&](Session& s) {
    s.forward(batch, seq, tree_begin, token, parent, nullptr, top_k, top_k_token);
  });
}

espalier_status espalier_session_forward_layers(
    espalier_session* session, int32_t batch, const int32_t* seq, const int32_t* tree_begin,
    const int32_t* token, const int32_t* parent, const int32_t* sublayers, int32_t top_k,
    int32_t* top_k_token) {
  return on("espalier_session_forward_layers", session, [&](Session& s) {
    s.forward(batch, seq, tree_begin, token, parent, sublayers, top_k, top_k_token);
  });
}

espalier_status espalier_session_grow(
    espalier_session* session, int32_t num_nodes, const int32_t* token, const int32_t* parent) {
  return on(
      "espalier_session_grow", session, [&](Session& s) { s.grow(num_nodes, token, parent); });
}

espalier_status espalier_session_verify(
    espalier_session* session, int32_t* choice, int32_t* path, int32_t* accept_len) {
  return on(
      "espalier_session_verify", session, [&](Session& s) { s.verify(choice, path, accept_len); });
}

espalier_status espalier_session_verify_sampling(
    espalier_session* session, const int32_t* scheme, const espalier_buffer* q,
    const int32_t* q_row, int32_t* path, int32_t* accept_len, int32_t* bonus) {
  return on("espalier_session_verify_sampling", session, [&](Session& s) {
    s.verify_sampling(scheme, q, q_row, path, accept_len, bonus);
  });
}

espalier_status espalier_session_commit(
    espalier_session* session, const int32_t* path, const int32_t* accept_len) {
  return on("espalier_session_commit", session, [&](Session& s) { s.commit(path, accept_len); });
}

espalier_status espalier_session_draw(
    espalier_session* session, int32_t num_nodes, const int32_t* node, int32_t k, int32_t noise,
    int32_t* token, float* log_prob, espalier_buffer* q, int32_t q_row) {
  return on("espalier_session_draw", session, [&](Session& s) {
    s.draw(num_nodes, node, k, noise, token, log_prob, q, q_row);
  });
}

espalier_status espalier_session_logits(
    espalier_session* session, int32_t node, float* logits, int32_t vocab) {
  return on("espalier_session_logits", session, [&](Session& s) { s.logits(node, logits, vocab); });
}

espalier_status espalier_session_keep_hidden(
    espalier_session* session, const int32_t* layer, int32_t num_layers) {
  return on("espalier_session_keep_hidden", session, [&](Session& s) {
    s.keep_hidden(layer, num_layers);
  });
}

espalier_status espalier_session_hidden(
    espalier_session* session, int32_t layer, int32_t node, float* state, int32_t hidden) {
  return on("espalier_session_hidden", session, [&](Session& s) {
    s.hidden(layer, node, state, hidden);
  });
}

espalier_status espalier_session_exit_head(
    espalier_session* session, int32_t num_layers, const int32_t* layer, int32_t num_nodes,
    const int32_t* node, int32_t* token, float* prob) {
  return on("espalier_session_exit_head", session, [&](Session& s) {
    s.exit_head(num_layers, layer, num_nodes, node, token, prob);
  });
}
