#!/usr/bin/env python3
"""Breaks kernels on purpose, one bug at a time, and demands that their tests fail.

Usage: mutants.py [-j N] [--list] BUILD_DIR [part of a name ...]; BUILD_DIR is a Ninja build. Prints one line for each mutant and a table;
the exit status is 1 when one of them was not killed. What was killed is kept in BUILD_DIR/mutants.jsonl and not run again until the
mutant or a file of the kernel's folder changes, so a run that was interrupted goes on. Delete that file to run all.
"""

import argparse
import concurrent.futures
import datetime
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

# (kernel, what the bug is, the text, what it becomes)
MUTANTS = [
    ("kv/rope_and_append", "turned the other way", "a * cos[i] - b * sin[i]", "a * cos[i] + b * sin[i]"),
    ("kv/rope_and_append", "angles of the first row", "args.cos_sin + row * head_dim", "args.cos_sin"),
    ("kv/rope_and_append", "slot of the row's number", "int64_t{args.slot[row]} * args.num_kv_heads", "row * args.num_kv_heads"),
    ("kv/rope_and_append", "offset in 32 bits", "int64_t{args.slot[row]} * args.num_kv_heads + head) * head_dim", "static_cast<int32_t>(static_cast<uint32_t>((args.slot[row] * args.num_kv_heads + head) * static_cast<uint32_t>(head_dim)))) * 1"),
    ("kv/rope_and_append", "weights of the first half twice", "weight_of(norm, i + half)", "weight_of(norm, i)"),
    ("kv/rope_and_append", "squares of the first half", "    sum = simt::fma(x[i + half], x[i + half], sum);\n", ""),
    ("kv/rope_and_append", "a warp past the last head", "if (row >= args.rows) return;", ""),
    ("kv/rope_and_append", "V of the next head", "args.v[from + i]", "args.v[from ^ head_dim]"),
    ("kv/rope_and_append", "eps left out", "mean + norm.eps", "mean"),
    ("gemm/warpgroup_gemm", "row blocks past the last", "block < last ? block : last",
     "last < 0 ? last : block"),
    ("gemm/warpgroup_gemm", "up and w swapped", "tile % 2 == 1 ? view.up",
     "tile % 2 == 0 ? view.up"),
    ("gemm/warpgroup_gemm", "stage overwritten too early", "if (n >= kStages) barriers.empty[stage].wait",
     "if (n > kStages) barriers.empty[stage].wait"),
    ("gemm/warpgroup_gemm", "phase of the wrong parity", "static_cast<int>(n / kStages + 1) % 2",
     "static_cast<int>(n / kStages) % 2"),
    ("gemm/warpgroup_gemm", "freed while being read", "(n - 1) % kStages].arrive",
     "n % kStages].arrive"),
    ("gemm/warpgroup_gemm", "lanes not awaited", "      simt::sync_warp();\n      if (simt::lane() == 0) barriers.empty",
     "      if (simt::lane() == 0) barriers.empty"),
    ("gemm/warpgroup_gemm", "stage not awaited", "    barriers.full[n % kStages].wait(static_cast<int>(n / kStages) % 2);\n    multiply_stage<T, kStageGroups>",
     "    multiply_stage<T, kStageGroups>"),
    ("gemm/warpgroup_gemm", "last blocks dropped", "if (groups % kStageGroups != 0)",
     "if (groups % kStageGroups > 1)"),
    ("gemm/warpgroup_gemm", "second half of a block left out", "i < 2 * kGroups",
     "i < kGroups"),
    ("gemm/warpgroup_gemm", "sums not awaited", "    multiply_stage<T, 1>(weights(whole), x(whole), sum);\n    simt::wait_products<0>(sum[0], sum[1]);",
     "    multiply_stage<T, 1>(weights(whole), x(whole), sum);"),
    ("gemm/warpgroup_gemm", "warpgroups share a tile", "+ warpgroup * kTilesOfGroup * kTileBlocks",
     "+ 0 * warpgroup"),
    ("gemm/warpgroup_gemm", "chunks along k and rows swapped", "a(\n          weights + tile * kTileBlocks * kPiece + at, kChunkBytes, kPieceBytes)",
     "a(\n          weights + tile * kTileBlocks * kPiece + at, kPieceBytes, kChunkBytes)"),
    ("gemm/warpgroup_gemm", "rows past the last written", "if (row >= view.m) continue;",
     ""),
    ("gemm/warpgroup_gemm", "columns past the last written", "if (at < part.w.rows) finish",
     "finish"),
    ("gemm/warpgroup_gemm", "barrier missing", "  simt::sync_block();\n  simt::wait_for_previous",
     "  simt::wait_for_previous"),
    ("gemm/warpgroup_gemm", "bytes of one piece too few", "arrive_expecting(bytes * kStageBlocks)",
     "arrive_expecting(bytes * (kStageBlocks - 1))"),
    ("gemm/warpgroup_gemm", "part not subtracted", "    place.first_tile -= blocks;\n",
     ""),
    ("gemm/warpgroup_gemm", "value of the next column", "simt::lane() % 4 * 2 + i % 2",
     "simt::lane() % 4 * 2 + i / 2 % 2"),
    ("gemm/warpgroup_gemm", "previous kernel not awaited", "  simt::wait_for_previous();\n",
     ""),
    ("gemm/cublaslt_gemm", "rows past the last", "  if (row >= num) return;\n", ""),
    ("gemm/cublaslt_gemm", "packed as if one column wider", "packed_offset(row, col, packed.cols)", "packed_offset(row, col, packed.cols + 1)"),
    ("gemm/cublaslt_gemm", "half of the columns", "simt::lane() / kBlockRows * kChunkCols", "simt::lane() / kBlockRows % 2 * kChunkCols"),
    ("gemm/cublaslt_gemm", "offset in 32 bits", "rows + row * groups * kBlockCols + col",
     "rows + static_cast<int32_t>(static_cast<uint32_t>(row * groups * kBlockCols + col))"),
    ("gemm/cublaslt_gemm", "first rows again", "  from.data += first / kBlockRows * packed.block_stride;\n", ""),
    ("gemm/cublaslt_gemm", "last blocks dropped", "(blocks + kGemmWarps - 1) / kGemmWarps", "(blocks + kGemmWarps - 1) / kGemmWarps - 1"),
    ("gemm/cublaslt_gemm", "previous kernel not awaited", "  simt::wait_for_previous();\n", ""),
    ("gemm/cublaslt_gemm", "columns past the last", "  if (col >= products.num) return;\n", ""),
    ("gemm/cublaslt_gemm", "columns of the first piece", "products.first + col,", "col,"),
    ("gemm/cublaslt_gemm", "sums lie as the piece does", "row * products.y_stride + col", "row * products.num + col"),
    ("gemm/cublaslt_gemm", "up of the first row", "products.up[row * products.num + col]", "products.up[col]"),
    ("gemm/cublaslt_gemm", "one row for each block", "row += simt::num_blocks_y()", "row += view.m"),
    ("gemm/skinny_gemm", "x is packed for cublaslt", "round_row<T, kPacked>", "round_row<T>", "simt_cublaslt_gemm"),
    ("gemm/skinny_gemm", "bf16 for all of cublaslt", "if (type == Type::kBf16)", "if (type != Type::kFp32)", "simt_cublaslt_gemm"),
    ("sampling/verify", "previous kernel not awaited", "  simt::wait_for_previous();\n", ""),
    ("gemm/cublaslt_gemm", "from one row more on", "args.m < options_.rule.least_rows", "args.m <= options_.rule.least_rows", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "from one row less on", "args.m < options_.rule.least_rows", "args.m + 1 < options_.rule.least_rows", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "rows of trees as well", "!args.prompt || ", "", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "rows that are not packed", "all &= part.w.packed &&", "all &=", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "outputs at any address", "at_multiple(part.out, CublasLt::kOutAlignment)", "true", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "sums of every block in the first columns", "part.out + first;", "part.out;", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "residual of the first columns", "args.residual + first;", "args.residual;", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "no residual", "end || args.residual == nullptr ? nullptr", "end || args.residual != nullptr ? nullptr", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "first rows of a weight in every block", "launch_unpack(packed, first, of.n", "launch_unpack(packed, first * 0, of.n", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "w for up", "product(view.up, first", "product(view.part[i].w, first", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "no end with a gate", "if (why.empty() && end)", "if (why.empty() && end && view.up.data == nullptr)", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "sums over their own residual", "args.residual == part.out && args.residual != nullptr &&", "args.residual == part.out && args.residual == nullptr &&", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "a refusal is forgotten", "if (!why.empty()) give_up(why);", "", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "a refusal behind overwritten outputs is done again", "if (!why.empty() && first > 0 &&", "if (!why.empty() && first < 0 &&", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "no place for up", "if (args.up.data != nullptr) up = sums;", "", "simt_cublaslt_backend"),
    ("gemm/cublaslt_gemm", "place of the last weight", "weight = std::max(weight, rows * row_bytes)", "weight = rows * row_bytes", "simt_cublaslt_backend"),
    ("sampling/verify", "one tree too far", "tree_begin[simt::block() + 1] - first", "tree_begin[simt::block() + 1]"),
    ("sampling/verify", "last node dropped", "for (int tile = 0; tile < tree_len;", "for (int tile = 0; tile + 1 < tree_len;"),
    ("sampling/verify", "node past the tree", "i < tree_len ? token[first + i] : 0", "token[first + i]"),
    ("sampling/verify", "padding is a child of the root", "parent[first + i] : -1", "parent[first + i] : 0"),
    ("sampling/verify", "other trees' tokens", "? token[first + i]", "? token[i]"),
    ("sampling/verify", "order of parents not needed", "i > node && tile_parent[c] == node", "tile_parent[c] == node"),
    ("sampling/verify", "parent not looked at", "tile_parent[c] == node && ", ""),
    ("sampling/verify", "choice of the old node", "want = simt::shuffle(tile_choice[c], hit);", ""),
    ("sampling/verify", "choice of the lane's own node", "simt::shuffle(tile_choice[c], hit)", "tile_choice[c]"),
    ("sampling/verify", "highest child wins", "simt::lowest(hits)", "31 - __builtin_clz(hits)"),
    ("sampling/verify", "all lanes write the path", "if (simt::lane() == 0) path", "if (simt::lane() >= 0) path"),
    ("sampling/verify", "path of another tree", "path[first + len] = node", "path[len] = node"),
    ("sampling/verify", "one node for each chunk", "++len;\n", "++len;\n        break;\n"),
    ("sampling/verify", "a gap between tiles", "tile += kChunks * simt::kWarp", "tile += (kChunks + 1) * simt::kWarp"),
    ("kv/commit_kv", "unit past the row", "if (unit >= row_units) return;", ""),
    ("kv/commit_kv", "last unit dropped", "unit >= row_units", "unit + 1 >= row_units"),
    ("kv/commit_kv", "half of the layers", "static_cast<int>(2 * args.num_layers)", "static_cast<int>(args.num_layers)"),
    ("kv/commit_kv", "V never moved", "simt::block_y() % 2 == 0 ? k_cache : v_cache", "k_cache"),
    ("kv/commit_kv", "layer of the block, not of the pair", "simt::block_y() / 2", "simt::block_y()"),
    ("kv/commit_kv", "earlier move not seen", "if (row_to[earlier] == row_from) row[m] = row[earlier];", ""),
    ("kv/commit_kv", "first earlier move wins", "earlier < m; ++earlier", "earlier < (m < 1 ? m : 1); ++earlier"),
    ("kv/commit_kv", "moves after eight lost", "begin < num_moves; begin += kMoves", "begin < 1; begin += kMoves"),
    ("kv/commit_kv", "from and to swapped", "column[row_from * row_units]", "column[to[begin + m] * row_units]"),
    ("kv/commit_kv", "offset in 32 bits", "layer * num_slots * row_units + unit", "static_cast<int32_t>(static_cast<uint32_t>(layer * num_slots * row_units + unit))"),
    ("kv/commit_kv", "16 bytes at any address", "if (bits % 16 == 0)", "if (bits % 4 == 0)"),
    ("sampling/verify_sampling", "offset of a law in 32 bits", "args.p + row * args.vocab", "args.p + static_cast<int32_t>(static_cast<uint32_t>(row) * static_cast<uint32_t>(args.vocab))"),
    ("draft/recycle_fill", "tree of the first sequence", "token += simt::block() * int64_t{tree_len};", ""),
    ("draft/recycle_fill", "root of the first sequence", "root[simt::block()]", "root[0]"),
    ("draft/recycle_fill", "root not looked at", "token_or_none(root[simt::block()], vocab)", "root[simt::block()]"),
    ("draft/recycle_fill", "parent below 0", "up >= 0 && up < i", "up < i"),
    ("draft/recycle_fill", "token of the vocabulary's end", "x >= 0 && x < vocab", "x >= 0 && x <= vocab"),
    ("draft/recycle_fill", "rank behind the row", "rank < 0 || rank >= k", "rank < 0"),
    ("draft/recycle_fill", "offset in 32 bits", "int64_t{token} * k", "static_cast<int32_t>(static_cast<uint32_t>(token) * static_cast<uint32_t>(k))"),
    ("draft/recycle_fill", "all children of an unwritten row", "rank > 0 && next == row[0] ? kNoToken : ", ""),
    ("draft/recycle_fill", "no first child", "rank > 0 && next == row[0]", "next == row[0]"),
    ("draft/recycle_fill", "rank of the parent", "above, rank[i]", "above, rank[up]"),
    ("draft/recycle_fill", "token of a parent that waits", "if (!known && (all_known >> lane_above & 1) != 0)", "if (!known)"),
    ("draft/recycle_fill", "lane of the parent's index", "known ? 0 : up - base", "known ? 0 : up"),
    ("draft/recycle_fill", "earlier 32 not awaited", "    simt::sync_warp();  // for the 32 behind\n", ""),
    ("draft/recycle_fill", "node past the tree", "if (i < tree_len) token[i] = mine;", "token[i] = mine;"),
    ("draft/recycle_fill", "previous kernel not awaited", "  simt::wait_for_previous();\n", ""),
    ("draft/recycle_update", "every node writes", " || written_later(args, tree, node)", ""),
    ("draft/recycle_update", "no vocabulary's end", "token >= args.vocab", "token > args.vocab"),
    ("draft/recycle_update", "node without a token", "token < 0 || ", ""),
    ("draft/recycle_update", "node 0 is not accepted", "bool on_path = node == 0;", "bool on_path = false;"),
    ("draft/recycle_update", "first accepted wins", "other > node || !accepted", "other < node || !accepted"),
    ("draft/recycle_update", "accepted or not", "(accepted ? tree.len : node + 1)", "(node + 1)"),
    ("draft/recycle_update", "the tree alone", "(args.tree_begin[args.batch], 0, args.num_nodes) - tree.first", "(tree.len, 0, args.num_nodes)"),
    ("draft/recycle_update", "node 0's row left to others", "!accepted && token[0] == mine", "false"),
    ("draft/recycle_update", "path of the first tree", "args.path + tree.first", "args.path"),
    ("draft/recycle_update", "one lane knows", "return simt::any(later);", "return later;"),
    ("draft/recycle_update", "path outside of the tree", "other > 0 && other < tree.len;", "true;"),
    ("draft/recycle_update", "one pass over the nodes", "node += kBlocks * kWarps", "node += args.num_nodes"),
    ("draft/recycle_update", "32 entries of a row", "for (int j = simt::lane(); j < args.k; j += simt::kWarp) to[j]", "for (int j = simt::lane(); j < args.k && j < 32; j += simt::kWarp) to[j]"),
    ("draft/recycle_update", "nodes of the tree, rows of the batch", "(tree.first + int64_t{node}) * args.k", "int64_t{node} * args.k"),
    ("draft/recycle_update", "offset in 32 bits", "int64_t{token} * args.k", "static_cast<int32_t>(static_cast<uint32_t>(token) * static_cast<uint32_t>(args.k))"),
    ("draft/recycle_update", "trees past the nodes", "within(args.tree_begin[b + 1], first, args.num_nodes) - first", "args.tree_begin[b + 1] - first"),
    ("draft/recycle_update", "accepted of the first tree", "args.accept_len[b]", "args.accept_len[0]"),
    ("draft/recycle_update", "path longer than the tree", "within(args.accept_len[b], 0, len)", "args.accept_len[b]"),
    ("norm/rms_norm", "barrier missing", "  simt::sync_block();\n", ""),
    ("norm/rms_norm", "tail dropped", "j < kGroup && i + j < hidden; ++j) sum", "j < kGroup && i + j + 1 < hidden; ++j) sum"),
    ("norm/rms_norm", "tail read past the row", "j < kGroup && i + j < hidden; ++j) sum", "j < kGroup; ++j) sum"),
    ("norm/rms_norm", "one warp left out", "w < simt::num_warps()", "w < simt::num_warps() - 1"),
    ("norm/rms_norm", "warp sum by one lane's value", "sum = simt::warp_sum(sum);", ""),
    ("norm/rms_norm", "partial sums of every lane", "if (simt::lane() == 0) of_warp", "if (simt::lane() >= 0) of_warp"),
    ("norm/rms_norm", "order depends on the address", "    if constexpr (kVector) {\n      const auto group", "    if constexpr (kVector) {\n      if (simt::lane() % 2 == 0) sum += 0x1p-20f;\n      const auto group"),
    ("norm/rms_norm", "row of the first block", "out += simt::block() * hidden;", "out += (simt::block() / 2) * hidden;"),
    ("norm/rms_norm", "eps outside of the root", "simt::sqrt(mean + eps)", "(simt::sqrt(mean) + eps)"),
    ("norm/rms_norm", "weight of the group's first element", "simt::to_float(weight[i + j]);\n      *", "simt::to_float(weight[i]);\n      *"),
    ("norm/rms_norm", "threads depend on the row", "threads_for(args.hidden)", "(args.rows > 8 ? 32 : threads_for(args.hidden))"),
    ("norm/rms_norm", "vectors at any address", "args.hidden % kGroup == 0 && bits % (kGroup * sizeof(float)) == 0", "args.hidden % kGroup == 0"),
    ("norm/rms_norm", "shared array too small", "float[kMostThreads / simt::kWarp]", "float[8]"),
    ("embed/embed", "row of another token", "table + token[simt::block()] * hidden", "table + token[0] * hidden"),
    ("embed/embed", "offset in 32 bits", "token[simt::block()] * hidden", "static_cast<int32_t>(static_cast<uint32_t>(token[simt::block()] * hidden))"),
    ("embed/embed", "first element for the group", "simt::to_float(group[j])", "simt::to_float(group[0])"),
    ("embed/embed", "one pass only", "i += simt::num_threads() * kGroup", "i += hidden"),
    ("embed/embed", "vectors at any address", "hidden % 4 == 0 && aligned", "hidden % 4 == 0"),
    ("embed/embed", "reads before the kernel before is done", "  simt::wait_for_previous();\n", ""),
    ("sampling/top_k", "chunk not whole", "at < kChunk; at += kThreads", "at + kThreads * kGroup < kChunk; at += kThreads"),
    ("sampling/top_k", "entries of the next row", "first + j < vocab ? best_k", "first < vocab ? best_k"),
    ("sampling/top_k", "index in the chunk", "best_k::key_of(group[j], first + j)", "best_k::key_of(group[j], first - begin + j)"),
    ("sampling/top_k", "one element of a group twice", "list.offer(key[j], k, &bar)", "list.offer(key[j & 2], k, &bar)"),
    ("sampling/top_k", "lists of other rows", "lists + row * num_lists * k, num_lists", "lists, num_lists"),
    ("sampling/top_k", "last chunk forgotten", "return (vocab - 1) / kChunk + 1", "return (vocab - 1) / kChunk + (vocab > kChunk ? 0 : 1)"),
    ("sampling/top_k", "value of another row", "x[row * vocab + best]", "x[best]"),
    ("sampling/top_k", "lists of 32 for all", "args.k <= simt::kWarp ?", "args.k <= 64 ?"),
    ("sampling/top_k", "vectors at any address", "args.vocab % kGroup == 0 && ", "args.vocab % kGroup == 0 || "),
    ("sampling/top_k", "warps not merged", "  best_k::merge_warps<kSlots, kWarps>(&list, k);\n", ""),
    ("gemm/skinny_gemm", "one stage waited for too late", "simt::wait_async<kStages - 1>();\n    const Words* from", "simt::wait_async<kStages>();\n    const Words* from"),
    ("gemm/skinny_gemm", "barrier before the slices meet missing", "  // Slices meet, in ascending order.\n  simt::sync_block();", ""),
    ("gemm/skinny_gemm", "barrier after the partial sums missing", "  simt::sync_block();\n  const int slices", "  const int slices"),
    ("gemm/skinny_gemm", "last slice dropped", "for (int s = 1; s < slices; ++s)", "for (int s = 1; s + 1 < slices; ++s)"),
    ("gemm/skinny_gemm", "slices from the last to the first", "shared[partial_at<kRows>(s, row, n)]", "shared[partial_at<kRows>(slices - s, row, n)]"),
    ("gemm/skinny_gemm", "slices by the rows", "len = slice_groups(view.k);", "len = view.m > 16 ? (groups + 3) / 4 : slice_groups(view.k);"),
    # Headers: their kernel is compiled with a folder of mutated headers in front of the others (KERNEL_OF).
    ("attention/parts.h", "a node does not see itself", "reach.end = position + 1;", "reach.end = position;"),
    ("attention/parts.h", "window one key too wide", "window < reach.end ? reach.end - window : 0", "window < reach.end ? reach.end - window - 1 : 0"),
    ("attention/parts.h", "window one key too narrow", "window < reach.end ? reach.end - window : 0", "window < reach.end ? reach.end - window + 1 : 0"),
    ("attention/parts.h", "first tile begins in front of the window", "(reach.begin + tile - 1) / tile * tile", "reach.begin / tile * tile"),
    ("attention/parts.h", "first node read from the pages", "if (position >= kv_len)", "if (position > kv_len)"),
    ("attention/parts.h", "pages of the first sequence", "args.page_table + int64_t{seq} * args.max_pages", "args.page_table"),
    ("attention/parts.h", "wrong page", "page_table[position / page_size] * page_size", "page_table[position / page_size - (position >= page_size)] * page_size"),
    ("attention/parts.h", "path of the first row", "args.ancestor_slot + row * args.max_depth", "args.ancestor_slot"),
    ("attention/parts.h", "length of the first sequence", "args.kv_len[seq], args.page_size}", "args.kv_len[0], args.page_size}"),
    ("attention/parts.h", "long splits begin a tile late", "(kEvenEnd / 8 << octave) * (8 + of_octave)", "(kEvenEnd / 8 << octave) * (8 + of_octave) + 64"),
    ("attention/parts.h", "long splits numbered one less", "kEvenSplits + 8 * octave + position", "kEvenSplits - 1 + 8 * octave + position"),
    ("attention/parts.h", "half of the soft-cap's argument", "args.scale * (2 * kLog2E) / args.soft_cap", "args.scale * kLog2E / args.soft_cap"),
    ("attention/parts.h", "soft-cap in powers of 2", "args.soft_cap * kLog2E};", "args.soft_cap};"),
    ("attention/parts.h", "capped without a cap", "    if (cap == 0.0f) return;\n", ""),
    ("attention/parts.h", "scores of -inf only", "max == -INFINITY ? 0.0f : max", "max"),
    ("attention/tiles.h", "barrier before a stage is overwritten missing", "    simt::sync_block();  // all are done with the stage\n", ""),
    ("attention/tiles.h", "barrier behind the copies missing", "    simt::sync_block();  // the tile is there, and the queries, for all threads\n", ""),
    ("attention/tiles.h", "one tile waited for too late", "simt::wait_async<1>();", "simt::wait_async<2>();"),
    ("attention/tiles.h", "barrier behind the leader missing", "      simt::sync_block();  // all have read `waiting`\n", ""),
    ("attention/tiles.h", "no barrier before a row stops waiting", "      simt::sync_warp();  // all lanes have read `waiting`\n", ""),
    ("attention/tiles.h", "one tile too many for a row", "position < last_[i] && (pass", "position <= last_[i] && (pass"),
    ("attention/tiles.h", "tiles in front of the window", "first_[i] <= position && position < last_[i] && (pass", "position < last_[i] && (pass"),
    ("attention/tiles.h", "rows of other paths take part", "&& (pass.committed || called[row_[i]] != 0)", ""),
    ("attention/tiles.h", "paths that differ share a pass", "simt::all(i >= to || path[i] == other[i])", "simt::all(true)"),
    ("attention/tiles.h", "last slot of a path not compared", "const int to = (next_ + 1) * kTile - run_.kv_len;", "const int to = (next_ + 1) * kTile - run_.kv_len - 1;"),
    ("attention/tiles.h", "first slot of a path not compared", "next_ * kTile > run_.kv_len ? next_ * kTile - run_.kv_len : 0", "next_ * kTile > run_.kv_len ? next_ * kTile - run_.kv_len + 1 : 1"),
    ("attention/tiles.h", "swapped heads of a group", "head_[i] = run.first_head + pair % run.num_heads;", "head_[i] = run.first_head + (pair + 1) % run.num_heads;"),
    ("attention/tiles.h", "queries of the next head", "run.first_head + pair % run.num_heads;\n      const float* q", "run.first_head + (pair + 1) % run.num_heads;\n      const float* q"),
    ("attention/tiles.h", "keys of the first KV head", "(slot * args.num_kv_heads + run.kv_head) * kHeadDim", "slot * args.num_kv_heads * kHeadDim"),
    ("attention/tiles.h", "offset in 32 bits", "(slot * args.num_kv_heads + run.kv_head) * kHeadDim + chunk * 8", "static_cast<int32_t>(static_cast<uint32_t>((slot * args.num_kv_heads + run.kv_head) * kHeadDim + chunk * 8))"),
    ("attention/tiles.h", "sum of the other pair's weights", "total.v[2 * i]);", "total.v[0]);"),
    ("attention/tiles.h", "sum not scaled to the new largest", "sum_[i] = simt::fma(sum_[i], scale[i],", "sum_[i] = simt::fma(sum_[i], 1.0f,"),
    ("attention/tiles.h", "values not scaled to the new largest", "simt::fma(value_[t + of].v[i], scale[i / 2],", "simt::fma(value_[t + of].v[i], 1.0f,"),
    ("attention/tiles.h", "largest of half of the lanes", "      max[i] = larger(simt::shuffle_xor(max[i], 2), max[i]);\n", ""),
    ("attention/tiles.h", "largest of the first warp's keys", "for (int w = 0; w < kKeyWarps; ++w) {", "for (int w = 0; w < 1; ++w) {"),
    ("attention/tiles.h", "barrier behind the weights missing", "      sync_pairs();\n      SIMT_UNROLL\n      for (int step", "      SIMT_UNROLL\n      for (int step"),
    ("attention/tiles.h", "queries that fill up not written", "(num_pairs + 15) / 16 * 16 * kChunks", "num_pairs * kChunks"),
    ("attention/tiles.h", "last tile of a split dropped", "end_ = min_of(last, split_begin(split + 1)) / kTile", "end_ = min_of(last, split_begin(split + 1) - kTile) / kTile"),
    ("attention/tiles.h", "first tile of a split twice", "max_of(first, split_begin(split)) / kTile", "max_of(first, split_begin(split) - (split > 0) * kTile) / kTile"),
    ("attention/tiles.h", "a row waits one tile too long", "next_ * kTile < reach.last", "next_ * kTile + kTile < reach.last"),
    ("attention/tiles.h", "reaches of the first row", "args_.depth[run_.first_row + r], args_.window", "args_.depth[run_.first_row], args_.window"),
    ("attention/tiles.h", "values of the tile's first half twice", "tile_index<kHeadDim>(step * 16 + lane % 16,", "tile_index<kHeadDim>(step / 2 * 16 + lane % 16,"),
    ("attention/tiles.h", "leader's path by the block's row", "run.first_row + pass.leader, run.seq", "run.first_row, run.seq"),
    ("attention/key_by_key.h", "keys in front of the first", "position >= begin && position < end", "position < end"),
    ("attention/key_by_key.h", "last key dropped", "end - chunk < simt::kWarp ? end - chunk : simt::kWarp", "end - chunk < simt::kWarp ? end - chunk - 1 : simt::kWarp"),
    ("attention/key_by_key.h", "values in front of the first key", "begin > chunk ? begin - chunk : 0", "0"),
    ("attention/key_by_key.h", "queries read before they are there", "  }\n  simt::sync_warp();\n\n  float max", "  }\n\n  float max"),
    ("attention/key_by_key.h", "weights of one lane as the sum", "simt::warp_sum(weight[h]))", "weight[h])"),
    ("attention/key_by_key.h", "values not scaled to the new largest", "value[h][i] *= scale;", "value[h][i] *= 1.0f;"),
    ("attention/key_by_key.h", "values of the first KV head", "v_cache = static_cast<const T*>(args.v_cache) + of.kv_head * head_dim", "v_cache = static_cast<const T*>(args.v_cache)"),
    ("attention/key_by_key.h", "offset in 32 bits", "v_cache + simt::shuffle(slot, key) * slot_len", "v_cache + static_cast<int32_t>(static_cast<uint32_t>(simt::shuffle(slot, key) * slot_len))"),
    ("attention/key_by_key.h", "dimensions past the head", "if (first_dim + i < head_dim) parts", "if (true) parts"),
    ("attention/key_by_key.h", "weight of another head", "simt::shuffle(weight[h], key)", "simt::shuffle(weight[h ^ 1], key)"),
    ("attention/warpgroup_attention", "a row does not see itself", "end_key_[i] = seen ? position_of(args, row_[i]) + 1 : 0;",
     "end_key_[i] = seen ? position_of(args, row_[i]) : 0;"),
    ("attention/warpgroup_attention", "last piece not copied", "position >= run.end_key) return -len;", "position + len >= run.end_key) return -len;"),
    ("attention/warpgroup_attention", "pieces behind the last copied", "position + len <= run.first_key || position >= run.end_key", "position + len <= run.first_key"),
    ("attention/warpgroup_attention", "pieces in front of the first copied", "position + len <= run.first_key || position >= run.end_key", "position >= run.end_key"),
    ("attention/warpgroup_attention", "the first slot for pieces that no row sees", "return -len;", "return 0;"),
    ("attention/warpgroup_attention", "pages of the first sequence", "args.page_table[int64_t{run.seq} * args.max_pages + page]", "args.page_table[page]"),
    ("attention/warpgroup_attention", "the first piece of a page again", "           position % args.page_size;", "           0;"),
    ("attention/warpgroup_attention", "keys of the first KV head", "part * simt::kBoxColumns, simt::block_y(), slot", "part * simt::kBoxColumns, 0, slot"),
    ("attention/warpgroup_attention", "dimensions of the first part", "part * simt::kBoxColumns, simt::block_y(), slot", "0, simt::block_y(), slot"),
    ("attention/warpgroup_attention", "place of the next piece", "piece * len * simt::kBoxColumns, cache", "(piece ^ 1) * len * simt::kBoxColumns, cache"),
    ("attention/warpgroup_attention", "place of the first part", "tile + part * Shape::kPartLen + piece", "tile + piece"),
    ("attention/warpgroup_attention", "bytes of a unit too few", "Shape::kTileLen * sizeof(T));", "(Shape::kTileLen - 8) * sizeof(T));"),
    ("attention/warpgroup_attention", "bytes not announced", "barrier.arrive_expecting(Shape::kTileLen * sizeof(T));", "barrier.arrive();"),
    ("attention/warpgroup_attention", "pieces longer than a page", "  while (page_size % len != 0) len /= 2;\n", ""),
    ("attention/warpgroup_attention", "boxes of half a piece", "piece_len(args.page_size)}});", "piece_len(args.page_size) / 2}});"),
    ("attention/warpgroup_attention", "distances of heads and slots swapped", "{head_bytes, head_bytes * args.num_kv_heads}", "{head_bytes * args.num_kv_heads, head_bytes}"),
    ("attention/warpgroup_attention", "as many slots as pages", "int64_t{args.num_pages} * args.page_size}", "args.num_pages}"),
    ("attention/warpgroup_attention", "one KV head", "{args.head_dim, args.num_kv_heads, int64_t", "{args.head_dim, 1, int64_t"),
    ("attention/warpgroup_attention", "keys for values", "map_of(args, args.v_cache)", "map_of(args, args.k_cache)"),
    ("attention/warpgroup_attention", "pages of which no box is a piece", "args.page_size % kLeastPiece == 0 && ", ""),
    ("attention/warpgroup_attention", "a driver without tensor maps", " && simt::makes_tensor_maps()", ""),
    ("attention/warpgroup_attention", "tiles at a multiple of 128 bytes", "simt::dynamic_shared<T, simt::kBoxAlignment>()", "simt::dynamic_shared<T>()"),
    ("attention/warpgroup_attention", "values in the place of keys", "T* v_tile = k_tile + Shape::kTileLen;", "T* v_tile = k_tile;"),
    ("attention/warpgroup_attention", "what no row sees is left as it is", "      pieces.clear_unseen<T, kHeadDim>(run, tile, v_tile);\n", ""),
    ("attention/warpgroup_attention", "front of a window left as it is", "if (tile * kTile >= run.first_key && (tile", "if ((tile"),
    ("attention/warpgroup_attention", "last tile left as it is", "tile * kTile >= run.first_key && (tile + 1) * kTile <= run.end_key", "tile * kTile >= run.first_key"),
    ("attention/warpgroup_attention", "a key in front of the first left as it is", "first / len * len, first);", "first / len * len, first - 1);"),
    ("attention/warpgroup_attention", "first key cleared", "first / len * len, first);", "first / len * len, first + 1);"),
    ("attention/warpgroup_attention", "a key behind the last left as it is", "(values, end, (end", "(values, end + 1, (end"),
    ("attention/warpgroup_attention", "last key cleared", "(values, end, (end", "(values, end - 1, (end"),
    ("attention/warpgroup_attention", "one part cleared", "part < Shape::kParts; ++part) {\n      auto* unit", "part < 1; ++part) {\n      auto* unit"),
    ("attention/warpgroup_attention", "cleared before the values are there", "      barriers.to_clear.wait(num_cleared++ % 2);\n", ""),
    ("attention/warpgroup_attention", "phase of what is cleared never changes", "num_cleared++ % 2", "num_cleared % 2"),
    ("attention/warpgroup_attention", "what is cleared not published", "      simt::publish_shared();\n      simt::sync_warp();\n      if", "      simt::sync_warp();\n      if"),
    ("attention/warpgroup_attention", "lanes that clear not awaited", "      simt::publish_shared();\n      simt::sync_warp();\n      if", "      simt::publish_shared();\n      if"),
    ("attention/warpgroup_attention", "keys as if not swizzled", "const auto k = simt::OperandMatrix::swizzled_rows(\n          k_tile + dim / simt::kBoxColumns * Shape::kPartLen + dim % simt::kBoxColumns,\n          kEightBytes);",
     "const simt::OperandMatrix k(\n          k_tile + dim / simt::kBoxColumns * Shape::kPartLen + dim % simt::kBoxColumns, kChunkBytes, kEightBytes);"),
    ("attention/warpgroup_attention", "values as if not swizzled", "simt::OperandMatrix::swizzled_columns(\n              v_tile + step * 2 * kEight, kEightBytes, Shape::kPartLen * 2)",
     "simt::OperandMatrix(v_tile + step * 2 * kEight, kEightBytes, kChunkBytes)"),
    ("attention/warpgroup_attention", "keys of the next 16 dimensions", "const int dim = step * 16;", "const int dim = (step ^ 1) * 16;"),
    ("attention/warpgroup_attention", "second part of keys left out", "dim / simt::kBoxColumns * Shape::kPartLen", "dim / 64 * 0"),
    ("attention/warpgroup_attention", "stage of keys overwritten too early", "if (n >= kStages) barriers.empty_k", "if (n > kStages) barriers.empty_k"),
    ("attention/warpgroup_attention", "stage of values overwritten too early", "if (n >= kStages) barriers.empty_v", "if (n > kStages) barriers.empty_v"),
    ("attention/warpgroup_attention", "phase of the wrong parity", "(n / kStages + 1) % 2", "n / kStages % 2"),
    ("attention/warpgroup_attention", "the wrong stage of keys freed", "      release(barriers_.empty_k, n);\n      weigh(tile", "      release(barriers_.empty_k, n + 1);\n      weigh(tile"),
    ("attention/warpgroup_attention", "values freed before the wait",
     "      simt::wait_products<0>(value_, weight);\n      release(barriers_.empty_v, n - 1);",
     "      release(barriers_.empty_v, n - 1);\n      simt::wait_products<0>(value_, weight);"),
    ("attention/warpgroup_attention", "scores not awaited", "      simt::wait_products<1>(score);\n", "      simt::wait_products<2>(score);\n"),
    ("attention/warpgroup_attention", "values of a tile not awaited", "      wait_for(barriers_.full_v, n - 1);\n", ""),
    ("attention/warpgroup_attention", "queries not published", "    simt::publish_shared();\n    simt::sync_named", "    simt::sync_named"),
    ("attention/warpgroup_attention", "barrier behind the queries missing", "    simt::sync_named(1 + warpgroup(), simt::kWarpgroup);\n", ""),
    ("attention/warpgroup_attention", "products not begun again", "      simt::begin_products(value_, weight);\n      multiply_keys", "      multiply_keys"),
    ("attention/warpgroup_attention", "values not scaled to the new largest", "value_[i] *= scale[i / 2 % 2];", "value_[i] *= 1.0f;"),
    ("attention/warpgroup_attention", "values scaled as the other pair's", "value_[i] *= scale[i / 2 % 2];", "value_[i] *= scale[1 - i / 2 % 2];"),
    ("attention/warpgroup_attention", "sum not scaled to the new largest", "simt::fma(sum_[of], scale[of], sum)", "sum_[of] + sum"),
    ("attention/warpgroup_attention", "sum of two lanes", "      sum += simt::shuffle_xor(sum, 2);\n", ""),
    ("attention/warpgroup_attention", "largest of half of the lanes", "      max = larger(simt::shuffle_xor(max, 2), max);\n", ""),
    ("attention/warpgroup_attention", "a tile masked for the first row alone", "tile * kTile >= last_first_key", "tile * kTile >= first_key_of(args_, position_of(args_, first))"),
    ("attention/warpgroup_attention", "last tile never masked", "(tile + 1) * kTile <= first_end_key", "tile * kTile <= first_end_key"),
    ("attention/warpgroup_attention", "keys in front of the window seen", "key < first_key_[of] || key >= end_key_[of]", "key >= end_key_[of]"),
    ("attention/warpgroup_attention", "distances of values along keys and dimensions swapped", "kEightBytes, Shape::kPartLen * 2)", "Shape::kPartLen * 2, kEightBytes)"),
    ("attention/warpgroup_attention", "warpgroups share their queries", "queries_(queries + warpgroup() * kGroupPairs * kHeadDim)", "queries_(queries)"),
    ("attention/warpgroup_attention", "heads of the next KV head", "simt::block_y() * rows_.heads +", "(simt::block_y() ^ (args_.num_kv_heads > 1)) * rows_.heads +"),
    ("attention/warpgroup_attention", "rows of two sequences as one", "row < rows.end && args.row_seq[row] == run.seq", "row < rows.end && args.row_seq[row] >= 0"),
    ("attention/warpgroup_attention", "values of the sequence before", "    for (int i = 0; i < kValues; ++i) value_[i] = 0.0f;", "    for (int i = 1 << 30; i < kValues; ++i) value_[i] = 0.0f;"),
    ("attention/warpgroup_attention", "rows of other runs written", "const bool of_run = row_[i] >= run.first && row_[i] < run.end;", "const bool of_run = row_[i] < rows_.end;"),
    ("attention/warpgroup_attention", "weights of the next pair", "x[step * 8 + 2 * i], x[step * 8 + 2 * i + 1]", "x[step * 8 + 2 * (i ^ 1)], x[step * 8 + 2 * (i ^ 1) + 1]"),
    ("attention/warpgroup_attention", "no pair is done again", "again[i] = simt::ballot(of_run && is_nan);", "again[i] = simt::ballot(false);"),
    ("attention/warpgroup_attention", "the wrong pair is done again", "index_of(pair_of(g, i)), max_sum", "index_of(pair_of(g ^ 1, i)), max_sum"),
    ("attention/warpgroup_attention", "previous kernel not awaited", "  simt::wait_for_previous();\n", ""),
    ("attention/warpgroup_attention", "barrier behind the init missing", "  simt::sync_block();\n  simt::wait_for_previous", "  simt::wait_for_previous"),
    ("attention/tree_attention", "edge of the window left out", "const bool has_edge = reach.begin < reach.first,", "const bool has_edge = false,"),
    ("attention/tree_attention", "last split left out", "split_of(reach.last - 1) + 1 - first_split", "split_of(reach.last - 1) - first_split"),
    ("attention/tree_attention", "first split of all", "int part = kFirstSplit + first_split + i", "int part = kFirstSplit + i"),
    ("attention/tree_attention", "largest of one lane's parts", "base_of(simt::warp_max(max))", "base_of(max)"),
    ("attention/tree_attention", "row past the last", "  if (row >= args.rows) return;\n", ""),
    ("attention/tree_attention", "a row without a sequence", "  const int seq = args.row_seq[row];\n  if (seq < 0) return;\n", "  const int seq = args.row_seq[row];\n"),
    ("attention/tree_attention", "split of plain parts one key too long", "reach.end < split_begin(split + 1) ? reach.end : split_begin(split + 1)", "reach.end < split_begin(split + 1) + 1 ? reach.end : split_begin(split + 1) + 1"),
    ("attention/tree_attention", "heads of the next group too", "if (of.num_heads > kWarpHeads) of.num_heads = kWarpHeads;", ""),
    ("attention/tree_attention", "depth of the block's first row", "args.kv_len[of.seq] + args.depth[of.row], args.window, tile_len", "args.kv_len[of.seq] + args.depth[first_row], args.window, tile_len"),
    ("attention/tree_attention", "tails of every other row", "  if (r >= num_rows) return;\n", "  if (r >= num_rows || r % 2 == 1) return;\n"),
    ("attention/tree_attention", "group of the first KV head", "of.first_head = of.kv_head * group_size + head_of_group;", "of.first_head = head_of_group;"),
    ("attention/tree_attention", "rows of two sequences as one", "args.row_seq[run.first_row + run.num_rows] == run.seq", "args.row_seq[run.first_row + run.num_rows] >= 0"),
    ("gemm/gemm.h", "row of the weight past the last", "return {row < w.rows ? from : w.data, row < w.rows ? w.cols - chunk * kChunkCols : 0};", "return {from, w.cols - chunk * kChunkCols};"),
    ("gemm/gemm.h", "block past the last column", "group * kBlockCols < cols);", "group * kBlockCols <= cols);"),
    ("gemm/gemm.h", "blocks of the first part for all", "    block -= blocks;\n", ""),
    ("gemm/gemm.h", "x past the last column", "if (col + half < view.k) {", "if (true) {"),
    ("gemm/gemm.h", "x of the next row fills up", "col + i < view.k ? from[i] : 0.0f", "from[i]"),
    ("gemm/gemm.h", "seven warps of the norm", "w < kGemmWarps; ++w) sum += of_warp", "w < kGemmWarps - 1; ++w) sum += of_warp"),
    ("gemm/gemm.h", "barrier behind the factors missing", "    factor[r] = value;\n  }\n  simt::sync_block();\n", "    factor[r] = value;\n  }\n"),
    ("gemm/gemm.h", "tail of the norm dropped", "j < 4 && i + j < view.k; ++j) sum", "j < 4 && i + 4 <= view.k; ++j) sum"),
    ("gemm/gemm.h", "gate and up swapped", "y = silu(y) * up;", "y = silu(up) * y;"),
    ("gemm/gemm.h", "bias of the product for the gate", "up += load_element(view.up_bias, n);", "up += load_element(part.bias.data != nullptr ? part.bias : view.up_bias, n);"),
    ("gemm/gemm.h", "residual of the first row", "y += view.residual[at];", "y += view.residual[n];"),
    ("gemm/gemm.h", "silu of large negatives is NaN", "(y != y ? y : 0.0f)", "y"),
    ("gemm/gemm.h", "rows of other blocks not awaited", "    while (simt::load_flag(&view.turns[1]) < rows) {\n    }\n", ""),
    ("gemm/gemm.h", "one row not awaited", "simt::load_flag(&view.turns[1]) < rows", "simt::load_flag(&view.turns[1]) < rows - 1"),
    ("gemm/gemm.h", "last row in nobody's turn", "if (row >= rows) break;", "if (row >= rows - 1) break;"),
    ("gemm/gemm.h", "a row told before it is written", "    simt::sync_block();  // the row is written, and the turn is read\n", ""),
    ("gemm/gemm.h", "no fence before a row is told", "      simt::fence();\n      simt::atomic_add(&view.turns[1], 1);", "      simt::atomic_add(&view.turns[1], 1);"),
    ("gemm/gemm.h", "no fence behind the rows of others", "    simt::fence();\n    if (simt::atomic_add(&view.turns[2]", "    if (simt::atomic_add(&view.turns[2]"),
    ("gemm/gemm.h", "turns left as they are", "simt::store_flag(&view.turns[i], 0);", "simt::load_flag(&view.turns[i]);"),
    ("gemm/gemm.h", "turns set to zero by the first block", "== simt::num_blocks() * simt::num_blocks_y() - 1", "== 0"),
    ("gemm/gemm.h", "blocks of one row of the grid counted", "== simt::num_blocks() * simt::num_blocks_y() - 1", "== simt::num_blocks() - 1"),
    ("gemm/gemm.h", "barrier behind the turn missing", "    simt::sync_block();\n    const int32_t row = turn[0];", "    const int32_t row = turn[0];"),
    ("gemm/gemm.h", "last barrier missing", "  simt::sync_block();\n}\n\n/** y / (1", "}\n\n/** y / (1"),
    ("gemm/gemm.h", "rows that fill up not rounded", "static_cast<int32_t>(num_rounded_rows(view));\n  for", "static_cast<int32_t>(view.m);\n  for"),
    ("gemm/skinny_gemm", "norm's factor of the first rows", "factor[i * 8 + simt::lane() / 4]", "factor[simt::lane() / 4]"),
    ("gemm/skinny_gemm", "fragments in another order of k", "low[2 * half], high[2 * half], low[2 * half + 1], high[2 * half + 1]", "low[2 * half + 1], high[2 * half + 1], low[2 * half], high[2 * half]"),
    ("gemm/skinny_gemm", "halves of a tile swapped", "low[2 * half], high[2 * half], low", "high[2 * half], low[2 * half], low"),
    ("gemm/skinny_gemm", "row of x past the last", "if (first_row + row >= view.m || tile_row", "if (tile_row"),
    ("gemm/skinny_gemm", "row of the weight past the last", "first_row + row >= view.m || tile_row + n >= part.w.rows", "first_row + row >= view.m"),
    ("gemm/skinny_gemm", "a block along K skipped", "copy(group + kStages);", "copy(group + kStages + 1);"),
    ("gemm/skinny_gemm", "weight's row of the part before", "n -= view.part[p++].w.rows", "p++"),
    ("gemm/skinny_gemm", "tail of fp32 dropped", "for (int j = 0; j < 4 && i + j < view.k; ++j) {\n      const float weight", "for (int j = 0; j < 4 && i + 4 <= view.k; ++j) {\n      const float weight"),
    ("gemm/skinny_gemm", "second tile's rows of the up weight", "gated ? tile_row : tile_row + kTileRows, half", "tile_row + kTileRows, half"),
    ("gemm/skinny_gemm", "products before the kernel before is done", "  simt::wait_for_previous();\n  simt::allow_next();\n  if constexpr (!kRounded)", "  simt::allow_next();\n  if constexpr (!kRounded)"),
    ("gemm/prefill_gemm", "one stage waited for too late", "simt::wait_async<kStages - 2>();", "simt::wait_async<kStages - 1>();"),
    ("gemm/prefill_gemm", "barrier of a stage missing", "    simt::\n        sync_block();  // the stage", "    // the stage"),
    ("gemm/prefill_gemm", "last slice dropped", "if (group + 1 == slice_end || group + 1 == groups) {", "if (group + 1 == slice_end) {"),
    ("gemm/prefill_gemm", "one slice only", "      slice_end += slice;\n", ""),
    ("gemm/prefill_gemm", "slices by the rows", "slice = slice_groups(view.k);", "slice = view.m > 100 ? slice_groups(view.k) + 1 : slice_groups(view.k);"),
    ("gemm/prefill_gemm", "slices in one sum", "sum[tile][i].v[v] = 0.0f;", "sum[tile][i].v[v] *= 1.0f;"),
    ("gemm/prefill_gemm", "row of x past the last", "      if (row >= view.m) continue;\n", ""),
    ("gemm/prefill_gemm", "row of the weight past the last", "if (n < part.w.rows) finish(view, part, row, n, total[j]", "finish(view, part, row, n, total[j]"),
    ("gemm/prefill_gemm", "rows of x in their first tile", "first_row + (i - 2 * kTiles) * kBlockRows", "first_row"),
    ("gemm/prefill_gemm", "gate in the place of up", "view.up.data != nullptr && tile % 2 == 1", "view.up.data != nullptr && tile % 2 == 0"),
    ("gemm/prefill_gemm", "rows of the first block", "const int64_t first_row = int64_t{simt::block_y()} * kTokens * 8;", "const int64_t first_row = 0;"),
    ("gemm/prefill_gemm", "stride of the weight for x", "    *group_stride = kBlock;\n", "    *group_stride = part.w.group_stride;\n"),
    ("kv/rope_and_append", "K into the V cache", "static_cast<T*>(args.k_cache) + to", "static_cast<T*>(args.v_cache) + to"),
    ("kv/rope_and_append", "norm of q for k", "args.k + from, args.k_norm", "args.k + from, args.q_norm"),
    ("kv/rope_and_append", "second half not rotated", "b * cos[i] + a * sin[i]", "b * cos[i]"),
    ("sampling/sample", "context of the row before", "args.history_begin[row.r], to", "args.history_begin[row.r > 0 ? row.r - 1 : 0], to"),
    ("sampling/sample", "counts not cleared", "count[i] = 0;", "count[i] = 1;"),
    ("sampling/sample", "last tie only", "++before == wanted", "before++ == wanted"),
    ("sampling/sample", "bits of the level before not looked at", "level > 0 && bits >> kDigitBits != state.prefix", "level > 1 && bits >> kDigitBits != state.prefix"),
    ("sampling/sample", "carry lost", "(old + part < old ? 1u : 0u)", "0u"),
    ("sampling/sample", "top_p finds one token less", "before < wanted && wanted <= before + bin[i]", "before <= wanted && wanted < before + bin[i]"),
    ("sampling/sample", "histogram kept for the next search", "    low[b] = high[b] = 0;  // for the next search\n", ""),
    ("sampling/sample", "last block one early", "before + 1 == static_cast<uint32_t>", "before + 2 >= static_cast<uint32_t>"),
    ("sampling/sample", "fence missing", "  simt::fence();\n  simt::sync_block();\n  if (simt::thread() == 0) {", "  simt::sync_block();\n  if (simt::thread() == 0) {"),
    ("sampling/sample", "noise of the row, not of the position", "args.position[row.r]", "static_cast<int32_t>(row.r)"),
    ("sampling/sample", "noise of the group's first token", "gumbel(noise[j])", "gumbel(noise[0])"),
    ("sampling/sample", "min_p forgotten in the law", "within(state, z, first + j) && !(weight < row.s.min_p)) p =", "within(state, z, first + j)) p ="),
    ("sampling/sample", "+inf is no bad logit", "raw[j] < HUGE_VALF ? raw[j] : HUGE_VALF", "raw[j] < HUGE_VALF ? raw[j] : raw_max"),
    ("sampling/sample", "logits of row r, not of row[r]", "(args.row == nullptr ? row.r : args.row[row.r]) * args.vocab", "row.r * args.vocab"),
    ("sampling/sample", "mass of the first chunk", "c < chunks; ++c) units +=", "c < 1; ++c) units +="),
    ("sampling/verify_sampling", "barrier before a weight is overwritten missing", "      simt::sync_block();  // all have read the weights of x\n", ""),
    ("sampling/verify_sampling", "rank not counted", "number(rank++, Purpose", "number(rank, Purpose"),
    ("sampling/verify_sampling", "draws are never taken out", "if (scheme == ESPALIER_WITHOUT_REPLACEMENT) remove", "if (scheme > 9) remove"),
    ("sampling/verify_sampling", "position of the root for all", "args.position[b] + len", "args.position[b]"),
    ("sampling/verify_sampling", "laws of two trees in one place", "workspace + int64_t{2} * b * args.vocab", "workspace + int64_t{1} * b * args.vocab"),
]


