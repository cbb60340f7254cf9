// The one public header of libespalier: plain C, no CUDA type, nothing thrown across.
//
// Every function that can fail returns espalier_status; espalier_last_error() is the text of this thread's last
// failure. A failed argument check leaves outputs untouched and enqueues nothing. Strings are UTF-8. A first field
// `size` of a struct is sizeof the struct as the caller knows it.
#ifndef ESPALIER_H
#define ESPALIER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ESPALIER_API __attribute__((visibility("default")))

#define ESPALIER_ABI_VERSION 1

typedef int32_t espalier_status;

// Status codes.
#define ESPALIER_OK 0
#define ESPALIER_INVALID_ARGUMENT 1  // the caller's argument breaks a rule; nothing was done
#define ESPALIER_INVALID_STATE 2     // closed, in use by another thread, or called out of order
#define ESPALIER_UNSUPPORTED 3       // a known thing that this build or backend cannot do
#define ESPALIER_BAD_MODEL 4         // a model folder that is missing, corrupt or not supported
#define ESPALIER_OUT_OF_MEMORY 5     // host or device memory, or the pages of a session
#define ESPALIER_UNAVAILABLE 6       // a backend or device that is not there
#define ESPALIER_DEVICE_FAILURE 7    // the device reported an error
#define ESPALIER_NOT_A_NUMBER 8      // NaN or infinite logits
#define ESPALIER_INTERNAL 9          // a defect of espalier itself

// Element types.
#define ESPALIER_FP32 0
#define ESPALIER_BF16 1
#define ESPALIER_FP16 2
#define ESPALIER_I32 3
#define ESPALIER_U64 4

// Kinds of device.
#define ESPALIER_CPU 0
#define ESPALIER_CUDA 1

typedef struct espalier_context espalier_context;
typedef struct espalier_buffer espalier_buffer;
typedef struct espalier_model espalier_model;
typedef struct espalier_session espalier_session;

// ---------------------------------------------------------------------------------------------- library and devices

/** Text of this thread's last failed call; empty when none failed. Valid until the thread's next failing call. */
ESPALIER_API const char* espalier_last_error(void);

/** The ABI number that the library was built with, ESPALIER_ABI_VERSION. */
ESPALIER_API int32_t espalier_abi_version(void);

/**
 * Loads a further backend from a shared library (libespalier_cuda.so). On failure the CPU backend goes on answering
 * and the reason is kept for espalier_device_describe.
 */
ESPALIER_API espalier_status espalier_backend_load(const char* path);

/** What a device is, or why it is not available. */
typedef struct espalier_device_info {
  uint32_t size;
  int32_t kind;          /* ESPALIER_CPU or ESPALIER_CUDA */
  int32_t idx;           /* index among the devices of its kind */
  int32_t available;     /* 1 when a context can be created on it */
  int32_t num_threads;   /* CPU: threads that a context uses by default */
  int64_t memory_bytes;  /* memory of the device */
  char name[128];        /* for instance the processor's name */
  char instructions[64]; /* CPU: the path in use: avx512, avx2 or plain; CUDA: sm_90 */
  char reason[256];      /* why it is not available; empty when it is */
  char prompt_gemm[256]; /* CUDA: who multiplies a prompt, cuBLASLt or own kernels and why */
} espalier_device_info;

/** Number of entries of espalier_device_describe: one per device, and one for each kind that has no device. */
ESPALIER_API int32_t espalier_device_count(void);

/** Describes entry `entry`, 0 <= entry < espalier_device_count(). */
ESPALIER_API espalier_status espalier_device_describe(int32_t entry, espalier_device_info* info);

// ------------------------------------------------------------------------------------------------ contexts, buffers

/**
 * A device with its threads or stream. One context belongs to one thread at a time.
 *
 *   kind         ESPALIER_CPU or ESPALIER_CUDA
 *   idx          index among the devices of its kind
 *   num_threads  CPU threads, the calling one included; 0 for one per core
 */
ESPALIER_API espalier_status
espalier_context_create(int32_t kind, int32_t idx, int32_t num_threads, espalier_context** ctx);

/** Destroys a context; NULL is accepted. Buffers and sessions of the context must be destroyed before. */
ESPALIER_API void espalier_context_destroy(espalier_context* ctx);

