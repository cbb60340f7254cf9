// The op table: what a backend implements. Arguments are checked before a backend sees them (runtime/op_calls.cpp for
// single ops, the session for a forward pass), so an op only computes. Pointers are of the backend's device.
//
// Shapes, meaning and source of every op: espalier.h, under the same name.
#ifndef ESPALIER_OPS_OPS_H
#define ESPALIER_OPS_OPS_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "espalier.h"

namespace espalier {

enum class Type : int32_t {
  kFp32 = ESPALIER_FP32,
  kBf16 = ESPALIER_BF16,
  kFp16 = ESPALIER_FP16,
  kI32 = ESPALIER_I32,
  kU64 = ESPALIER_U64
};

constexpr int64_t type_bytes(Type type) {
  switch (type) {
    case Type::kFp32:
    case Type::kI32:
      return 4;
    case Type::kBf16:
    case Type::kFp16:
      return 2;
    case Type::kU64:
      return 8;
  }
  return 0;
}

/** The type as error texts spell it. */
constexpr const char* type_name(Type type) {
  switch (type) {
    case Type::kFp32:
      return "fp32";
    case Type::kBf16:
      return "bf16";
    case Type::kFp16:
      return "fp16";
    case Type::kI32:
      return "i32";
    case Type::kU64:
      return "u64";
  }
  return "?";
}

/** A matrix of a model, as the backend made it at load from the folder's [n, k], row major. */
struct Weight {
  const void* data = nullptr;  // [n, k], on the device
  Type type = Type::kFp32;
  int64_t n = 0, k = 0;
  bool packed = false;  // in the backend's own order instead of row major
};

// The largest calls, the same on every backend: a launch on a GPU has at most 2^31 - 1 blocks along its first axis, and
// 65535 along the second and the third.
constexpr int32_t kMostGemmRows = 524280;    // of skinny_gemm
constexpr int32_t kMostHeads = 65535;        // of tree_attention
constexpr int32_t kMostPositions = 1 << 30;  // of tree_attention
constexpr int32_t kMostVocab = 268431360;    // of top_k, sample and verify_sampling
constexpr int32_t kMostLayers = 32767;       // of commit_kv
// Threads count in steps of a block's width, and so come behind what they count before they stop.
constexpr int32_t kMostNodes = 1 << 30;    // nodes and trees; tokens of sample's history
constexpr int32_t kMostRopeDim = 1 << 30;  // of rope_and_append

struct EmbedArgs {
  Weight table;          // [vocab, hidden]
  const int32_t* token;  // [rows]
  float* out;            // [rows, hidden]
  int64_t rows;
};

struct RmsNormArgs {
  const float* x;      // [rows, hidden]
  const void* weight;  // [hidden]
  Type weight_type;
  float eps;
  float* out;  // [rows, hidden], may be x
  int64_t rows, hidden;
};

/** An RMS norm that another op does on its way. */
struct Norm {
  const void* weight = nullptr;  // one for each element of a row; null for no norm
  Type type = Type::kFp32;
  float eps = 0;
};

/** One of the products of skinny_gemm. */
struct GemmPart {
  Weight w;              // [n, k]
  Weight bias;           // [n]; data is null for none
  float* out = nullptr;  // [m, n]
};

struct SkinnyGemmArgs {
  static constexpr int kMostParts = 3;