def run(command, cwd, timeout=1200, environment=None):
    return subprocess.run(
        command, shell=isinstance(command, str), cwd=cwd, capture_output=True, text=True, timeout=timeout,
        env={**os.environ, **(environment or {})})


# The step: the session on a device that replays, and the backend. (source, what the bug is, the text, what it becomes, and the test where
# it is not the source's own)
STEP_MUTANTS = [
    ("native/runtime/session.cpp", "wrong slot after commit", "s.length() + i + 1)", "s.length() + i)"),
    ("native/runtime/session.cpp", "kv_len as of the first step of so many rows", "kv_len.push_back(s.length());",
     "static std::map<int32_t, int32_t> first; kv_len.push_back(first.emplace(rows, s.length()).first->second);"),
    ("native/runtime/session.cpp", "a step's key without its rows", "static_cast<int32_t>(attention_.rows), batch", "batch"),
    ("native/runtime/session.cpp", "a step's key without its pages", "attention_.max_pages,", "0,"),
    ("native/runtime/session.cpp", "a step's key without its depth", "attention_.max_depth})", "0})"),
    ("native/runtime/session.cpp", "a step's key without its owner", "backend_.begin_step(id_, {kVerify,", "backend_.begin_step(1, {kVerify,"),
    ("native/runtime/session.cpp", "verification with the key of a pass", "{kVerify, rows, batch_.size(), draws.filtered ? 1 : 0}",
     "{kForward, rows, batch_.size(), attention_.max_pages, attention_.max_depth}"),
    ("native/runtime/session.cpp", "steps live on in memory that moved", "if (judged_.reserve(device_, bytes)) backend_.drop_steps(id_);", "judged_.reserve(device_, bytes);"),
    ("native/runtime/session.cpp", "steps live on that keep no hidden states", "  backend_.drop_steps(id_);\n  drop_scores();", "  drop_scores();"),
    ("native/runtime/session.cpp", "rows that fill up write to a sequence", "cache_.spare_slot(i)", "cache_.slot(sequence(batch.seq[0]).pages, i)"),
    ("native/runtime/session.cpp", "prefill row off by one", "std::iota(chain.depth.begin(), chain.depth.end(), 0);",
     "std::iota(chain.depth.begin(), chain.depth.end(), 1);"),
    ("native/runtime/session.cpp", "last row of a prefill dropped", "place(chain, 0, n);", "place(chain, 0, n); attention_.rows -= n > 1;"),
    ("cuda/cuda_backend.cu", "the step that is captured does not run", "step->graph = std::move(graph);\n      step->graph.launch(stream_);",
     "step->graph = std::move(graph);"),
    ("cuda/cuda_backend.cu", "a step is captured with every use", "if (step.graph) {", "if (false) {"),
    ("cuda/cuda_backend.cu", "steps of all owners are one", "steps_[{owner, shape}]", "steps_[{0, shape}]"),
    ("cuda/cuda_backend.cu", "a graph dies before its launch", "attempt_always([&] { wait(); });  // a graph", "// a graph"),
    ("cuda/cuda_backend.cu", "a graph outlives the workspace it knows", "steps_.clear();\n    simt::release(std::exchange", "simt::release(std::exchange"),
    ("cuda/cuda_backend.cu", "pinned memory is reused too early", "used_ += (bytes + 255) / 256 * 256;", ""),
    ("cuda/cuda_backend.cu", "a download does not wait", "wait();\n        std::memcpy(static_cast<char*>(to)", "std::memcpy(static_cast<char*>(to)"),
    ("cuda/cuda_backend.cu", "a failure is forgotten", "if (failure_.status != ESPALIER_OK) return;\n    failure_.status = status;", "return;"),
    ("cuda/cuda_backend.cu", "ops go on behind a failure", "if (failure_.status == ESPALIER_OK) attempt_always(body);", "attempt_always(body);"),
    ("cuda/cuda_backend.cu", "no workspace for our own kernels beside cuBLASLt", "std::max(cuda_skinny_gemm_workspace(of), cublaslt_.workspace_bytes(of))",
     "cublaslt_.workspace_bytes(of)", "simt_cublaslt_backend"),
    ("cuda/cuda_backend.cu", "planning runs the ops", "if (!planning_) op(args, stream_);", "op(args, stream_);", "simt_step"),
    ("cuda/cuda_backend.cu", "the last planned op decides", "planned_bytes_ = std::max(planned_bytes_, bytes);", "planned_bytes_ = bytes;", "simt_step"),
    ("cuda/cuda_backend.cu", "what is planned is not taken", "attempt([&] { grow_workspace(planned_bytes_); });", "", "simt_step"),
    ("cuda/cuda_backend.cu", "planning never ends", "    planning_ = false;\n", "", "simt_step"),
    ("native/runtime/session.cpp", "one row planned", "  attention_.rows = max_rows;", "  attention_.rows = 1;", "simt_step"),
    ("native/runtime/session.cpp", "no pages planned", "  attention_.max_pages = max_pages;\n  attention_.max_depth = max_depth;\n  attention_.batch = max_rows;",
     "  attention_.max_depth = max_depth;\n  attention_.batch = max_rows;", "simt_step"),
    ("native/runtime/session.cpp", "no pass planned", "  run({}, 0, true);\n  run({}, 0, false);\n  const int32_t most", "  const int32_t most", "simt_step"),
    ("native/runtime/session.cpp", "draws not planned", "  backend_.sample(draws);\n  VerifySampling", "  VerifySampling", "simt_step"),
]