/** Waits until everything enqueued on the context is done. */
ESPALIER_API espalier_status espalier_synchronize(espalier_context* ctx);

/** Allocates a zeroed buffer on the context's device: type, rank 1 to 4, and shape [rank]. */
ESPALIER_API espalier_status espalier_buffer_create(
    espalier_context* ctx, int32_t type, int32_t rank, const int64_t* shape,
    espalier_buffer** buffer);

/** Wraps memory of the context's device that the caller owns and keeps alive, aligned to its element size. */
ESPALIER_API espalier_status espalier_buffer_wrap(
    espalier_context* ctx, void* data, int32_t type, int32_t rank, const int64_t* shape,
    espalier_buffer** buffer);

/** Destroys a buffer; NULL is accepted. Wrapped memory stays the caller's. */
ESPALIER_API void espalier_buffer_destroy(espalier_buffer* buffer);

/** Copies host memory into the buffer; `bytes` must be the size of the buffer. */
ESPALIER_API espalier_status
espalier_buffer_write(espalier_buffer* buffer, const void* data, int64_t bytes);

/** Copies the buffer into host memory; `bytes` must be the size of the buffer. */
ESPALIER_API espalier_status
espalier_buffer_read(const espalier_buffer* buffer, void* data, int64_t bytes);

/** Copies host memory into a row of a buffer [rows, num_elements] of fp32. */
ESPALIER_API espalier_status espalier_buffer_write_row(
    espalier_buffer* buffer, int64_t row, const float* data, int64_t num_elements);

/** Copies a row of a buffer [rows, num_elements] of fp32 into host memory. */
ESPALIER_API espalier_status espalier_buffer_read_row(
    const espalier_buffer* buffer, int64_t row, float* data, int64_t num_elements);

// ----------------------------------------------------------------------------------------------------------- models

/** What a model folder holds. */
typedef struct espalier_model_info {
  uint32_t size;
  int32_t num_layers;
  int32_t hidden;
  int32_t intermediate;
  int32_t num_q_heads;
  int32_t num_kv_heads;
  int32_t head_dim;
  int32_t vocab;
  int32_t max_positions;   /* longest context, in tokens */
  int32_t sliding_window;  /* tokens; 0 when no layer has one */
  int32_t weight_type;     /* ESPALIER_BF16, ESPALIER_FP16 or ESPALIER_FP32 */
  int32_t tied_embeddings; /* 1 when the LM head is the embedding */
  int64_t num_parameters;
  int64_t weight_bytes;
  int64_t kv_elements_per_token; /* elements of K and V, all layers */
  char architecture[64];         /* for instance LlamaForCausalLM */
  char rope[16];                 /* default, linear, dynamic, llama3 or yarn */
} espalier_model_info;

/**
 * Loads a Hugging Face model folder: config.json and model.safetensors, or shards named by
 * model.safetensors.index.json. Weights are memory-mapped; on the CPU they are used in place. A model may be shared by
 * sessions on several threads.
 *
 *   ctx  a context of the device that the weights are for
 *   dir  the folder
 */
ESPALIER_API espalier_status
espalier_model_load(espalier_context* ctx, const char* dir, espalier_model** model);

/** Destroys a model; NULL is accepted. Sessions of the model must be destroyed before. */
ESPALIER_API void espalier_model_destroy(espalier_model* model);

ESPALIER_API espalier_status
espalier_model_describe(const espalier_model* model, espalier_model_info* info);

// --------------------------------------------------------------------------------------------------------- sessions

/** Zero in a field stands for its default. */
typedef struct espalier_session_options {
  uint32_t size;
  int32_t page_size; /* tokens of a KV page: 16, 32, 64 or 128; default 16 */
  int32_t kv_type;   /* 1 + element type (ESPALIER_FP32, _BF16, _FP16); default: the weight type */
  int32_t max_nodes; /* most nodes of one forward pass; default 512 */
  int64_t
      num_pages; /* pages of all sequences together; default: one sequence of the model's longest context, and
                          the pages of max_nodes more */
} espalier_session_options;

/**
 * A session: KV pages, sequences on them, and the scores of the last forward pass. One thread at a time; a second one
 * gets ESPALIER_INVALID_STATE. Sessions of one context run on that context's threads.
 */
