// tree_attention: attention of draft tree nodes over a paged KV cache.
//
// Math    keys in the order of their positions: score_j = q . k_j * scale, soft-capped; w_j =
//         exp(score_j - max score); out = sum_j w_j v_j / sum_j w_j
// Shapes  q, out [rows, num_q_heads, head_dim], k_cache, v_cache [num_pages, page_size,
//         num_kv_heads, head_dim], page_table [batch, max_pages], kv_len [batch], row_seq, depth
//         [rows], ancestor_slot [rows, max_depth]
// Rows    a dot product has the order of score_tile; the weights are added in partial sums by the
//         key's place in the row's list of keys, the values one after the other in that list. So
//         nothing depends on the page or slot of a key, on whether it is committed or in the tree,
//         or on the rows that share the block
// Bytes   a block reads each shared key and value once; up to eight rows of a sequence are a block
// Error   (4 e + (len + 12) * 2^-24) * max |v|, where e is the error of a score: that of its dot
//         product, (head_dim / 4 + 6) * 2^-24 * sum |q k| * scale, and 2^-23 |score|; with a cap
//         another 6 * 2^-24 * soft_cap
#include <algorithm>
#include <vector>

#include "cpu/cpu_backend.h"

namespace espalier {
namespace {

/** The keys of a row after those that it shares with its block. */
struct AttentionRow {
  const int32_t* own_slot;
  int64_t num_own;
  int64_t skip;  // keys of the list, shared ones first, that lie before the row's window
};

/** Rows of one sequence with one KV head, and room for the scores and sums of their pairs. */
struct AttentionBlock {
  int32_t kv_head;
  int64_t group_size, head_dim, num_rows;
  int64_t slot_len;  // elements from a slot to the next
  const AttentionRow* row;
  const int32_t* shared_slot;
  int64_t num_shared;
  int64_t padded_dim;  // head_dim, rounded up to whole vectors
  const float* q;      // [pairs, padded_dim], the padding 0
  float* wide;         // [kChunk, padded_dim] keys or values of a chunk
  float* score;        // [pairs, stride]
  int64_t stride;
  float* out;    // [pairs, padded_dim]
  float* total;  // [pairs]
};

constexpr int64_t kChunk = 16;  // keys whose K or V is fp32 in the first cache at a time

}  // namespace
}  // namespace espalier

#define ESPALIER_KERNEL "cpu/tree_attention_kernel.h"
#include "cpu/each_path.h"

