#!/usr/bin/env python3
"""Times of the cases of a record by PyTorch on the GPU that is there; prints lines for the same record (record.h).

  peers.py RECORD [--seconds N]     RECORD: what gpu_bench printed; N: no case begins behind that time, 600 without it, and
                                    one at work is given up a second later

torch.mm, scaled_dot_product_attention, flex_attention (compiled), torch.topk and a copy. Without PyTorch or a GPU it prints why. Inputs
take turns, so that none is in a cache; times are medians of replayed graphs by events, after copies that keep the clocks up.
"""
import contextlib
import json
import signal
import sys
import time

BEGAN = time.monotonic()
COLD_BYTES = 256 << 20
REPEATS, LEAST_CALLS = 20, 20


def say(**entry):
    print(json.dumps(entry), flush=True)


class Device:
    """Where peers run, and the time of their calls."""

    def __init__(self, torch, name="cuda"):
        self.torch, self.name = torch, name
        self.on_gpu = name == "cuda"
        self.heat = [self.zeros(COLD_BYTES if self.on_gpu else 16, torch.uint8) for _ in range(2)]

    def zeros(self, size, dtype):
        return self.torch.zeros(size, device=self.name, dtype=dtype)

    def randn(self, *size, dtype=None):
        return self.torch.randn(*size, device=self.name, dtype=dtype or self.torch.bfloat16)

    def turns(self, num_bytes):
        return min(64, COLD_BYTES // num_bytes + 1) if self.on_gpu else 2

    def seconds(self, calls):
        """Median time of one call; the calls of the list, each on inputs of its own, take turns in one CUDA graph."""
        for call in calls[:3] * 2:
            call()
        turns = (calls * LEAST_CALLS)[:max(len(calls), LEAST_CALLS)]

        def step():
            for call in turns:
                call()

        run = self.captured(step) if self.on_gpu else step
        return sorted(self.once(run) for _ in range(REPEATS))[REPEATS // 2] / len(turns)

    def captured(self, step):
        torch = self.torch
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
            return graph.replay
        except RuntimeError:  # some call is not for graphs: as it is called then
            torch.cuda.synchronize()
            return step

    def once(self, call):
        if not self.on_gpu:
            begin = time.perf_counter()
            call()
            return time.perf_counter() - begin
        torch = self.torch
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        for _ in range(4):  # the host is ahead of the device then
            self.heat[0].copy_(self.heat[1])
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3


def copy(device, case):
    a, b = (device.zeros(case["KiB"] << 10, device.torch.uint8) for _ in range(2))
    return [lambda: a.copy_(b)]


def product(device, case):
    m, n, k = case["m"], case["n"], case["k"]
    x = device.randn(m, k)
    weights = [device.randn(n, k) for _ in range(device.turns(2 * n * k))]
    return [lambda w=w: device.torch.mm(x, w.t()) for w in weights]


def top_k(device, case):
    rows, vocab, k = case["rows"], case["vocab"], case["k"]
    inputs = [device.randn(rows, vocab, dtype=device.torch.float32) for _ in range(device.turns(4 * rows * vocab))]
    return [lambda x=x: device.torch.topk(x, k) for x in inputs]


def parent(node):
    return (node - 1) // 2 if node > 0 else -1


def attention_inputs(device, case):
    """q, caches [2, batch, kv heads, context + nodes, head_dim] that take turns, and which nodes see which."""
    torch = device.torch
    context, batch, nodes = case["context"], case["batch"], case["nodes"]
    length = context + nodes
    size = (2, batch, case["kv_heads"], length, case["head_dim"])
    q = device.randn(batch, case["q_heads"], nodes, case["head_dim"])
    caches = [device.randn(*size) for _ in range(device.turns(4 * batch * length * case["kv_heads"] * case["head_dim"]))]
    sees = torch.zeros(nodes, nodes, dtype=torch.bool)
    for node in range(nodes):
        ancestor = node
        while ancestor >= 0:
            sees[node, ancestor] = True
            ancestor = parent(ancestor)
    return q, caches, sees.to(device.name)


def sdpa(device, case):
    torch = device.torch
    q, caches, sees = attention_inputs(device, case)
    context, nodes = case["context"], case["nodes"]
    mask = None  # one node sees everything
    if nodes > 1:
        mask = torch.cat([torch.ones(nodes, context, device=device.name, dtype=torch.bool), sees], 1)
    attend = torch.nn.functional.scaled_dot_product_attention
    return [lambda c=c: attend(q, c[0], c[1], attn_mask=mask, enable_gqa=True) for c in caches]


def sdpa_of_prompt(device, case):
    torch = device.torch
    from torch.nn.attention.bias import causal_lower_right
    rows, length = case["rows"], case["before"] + case["rows"]
    q = device.randn(1, case["q_heads"], rows, case["head_dim"])
    size = (2, 1, case["kv_heads"], length, case["head_dim"])
    caches = [device.randn(*size) for _ in range(device.turns(4 * length * case["kv_heads"] * case["head_dim"]))]
    mask = causal_lower_right(rows, length)
    attend = torch.nn.functional.scaled_dot_product_attention
    return [lambda c=c: attend(q, c[0], c[1], attn_mask=mask, enable_gqa=True) for c in caches]


def flex(device, case):
    torch = device.torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    q, caches, sees = attention_inputs(device, case)
    context, nodes = case["context"], case["nodes"]

    def visible(_batch, _head, row, key):
        return (key < context) | sees[row, (key - context).clamp(min=0)]

    mask = create_block_mask(visible, None, None, nodes, context + nodes, device=device.name)
    # Not compiled it multiplies in full, which is no peer; on the CPU its meaning is tested.
    attend = torch.compile(flex_attention, dynamic=False) if device.on_gpu else flex_attention
    return [lambda c=c: attend(q, c[0], c[1], block_mask=mask, enable_gqa=True) for c in caches]


# Name, ops, and the calls for a case of them; what compiles comes last.
PEERS = [
    ("torch copy", ("copy",), copy),
    ("torch.mm", ("product", "skinny_gemm"), product),
    ("torch.topk", ("top_k",), top_k),
    ("torch SDPA", ("tree_attention",), sdpa),
    ("torch SDPA", ("prefill_attention",), sdpa_of_prompt),
    ("flex_attention", ("tree_attention",), flex),
]


@contextlib.contextmanager
def given_up(at):
    """Raises in what takes longer, as a compiler may."""

    def late(*_):
        raise TimeoutError("did not end in its time")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(at - time.monotonic(), 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def measure(device, cases, end):
    for name, ops, calls_of in PEERS:
        for case in cases:
            if case["op"] not in ops:
                continue
            entry = {"op": case["op"], "shape": case["shape"], "peer": name}
            if case.get("window") or case.get("soft_cap"):
                say(**entry, why="left out: these calls have no window and no cap")
                continue
            if time.monotonic() > end:
                say(**entry, why="left out: the time for peers was over")
                continue
            try:
                with given_up(end + 1):
                    seconds = device.seconds(calls_of(device, case))
                say(**entry, seconds=seconds)
            except Exception as e:  # a peer that cannot is a line of the table, whatever it throws
                say(**entry, why=f"{type(e).__name__}: {' '.join(str(e).split())[:150]}")
            if device.on_gpu:
                device.torch.cuda.empty_cache()


def main(arguments):
    if not arguments or arguments[0].startswith("-") or len(arguments) not in (1, 3) or arguments[1:2] not in ([], ["--seconds"]):
        sys.exit(__doc__.strip())
    seconds = float(arguments[2]) if len(arguments) == 3 else 600
    try:
        import torch
    except ImportError:
        return say(peer="PyTorch", why="not installed for this python3")
    if not torch.cuda.is_available():
        return say(peer="PyTorch", why="finds no GPU")
    with open(arguments[0]) as record:
        cases = [case for case in map(json.loads, record) if "op" in case and "peer" not in case and "seconds" in case]
    with torch.inference_mode():
        measure(Device(torch), cases, BEGAN + seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