ESPALIER_API espalier_status espalier_session_create(
    espalier_context* ctx, const espalier_model* model, const espalier_session_options* options,
    espalier_session** session);

/** Destroys a session; NULL is accepted. */
ESPALIER_API void espalier_session_destroy(espalier_session* session);

/** Opens an empty sequence; seq is its number in this session. */
ESPALIER_API espalier_status espalier_sequence_create(espalier_session* session, int32_t* seq);

/** Opens a sequence with the committed tokens and KV of another; pages are shared until one of the two writes. */
ESPALIER_API espalier_status
espalier_sequence_fork(espalier_session* session, int32_t seq, int32_t* forked);

/** Closes a sequence and frees its pages. */
ESPALIER_API espalier_status espalier_sequence_destroy(espalier_session* session, int32_t seq);

/** Committed tokens of a sequence: those whose KV is in the cache. */
ESPALIER_API espalier_status
espalier_sequence_length(espalier_session* session, int32_t seq, int32_t* length);

/** Drops the committed tokens from position `length` on. */
ESPALIER_API espalier_status
espalier_sequence_rollback(espalier_session* session, int32_t seq, int32_t length);

/**
 * How the target chooses a token. Order: penalties on the raw logits, temperature, top_k, top_p, min_p, softmax,
 * renormalise. Defaults are greedy decoding without penalties.
 */
typedef struct espalier_sampling {
  uint32_t size;
  float temperature; /* >= 0; at most 1e-5 is greedy */
  int32_t top_k;     /* >= 0; 0 is off, 1 is greedy */
  float top_p;       /* (0, 1]; 1 is off */
  float min_p;       /* [0, 1); 0 is off */
  float
      repetition_penalty; /* > 0; 1 is off. Tokens of the context: positive logits divided, negative multiplied */
  float presence_penalty;  /* subtracted once for each token of the context; 0 is off */
  float frequency_penalty; /* subtracted for each occurrence in the context; 0 is off */
  uint64_t seed;           /* of the keyed noise */
  uint64_t stream;         /* tells apart sequences that share a seed */
} espalier_sampling;

/**
 * Sets how tokens are chosen in a sequence; a new one is greedy, a fork inherits. The first penalties of a session take
 * memory: 4 bytes for each of max_nodes contexts of the largest length, which is the model's or what the KV pages hold.
 * Refused where that is more than 2^31 - 1 tokens, or more memory than there is.
 */
ESPALIER_API espalier_status espalier_sequence_set_sampling(
    espalier_session* session, int32_t seq, const espalier_sampling* sampling);

/**
 * Appends tokens to a sequence: computes and commits their KV, without scores.
 *
 *   token  [num_tokens]  i32
 */
ESPALIER_API espalier_status espalier_session_prefill(
    espalier_session* session, int32_t seq, const int32_t* token, int32_t num_tokens);

/**
 * One pass of the model over a ragged batch of draft trees. Node 0 of a tree is the sequence's last token, whose KV is
 * not in the cache yet; plain decoding is a tree of one node. The scores stay in the session until the next forward,
 * prefill or rollback; after a commit logits and hidden states can still be read.
 *
 *   batch        number of trees, one per sequence
 *   seq          [batch]             i32  sequences, all different
 *   tree_begin   [batch + 1]         i32  tree b is nodes tree_begin[b] .. tree_begin[b + 1] - 1, from 0, none empty
 *   token        [num_nodes]         i32  token of each node
 *   parent       [num_nodes]         i32  index in the tree: -1 for node 0, otherwise less than the node's
 *   top_k        0, or tokens wanted for each node, at most 64
 *   top_k_token  [num_nodes, top_k]  i32  out: most likely next tokens by raw logit, best first, ties to the lowest
 *                                         id; NULL when top_k is 0
 */
ESPALIER_API espalier_status espalier_session_forward(
    espalier_session* session, int32_t batch, const int32_t* seq, const int32_t* tree_begin,
    const int32_t* token, const int32_t* parent, int32_t top_k, int32_t* top_k_token);

// The sub-layers of a layer.
#define ESPALIER_ATTENTION 1
#define ESPALIER_MLP 2

