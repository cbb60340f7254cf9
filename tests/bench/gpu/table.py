#!/usr/bin/env python3
"""The table of a benchmark run on a GPU, from its record: op, shape, time, floor, share of the floor, ratio to each peer.

  table.py RECORD        RECORD: lines of JSON as record.h says, of gpu_bench, peers.py and model_bench; - for standard input

The floor is the bytes of a case at the speed of the fastest copy of the run, or its arithmetic at the rate of the fastest product,
whichever takes longer. A ratio is espalier's time over the peer's: below 1 espalier is faster. Exit code 1 where a line says `failed`.
"""
import json
import sys

COPY, PRODUCT = "copy", "product"


class Record:
    def __init__(self, lines):
        self.cases, self.peers, self.missing, self.answers, self.about = [], {}, [], [], []
        self.failed = False
        for line in lines:
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
            except ValueError:  # a program that ended in the middle of it, or said something else
                entry = {"not a line of a record": line.strip(), "failed": True}
            self.failed |= bool(entry.get("failed"))
            if "peer" in entry and "op" in entry:
                self.peers.setdefault(entry["peer"], {})[entry["op"], entry["shape"]] = entry
            elif "peer" in entry:
                self.missing.append(entry)
            elif "op" in entry:
                self.cases.append(entry)
            elif "question" in entry:
                self.answers.append(entry)
            else:
                self.about.append(entry)

    def fastest(self, op, amount):
        """The highest rate of an op by anybody: `amount` a second, and by whom."""
        best = (0.0, None)
        for case in self.cases:
            if case["op"] != op:
                continue
            entries = [("espalier", case)] + [(name, of.get((op, case["shape"]), {})) for name, of in self.peers.items()]
            for name, entry in entries:
                if entry.get("seconds"):
                    best = max(best, (case[amount] / entry["seconds"], name))
        return best

    def case(self, op, **wanted):
        for case in self.cases:
            if case["op"] == op and all(case.get(name) == value for name, value in wanted.items()):
                return case
        return {}

    def floor(self, case):
        """Seconds, and what they are for."""
        moved, done = self.fastest(COPY, "bytes")[0], self.fastest(PRODUCT, "flops")[0]
        by_bytes = case.get("bytes", 0) / moved if moved else 0
        by_flops = case.get("flops", 0) / done if done else 0
        return (by_flops, "flops") if by_flops > by_bytes else (by_bytes, "bytes")

    def share(self, case):
        floor = self.floor(case)[0]
        return floor / case["seconds"] if case.get("seconds") and floor else None

    def ratio(self, case, peer):
        entry = self.peers.get(peer, {}).get((case["op"], case["shape"]), {})
        return case["seconds"] / entry["seconds"] if case.get("seconds") and entry.get("seconds") else None


