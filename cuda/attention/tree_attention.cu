// tree_attention: attention of draft tree nodes over a paged KV cache.
//
// Math    keys in the order of their positions: score_j = q . k_j * scale, soft-capped; out =
//         sum_j w_j v_j / sum_j w_j, w_j = exp(score_j - max score)
// Shapes  q, out [rows, num_q_heads, head_dim], k_cache, v_cache [num_pages, page_size,
//         num_kv_heads, head_dim], page_table [batch, max_pages], kv_len [batch], row_seq, depth
//         [rows], ancestor_slot [rows, max_depth]
// Needs   head_dim at most 256; workspace of tree_attention_workspace_bytes, aligned to 16 bytes. A row
//         with row_seq < 0 is skipped
// Launch  two: parts of rows, then their sums. Parts: tensor cores where the cache is bf16 or fp16 at a
//         multiple of 16 bytes and head_dim is 64, 128 or 256; grid (row chunks, KV heads, key-by-key
//         blocks + splits), 64 to 256 threads. Otherwise key by key; grid (rows * heads / 16, 1,
//         splits), 128 threads. Sums: a warp for a row and head. The shape follows from the shapes of the
//         arguments; kv_len and tables are read on the device. Prompts on Hopper: warpgroup_attention.cu
// Rows    parts.h cuts a row's keys by its position alone; tiles.h and key_by_key.h say why a part
//         has the same bits whatever rows it comes with and wherever its keys lie
// Bytes   rows of a chunk share each key and value of a tile: 4 * kv_len * num_kv_heads * head_dim in
//         bf16, once for each 128 / group_size rows; and 16 bytes of workspace for each 4 of the sums
// Error   docs/kernels/tree_attention.md
#include <string>

#include "attention/key_by_key.h"
#include "attention/tiles.h"
#include "launchers.h"