/**
 * espalier_session_forward over a part of the model, for drafts. A sub-layer that is left out is the identity: x = x
 * instead of x = x + f(norm(x)); nothing of it is computed or written. KV of the nodes goes where a whole pass would put
 * it, behind the committed tokens, whose own KV is read and never changed.
 *
 * Scores of a pass that left something out can be read, drawn from and grown. They cannot be verified or committed, and
 * such a pass keeps no hidden states: those calls get ESPALIER_INVALID_STATE.
 *
 *   sublayers  [num_layers]  i32  ESPALIER_ATTENTION | ESPALIER_MLP of each layer, at least one in all; NULL for all
 *   others as espalier_session_forward
 *
 * Source: SWIFT, arXiv 2410.06916; LayerSkip, arXiv 2404.16710.
 */
ESPALIER_API espalier_status espalier_session_forward_layers(
    espalier_session* session, int32_t batch, const int32_t* seq, const int32_t* tree_begin,
    const int32_t* token, const int32_t* parent, const int32_t* sublayers, int32_t top_k,
    int32_t* top_k_token);

/**
 * Appends nodes to the tree of the last forward, which had one tree and is not committed. Only they are computed, through
 * the same layers; indices continue, and scores of all nodes can be used: the same bits as of the whole tree at once.
 *
 *   num_nodes  new nodes; with those before at most max_nodes of the session
 *   token      [num_nodes]  i32  token of each new node
 *   parent     [num_nodes]  i32  index in the whole tree, less than the node's
 */
ESPALIER_API espalier_status espalier_session_grow(
    espalier_session* session, int32_t num_nodes, const int32_t* token, const int32_t* parent);

/**
 * Exact verification of the last forward: the target's own choice at every node (arg-max, or Gumbel-max with noise
 * keyed by seed, stream, position and token), and the longest path from the root on which each token is that choice.
 *
 *   choice      [num_nodes]  i32  out: the target's next token after each node
 *   path        [num_nodes]  i32  out: for tree b from tree_begin[b] on, its accepted nodes in order, as indices in
 *                                      the tree, node 0 left out
 *   accept_len  [batch]      i32  out: accepted draft tokens; the bonus token, choice of the last, is not counted
 *
 * Source: SpecInfer, arXiv 2305.09781.
 */
ESPALIER_API espalier_status espalier_session_verify(
    espalier_session* session, int32_t* choice, int32_t* path, int32_t* accept_len);

// How the children of a node were produced: the rule by which they are verified.
#define ESPALIER_POINT_MASS 0        // chosen without chance
#define ESPALIER_WITH_REPLACEMENT 1  // independent draws from q
#define ESPALIER_WITHOUT_REPLACEMENT \
  2  // draws from q, each conditioned on not repeating, in node order

/**
 * Speculative sampling of the last forward: emitted tokens have the law of the target, not the same text.
 *
 *   scheme      [num_nodes]     i32   how the node's children were produced, ESPALIER_POINT_MASS and so on
 *   q           [rows, vocab]   fp32  laws that children were drawn from; may be NULL when every scheme is point mass
 *   q_row       [num_nodes]     i32   row of q for the node's children; -1 where there is none
 *   path        [num_nodes]     i32   out: as espalier_session_verify
 *   accept_len  [batch]         i32   out
 *   bonus       [batch]         i32   out: the token after the last accepted node
 *
 * A q that is no law, or is 0 at a child that was drawn from it, is ESPALIER_INVALID_ARGUMENT where the walk meets it.
 *
 * Source: Leviathan et al., arXiv 2211.17192; SpecInfer; Sequoia, arXiv 2402.12374.
 */
ESPALIER_API espalier_status espalier_session_verify_sampling(
    espalier_session* session, const int32_t* scheme, const espalier_buffer* q,
    const int32_t* q_row, int32_t* path, int32_t* accept_len, int32_t* bonus);

/**
 * Keeps the KV of node 0 and of the accepted path of every tree of the last forward, drops the rest.
 *
 *   path        [num_nodes]  i32  as espalier_session_verify wrote it; a chain of children from node 0
 *   accept_len  [batch]      i32  nodes of each path to keep; -1 keeps nothing of the tree, not even node 0
 */
ESPALIER_API espalier_status
espalier_session_commit(espalier_session* session, const int32_t* path, const int32_t* accept_len);

