#!/usr/bin/env python3
"""nvcc_report.py with a stand-in for nvcc: spills fail a compilation, and no named kernel goes without a word of ptxas."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "cmake" / "nvcc_report.py"

PTXAS = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN8espalier12a_kernelILi1EEEvv' for 'sm_80'
ptxas info    : Function properties for _ZN8espalier12a_kernelILi1EEEvv
    0 bytes stack frame, {spills} bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 128 bytes smem
ptxas info    : Compiling entry function '_ZN8espalier8b_kernelEv' for 'sm_90a'
ptxas info    : Function properties for _ZN8espalier8b_kernelEv
    16 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 255 registers
"""
SOURCE = """// a kernel is a __global__ function
template <int kNum>
__global__ void __launch_bounds__(kNum * 32)
    a_kernel(int* x) {}
__global__ void b_kernel() {}
"""


class Report(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="espalier-report-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "sources").mkdir()
        (self.folder / "sources" / "x.cu").write_text(SOURCE)
        self.object = self.folder / "x.cu.o"

    def compile(self, text, code=0):
        said = self.folder / "said"
        said.write_text(text)
        nvcc = self.folder / "nvcc"
        nvcc.write_text(f'#!/bin/sh\ncat "{said}" >&2\n: > "{self.object}"\nexit {code}\n')
        nvcc.chmod(0o755)
        return subprocess.run([sys.executable, SCRIPT, nvcc, "-c", "x.cu", "-o", self.object], capture_output=True, text=True)

    def table(self, *more):
        return subprocess.run([sys.executable, SCRIPT, "--table", self.folder, *more], capture_output=True, text=True)

    def rows(self, *rows):
        (self.folder / "y.cu.o.kernels").write_text("".join("\t".join(row) + "\n" for row in rows))

    def test_kernels_without_spills_compile_and_are_kept(self):
        result = self.compile(PTXAS.format(spills=0))
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertTrue(self.object.exists())
        table = self.table()
        self.assertRegex(table.stdout, r"b_kernel +sm_90a +255 +0 +16 +0")
        self.assertIn("2 kernels, 0 with spills", table.stdout)

    def test_a_spill_fails_the_compilation_and_leaves_no_object(self):
        result = self.compile(PTXAS.format(spills=8))
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, "for sm_80: spills = 8 bytes, expected 0")
        self.assertFalse(self.object.exists())

    def test_products_that_wait_for_each_other_fail_it_too(self):
        result = self.compile("ptxas info : (C7510) wgmma.mma_async instructions are serialized due to x\n")
        self.assertEqual(result.returncode, 1)

    def test_what_nvcc_says_and_returns_is_passed_on(self):
        result = self.compile("x.cu(3): error: no\n", code=2)
        self.assertEqual((result.returncode, result.stderr), (2, "x.cu(3): error: no\n"))

    def test_each_named_kernel_is_there_for_each_architecture(self):
        good = [(arch, "40", "0", "0", "0", name) for arch in ("sm_80", "sm_90a") for name in ("a_kernel<1>", "b_kernel")]
        self.rows(*good)
        result = self.table(str(self.folder / "sources"), "80-real 90a-real")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("4 kernels, 0 with spills, all 2 named ones for 80-real 90a-real among them", result.stdout)
        for bad in (good[:3], good[:3] + [("sm_90a", "40", "0", "0", "4", "b_kernel")]):
            self.rows(*bad)
            result = self.table(str(self.folder / "sources"), "80-real 90a-real")
            self.assertEqual((result.returncode, result.stderr), (1, "no word of b_kernel for sm_90a, expected one of no spills\n"))


if __name__ == "__main__":
    unittest.main()