  const float* x = nullptr;   // [m, k]
  Norm norm;                  // of x, before the products
  GemmPart part[kMostParts];  // all of one k and one type of w
  int32_t num_parts = 1;
  Weight up;                        // [n, k], type of w; data is null without the gate
  Weight up_bias;                   // [n]; data is null for none; only with up
  const float* residual = nullptr;  // [m, n], or null; as up, only with one part
  int64_t m = 0;
  // Rows of a prompt: their sums may be taken in another order than those of a tree's nodes, and follow m then.
  bool prompt = false;
};

struct RopeAndAppendArgs {
  float* q;              // [rows, num_q_heads, head_dim], in place
  const float* k;        // [rows, num_kv_heads, head_dim]
  const float* v;        // [rows, num_kv_heads, head_dim]
  const float* cos_sin;  // [rows, 2, head_dim / 2]
  const int32_t* slot;   // [rows]
  void* k_cache;         // [num_pages, page_size, num_kv_heads, head_dim]
  void* v_cache;
  Type kv_type;
  int64_t rows;
  int32_t num_q_heads, num_kv_heads, head_dim;
  Norm q_norm, k_norm;  // of each head of q and k, before the rotation
};

struct TreeAttentionArgs {
  const float* q;       // [rows, num_q_heads, head_dim]
  const void* k_cache;  // [num_pages, page_size, num_kv_heads, head_dim]
  const void* v_cache;
  Type kv_type;
  const int32_t* page_table;     // [batch, max_pages]
  const int32_t* kv_len;         // [batch]
  const int32_t* row_seq;        // [rows]
  const int32_t* depth;          // [rows]
  const int32_t* ancestor_slot;  // [rows, max_depth]
  float scale;
  int32_t window;
  float soft_cap;
  float* out;  // [rows, num_q_heads, head_dim]
  int64_t rows;
  int32_t max_pages, max_depth, num_pages, page_size, num_q_heads, num_kv_heads, head_dim;
  int32_t batch;
  // Rows of prompts: those of a sequence are a chain, next to each other and in order, and page_table has their keys at their
  // positions too. Their sums may be taken in another order than those of a tree's nodes.
  bool prompt = false;
};

struct TopKArgs {
  const float* x;  // [rows, vocab]
  int32_t* idx;    // [rows, k]
  float* value;    // [rows, k], or null
  int64_t rows;
  int32_t vocab, k;
};

struct SampleArgs {
  const float* logits;                // [rows, vocab]
  const int32_t* row;                 // [rows] rows of logits to draw from; null for all in order
  const int32_t* history;             // tokens of the rows' contexts
  const int32_t* history_begin;       // [rows + 1]
  const int32_t* position;            // [rows] position of the token that is drawn
  const espalier_sampling* sampling;  // [rows]
  bool filtered;                      // false only where no row has filters, see law.h
  int32_t noise;                      // ESPALIER_TARGET_NOISE or ESPALIER_DRAFT_NOISE
  int32_t* token;                     // [rows, k]; -1 behind the law's last token, and in bad rows
  float* log_prob;                    // [rows, k], or null
  float* prob;                        // [rows, vocab], or null
  int32_t* bad;  // [rows] out: 1 where a logit is NaN or +inf, or no finite logit is left
  int64_t rows;
  int32_t vocab, k;
};

struct VerifyArgs {
  const int32_t *tree_begin, *token, *parent, *choice;
  int32_t *path, *accept_len;
  int32_t batch;
};

struct VerifySamplingArgs {
  const int32_t *tree_begin, *token, *parent;
  const float* p;           // [num_nodes, vocab]
  const int32_t* scheme;    // [num_nodes]
  const float* q;           // [rows, vocab]
  const int32_t* q_row;     // [num_nodes]
  const int32_t* position;  // [batch]
  const uint64_t* seed;     // [batch, 2]
  int32_t *path, *accept_len;
  int32_t* bonus;  // [batch] -1 where the walk met a law that is none
  int32_t batch, vocab;
};

struct CommitKvArgs {
  const int32_t *from, *to;  // [num_moves]
  void *k_cache, *v_cache;   // [num_layers, num_slots, row_bytes]
  int64_t num_moves, num_layers, num_slots, row_bytes;
};

struct RecycleFillArgs {
  const int32_t* table;          // [vocab, k]
  const int32_t *parent, *rank;  // [tree_len]
  const int32_t* root;           // [batch]
  int32_t* token;                // [batch, tree_len]
  int32_t vocab, k, tree_len, batch;
};

struct RecycleUpdateArgs {
  const int32_t *tree_begin, *token, *path, *accept_len;
  const int32_t* top;  // [num_nodes, k]
  int32_t* table;      // [vocab, k]
  int32_t num_nodes, batch, vocab, k;
};

/** The first failure of a backend, as the call that meets it returns it. */
struct Failure {
  espalier_status status = ESPALIER_OK;
  char text[1024] = "";
};

/**
 * One device in use: its memory, and its ops in the order of their calls. Used by one thread at a time.
 *
 * The CPU backend throws. A backend of another library throws nothing, because each has a C++ runtime of its own: it
 * keeps its first failure, ops behind that do nothing, and check (runtime/objects.h) throws it on this side.
 */
class Backend {
 public:
  virtual ~Backend() = default;

  virtual int32_t kind() const = 0;              // ESPALIER_CPU or ESPALIER_CUDA
  virtual Failure take_failure() { return {}; }  // and forgets it
  virtual void* allocate(size_t bytes) = 0;      // zeroed and 64-byte aligned
  virtual void release(void* data) = 0;
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  virtual void download(
      void* to, const void* from, size_t bytes) = 0;  // waits for the ops before it
  virtual void copy(
      void* to, const void* from, size_t bytes) = 0;  // between two places of the device
  virtual void synchronize() = 0;
  /** A weight of a model: the host's mapping itself on the CPU, a copy in the device's layout elsewhere. A vector (n = 1)
   *  is never packed. */
  virtual Weight prepare_weight(const void* host, Type type, int64_t n, int64_t k) = 0;
  virtual void release_weight(const Weight& weight) = 0;

  /**
   * A step is a list of ops that are the same, arguments and all, whenever `owner` and `shape` are: what differs from
   * step to step lies in device memory. True asks the caller for the ops and end_step, which makes sure that they run;
   * with false they run already, as they were recorded.
   */
  virtual bool begin_step(uint64_t owner, const std::vector<int32_t>& shape) {
    (void)owner, (void)shape;
    return true;
  }
  virtual void end_step() {}
  /** Forgets what was recorded of an owner: its memory moved or goes. */
  virtual void drop_steps(uint64_t owner) { (void)owner; }
  /** The rows of a step are filled up to a multiple of this, single ones excepted, so that there are fewer shapes. */
  virtual int32_t row_tile() const { return 1; }

  /**
   * Memory that ops work in, taken beforehand: true asks for the largest ops that will come, each in the largest shape,
   * and for end_planning. They do not run, and their pointers are not looked at.
   */
  virtual bool begin_planning() { return false; }
  virtual void end_planning() {}

  virtual void embed(const EmbedArgs& args) = 0;
  virtual void rms_norm(const RmsNormArgs& args) = 0;
  virtual void skinny_gemm(const SkinnyGemmArgs& args) = 0;
  virtual void rope_and_append(const RopeAndAppendArgs& args) = 0;
  virtual void tree_attention(const TreeAttentionArgs& args) = 0;
  virtual void top_k(const TopKArgs& args) = 0;
  virtual void sample(const SampleArgs& args) = 0;
  virtual void verify(const VerifyArgs& args) = 0;
  virtual void verify_sampling(const VerifySamplingArgs& args) = 0;
  virtual void commit_kv(const CommitKvArgs& args) = 0;
  virtual void recycle_fill(const RecycleFillArgs& args) = 0;
  virtual void recycle_update(const RecycleUpdateArgs& args) = 0;
};

}  // namespace espalier

#endif