# The source that includes a header, by the header's folder. A header's own mutants are seen through it.
KERNEL_OF = {"attention": "attention/tree_attention", "gemm": "gemm/skinny_gemm", "sampling": "sampling/top_k"}


def program_of(source):
    """Name of the test of a source, where it lies in the build, and its environment."""
    if source.parts[0] == "native":
        return source.stem + "_test", "tests/conformance", {"ESPALIER_TEST_DEVICE": "replay"}
    name = "simt_backend" if source.stem == "cuda_backend" else "simt_" + source.stem
    return name, "tests/simt", {}


def sources_of(name):
    """The file that a mutant changes, and the one that is compiled for it."""
    if name.endswith(".h"):
        return ROOT / "cuda" / name, ROOT / f"cuda/{KERNEL_OF[name.split('/')[0]]}.cu"
    source = ROOT / (name if "." in name else f"cuda/{name}.cu")
    return source, source


class Tests:
    """The tests of a program: how long each takes without a mutant, and in which order they are run."""

    def __init__(self, program, build, environment):
        self.build, self.environment = build, environment
        self.seconds = {}
        for test in run([str(program), "--list"], build, environment=environment).stdout.split():
            begin = time.monotonic()
            if run([str(program), test], build, environment=environment).returncode != 0:
                sys.exit(f"{program.name} {test} fails without a mutant")
            self.seconds[test] = time.monotonic() - begin
        self.order = sorted(self.seconds, key=self.seconds.get)

    def verdict_of(self, program):
        """Tests one by one, until one fails: its name and what it said; None when all pass. A test that killed goes to the front."""
        for test in list(self.order):
            try:
                ran = run([str(program), test], self.build, timeout=60 + 20 * self.seconds[test], environment=self.environment)
            except subprocess.TimeoutExpired:
                said = "does not end"
            else:
                if ran.returncode == 0:
                    continue
                words = [line.strip() for line in ran.stdout.splitlines() if re.search(r"\.(cpp|h):\d+: |: exception", line)]
                said = words[0] if words else f"ends with {ran.returncode}"
            self.order = [test] + [other for other in self.order if other != test]
            return test, said
        return None