def aligned(rows, left):
    """Rows of text in columns: the first `left` ones to the left, the rest to the right."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return lines


def us(seconds):
    return f"{seconds * 1e6:.1f}"


def table(record):
    peers = [name for name in record.peers if any(entry.get("seconds") for entry in record.peers[name].values())]
    rows = [["op", "shape", "time us", "floor us", "of", "share"] + [f"/ {name}" for name in peers]]
    rest = []
    for case in record.cases:
        floor, of = record.floor(case)
        floor = [us(floor), of] if floor else ["-", "-"]
        row = [case["op"], case["shape"]]
        if not case.get("seconds"):
            rows.append(row + ["-"] + floor + ["-"])
            rest.append(f"{case['op']} {case['shape']}: {case['why']}")
            continue
        share = record.share(case)
        ratios = [record.ratio(case, peer) for peer in peers]
        rows.append(row + [us(case["seconds"])] + floor + ["-" if share is None else f"{100 * share:.0f}%"] +
                    ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios])
    for name, entries in record.peers.items():
        reasons = {}
        for (op, shape), entry in entries.items():
            if not entry.get("seconds"):
                reasons.setdefault(entry["why"], []).append(f"{op} {shape}")
        for why, shapes in reasons.items():
            more = f" and {len(shapes) - 1} more" if len(shapes) > 1 else ""
            rest.append(f"{name}, {shapes[0]}{more}: {why}")
    return aligned(rows, 2) + ([""] + ["Not measured:"] + [f"  {line}" for line in rest] if rest else [])


# What docs/kernels and the first run on a card want to know: a text, a bound for an H200, and the value from the record.
def targets(record):
    def gemm(label, m):
        return record.case("skinny_gemm", label=label, m=m)

    def attention(context, nodes):
        return record.case("tree_attention", label="", context=context, batch=1, nodes=nodes)

    def over(a, b):
        return a["seconds"] / b["seconds"] if a.get("seconds") and b.get("seconds") else None

    def time(case):
        return case["seconds"] * 1e6 if case.get("seconds") else None

    def over_floor(case):
        floor = record.floor(case)[0]
        return (case["seconds"] - floor) * 1e6 if case.get("seconds") and floor else None

    def percent(case):
        share = record.share(case)
        return None if share is None else 100 * share

    layers = ["qkv", "o", "gate+up", "down", "lm head"]
    for label in layers:
        yield f"{label}: 64 rows, times 1 row", "<=", 1.10, over(gemm(label, 64), gemm(label, 1))
    for label, least in zip(layers, [70, 70, 85, 85, 85]):
        yield f"{label}: 1 row, % of the floor", ">=", least, percent(gemm(label, 1))
    for peer in ("cuBLAS", "torch.mm"):
        ratios = [record.ratio(case, peer) for case in record.cases if case["op"] == "skinny_gemm" and case.get("m", 65) <= 64]
        ratios = [ratio for ratio in ratios if ratio is not None]
        yield f"products of 1 to 64 rows: worst time, times {peer}", "<=", 1.05, max(ratios, default=None)
    yield ("attention, 64 query heads, pages of 32, 8k: us", "<=", 12,
           time(record.case("tree_attention", label="64 query heads, pages of 32", context=8192)))
    yield "attention, 1 node, 32k: % of the floor", ">=", 85, percent(attention(32768, 1))
    yield "attention, 1 node, 128k: % of the floor", ">=", 90, percent(attention(131072, 1))
    yield "attention, 8k: 16 nodes, times 1 node", "<=", 1.15, over(attention(8192, 16), attention(8192, 1))
    yield "attention, 8k: 64 nodes, times 1 node (mma.sync)", "<=", 2.0, over(attention(8192, 64), attention(8192, 1))
    for rows, most in ((1, 10), (64, 20)):
        yield f"top_k, {rows} rows, k 64: us", "<=", most, time(record.case("top_k", rows=rows, k=64))
    yield "sample, 1 row, top-k and top-p: us", "<=", 20, time(record.case("sample", rows=1, label="top-k 40, top-p 0.9"))
    for label in ("point mass", "without replacement"):
        yield f"verify_sampling, 64 nodes, {label}: us", "<=", 8, time(record.case("verify_sampling", label=label, nodes=64))
    yield "commit_kv, 8 tokens, 32 layers: us", "<=", 6, time(record.case("commit_kv", moves=8, layers=32))
    yield "draft head: us above the floor", "<=", 5, over_floor(record.case("draft_head"))
    yield "a launch in a graph: us", "<=", 1.3, time(record.case("verify", label="a launch"))
    for case in record.cases:
        if case["op"] == "model" and case.get("nodes") == 1:
            yield f"{case['shape']}: % of the floor", ">=", 84, percent(case)


def answers(record):
    rows = [["question", "target on an H200", "here", ""]]
    for text, sign, bound, value in targets(record):
        if value is not None:
            met = value <= bound if sign == "<=" else value >= bound
            rows.append([text, f"{sign} {bound:g}", f"{value:.2f}", "met" if met else "missed"])
    lines = aligned(rows, 1) if len(rows) > 1 else []
    return lines + [f"{entry['question']} {entry['answer']}" for entry in record.answers]


def about(record):
    lines = []
    for entry in record.about:
        lines.append(", ".join(f"{name} {value}" for name, value in entry.items() if name != "failed"))
    moved, by = record.fastest(COPY, "bytes")
    if by:
        lines.append(f"copy: {moved / 1e9:.0f} GB/s read and written, by {by}")
    done, by = record.fastest(PRODUCT, "flops")
    if by:
        lines.append(f"product: {done / 1e12:.0f} Tflop/s bf16, by {by}")
    return lines + [f"no {entry['peer']}: {entry['why']}" for entry in record.missing]


def models(record):
    """Tokens a second, and trees in passes of one token."""
    lines = []
    for case in record.cases:
        if case["op"] != "model" or not case.get("seconds"):
            continue
        if case["nodes"] == 0:
            lines.append(f"{case['shape']}: {case['tokens'] / case['seconds']:.0f} tokens/s")
        elif case["nodes"] == 1:
            lines.append(f"{case['shape']}: {1 / case['seconds']:.1f} tokens/s")
        else:
            plain = record.case("model", label=case["label"], context=case["context"], nodes=1)
            if plain.get("seconds"):
                lines.append(f"{case['shape']}: {case['seconds'] / plain['seconds']:.2f} x the pass of one token")
    return lines


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip(), file=sys.stderr if len(sys.argv) != 2 else sys.stdout)
        sys.exit(2 if len(sys.argv) != 2 else 0)
    with sys.stdin if sys.argv[1] == "-" else open(sys.argv[1]) as file:
        record = Record(file)
    parts = [about(record), table(record), models(record), answers(record)]
    print("\n\n".join("\n".join(part) for part in parts if part))
    sys.exit(1 if record.failed else 0)


if __name__ == "__main__":
    main()