// The noise that espalier_session_draw draws with.
#define ESPALIER_TARGET_NOISE 0  // the noise of espalier_session_verify at the same position
#define ESPALIER_DRAFT_NOISE 1   // noise of its own, for drafts that speculative sampling verifies
#define ESPALIER_NO_NOISE 2      // the raw logits, whatever the sampling: no penalties, greedy

/**
 * The k most favoured next tokens after nodes of the last forward, by the sampling of their sequence: by processed
 * logit when greedy, otherwise by processed log-probability plus keyed Gumbel noise, which makes them draws without
 * replacement in order. With k = 1 and ESPALIER_TARGET_NOISE this is the choice of espalier_session_verify.
 *
 *   node      [num_nodes]     i32   node of the batch, 0 <= node < tree_begin[batch]; 1 <= num_nodes <= max_nodes
 *   token     [num_nodes, k]  i32   out: -1 where the law has fewer than k tokens
 *   log_prob  [num_nodes, k]  fp32  out: natural log of the processed probability; NULL when not wanted
 *   q         [rows, vocab]   fp32  out: the processed law of node i into row q_row + i; NULL when not wanted
 */
ESPALIER_API espalier_status espalier_session_draw(
    espalier_session* session, int32_t num_nodes, const int32_t* node, int32_t k, int32_t noise,
    int32_t* token, float* log_prob, espalier_buffer* q, int32_t q_row);

/** Copies raw logits of one node of the last forward: logits [vocab] fp32, vocab as the model's. */
ESPALIER_API espalier_status
espalier_session_logits(espalier_session* session, int32_t node, float* logits, int32_t vocab);

/**
 * Chooses the layers whose hidden states the next forwards keep; none at first. Takes memory where they are more layers
 * than before, gives it back where they are fewer, and drops the scores.
 *
 *   layer  [num_layers]  i32  0 for the embedding, i for the output of layer i; ascending
 */
ESPALIER_API espalier_status
espalier_session_keep_hidden(espalier_session* session, const int32_t* layer, int32_t num_layers);

/** Copies a kept hidden state of one node of the last forward: state [hidden] fp32, before the final norm. */
ESPALIER_API espalier_status espalier_session_hidden(
    espalier_session* session, int32_t layer, int32_t node, float* state, int32_t hidden);

/**
 * What the model would say if it ended after a layer: final norm and LM head on kept hidden states of the last forward,
 * the most likely token by raw logit and its softmax probability. Logits are computed for 64 rows at a time and not kept.
 *
 *   layer  [num_layers]             i32   layers that espalier_session_keep_hidden chose, in any order; at most as many
 *   node   [num_nodes]              i32   node of the batch; 1 <= num_nodes <= max_nodes
 *   token  [num_layers, num_nodes]  i32   out: ties to the lowest id; -1 where a logit is NaN or infinite
 *   prob   [num_layers, num_nodes]  fp32  out: 0 where the token is -1
 *
 * Source: LayerSkip, arXiv 2404.16710; DEL, arXiv 2504.05598.
 */
ESPALIER_API espalier_status espalier_session_exit_head(
    espalier_session* session, int32_t num_layers, const int32_t* layer, int32_t num_nodes,
    const int32_t* node, int32_t* token, float* prob);

// -------------------------------------------------------------------------------------------------------------- ops
// Each op alone, on buffers of one context. Law 1 holds for each: what is written for a row depends on that row's
// inputs alone, bit for bit. Counts of rows, moves and columns are at most 2^31 - 1, as are rows * heads and
// num_kv_heads * head_dim; nodes, trees and the tokens of histories at most 2^30. Where an op says less, every backend
// refuses more.

/**
 * Rows of an embedding table.
 *
 *   table  [vocab, hidden]  fp32, bf16 or fp16
 *   token  [rows]           i32   0 <= token < vocab
 *   out    [rows, hidden]   fp32
 */
ESPALIER_API espalier_status espalier_embed(
    espalier_context* ctx, const espalier_buffer* table, const espalier_buffer* token,
    espalier_buffer* out);

/**
 * Root mean square norm: out = x / sqrt(mean(x^2) + eps) * weight.
 *
 *   x       [rows, hidden]  fp32
 *   weight  [hidden]        fp32, bf16 or fp16
 *   out     [rows, hidden]  fp32; may be x
 */
