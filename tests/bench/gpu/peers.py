#!/usr/bin/env python3
"""Times of the same cases by PyTorch on the GPU that is there, a line each: op, shape, peer and seconds, with tabs.

  peers.py [--quick]

gpu_bench --peers FILE puts them beside its own rows of the same op and shape. Without PyTorch or a GPU it prints nothing.
"""
import sys

try:
    import torch
except ImportError:
    sys.exit(0)
if not torch.cuda.is_available():
    sys.exit(0)

QUICK = "--quick" in sys.argv[1:]
ROWS = [1, 16, 64] if QUICK else [1, 2, 4, 8, 16, 32, 64]
CONTEXTS = [1024, 8192, 32768] if QUICK else [1024, 8192, 32768, 131072]
NODES = [1, 16, 64] if QUICK else [1, 8, 16, 64]
COLD_BYTES = 256 << 20
BF16 = torch.bfloat16


def seconds(calls, repeats=50):
    """Median time of one call by events; the calls of the list, each on inputs of its own, take turns."""
    for call in calls[:3]:
        call()
    times = []
    for i in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        calls[i % len(calls)]()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return sorted(times)[repeats // 2]


def turns(num_bytes):
    return min(64, COLD_BYTES // num_bytes + 1)


def report(op, shape, peer, time):
    print(op, shape, peer, time, sep="\t", flush=True)


def gemm(layer, m, n, k, gate):
    # A gated layer is one product of twice the rows.
    rows = 2 * n if gate else n
    x = torch.randn(m, k, device="cuda", dtype=BF16)
    weights = [torch.randn(rows, k, device="cuda", dtype=BF16) for _ in range(turns(2 * rows * k))]
    report("skinny_gemm", f"{layer}, m {m}, n {n}, k {k}, bf16", "torch.mm",
           seconds([lambda w=w: torch.mm(x, w.t()) for w in weights]))


def attention(context, nodes):
    q = torch.randn(1, 32, nodes, 128, device="cuda", dtype=BF16)
    length = context + nodes
    caches = [torch.randn(2, 1, 8, length, 128, device="cuda", dtype=BF16) for _ in range(turns(4 * length * 1024))]
    mask = torch.zeros(nodes, length, device="cuda", dtype=torch.bool)
    mask[:, :context] = True
    for node in range(nodes):  # a binary tree
        ancestor = node
        while ancestor >= 0:
            mask[node, context + ancestor] = True
            ancestor = (ancestor - 1) // 2 if ancestor > 0 else -1
    sdpa = torch.nn.functional.scaled_dot_product_attention
    shape = f"context {context}, nodes {nodes}, bf16"
    report("tree_attention", shape, "torch SDPA",
           seconds([lambda c=c: sdpa(q, c[0], c[1], attn_mask=mask, enable_gqa=True) for c in caches]))


def top_k(rows, vocab, k):
    inputs = [torch.randn(rows, vocab, device="cuda") for _ in range(turns(4 * rows * vocab))]
    report("top_k", f"rows {rows}, vocab {vocab}, k {k}", "torch.topk",
           seconds([lambda x=x: torch.topk(x, k) for x in inputs]))


with torch.inference_mode():
    for rows in ROWS:
        gemm("qkv", rows, 6144, 4096, False)
        gemm("o", rows, 4096, 4096, False)
        gemm("gate+up", rows, 14336, 4096, True)
        gemm("down", rows, 4096, 14336, False)
        gemm("lm head", rows, 128256, 4096, False)
        top_k(rows, 128256, 8)
    for context_tokens in CONTEXTS:
        for num_nodes in NODES:
            attention(context_tokens, num_nodes)
