#!/usr/bin/env python3
"""peers.py on the CPU: it computes what the cases mean, and says so where it cannot. Exit code 77 without PyTorch."""
import contextlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

import peers

try:
    import torch
except ImportError:
    torch = None

CASES = [
    {"op": "copy", "shape": "KiB 4", "KiB": 4, "seconds": 1},
    {"op": "skinny_gemm", "shape": "o", "m": 3, "n": 16, "k": 32, "seconds": 1},
    {"op": "top_k", "shape": "rows 2", "rows": 2, "vocab": 100, "k": 8, "seconds": 1},
    {"op": "top_k", "shape": "more than there are", "rows": 2, "vocab": 100, "k": 800, "seconds": 1},
    {"op": "tree_attention", "shape": "a tree", "context": 20, "batch": 2, "nodes": 7, "q_heads": 4, "kv_heads": 2, "head_dim": 16,
     "seconds": 1},
    {"op": "prefill_attention", "shape": "a prompt", "before": 5, "rows": 9, "q_heads": 4, "kv_heads": 2, "head_dim": 16, "seconds": 1},
    {"op": "rms_norm", "shape": "nobody's", "seconds": 1},
]


def said(action):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        action()
    return [json.loads(line) for line in out.getvalue().splitlines()]


class WithoutTorchOrGpu(unittest.TestCase):
    def test_the_reason_is_a_line_of_the_record(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as record:
            out = subprocess.run([sys.executable, peers.__file__, record.name], capture_output=True, text=True, check=True).stdout
        if torch is None or not torch.cuda.is_available():
            self.assertEqual(json.loads(out)["peer"], "PyTorch")
            self.assertIn(json.loads(out)["why"], ("not installed for this python3", "finds no GPU"))

    def test_bad_usage_is_refused(self):
        for arguments in ([], ["--quick"], ["a", "b"], ["a", "--seconds"], ["a", "--minutes", "3"]):
            result = subprocess.run([sys.executable, peers.__file__, *arguments], capture_output=True, text=True)
            self.assertEqual((result.returncode, result.stdout), (1, ""), arguments)


class Sleeper:
    """A device whose first case takes as long as a compiler may."""
    on_gpu = False
    slept = 0

    def seconds(self, calls):
        self.slept += 1
        if self.slept == 1:
            time.sleep(100)
        return 1e-3


class OutOfTime(unittest.TestCase):
    def test_a_window_or_a_cap_is_no_case_for_calls_without(self):
        cases = [CASES[4] | {"window": 0, "soft_cap": 0}, CASES[4] | {"window": 9}, CASES[4] | {"soft_cap": 50}]
        device = Sleeper()
        device.slept = 1
        with mock.patch.object(peers, "PEERS", [("them", ("tree_attention",), lambda device, case: [])]):
            lines = said(lambda: peers.measure(device, cases, time.monotonic() + 100))
        self.assertEqual(["seconds" in line for line in lines], [True, False, False])

    def test_what_does_not_end_is_given_up_and_the_rest_is_named(self):
        began = time.monotonic()
        with mock.patch.object(peers, "PEERS", [("them", ("copy", "top_k"), lambda device, case: [])]):
            lines = said(lambda: peers.measure(Sleeper(), CASES, began + 0.2))
        self.assertLess(time.monotonic() - began, 50)
        self.assertEqual([line["why"] for line in lines],
                         ["TimeoutError: did not end in its time"] + ["left out: the time for peers was over"] * 2)
        with mock.patch.object(peers, "PEERS", [("them", ("copy", "top_k"), lambda device, case: [])]):
            sleeper = Sleeper()
            sleeper.slept = 1
            lines = said(lambda: peers.measure(sleeper, CASES, time.monotonic() + 100))
        self.assertEqual([line.get("seconds") for line in lines], [1e-3] * 3)


@unittest.skipIf(torch is None, "PyTorch is not installed")
class OnTheCpu(unittest.TestCase):
    def setUp(self):
        self.device = peers.Device(torch, "cpu")

    def test_each_case_has_its_peers_and_a_refusal_is_a_line(self):
        lines = said(lambda: peers.measure(self.device, CASES, time.monotonic() + 600))
        got = {(line["op"], line["shape"], line["peer"]): line for line in lines}
        self.assertEqual(set(got), {
            ("copy", "KiB 4", "torch copy"), ("skinny_gemm", "o", "torch.mm"), ("top_k", "rows 2", "torch.topk"),
            ("top_k", "more than there are", "torch.topk"), ("tree_attention", "a tree", "torch SDPA"),
            ("tree_attention", "a tree", "flex_attention"), ("prefill_attention", "a prompt", "torch SDPA")})
        for key, line in got.items():
            if key[1] == "more than there are":
                self.assertIn("RuntimeError: ", line["why"])
            else:
                self.assertGreater(line.get("seconds", 0), 0, line)

    def test_behind_its_time_a_case_is_left_out(self):
        for line in said(lambda: peers.measure(self.device, CASES, time.monotonic() - 1)):
            self.assertEqual(line["why"], "left out: the time for peers was over")

    def test_a_node_sees_the_context_and_its_ancestors(self):
        case = CASES[4]
        torch.manual_seed(1)
        q, caches, sees = peers.attention_inputs(self.device, case)
        self.assertEqual(sees.int().tolist()[5], [1, 0, 1, 0, 0, 1, 0])  # 5, its parent 2, and the root
        k, v = (caches[0][i].float().repeat_interleave(2, dim=1) for i in range(2))
        mask = torch.cat([torch.ones(7, 20, dtype=torch.bool), sees], 1)
        scores = (q.float() @ k.transpose(-1, -2) / 4).masked_fill(~mask, float("-inf"))
        want = torch.softmax(scores, -1) @ v
        torch_seed = torch.random.get_rng_state()
        for make in (peers.sdpa, peers.flex):
            torch.manual_seed(1)
            got = make(self.device, case)[0]().float()
            self.assertLess((torch.linalg.norm(got - want) / torch.linalg.norm(want)).item(), 1e-2, make.__name__)
        torch.random.set_rng_state(torch_seed)

    def test_a_row_of_a_prompt_sees_what_is_before_and_itself(self):
        case = CASES[5]
        torch.manual_seed(1)
        q = self.device.randn(1, 4, 9, 16)
        caches = [self.device.randn(2, 1, 2, 14, 16) for _ in range(self.device.turns(1))]
        k, v = (caches[0][i].float().repeat_interleave(2, dim=1) for i in range(2))
        mask = torch.ones(9, 14, dtype=torch.bool).tril(5)
        scores = (q.float() @ k.transpose(-1, -2) / 4).masked_fill(~mask, float("-inf"))
        want = torch.softmax(scores, -1) @ v
        torch.manual_seed(1)
        got = peers.sdpa_of_prompt(self.device, case)[0]().float()
        self.assertLess((torch.linalg.norm(got - want) / torch.linalg.norm(want)).item(), 1e-2)

    def test_the_product_is_by_the_rows_of_the_weight(self):
        torch.manual_seed(1)
        x, w = (self.device.randn(*size) for size in ((3, 32), (16, 32)))
        torch.manual_seed(1)
        got = peers.product(self.device, CASES[1])[0]()
        self.assertTrue(torch.equal(got, x @ w.t()))


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    sys.exit(0 if torch is not None and result.wasSuccessful() else 77 if result.wasSuccessful() else 1)