ESPALIER_API espalier_status espalier_rms_norm(
    espalier_context* ctx, const espalier_buffer* x, const espalier_buffer* weight, float eps,
    espalier_buffer* out);

/**
 * Product of few rows with a large weight: out = x w^T (+ bias) (+ residual), or
 * silu(x w^T (+ bias)) * (x up^T (+ up_bias)). With norm, x / sqrt(mean(x^2) + eps) * norm stands in the place of x.
 * Up to three products share an x; each has the bits that it has alone.
 *
 *   x         [m, k]   fp32
 *   norm      [k]      fp32, bf16 or fp16; NULL for no norm
 *   eps       finite, >= 0; not looked at without norm
 *   w         [n, k]   fp32, bf16 or fp16
 *   bias      [n]      fp32, bf16 or fp16; NULL for none
 *   up        [n, k]   type of w; NULL without the gate; only with one product
 *   up_bias   [n]      fp32, bf16 or fp16; NULL for none; only with up
 *   residual  [m, n]   fp32; NULL for none; may be out; not with up, only with one product
 *   out       [m, n]   fp32
 *   w2        [n2, k]  type of w; NULL for one product
 *   bias2     [n2]     fp32, bf16 or fp16; NULL for none; only with w2
 *   out2      [m, n2]  fp32; NULL where w2 is NULL
 *   w3        [n3, k]  type of w; NULL for two products; only with w2
 *   bias3     [n3]     fp32, bf16 or fp16; NULL for none; only with w3
 *   out3      [m, n3]  fp32; NULL where w3 is NULL
 *
 * m is at most 524280. On CUDA weights of 16 bits lie at a multiple of 16 bytes and k is a multiple of 8; others are
 * ESPALIER_UNSUPPORTED.
 */
ESPALIER_API espalier_status espalier_skinny_gemm(
    espalier_context* ctx, const espalier_buffer* x, const espalier_buffer* norm, float eps,
    const espalier_buffer* w, const espalier_buffer* bias, const espalier_buffer* up,
    const espalier_buffer* up_bias, const espalier_buffer* residual, espalier_buffer* out,
    const espalier_buffer* w2, const espalier_buffer* bias2, espalier_buffer* out2,
    const espalier_buffer* w3, const espalier_buffer* bias3, espalier_buffer* out3);

/**
 * Rotates q and k by their rows' angles and appends k and v to a paged cache. With q_norm, each head of q is normalised
 * before: head / sqrt(mean(head^2) + eps) * q_norm; with k_norm each head of k.
 *
 *   q        [rows, num_q_heads, head_dim]                     fp32  rotated in place
 *   k        [rows, num_kv_heads, head_dim]                    fp32
 *   v        [rows, num_kv_heads, head_dim]                    fp32
 *   q_norm   [head_dim]                                        fp32, bf16 or fp16; NULL for no norm
 *   k_norm   [head_dim]                                        fp32, bf16 or fp16; NULL for no norm
 *   eps      finite, >= 0; not looked at without a norm
 *   cos_sin  [rows, 2, head_dim / 2]                           fp32  cosines, then sines, of the rows' positions
 *   slot     [rows]                                            i32   page * page_size + offset, all different
 *   k_cache  [num_pages, page_size, num_kv_heads, head_dim]    fp32, bf16 or fp16
 *   v_cache  as k_cache
 */
ESPALIER_API espalier_status espalier_rope_and_append(
    espalier_context* ctx, espalier_buffer* q, const espalier_buffer* k, const espalier_buffer* v,
    const espalier_buffer* q_norm, const espalier_buffer* k_norm, float eps,
    const espalier_buffer* cos_sin, const espalier_buffer* slot, espalier_buffer* k_cache,
    espalier_buffer* v_cache);

