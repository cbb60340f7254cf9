// A session: sequences on a paged KV cache, and the forward pass over a ragged batch of draft trees.
#ifndef ESPALIER_RUNTIME_SESSION_H
#define ESPALIER_RUNTIME_SESSION_H

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "model/model.h"
#include "runtime/kv_cache.h"
#include "runtime/objects.h"

namespace espalier {

/** Committed tokens, their pages, and how the next ones are chosen. */
struct Sequence {
  std::vector<int32_t> tokens;
  std::vector<int32_t> pages;
  espalier_sampling sampling{};

  int32_t length() const { return static_cast<int32_t>(tokens.size()); }
};

/** The draft trees of the last forward, as the caller gave them. */
struct Batch {
  std::vector<int32_t> seq;         // [batch]
  std::vector<int32_t> tree_begin;  // [batch + 1]
  std::vector<int32_t> token;       // [num_nodes]
  std::vector<int32_t> parent;      // [num_nodes]
  std::vector<int32_t> depth;       // [num_nodes]
  std::vector<int32_t> tree;        // [num_nodes] tree of each node
  std::vector<int32_t> layer_set;   // [num_layers] sub-layers that run; empty for all

  int32_t sublayers(int32_t layer) const {
    return whole() ? ESPALIER_ATTENTION | ESPALIER_MLP : layer_set[static_cast<size_t>(layer)];
  }
  bool whole() const { return layer_set.empty(); }
  int32_t size() const { return static_cast<int32_t>(seq.size()); }
  int32_t num_nodes() const { return static_cast<int32_t>(token.size()); }
  bool empty() const { return seq.empty(); }
};

class Session {
 public:
  Session(
      std::shared_ptr<Device> device, std::shared_ptr<const Model> model,
      const espalier_session_options& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Device& device() const { return *device_; }

  int32_t create_sequence();
  int32_t fork_sequence(int32_t seq);
  void destroy_sequence(int32_t seq);
  int32_t sequence_length(int32_t seq);
  void rollback(int32_t seq, int32_t length);
  void set_sampling(int32_t seq, const espalier_sampling& sampling);

  void prefill(int32_t seq, const int32_t* token, int32_t num_tokens);
  void forward(
      int32_t batch, const int32_t* seq, const int32_t* tree_begin, const int32_t* token,
      const int32_t* parent, const int32_t* sublayers, int32_t top_k, int32_t* top_k_token);
  void grow(int32_t num_nodes, const int32_t* token, const int32_t* parent);
  void verify(int32_t* choice, int32_t* path, int32_t* accept_len);
  void verify_sampling(
      const int32_t* scheme, const espalier_buffer* q, const int32_t* q_row, int32_t* path,
      int32_t* accept_len, int32_t* bonus);
  void commit(const int32_t* path, const int32_t* accept_len);
  void draw(
      int32_t num_nodes, const int32_t* node, int32_t k, int32_t noise, int32_t* token,
      float* log_prob, espalier_buffer* q, int32_t q_row);
  void logits(int32_t node, float* out, int32_t vocab);
  void keep_hidden(const int32_t* layer, int32_t num_layers);
  void hidden(int32_t layer, int32_t node, float* out, int32_t hidden);
  void exit_head(
      int32_t num_layers, const int32_t* layer, int32_t num_nodes, const int32_t* node,
      int32_t* token, float* prob);

 private:
  Sequence& sequence(int32_t seq);
  void check_tokens(const int32_t* token, int32_t count) const;
  void check_node(int32_t node, const char* what) const;
  /** Nodes to draw after: as many as there is memory for. */
  void check_num_nodes(int32_t num_nodes) const;
  void need_scores() const;
  void need_uncommitted() const;
  void need_whole() const;
  void check_sublayers(const int32_t* sublayers) const;
  [[noreturn]] void fail_bad_logits(int32_t node) const;

  /** Rows of the step that scores so many nodes: those behind the nodes only fill it up. */
  int32_t step_rows(int32_t num_nodes) const;
  /** Appends nodes first to last - 1 to a batch: their parents [last - first], depths and tree. */
  static void add_nodes(
      Batch* made, int32_t tree, int32_t first, int32_t last, const int32_t* parent);
  /**
   * Lays out the batch's nodes from `from` on: positions, slots and ancestor tables. Gives every tree its pages. Only a
   * batch of one tree may have nodes before, and then no rows that fill it up.
   */
  void place(const Batch& batch, int32_t from, int32_t rows);
  /** Takes the memory of everything that steps need, so that none of them takes any. */
  void reserve(int32_t max_rows, int64_t num_pages);
  /** The same for penalties: for a context of the largest length at each node. */
  void reserve_histories();
  /** What judged_ needs for so many rows without penalties. */
  static size_t judged_bytes(size_t rows);
  /** Runs the batch's layers over the rows that were placed; with scores, also the LM head. */
  void run(const Batch& batch, int32_t from, bool scores);
  void run_layer(int32_t i, int64_t rows, int32_t sublayers);
  void run_attention(int32_t i, int64_t rows);
  void run_mlp(int32_t i, int64_t rows);
  void lm_head(const float* x, float* logits, int64_t rows);
  Norm norm_of(const NamedWeight& weight) const;
  void keep(const Batch& batch, int32_t layer, int32_t from);
  const float* kept(int32_t layer) const;

  /** Places in judged_ of what is drawn after nodes. */
  struct Draws {
    size_t row, position, sampling, history_begin, history;
    int32_t rows;
    bool filtered;
  };
  std::vector<int32_t> all_nodes() const;
  /** Adds draws after nodes of the batch to judged_, filled up with greedy rows. */
  Draws put_draws(const std::vector<int32_t>& nodes, int32_t rows, int32_t noise);
  void send_judged();
  /** Draws; pointers are of the device. */
  void sample(
      const Draws& draws, int32_t k, int32_t noise, int32_t* token, float* log_prob, float* prob,
      int32_t* bad);
  /** Downloads, and throws what failed on the way. */
  void read(void* to, const void* from, size_t bytes);
  /** Forgets the scores and the pages that were only theirs. */
  void drop_scores();

  std::shared_ptr<Device> device_;
  std::shared_ptr<const Model> model_;
  uint64_t id_;  // of the steps' owner
  Backend& backend_;
  const ModelConfig& config_;
  int32_t max_nodes_;
  KvCache cache_;
  std::map<int32_t, Sequence> sequences_;
  int32_t next_sequence_ = 0;
  Batch batch_;             // empty when there are no scores
  bool committed_ = false;  // the batch was committed: its scores can only be read

  Parcel placement_;               // of the batch
  TreeAttentionArgs attention_{};  // what is the same in all layers
  bool prompt_ = false;            // the pass under way reads a prompt
  const int32_t* slot_ = nullptr;
  const int32_t* token_ = nullptr;
  const float* cos_sin_ = nullptr;

  // Activations, [max_nodes, ...] fp32.
  Memory x_, q_, k_, v_, attended_, mlp_, logits_;
  std::vector<int32_t> hidden_layers_;
  std::vector<Memory> hidden_;  // one [max_nodes, hidden] for each kept layer

  Parcel judged_;      // trees, and what is drawn after their nodes
  Memory verify_out_;  // [5, max_nodes]
  Memory laws_;        // [max_nodes, vocab] of speculative sampling, or logits of the exit head
  Scratch sampled_out_, log_prob_, top_k_;
};

}  // namespace espalier

struct espalier_session {
  espalier::Session session;
};

#endif