namespace espalier {
namespace {

using namespace attention;

constexpr int kPlainWarps = 4;    // of a block of plain_parts_kernel
constexpr int kCombineWarps = 4;  // of a block of combine_parts_kernel

/** How the rows and heads of a tiled launch are divided. */
struct Chunks {
  int rows;                // of a block
  int heads, head_blocks;  // query heads of a block; blocks for a KV head
  int plain_blocks;        // on the third axis, before the splits
  int num_splits;
};

constexpr int ceil_div(int64_t x, int64_t y) { return static_cast<int>((x + y - 1) / y); }

/** Edge and tail of the rows of a chunk, a warp for each with up to kWarpHeads heads. */
template <class T, int kHeadDim>
__device__ void attend_ends(
    const TreeAttentionArgs& args, Score score, int64_t first_row, int num_rows, int kv_head,
    int first_head, int num_heads, const Parts& parts, float* q_shared) {
  const int head_groups = (num_heads + kWarpHeads - 1) / kWarpHeads;
  const int num_ends = args.window > 0 ? 2 : 1;
  const int item = simt::block_z() * simt::num_warps() + simt::warp();
  const int r = item / (head_groups * num_ends);
  if (r >= num_rows) return;
  const int group = item / num_ends % head_groups;
  const bool is_tail = item % num_ends == 0;
  RowHeads of;
  of.row = first_row + r;
  of.seq = args.row_seq[of.row];
  if (of.seq < 0) return;
  of.kv_head = kv_head;
  of.first_head = first_head + group * kWarpHeads;
  of.num_heads = num_heads - group * kWarpHeads;
  if (of.num_heads > kWarpHeads) of.num_heads = kWarpHeads;
  const Reach reach =
      reach_of(args.kv_len[of.seq] + args.depth[of.row], args.window, tile_len(kHeadDim));
  q_shared += simt::warp() * kWarpHeads * kHeadDim;
  if (is_tail) {
    attend_key_by_key<T, kHeadDim>(args, score, of, reach.last, reach.end, kTail, parts, q_shared);
  } else if (reach.begin < reach.first) {
    attend_key_by_key<T, kHeadDim>(
        args, score, of, reach.begin, reach.first, kEdge, parts, q_shared);
  }
}

/** Parts of rows, tiles on the tensor cores. */
template <class T, int kHeadDim, int kKeyWarps>
__global__ void __launch_bounds__(
    Layout<kHeadDim, kKeyWarps>::kMostWarps* simt::kWarp, Layout<kHeadDim, kKeyWarps>::kBlocks)
    tiled_parts_kernel(const TreeAttentionArgs args, Score score, Chunks chunks, Parts parts) {
  simt::wait_for_previous();
  simt::allow_next();
  T* shared = simt::dynamic_shared<T>();
  const int64_t first_row = int64_t{simt::block()} * chunks.rows;
  const int num_rows =
      static_cast<int>(args.rows - first_row < chunks.rows ? args.rows - first_row : chunks.rows);
  const int group_size = args.num_q_heads / args.num_kv_heads;
  const int kv_head = simt::block_y() / chunks.head_blocks;
  const int head_of_group = simt::block_y() % chunks.head_blocks * chunks.heads;
  const int first_head = kv_head * group_size + head_of_group;
  const int num_heads =
      group_size - head_of_group < chunks.heads ? group_size - head_of_group : chunks.heads;

  if (simt::block_z() < chunks.plain_blocks) {
    return attend_ends<T, kHeadDim>(
        args, score, first_row, num_rows, kv_head, first_head, num_heads, parts,
        reinterpret_cast<float*>(shared));
  }
  // The longest splits come first, so that they do not end last.
  const int split = chunks.num_splits - 1 - (simt::block_z() - chunks.plain_blocks);
  for (int r = 0; r < num_rows;) {
    RowRun run{first_row + r, 1, args.row_seq[first_row + r], 0, kv_head, first_head, num_heads};
    while (r + run.num_rows < num_rows && args.row_seq[run.first_row + run.num_rows] == run.seq) {
      ++run.num_rows;
    }
    r += run.num_rows;
    if (run.seq < 0) continue;
    run.kv_len = args.kv_len[run.seq];
    attend_tiles<T, kHeadDim, kKeyWarps>(args, score, run, split, parts, shared);
  }
}

/** Parts of rows, everything key by key: for an fp32 cache and for other widths of heads. */
template <class T, int kHeadDim>
__global__ void __launch_bounds__(kPlainWarps* simt::kWarp, 4)
    plain_parts_kernel(const TreeAttentionArgs args, Score score, Parts parts) {
  simt::wait_for_previous();
  simt::allow_next();
  SIMT_SHARED(float[kPlainWarps * kWarpHeads * kMostHeadDim], q_shared);
  const int group_size = args.num_q_heads / args.num_kv_heads;
  const int head_groups = (group_size + kWarpHeads - 1) / kWarpHeads;
  const int64_t item = int64_t{simt::block()} * kPlainWarps + simt::warp();
  RowHeads of;
  of.row = item / (args.num_kv_heads * head_groups);
  if (of.row >= args.rows) return;
  of.seq = args.row_seq[of.row];
  if (of.seq < 0) return;
  of.kv_head = static_cast<int>(item / head_groups % args.num_kv_heads);
  const int head_of_group = static_cast<int>(item % head_groups) * kWarpHeads;
  of.first_head = of.kv_head * group_size + head_of_group;
  of.num_heads = group_size - head_of_group < kWarpHeads ? group_size - head_of_group : kWarpHeads;

  const int split = simt::block_z();
  const Reach reach = reach_of(args.kv_len[of.seq] + args.depth[of.row], args.window, 0);
  const int begin = reach.begin > split_begin(split) ? reach.begin : split_begin(split);
  const int end = reach.end < split_begin(split + 1) ? reach.end : split_begin(split + 1);
  if (begin >= end) return;
  attend_key_by_key<T, kHeadDim>(
      args, score, of, begin, end, kFirstSplit + split, parts,
      q_shared + simt::warp() * kWarpHeads * kMostHeadDim);
}

/** out = the sum of a row's parts, in the order of their positions: a warp for a row and head. */
__global__ void __launch_bounds__(kCombineWarps* simt::kWarp)
    combine_parts_kernel(const TreeAttentionArgs args, Parts parts, int tile) {
  simt::wait_for_previous();
  simt::allow_next();
  constexpr int kDims = kMostHeadDim / simt::kWarp;
  const int64_t row_head = int64_t{simt::block()} * kCombineWarps + simt::warp();
  const int64_t row = row_head / args.num_q_heads;
  if (row >= args.rows) return;
  const int seq = args.row_seq[row];
  if (seq < 0) return;
  const Reach reach = reach_of(args.kv_len[seq] + args.depth[row], args.window, tile);
  const bool has_edge = reach.begin < reach.first, has_tail = reach.last < reach.end;
  const int first_split = split_of(reach.first);
  const int num_splits = reach.first < reach.last ? split_of(reach.last - 1) + 1 - first_split : 0;
  const int num = has_edge + num_splits + has_tail;
  // The i-th of the parts that are not empty.
  const auto index_of = [&](int i) {
    int part = kFirstSplit + first_split + i - has_edge;
    if (i < has_edge) part = kEdge;
    if (i >= has_edge + num_splits) part = kTail;
    return parts.index(row_head, part);
  };

  float max = -INFINITY;
  for (int i = simt::lane(); i < num; i += simt::kWarp) {
    max = larger(parts.max_sum[index_of(i)][0], max);
  }
  const float base = base_of(simt::warp_max(max));
  float sum = 0.0f, value[kDims] = {};
  for (int i = 0; i < num; ++i) {
    const int64_t index = index_of(i);
    const simt::Vec<float, 2> max_sum = parts.max_sum[index];
    const float scale = simt::exp2(max_sum[0] - base);
    sum = simt::fma(scale, max_sum[1], sum);
    SIMT_UNROLL
    for (int j = 0; j < kDims; ++j) {
      const int d = j * simt::kWarp + simt::lane();
      if (d >= args.head_dim) break;
      value[j] = simt::fma(scale, parts.value[index * args.head_dim + d], value[j]);
    }
  }
  SIMT_UNROLL
  for (int j = 0; j < kDims; ++j) {
    const int d = j * simt::kWarp + simt::lane();
    if (d < args.head_dim) args.out[row_head * args.head_dim + d] = simt::divide(value[j], sum);
  }
}

/** Splits of the last position that the arguments allow. */
int num_splits_of(const TreeAttentionArgs& args) {
  const int64_t positions = int64_t{args.max_pages} * args.page_size + args.max_depth;
  return positions == 0 ? 0 : split_of(static_cast<int>(positions - 1)) + 1;
}

Parts parts_in(const TreeAttentionArgs& args, void* workspace) {
  const int num_parts = kFirstSplit + num_splits_of(args);
  const int64_t num = args.rows * args.num_q_heads * num_parts;
  auto* value = static_cast<float*>(workspace);
  return {reinterpret_cast<simt::Vec<float, 2>*>(value + num * args.head_dim), value, num_parts};
}

static_assert(kMostHeads <= simt::kMostBlocks);  // KV heads times blocks of their query heads

template <class T, int kHeadDim, int kKeyWarps>
void launch_tiled(
    const TreeAttentionArgs& args, const Chunks& chunks, const Parts& parts, simt::Stream stream) {
  const int pairs = chunks.rows * chunks.heads;
  const int warps = kKeyWarps * ceil_div(pairs, 16);
  Chunks all = chunks;
  const int ends = args.window > 0 ? 2 : 1;
  all.plain_blocks = ceil_div(chunks.rows * ends * ceil_div(chunks.heads, kWarpHeads), warps);
  const simt::Launch shape{
      .grid =
          {ceil_div(args.rows, chunks.rows), args.num_kv_heads * chunks.head_blocks,
           all.plain_blocks + chunks.num_splits},
      .threads = warps * simt::kWarp,
      .shared_bytes = Layout<kHeadDim, kKeyWarps>::kSharedBytes,
      .stream = stream,
      .overlap = true};
  SIMT_LAUNCH(
      (tiled_parts_kernel<T, kHeadDim, kKeyWarps>), shape, args, score_of(args), all, parts);
}

template <class T, int kHeadDim>
void launch_tiled(const TreeAttentionArgs& args, const Parts& parts, simt::Stream stream) {
  constexpr int kManyKeyWarps = key_warps_of_many(kHeadDim);
  constexpr int kPairs = Layout<kHeadDim, kManyKeyWarps>::kMostPairs;
  const int group_size = args.num_q_heads / args.num_kv_heads;
  Chunks chunks;
  chunks.heads = group_size < kPairs ? group_size : kPairs;
  chunks.head_blocks = ceil_div(group_size, chunks.heads);
  // Rows of a sequence, as far as the host knows.
  const int rows = ceil_div(args.rows, args.batch > 0 ? args.batch : 1);
  chunks.rows = rows < kPairs / chunks.heads ? rows : kPairs / chunks.heads;
  chunks.num_splits = num_splits_of(args);
  if (chunks.rows * chunks.heads <= 16) {
    launch_tiled<T, kHeadDim, 4>(args, chunks, parts, stream);
  } else {
    launch_tiled<T, kHeadDim, kManyKeyWarps>(args, chunks, parts, stream);
  }
}

template <class T, int kHeadDim>
void launch_plain(const TreeAttentionArgs& args, const Parts& parts, simt::Stream stream) {
  const int64_t items =
      args.rows * args.num_kv_heads * ceil_div(args.num_q_heads / args.num_kv_heads, kWarpHeads);
  const simt::Launch shape{
      .grid = {ceil_div(items, kPlainWarps), 1, num_splits_of(args)},
      .threads = kPlainWarps * simt::kWarp,
      .stream = stream,
      .overlap = true};
  SIMT_LAUNCH((plain_parts_kernel<T, kHeadDim>), shape, args, score_of(args), parts);
}

/** Whether there are kernels for head_dim, and the cache can be loaded 16 bytes at a time. */
bool has_vectors(const TreeAttentionArgs& args) {
  const auto bits =
      reinterpret_cast<uintptr_t>(args.k_cache) | reinterpret_cast<uintptr_t>(args.v_cache);
  return bits % 16 == 0 && (args.head_dim == 64 || args.head_dim == 128 || args.head_dim == 256);
}

bool has_tiles(const TreeAttentionArgs& args) {
  return args.kv_type != Type::kFp32 && has_vectors(args);
}

template <class T, int kHeadDim>
void launch_parts(const TreeAttentionArgs& args, const Parts& parts, simt::Stream stream) {
  if constexpr (sizeof(T) == 2) {
    launch_tiled<T, kHeadDim>(args, parts, stream);
  } else {
    launch_plain<T, kHeadDim>(args, parts, stream);
  }
}

template <class T>
void launch_parts(const TreeAttentionArgs& args, const Parts& parts, simt::Stream stream) {
  if (!has_vectors(args)) return launch_plain<T, 0>(args, parts, stream);
  if (args.head_dim == 64) return launch_parts<T, 64>(args, parts, stream);
  if (args.head_dim == 128) return launch_parts<T, 128>(args, parts, stream);
  launch_parts<T, 256>(args, parts, stream);
}

}  // namespace

size_t tree_attention_workspace_bytes(const TreeAttentionArgs& args) {
  if (takes_warpgroups(args)) return warpgroup_attention_workspace_bytes(args);
  const int64_t num = args.rows * args.num_q_heads * (kFirstSplit + num_splits_of(args));
  return static_cast<size_t>(num) * (args.head_dim + 2) * sizeof(float);
}

void cuda_tree_attention(const TreeAttentionArgs& args, void* workspace, simt::Stream stream) {
  if (args.head_dim > kMostHeadDim) {
    throw Unsupported(
        "head_dim = " + std::to_string(args.head_dim) + ", expected at most " +
        std::to_string(kMostHeadDim));
  }
  if (args.rows == 0) return;
  if (takes_warpgroups(args)) return launch_warpgroup_attention(args, workspace, stream);
  const Parts parts = parts_in(args, workspace);
  switch (args.kv_type) {
    case Type::kBf16:
      launch_parts<simt::Bf16>(args, parts, stream);
      break;
    case Type::kFp16:
      launch_parts<simt::Fp16>(args, parts, stream);
      break;
    default:
      launch_parts<float>(args, parts, stream);
  }
  const simt::Launch shape{
      .grid = {ceil_div(args.rows * args.num_q_heads, kCombineWarps)},
      .threads = kCombineWarps * simt::kWarp,
      .stream = stream,
      .overlap = true};
  SIMT_LAUNCH(
      combine_parts_kernel, shape, args, parts, has_tiles(args) ? tile_len(args.head_dim) : 0);
}

}  // namespace espalier