/**
 * Attention of draft tree nodes over a paged cache. Node r of sequence s = row_seq[r] sees the kv_len[s] committed
 * positions of the sequence, then its ancestors and itself: depth[r] + 1 slots of ancestor_slot, from the tree's root.
 * Keys are reduced in the order of their positions, wherever they lie.
 *
 *   q              [rows, num_q_heads, head_dim]                   fp32
 *   k_cache        [num_pages, page_size, num_kv_heads, head_dim]  fp32, bf16 or fp16
 *   v_cache        as k_cache
 *   page_table     [batch, max_pages]                              i32  -1 when unused
 *   kv_len         [batch]                                         i32
 *   row_seq        [rows]                                          i32
 *   depth          [rows]                                          i32
 *   ancestor_slot  [rows, max_depth]                               i32
 *   scale          factor of the dot products, usually 1 / sqrt(head_dim)
 *   window         a node at position p sees positions above p - window; 0 for all
 *   soft_cap       scores become soft_cap * tanh(score / soft_cap); 0 for none
 *   out            [rows, num_q_heads, head_dim]                   fp32
 *
 * num_q_heads is at most 65535, max_pages * page_size + max_depth at most 2^30. On CUDA head_dim is at most 256; more is
 * ESPALIER_UNSUPPORTED.
 */
ESPALIER_API espalier_status espalier_tree_attention(
    espalier_context* ctx, const espalier_buffer* q, const espalier_buffer* k_cache,
    const espalier_buffer* v_cache, const espalier_buffer* page_table,
    const espalier_buffer* kv_len, const espalier_buffer* row_seq, const espalier_buffer* depth,
    const espalier_buffer* ancestor_slot, float scale, int32_t window, float soft_cap,
    espalier_buffer* out);

/**
 * The k largest entries of each row, best first, ties to the lowest index. NaN counts as less than everything.
 *
 *   x      [rows, vocab]  fp32; vocab is at most 268431360
 *   idx    [rows, k]      i32   out; 1 <= k <= min(64, vocab)
 *   value  [rows, k]      fp32  out
 */
ESPALIER_API espalier_status espalier_top_k(
    espalier_context* ctx, const espalier_buffer* x, espalier_buffer* idx, espalier_buffer* value);

/**
 * Draws from logits with one sampling for all rows: the k most favoured tokens of each row, see espalier_session_draw.
 *
 *   logits         [rows, vocab]   fp32; vocab is at most 268431360
 *   history        [history_len]   i32   tokens of the rows' contexts, one after the other; for the penalties
 *   history_begin  [rows + 1]      i32
 *   position       [rows]          i32   position of the token that is drawn
 *   token          [rows, k]       i32   out: -1 where the law has fewer than k tokens
 *   prob           [rows, vocab]   fp32  out: the processed law; NULL when not wanted
 */
ESPALIER_API espalier_status espalier_sample(
    espalier_context* ctx, const espalier_buffer* logits, const espalier_buffer* history,
    const espalier_buffer* history_begin, const espalier_buffer* position,
    const espalier_sampling* sampling, int32_t noise, espalier_buffer* token,
    espalier_buffer* prob);

/**
 * Verification: the longest path from the root on which each token is the target's own choice.
 *
 *   tree_begin  [batch + 1]  i32  tree b is nodes tree_begin[b] .. tree_begin[b + 1] - 1
 *   token       [num_nodes]  i32  token of each node; a tree's node 0 is the last committed token
 *   parent      [num_nodes]  i32  index in the tree: -1 for node 0, otherwise less than the node's
 *   choice      [num_nodes]  i32  the target's next token after each node
 *   path        [num_nodes]  i32  out: accepted nodes in order; the rest keeps its old value
 *   accept_len  [batch]      i32  out: accepted draft tokens; the bonus token is not counted
 *
 * Exact: all backends agree. Source: SpecInfer, arXiv 2305.09781.
 */
ESPALIER_API espalier_status espalier_verify(
    espalier_context* ctx, const espalier_buffer* tree_begin, const espalier_buffer* token,
    const espalier_buffer* parent, const espalier_buffer* choice, espalier_buffer* path,
    espalier_buffer* accept_len);

/**
 * Speculative sampling over draft trees, see espalier_session_verify_sampling.
 *
 *   tree_begin, token, parent   as espalier_verify
 *   p           [num_nodes, vocab]  fp32  the target's processed law after each node; vocab is at most 268431360
 *   scheme      [num_nodes]         i32
 *   q           [rows, vocab]       fp32  NULL when every scheme is point mass
 *   q_row       [num_nodes]         i32
 *   position    [batch]             i32   position of each tree's node 0
 *   seed        [batch, 2]          u64   seed and stream of each tree's noise
 *   path        [num_nodes]         i32   out
 *   accept_len  [batch]             i32   out
 *   bonus       [batch]             i32   out: -1 where the walk met a p or q that is no law (values from 0 to 1, sum 1
 *                                         within 1e-3), or a child whose q is 0: path and accept_len end there
 *
 * Both backends agree. What is in a law is found out on the way and cannot be refused before, so look at bonus;
 * espalier_session_verify_sampling does.
 */
