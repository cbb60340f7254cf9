#!/usr/bin/env python3
"""Breaks kernels on purpose, one bug at a time, and demands that their tests fail.

Usage: mutants.py BUILD_DIR [part of a name ...]; BUILD_DIR is a Ninja build in which all tests are built.
Prints one line for each mutant; the exit status is 1 when one of them lives.
"""

import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

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
    ("gemm/warpgroup_gemm", "sums not awaited", "    multiply_stage<T, 1>(weights(whole), x(whole), sum);\n    simt::wait_products<0>();",
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


def run(command, cwd, timeout=300, environment=None):
    return subprocess.run(
        command, shell=isinstance(command, str), cwd=cwd, capture_output=True, text=True, timeout=timeout,
        env={**os.environ, **(environment or {})})


# The step: the session on a device that replays, and the backend. (source, what the bug is, the text, what it becomes)
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
    ("native/runtime/session.cpp", "steps live on in memory that moved", "if (judged_.send(device_)) backend_.drop_steps(id_);", "judged_.send(device_);"),
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
    ("cuda/cuda_backend.cu", "a graph outlives the workspace it knows", "steps_.clear();\n    simt::release", "simt::release"),
    ("cuda/cuda_backend.cu", "pinned memory is reused too early", "used_ += (bytes + 255) / 256 * 256;", ""),
    ("cuda/cuda_backend.cu", "a download does not wait", "wait();\n        std::memcpy(static_cast<char*>(to)", "std::memcpy(static_cast<char*>(to)"),
    ("cuda/cuda_backend.cu", "a failure is forgotten", "if (failure_.status != ESPALIER_OK) return;\n    failure_.status = status;", "return;"),
    ("cuda/cuda_backend.cu", "ops go on behind a failure", "if (failure_.status == ESPALIER_OK) attempt_always(body);", "attempt_always(body);"),
]


def program_of(source):
    """Name of the test of a source, where it lies in the build, and its environment."""
    if source.parts[0] == "native":
        return source.stem + "_test", "tests/conformance", {"ESPALIER_TEST_DEVICE": "replay"}
    name = "simt_backend" if source.stem == "cuda_backend" else "simt_" + source.stem
    return name, "tests/simt", {}


def outcome(build, commands, work, mutant):
    """Killed, or why not; and what the test said first."""
    name, _, old, new = mutant
    source = ROOT / (name if "." in name else f"cuda/{name}.cu")
    text = source.read_text()
    if text.count(old) < 1:
        return "STALE", f"the text is not in {source.name}"
    mutated = work / source.name
    mutated.write_text(text.replace(old, new, 1))
    compile_command = shlex.split(commands[str(source)])
    compile_command[compile_command.index("-o") + 1] = str(work / "mutant.o")
    compile_command = [str(mutated) if word == str(source) else word for word in compile_command]
    compile_command += ["-Wno-error"]
    compiled = run(compile_command, build)
    if compiled.returncode != 0:
        return "NOT COMPILED", compiled.stderr.strip().splitlines()[0]
    program, folder, environment = program_of(source.relative_to(ROOT))
    links = run(["ninja", "-t", "commands", program], build).stdout.splitlines()
    link = next(line for line in links if f"-o {folder}/{program} " in line)
    # Instead of its object, or in front of its archive.
    link = " ".join(word for word in link.split(" ") if not word.endswith(f"/runtime/{source.name}.o"))
    link = link.replace(f"-o {folder}/{program} ", f"-o {work}/program {work}/mutant.o ")
    linked = run(link, build)
    if linked.returncode != 0:
        return "NOT LINKED", linked.stderr.strip().splitlines()[0]
    ran = run([str(work / "program")], build, environment=environment)
    words = [line.strip() for line in ran.stdout.splitlines() if ".cpp:" in line or ": exception" in line or "0: " in line]
    return ("LIVES" if ran.returncode == 0 else "killed"), (words[0] if words else "")


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    wanted = sys.argv[2:]
    entries = json.loads((build / "compile_commands.json").read_text())
    commands = {entry["file"]: entry["command"] for entry in entries if any(t in entry["command"] for t in ("espalier_cuda_emulated", "espalier_emulated_device", "espalier_objects"))}
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        for mutant in MUTANTS + STEP_MUTANTS:
            name = f"{mutant[0]}: {mutant[1]}"
            if wanted and not any(part in name for part in wanted):
                continue
            result, said = outcome(build, commands, pathlib.Path(work), mutant)
            bad += result != "killed"
            print(f"{result:8} {name:58} {said[:150]}", flush=True)
    print(f"{bad} not killed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