namespace espalier {
namespace {

constexpr int64_t kMaxLanes = 16;
constexpr int64_t kBlockRows = 8;
constexpr int64_t kScoreFloats = int64_t{1} << 17;  // scores of a block that has more than one row

/** Rows begin .. end - 1, all of one sequence. */
struct RowRange {
  int64_t begin, end;
};

/** Cuts the rows into blocks, so that each has one sequence and its scores fit into the cache. */
std::vector<RowRange> cut_rows(const TreeAttentionArgs& args) {
  const int64_t group_size = args.num_q_heads / args.num_kv_heads;
  std::vector<RowRange> ranges;
  for (int64_t r = 0; r < args.rows; ++r) {
    const int32_t seq = args.row_seq[r];
    const int64_t len = int64_t{args.kv_len[seq]} + args.max_depth;
    if (!ranges.empty()) {
      RowRange& last = ranges.back();
      const int64_t rows = last.end - last.begin + 1;
      if (args.row_seq[last.begin] == seq && rows <= kBlockRows &&
          rows * group_size * len <= kScoreFloats) {
        last.end = r + 1;
        continue;
      }
    }
    ranges.push_back({r, r + 1});
  }
  return ranges;
}

/** Scratch of a thread, kept between calls. */
struct Scratch {
  std::vector<AttentionRow> row;
  std::vector<int32_t> shared_slot;
  std::vector<float> q, wide, score, out, total;
};

/** Lists the keys of a block: those that all its rows share, and what each has of its own. */
void list_keys(
    const TreeAttentionArgs& args, RowRange range, AttentionBlock* block, Scratch* scratch) {
  const int32_t seq = args.row_seq[range.begin];
  const int64_t kv_len = args.kv_len[seq];
  const auto window_begin = [&](int64_t r) {
    return args.window > 0 ? std::max<int64_t>(0, kv_len + args.depth[r] + 1 - args.window) : 0;
  };
  int64_t first = kv_len;  // the first position that any row sees
  for (int64_t r = range.begin; r < range.end; ++r) first = std::min(first, window_begin(r));

  const int32_t* ancestors = args.ancestor_slot + range.begin * args.max_depth;
  int64_t prefix = args.depth[range.begin] + 1;  // ancestors that all rows have
  for (int64_t r = range.begin + 1; r < range.end; ++r) {
    const int32_t* other = args.ancestor_slot + r * args.max_depth;
    prefix = std::min<int64_t>(prefix, args.depth[r] + 1);
    prefix = std::mismatch(ancestors, ancestors + prefix, other).first - ancestors;
  }

  scratch->shared_slot.clear();
  const int32_t* page_table = args.page_table + int64_t{seq} * args.max_pages;
  for (int64_t p = first; p < kv_len; ++p) {
    scratch->shared_slot.push_back(
        static_cast<int32_t>(page_table[p / args.page_size] * args.page_size + p % args.page_size));
  }
  scratch->shared_slot.insert(scratch->shared_slot.end(), ancestors, ancestors + prefix);
  block->shared_slot = scratch->shared_slot.data();
  block->num_shared = static_cast<int64_t>(scratch->shared_slot.size());

  scratch->row.clear();
  int64_t longest = 0;
  for (int64_t r = range.begin; r < range.end; ++r) {
    const int64_t num_own = args.depth[r] + 1 - prefix;
    scratch->row.push_back(
        {args.ancestor_slot + r * args.max_depth + prefix, num_own, window_begin(r) - first});
    longest = std::max(longest, num_own);
  }
  block->row = scratch->row.data();
  block->stride = block->num_shared + longest + kMaxLanes;
}

using Attend = void (*)(const AttentionBlock&, const TreeAttentionArgs&);

void attend_range(const TreeAttentionArgs& args, RowRange range, int32_t kv_head, Attend attend) {
  static thread_local Scratch scratch;
  AttentionBlock block = {};
  block.kv_head = kv_head;
  block.group_size = args.num_q_heads / args.num_kv_heads;
  block.head_dim = args.head_dim;
  block.num_rows = range.end - range.begin;
  block.slot_len = int64_t{args.num_kv_heads} * args.head_dim;
  block.padded_dim = (args.head_dim + kMaxLanes - 1) / kMaxLanes * kMaxLanes;
  list_keys(args, range, &block, &scratch);

  const int64_t num_pairs = block.num_rows * block.group_size;
  scratch.q.assign(num_pairs * block.padded_dim, 0);
  scratch.wide.resize(kChunk * block.padded_dim);
  scratch.score.resize(num_pairs * block.stride);
  scratch.out.resize(num_pairs * block.padded_dim);
  scratch.total.resize(num_pairs);
  block.q = scratch.q.data();
  block.wide = scratch.wide.data();
  block.score = scratch.score.data();
  block.out = scratch.out.data();
  block.total = scratch.total.data();

  const int64_t first_head = kv_head * block.group_size;
  const auto offset = [&](int64_t pair) {
    const int64_t row = range.begin + pair / block.group_size;
    return (row * args.num_q_heads + first_head + pair % block.group_size) * args.head_dim;
  };
  for (int64_t pair = 0; pair < num_pairs; ++pair) {
    std::copy_n(args.q + offset(pair), args.head_dim, scratch.q.data() + pair * block.padded_dim);
  }
  attend(block, args);
  for (int64_t pair = 0; pair < num_pairs; ++pair) {
    for (int32_t d = 0; d < args.head_dim; ++d) {
      args.out[offset(pair) + d] = block.out[pair * block.padded_dim + d] / block.total[pair];
    }
  }
}

}  // namespace

void CpuBackend::tree_attention(const TreeAttentionArgs& args) {
  Attend attend = plain::attend;
#if defined(__x86_64__)
  if (path_ == Instructions::kAvx2) attend = avx2::attend;
  if (path_ == Instructions::kAvx512) attend = avx512::attend;
#endif
  const std::vector<RowRange> ranges = cut_rows(args);
  pool_.parallel_for(
      static_cast<int64_t>(ranges.size()) * args.num_kv_heads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          attend_range(
              args, ranges[i / args.num_kv_heads], static_cast<int32_t>(i % args.num_kv_heads),
              attend);
        }
      });
}

}  // namespace espalier