ESPALIER_API espalier_status espalier_verify_sampling(
    espalier_context* ctx, const espalier_buffer* tree_begin, const espalier_buffer* token,
    const espalier_buffer* parent, const espalier_buffer* p, const espalier_buffer* scheme,
    const espalier_buffer* q, const espalier_buffer* q_row, const espalier_buffer* position,
    const espalier_buffer* seed, espalier_buffer* path, espalier_buffer* accept_len,
    espalier_buffer* bonus);

/**
 * Copies KV rows between slots, in the given order, so that a later move may read what an earlier one wrote over.
 *
 *   from, to  [num_moves]                                              i32  slots: page * page_size + offset
 *   k_cache   [num_layers * num_pages, page_size, num_kv_heads, head_dim]   layers one after the other
 *   v_cache   as k_cache
 *
 * num_layers is at most 32767.
 */
ESPALIER_API espalier_status espalier_commit_kv(
    espalier_context* ctx, const espalier_buffer* from, const espalier_buffer* to,
    int32_t num_layers, espalier_buffer* k_cache, espalier_buffer* v_cache);

/**
 * Token Recycling: fills a tree for each sequence from the table of each token's likely successors. Node 0 takes its
 * sequence's root, node i entry rank[i] of the row of its parent's token. -1 stands at a node that has no token, and at
 * all nodes below it: its entry is outside of the vocabulary, or repeats the row's first one, as in a row of zeros, which
 * nothing was written to and which so gives one child. espalier_verify accepts no such node.
 *
 *   table   [vocab, k]          i32  best first; any values; 1 <= k <= 64
 *   parent  [tree_len]          i32  -1 for node 0, otherwise less than the node's index
 *   rank    [tree_len]          i32  0 <= rank < k; that of node 0 is not looked at
 *   root    [batch]             i32  -1 <= root < vocab; -1 for a tree without tokens
 *   token   [batch * tree_len]  i32  out: tree b from b * tree_len on
 *
 * Exact: all backends agree. On a device parent, rank and root are not looked at before: what breaks its rule gives -1.
 * Source: Token Recycling, arXiv 2408.08696.
 */
ESPALIER_API espalier_status espalier_recycle_fill(
    espalier_context* ctx, const espalier_buffer* table, const espalier_buffer* parent,
    const espalier_buffer* rank, const espalier_buffer* root, espalier_buffer* token);

/**
 * Token Recycling: learns from the nodes of a verified batch, accepted or not: row token[i] of the table becomes row i of
 * top. When a token is at several nodes, the last tree that has it writes its row, and in this tree the last accepted
 * node, node 0 among them, or the last node where none is accepted. So a batch leaves the table that its trees leave
 * one after the other.
 *
 *   tree_begin  [batch + 1]     i32  tree b is nodes tree_begin[b] .. tree_begin[b + 1] - 1
 *   token       [num_nodes]     i32  -1 <= token < vocab; nothing is written for -1
 *   path        [num_nodes]     i32  accepted nodes, as espalier_verify wrote them
 *   accept_len  [batch]         i32
 *   top         [num_nodes, k]  i32  likely next tokens after each node, as idx of espalier_top_k
 *   table       [vocab, k]      i32  rows of the batch's tokens are written; its old values are not read
 *
 * Exact: all backends agree. On a device values of buffers are not looked at before: nodes outside of their tree are left
 * out of path, and tokens outside of the vocabulary write nothing.
 * Source: Token Recycling, arXiv 2408.08696.
 */
ESPALIER_API espalier_status espalier_recycle_update(
    espalier_context* ctx, const espalier_buffer* tree_begin, const espalier_buffer* token,
    const espalier_buffer* path, const espalier_buffer* accept_len, const espalier_buffer* top,
    espalier_buffer* table);

#ifdef __cplusplus
}
#endif

#endif