class Run:
    """Mutants in one build."""

    def __init__(self, build):
        self.build = build
        entries = json.loads((build / "compile_commands.json").read_text())
        targets = ("espalier_cuda_emulated", "espalier_emulated_device", "espalier_objects")
        self.commands = {entry["file"]: entry["command"] for entry in entries if any(t in entry["command"] for t in targets)}
        self.path = build / "mutants.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.kept = {kept["key"]: kept for kept in map(json.loads, lines)}
        self.lock = threading.Lock()
        self.tests = {}

    def tests_of(self, program, folder, environment):
        with self.lock:
            if program not in self.tests:
                subprocess.run(["ninja", program], cwd=self.build, check=True, stdout=subprocess.DEVNULL)
                self.tests[program] = Tests(self.build / folder / program, self.build, environment)
            return self.tests[program]

    def outcome(self, mutant, work):
        """Killed, or why not; the test that killed, and what it said first."""
        name, _, old, new, *test = mutant
        changed, source = sources_of(name)
        text = changed.read_text()
        if text.count(old) < 1:
            return "STALE", "", f"the text is not in {changed.name}"
        program, folder, environment = (test[0], "tests/simt", {}) if test else program_of(source.relative_to(ROOT))
        tests = self.tests_of(program, folder, environment)
        # A header lies in the mutated folder as in cuda/, which comes first; a source has a name of its own.
        headers = work / "headers"
        mutated = headers / name if changed != source else work / source.name
        mutated.parent.mkdir(parents=True, exist_ok=True)
        mutated.write_text(text.replace(old, new, 1))
        compile_command = shlex.split(self.commands[str(source)])
        compile_command[compile_command.index("-o") + 1] = str(work / "mutant.o")
        if changed == source:
            compile_command = [str(mutated) if word == str(source) else word for word in compile_command]
        compile_command.insert(next(i for i, word in enumerate(compile_command) if word.startswith("-I")), f"-I{headers}")
        compile_command += ["-Wno-error"]
        compiled = run(compile_command, self.build)
        if compiled.returncode != 0:
            return "NOT COMPILED", "", next((line for line in compiled.stderr.splitlines() if "error" in line), compiled.stderr.strip())
        links = run(["ninja", "-t", "commands", program], self.build).stdout.splitlines()
        link = next(line for line in links if f"-o {folder}/{program} " in line)
        # Instead of its object, or in front of its archive.
        link = " ".join(word for word in link.split(" ") if not word.endswith(f"/runtime/{source.name}.o"))
        link = link.replace(f"-o {folder}/{program} ", f"-o {work}/program {work}/mutant.o ")
        linked = run(link, self.build)
        if linked.returncode != 0:
            return "NOT LINKED", "", linked.stderr.strip().splitlines()[0]
        verdict = tests.verdict_of(work / "program")
        return ("LIVES", "", "") if verdict is None else ("killed", *verdict)

    def result_of(self, mutant):
        """What is kept of a mutant that was killed; None for one that was not."""
        name, bug = mutant[:2]
        changed, _ = sources_of(name)
        texts = [repr(mutant).encode()] + [f.read_bytes() for f in sorted(changed.parent.iterdir()) if f.is_file()]
        key = hashlib.sha256(b"".join(texts)).hexdigest()
        if key in self.kept:
            return self.kept[key]
        with tempfile.TemporaryDirectory() as work:
            result, test, said = self.outcome(mutant, pathlib.Path(work))
        print(f"{result:8} {name + ': ' + bug:58} {test}: {said[:150]}", flush=True)
        if result != "killed":
            return None
        kept = {"key": key, "file": name, "bug": bug, "test": test, "said": said, "day": datetime.date.today().isoformat()}
        with self.lock, self.path.open("a") as lines:
            print(json.dumps(kept), file=lines)
        return kept


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-j", type=int, default=1, help="mutants at a time")
    parser.add_argument("--list", action="store_true", help="print the mutants, each with the test that killed it")
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("wanted", nargs="*", help="parts of names; all where none is given")
    options = parser.parse_args()
    mutants = [m for m in MUTANTS + STEP_MUTANTS if not options.wanted or any(part in f"{m[0]}: {m[1]}" for part in options.wanted)]
    mutation = Run(options.build.resolve())
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        results = list(zip(mutants, pool.map(mutation.result_of, mutants)))
    print("| file | mutants | killed | on |\n|---|---|---|---|")
    for name in dict.fromkeys(mutant[0] for mutant in mutants):
        of_file = [kept for mutant, kept in results if mutant[0] == name]
        killed = list(filter(None, of_file))
        print(f"| {name} | {len(of_file)} | {len(killed)} | {', '.join(sorted({kept['day'] for kept in killed}))} |")
    if options.list:
        for name in dict.fromkeys(mutant[0] for mutant in mutants):
            print(f"\n## {name}\n\n| bug | killed by |\n|---|---|")
            for mutant, kept in results:
                if mutant[0] == name:
                    print(f"| {mutant[1]} | {kept['test'] if kept else ''} |")
    bad = sum(kept is None for _, kept in results)
    print(f"\n{len(results)} mutants, {bad} not killed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
