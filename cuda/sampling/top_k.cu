// top_k: the k largest entries of each row.
//
// Math    best first, ties to the lowest index, NaN below everything
// Shapes  x [rows, vocab] fp32, idx [rows, k] i32, value [rows, k] fp32 or null; k <= 64
// Needs   workspace of top_k_workspace_bytes, aligned to 8 bytes
// Launch  two. Chunks: grid (rows, vocab / 4096), block 256; a warp keeps a sorted list in registers
//         and sorts 32 entries into it when one of them belongs there. Merge: grid rows, block 256
// Rows    entries are only compared, so that neither chunks nor other rows matter
// Bytes   4 * rows * vocab once, and 16 * k * rows * vocab / 4096 for the lists: 64 rows of 128256 are
//         32.8 MB, and 2.1 MB for k = 64
// Error   none, equal to native/cpu/top_k.cpp
#include "launchers.h"
#include "sampling/best_k.h"
#include "simt/simt.h"

namespace espalier {
namespace {

using best_k::Key;

constexpr int kWarps = 8, kThreads = kWarps * simt::kWarp;
constexpr int kChunk = 4096;  // entries of a block
constexpr int kGroup = 4;     // entries that a thread loads at once

constexpr int num_chunks(int32_t vocab) { return (vocab - 1) / kChunk + 1; }

static_assert(num_chunks(kMostVocab) <= simt::kMostBlocks);

template <int kSlots, bool kVector>
__global__ void __launch_bounds__(kThreads)
    top_k_chunk_kernel(const float* x, Key* lists, int32_t vocab, int k) {
  simt::wait_for_previous();
  x += simt::block() * int64_t{vocab};
  const int begin = simt::block_y() * kChunk;
  best_k::List<kSlots> list;
  Key bar = 0;
  for (int at = 0; at < kChunk; at += kThreads * kGroup) {
    const int first = begin + at + simt::thread() * kGroup;
    Key key[kGroup];
    if constexpr (kVector) {
      simt::Vec<float, kGroup> group;
      if (first < vocab) group = *reinterpret_cast<const simt::Vec<float, kGroup>*>(x + first);
      SIMT_UNROLL
      for (int j = 0; j < kGroup; ++j) {
        key[j] = first < vocab ? best_k::key_of(group[j], first + j) : 0;
      }
    } else {
      SIMT_UNROLL
      for (int j = 0; j < kGroup; ++j) {
        key[j] = first + j < vocab ? best_k::key_of(x[first + j], first + j) : 0;
      }
    }
    SIMT_UNROLL
    for (int j = 0; j < kGroup; ++j) list.offer(key[j], k, &bar);
  }
  best_k::merge_warps<kSlots, kWarps>(&list, k);
  if (simt::warp() == 0) {
    list.store(lists + (simt::block() * int64_t{simt::num_blocks_y()} + simt::block_y()) * k, k);
  }
}

template <int kSlots>
__global__ void __launch_bounds__(kThreads) top_k_merge_kernel(
    const float* x, const Key* lists, int num_lists, int32_t* idx, float* value, int32_t vocab,
    int k) {
  simt::wait_for_previous();
  const int64_t row = simt::block();
  best_k::List<kSlots> list;
  best_k::merge_lists<kSlots, kWarps>(lists + row * num_lists * k, num_lists, k, &list);
  if (simt::warp() != 0) return;
  SIMT_UNROLL
  for (int s = 0; s < kSlots; ++s) {
    const int i = s * simt::kWarp + simt::lane();
    if (i >= k) continue;
    const int32_t best = best_k::idx_of(list.slot[s]);
    idx[row * k + i] = best;
    if (value != nullptr) value[row * k + i] = x[row * vocab + best];
  }
}

template <int kSlots>
void launch_top_k(const TopKArgs& args, void* workspace, simt::Stream stream) {
  auto* lists = static_cast<Key*>(workspace);
  const int chunks = num_chunks(args.vocab), rows = static_cast<int>(args.rows);
  const simt::Launch shape{
      .grid = {rows, chunks}, .threads = kThreads, .stream = stream, .overlap = true};
  if (args.vocab % kGroup == 0 && reinterpret_cast<uintptr_t>(args.x) % 16 == 0) {
    SIMT_LAUNCH((top_k_chunk_kernel<kSlots, true>), shape, args.x, lists, args.vocab, args.k);
  } else {
    SIMT_LAUNCH((top_k_chunk_kernel<kSlots, false>), shape, args.x, lists, args.vocab, args.k);
  }
  const simt::Launch merge{.grid = {rows}, .threads = kThreads, .stream = stream, .overlap = true};
  SIMT_LAUNCH(
      top_k_merge_kernel<kSlots>, merge, args.x, lists, chunks, args.idx, args.value, args.vocab,
      args.k);
}

}  // namespace

size_t top_k_workspace_bytes(const TopKArgs& args) {
  return sizeof(Key) * static_cast<size_t>(args.rows) * static_cast<size_t>(args.k) *
         static_cast<size_t>(num_chunks(args.vocab));
}

void cuda_top_k(const TopKArgs& args, void* workspace, simt::Stream stream) {
  return args.k <= simt::kWarp ? launch_top_k<1>(args, workspace, stream)
                               : launch_top_k<2>(args, workspace, stream);
}

}  // namespace espalier
