#!/usr/bin/env python3
"""table.py on recorded lines: floors, shares, ratios, targets, and what is missing."""
import json
import subprocess
import sys
import tempfile
import unittest

import table


def gemm(label, m, seconds, **more):
    n, k = 4096, 4096
    return {"op": "skinny_gemm", "shape": f"{label}, m {m}, n {n}, k {k}", "label": label, "m": m, "n": n, "k": k,
            "bytes": 2 * n * k, "flops": 2 * m * n * k, "seconds": seconds} | more


def peer(of, name, **result):
    return {"op": of["op"], "shape": of["shape"], "peer": name} | result


COPY = {"op": "copy", "shape": "KiB 1", "label": "", "KiB": 1, "bytes": 4e9, "flops": 0, "seconds": 1e-3}
PRODUCT = {"op": "product", "shape": "m 8192", "label": "", "m": 8192, "bytes": 1, "flops": 1e12, "seconds": 1 / 500}
ONE, MANY = gemm("o", 1, 20e-6), gemm("o", 64, 30e-6)
PROMPT = gemm("o of a prompt", 2048, 200e-6)
LEFT_OUT = {"op": "tree_attention", "shape": "context 131072", "label": "", "context": 131072, "batch": 64, "nodes": 1, "bytes": 3.4e10,
            "flops": 1e9, "why": "left out: wants 34.5 GB, the device has 20.0"}
MODEL = [{"op": "model", "shape": f"8B, context 1024, nodes {n}", "label": "8B", "context": 1024, "nodes": n, "bytes": 16e9, "flops": 1e9,
          "seconds": s} for n, s in ((1, 5e-3), (16, 6e-3))]
RECORD = [{"card": "Made Up", "sms": 3}, COPY, PRODUCT, ONE, MANY, PROMPT, LEFT_OUT,
          {"peer": "CUTLASS", "why": "built without its headers"},
          peer(COPY, "torch copy", seconds=0.8e-3), peer(PRODUCT, "cuBLAS", seconds=1 / 700),
          peer(ONE, "cuBLAS", seconds=10e-6), peer(MANY, "cuBLAS", seconds=60e-6), peer(ONE, "torch.mm", seconds=16e-6),
          peer(MANY, "torch.mm", why="RuntimeError: no"), peer(PROMPT, "torch.mm", why="RuntimeError: no")] + MODEL


def record(entries=RECORD):
    return table.Record(json.dumps(entry) for entry in entries)


class Arithmetic(unittest.TestCase):
    def test_the_fastest_copy_and_product_of_anybody_make_the_floor(self):
        of = record()
        self.assertEqual(of.fastest("copy", "bytes"), (5e12, "torch copy"))
        self.assertEqual(of.fastest("product", "flops"), (7e14, "cuBLAS"))
        self.assertEqual(of.floor(ONE), (2 * 4096 * 4096 / 5e12, "bytes"))
        self.assertEqual(of.floor(PROMPT), (2 * 2048 * 4096 * 4096 / 7e14, "flops"))
        self.assertAlmostEqual(of.share(ONE), 6.71e-6 / 20e-6, places=3)
        self.assertIsNone(of.share(LEFT_OUT))

    def test_without_a_copy_there_is_no_floor(self):
        of = record([ONE])
        self.assertIsNone(of.share(ONE))
        self.assertEqual(table.table(of)[1].split()[-4:], ["20.0", "-", "-", "-"])

    def test_a_ratio_is_our_time_over_theirs(self):
        of = record()
        self.assertEqual(of.ratio(ONE, "cuBLAS"), 2.0)
        self.assertEqual(of.ratio(MANY, "cuBLAS"), 0.5)
        self.assertIsNone(of.ratio(MANY, "torch.mm"))
        self.assertIsNone(of.ratio(LEFT_OUT, "cuBLAS"))


class Text(unittest.TestCase):
    def setUp(self):
        self.lines = table.table(record())

    def line(self, start):
        return next(line.split() for line in self.lines if " ".join(line.split()).startswith(start))

    def test_a_row_has_time_floor_share_and_each_peer(self):
        self.assertEqual(self.lines[0].split(), "op shape time us floor us of share / torch copy / cuBLAS / torch.mm".split())
        self.assertEqual(self.line("skinny_gemm o, m 1,")[-7:], ["20.0", "6.7", "bytes", "34%", "-", "2.00", "1.25"])
        self.assertEqual(self.line("skinny_gemm o, m 64,")[-3:], ["-", "0.50", "-"])
        self.assertEqual(self.line("tree_attention")[3:], ["-", "6800.0", "bytes", "-"])

    def test_what_is_missing_says_why(self):
        text = "\n".join(self.lines)
        self.assertIn("Not measured:\n  tree_attention context 131072: left out: wants 34.5 GB, the device has 20.0", text)
        self.assertIn("torch.mm, skinny_gemm o, m 64, n 4096, k 4096 and 1 more: RuntimeError: no", text)
        self.assertIn("no CUTLASS: built without its headers", table.about(record()))

    def test_targets_are_met_or_missed(self):
        lines = {line.split("  ")[0]: " ".join(line.split("  ")[1:]).split() for line in table.answers(record())}
        self.assertEqual(lines["o: 64 rows, times 1 row"], ["<=", "1.1", "1.50", "missed"])
        self.assertEqual(lines["products of 1 to 64 rows: worst time, times cuBLAS"], ["<=", "1.05", "2.00", "missed"])
        self.assertEqual(lines["8B, context 1024, nodes 1: % of the floor"], [">=", "84", "64.00", "missed"])
        self.assertNotIn("gate+up: 64 rows, times 1 row", lines)  # not in this record
        fast = record([ONE, gemm("o", 64, 21e-6)])
        self.assertTrue(any(line.split()[-2:] == ["1.05", "met"] for line in table.answers(fast)))

    def test_models_show_tokens_and_what_a_tree_costs(self):
        self.assertEqual(table.models(record()), ["8B, context 1024, nodes 1: 200.0 tokens/s",
                                                  "8B, context 1024, nodes 16: 1.20 x the pass of one token"])


class Program(unittest.TestCase):
    def run_it(self, entries):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in entries))
            file.flush()
            return subprocess.run([sys.executable, table.__file__, file.name], capture_output=True, text=True)

    def test_a_failed_line_is_exit_code_1(self):
        self.assertEqual(self.run_it(RECORD).returncode, 0)
        failed = self.run_it(RECORD + [{"question": "Equal?", "answer": "no", "failed": True}])
        self.assertEqual(failed.returncode, 1)
        self.assertIn("Equal? no", failed.stdout)

    def test_what_is_no_line_is_shown_and_fails(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write(json.dumps(ONE) + '\nskipped: no driver\n{"op": "top_k", "sh')
            file.flush()
            result = subprocess.run([sys.executable, table.__file__, file.name], capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stderr), (1, ""))
        for text in ("skinny_gemm", "not a line of a record skipped: no driver", 'not a line of a record {"op": "top_k", "sh'):
            self.assertIn(text, result.stdout)

    def test_an_empty_record_is_no_crash(self):
        self.assertEqual(self.run_it([]).returncode, 0)

    def test_usage(self):
        self.assertEqual(subprocess.run([sys.executable, table.__file__], capture_output=True).returncode, 2)
        self.assertEqual(subprocess.run([sys.executable, table.__file__, "--help"], capture_output=True).returncode, 0)


if __name__ == "__main__":
    unittest.main()
