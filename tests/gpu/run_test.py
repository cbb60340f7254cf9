#!/usr/bin/env python3
"""tests/gpu/run without a GPU: its arguments, messages, exit codes, the commands that it runs, and the table at its end.

Programs that need a card or a compiler are stand-ins that note how they were called: nvidia-smi, nvcc, cmake, ctest,
compute-sanitizer, and what the build would have made. The script, peers.py and table.py are the real ones.
"""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

RUN = pathlib.Path(__file__).resolve().parent / "run"

ROW = {"op": "skinny_gemm", "shape": "o, m 1, n 4096, k 4096", "label": "o", "m": 1, "n": 4096, "k": 4096, "bytes": 33554432,
       "flops": 33554432, "seconds": 2e-5}
BENCH = [{"card": "NVIDIA Made Up", "capability": "9.0"}, {"peer": "cuBLAS", "why": "libcublas.so.13 and .12 not found"},
         {"op": "copy", "shape": "KiB 4", "label": "", "KiB": 4, "bytes": 8192, "flops": 0, "seconds": 2e-9}, ROW]
MODEL = {"op": "model", "shape": "Made-Up, context 1024, nodes 1", "label": "Made-Up", "context": 1024, "nodes": 1, "bytes": 1e9,
         "flops": 1e9, "seconds": 1e-3}


def lines(entries):
    return "".join(json.dumps(entry) + "\n" for entry in entries)


class Run(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="espalier-run-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.bin, self.build, self.log = self.folder / "bin", self.folder / "build", self.folder / "log"
        self.bin.mkdir()
        self.log.touch()
        self.stand_in("nvidia-smi", 'case $1 in *compute_cap*) printf "9.0\\n8.6\\n9.0\\n" ;; *memory*) echo 81559 ;; *) echo 580.1 ;; esac')
        self.stand_in("nvcc")
        self.stand_in("compute-sanitizer", 'case "$FAIL" in *"$2 $(basename "$5")"*) exit 1 ;; esac')
        self.ctest()
        self.script = RUN
        made = self.made = self.folder / "made"
        for name, body in {
                "tests/bench/gpu/gpu_bench": f'cat "{self.folder}/bench.jsonl"; case "$FAIL" in *gpu_bench*) exit 1 ;; esac',
                "tests/bench/gpu/model_bench": f'cat "{self.folder}/model.jsonl"',
                "tests/support/random_model": 'echo "{}" > "$1/config.json"; case "$FAIL" in *random_model*) exit 1 ;; esac',
                "tests/gpu/gpu_verify": "", "tests/gpu/gpu_embed": ""}.items():
            self.stand_in(made / name, body)
        (self.folder / "bench.jsonl").write_text(lines(BENCH))
        (self.folder / "model.jsonl").write_text(lines([MODEL]))
        self.stand_in("cmake", f'case "$FAIL" in *cmake*) exit 1 ;; esac\n[ "$1" = --build ] && cp -r "{made}/." "$2" || :')

    def ctest(self, ran=("a", "b", "c"), body="", end='echo "100% tests passed, 0 tests failed out of 3"'):
        """A ctest that plans gpu_a, gpu_b and gpu_c."""
        plan = "; ".join(f'echo "  Test #{i}: gpu_{t}"' for i, t in enumerate("abc", 7))
        run = "; ".join(f'echo " {i}/3 Test  #{i}: gpu_{t} ......   Passed    0.01 sec"' for i, t in enumerate(ran, 1))
        self.stand_in("ctest", f'case "$*" in *-N*) {plan}; exit ;; esac; {run}; {body or ":"}; {end}; case "$FAIL" in *ctest*) exit 8 ;; esac')

    def stand_in(self, name, body=""):
        file = self.bin / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'#!/bin/bash\necho "$(basename "$0") $* quick=$ESPALIER_TEST_QUICK" >> "{self.log}"\n{body}\n')
        file.chmod(0o755)

    def run_it(self, *arguments, fail="", **environment):
        hidden = ("nvcc", "compute-sanitizer", "nvidia-smi")
        path = [str(self.bin)] + [p for p in os.environ["PATH"].split(":") if not any((pathlib.Path(p) / h).exists() for h in hidden)]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA", "ESPALIER"))}
        return subprocess.run([self.script, *arguments], capture_output=True, text=True, timeout=120,
                              env=clean | {"PATH": ":".join(path), "FAIL": fail} | environment)

    def calls(self, program):
        return [line for line in self.log.read_text().splitlines() if line.split()[0] == program]

    def assert_ends(self, result, code, message):
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        self.assertIn(message, result.stderr)

    def test_help_is_the_head_of_the_script(self):
        result = self.run_it("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertTrue(result.stdout.startswith("Certifies a card:"))
        for word in ("--quick", "--sanitize", "--build DIR", "ESPALIER_CUTLASS=ON", "77 no GPU."):
            self.assertIn(word, result.stdout)
        self.assertNotIn("pipefail", result.stdout)

    def test_bad_usage_is_refused_before_anything_runs(self):
        self.assert_ends(self.run_it("--fast"), 2, "argument = '--fast', expected --quick, --sanitize, --build DIR or --help")
        self.assert_ends(self.run_it("--build"), 2, "--build expects a folder")
        self.assert_ends(self.run_it("--build", str(self.log)), 2, f"--build = '{self.log}', expected a folder")
        self.assertEqual(self.log.read_text(), "")

    def test_without_a_gpu_it_is_skipped(self):
        for body in ("exit 9", 'echo "No devices were found"'):
            self.stand_in("nvidia-smi", body)
            self.assert_ends(self.run_it(), 77, "no GPU: nvidia-smi lists none")
        (self.bin / "nvidia-smi").unlink()
        self.assert_ends(self.run_it(), 77, "no GPU: nvidia-smi lists none")
        self.assertEqual(self.calls("cmake"), [])

    @unittest.skipIf(os.path.exists("/usr/local/cuda/bin/nvcc"), "a toolkit is installed where the script looks")
    def test_without_nvcc_it_says_where_it_looked(self):
        (self.bin / "nvcc").unlink()
        self.assert_ends(self.run_it(), 2, "nvcc not found, expected in the PATH, CUDACXX, CUDA_PATH, CUDA_HOME or /usr/local/cuda;")
        self.assertEqual(self.calls("cmake"), [])
        self.assertEqual(self.run_it("--build", str(self.build), ESPALIER_CUDA="fetch").returncode, 0)
        toolkit = self.folder / "toolkit"
        self.stand_in(toolkit / "bin" / "nvcc")
        self.assertEqual(self.run_it("--build", str(self.build), CUDA_PATH=str(toolkit)).returncode, 0)

    def test_without_cmake_it_says_so(self):
        # A PATH of the stand-ins and of what the script needs before it looks for tools.
        (self.bin / "cmake").unlink()
        for tool in ("bash", "env", "readlink", "dirname", "basename", "tr", "sort", "paste", "cat"):
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.assert_ends(self.run_it(PATH=str(self.bin)), 2, "cmake not found, expected in the PATH")

    def test_a_run_builds_for_the_cards_tests_measures_and_prints_the_table(self):
        result = self.run_it("--build", str(self.build))
        self.assert_ends(result, 0, "all passed, ")
        configure = self.calls("cmake")[0]
        for word in (f"-B {self.build}", "-DESPALIER_CUDA=system", "-DESPALIER_CUDA_ARCHITECTURES=86-real;90a-real",
                     "-DESPALIER_CUTLASS=OFF", "-DESPALIER_TESTS=gpu"):
            self.assertIn(word, configure)
        self.assertEqual(self.calls("ctest"), [f"ctest --test-dir {self.build} -L gpu {more} quick="
                                               for more in ("-N", "--no-tests=error --output-on-failure")])
        self.assertEqual(self.calls("gpu_bench"), ["gpu_bench --seconds 1800 quick="])
        models = [f"{self.build}/models/{name}" for name in ("Llama-3.2-1B", "Llama-3.1-8B")]
        self.assertEqual([line.split()[1:4] for line in self.calls("model_bench")],
                         [[model, "--context", context] for model in models for context in ("1024", "8192")])
        self.assertTrue(all("--seconds 900 " in line for line in self.calls("model_bench")))
        self.assertIn("--untied 1", self.calls("random_model")[1])
        for text in ("command tests/gpu/run --build", "conformance 100% tests passed, 0 tests failed out of 3, 0 skipped", "driver 580.1",
                     "card NVIDIA Made Up", "no cuBLAS: libcublas.so.13 and .12 not found", "copy: 4096 GB/s",
                     "Made-Up, context 1024, nodes 1: 1000.0 tokens/s"):
            self.assertIn(text, result.stdout)
        self.assertRegex(result.stdout, r"skinny_gemm +o, m 1, n 4096, k 4096 +20\.0 +8\.2 +bytes +41%")
        self.assertIn((self.build / "table.txt").read_text(), result.stdout)
        for line in (self.build / "record.jsonl").read_text().splitlines():
            json.loads(line)
        # Weights are made once.
        self.run_it("--build", str(self.build))
        self.assertEqual(len(self.calls("random_model")), 2)

    def test_a_quick_run_is_smaller(self):
        result = self.run_it("--quick", "--build", str(self.build))
        self.assert_ends(result, 0, "all passed")
        self.assertRegex(self.calls("gpu_bench")[0], "^gpu_bench --quick --seconds 5[0-6] quick=1$")
        self.assertRegex(self.calls("ctest")[1], "--stop-time [0-9]{2}:[0-9]{2}:[0-9]{2} quick=1$")
        self.assertEqual(len(self.calls("model_bench")), 1)
        self.assertRegex(self.calls("model_bench")[0], "Llama-3.2-1B --context 1024 --seconds (6[5-9]|7[0-3]) ")

    def test_a_model_that_has_no_room_is_left_out_before_it_is_made(self):
        self.stand_in("nvidia-smi", 'case $1 in *compute_cap*) echo 8.9 ;; *memory*) printf "16000\\n8188\\n" ;; esac')
        result = self.run_it("--build", str(self.build))
        self.assert_ends(result, 0, "all passed")
        self.assertEqual(len(self.calls("random_model")), 1)
        self.assertIn("model Llama-3.1-8B, context 8192: left out: wants 18 GB, the card has 8", result.stdout)

    def test_what_fails_is_named_and_the_rest_still_runs(self):
        result = self.run_it("--build", str(self.build), fail="ctest gpu_bench random_model")
        self.assert_ends(result, 1, "failed: Llama-3.2-1B, Llama-3.1-8B, conformance, gpu_bench")
        self.assertIn("skinny_gemm", result.stdout)
        self.assertEqual(self.calls("model_bench"), [])
        self.assert_ends(self.run_it("--build", str(self.build), fail="cmake"), 1, "the build failed")

    def test_a_skipped_test_is_no_passed_one(self):
        self.ctest(end='echo "100% tests passed, 0 tests failed out of 3"; echo "   7 - gpu_embed (Skipped)"')
        result = self.run_it("--build", str(self.build))
        self.assert_ends(result, 1, "failed: skipped tests")
        self.assertIn("out of 3, 1 skipped", result.stdout)

    def test_a_test_that_ctest_did_not_begin_is_named_and_fails_the_run(self):
        self.ctest(ran=("a",), end='echo "100% tests passed, 0 tests failed out of 1"')
        result = self.run_it("--build", str(self.build))
        self.assert_ends(result, 1, "failed: tests not run: gpu_b gpu_c")
        self.assertIn("out of 1, 0 skipped, not run: gpu_b gpu_c", result.stdout)

    def within(self, seconds):
        """The script with so many seconds instead of the 2 minutes; the rest of it is the real one."""
        self.script = self.folder / "tests" / "gpu" / "run"
        self.script.parent.mkdir(parents=True)
        (self.folder / "tests" / "bench").symlink_to(RUN.parents[1] / "bench")
        text = RUN.read_text()
        self.assertEqual(text.count("built + 120"), 1)
        self.script.write_text(text.replace("built + 120", f"built + {seconds}"))
        self.script.chmod(0o755)

    def run_in_time(self, seconds):
        began = time.monotonic()
        result = self.run_it("--quick", "--build", str(self.build))
        self.assertLess(time.monotonic() - began, seconds + 3)  # to build nothing
        return result

    def test_a_quick_run_ends_a_test_that_hangs_and_names_what_had_no_time(self):
        # The real ctest, on tests that are none of ours.
        self.within(16)
        (self.bin / "ctest").unlink()
        self.build.mkdir()
        (self.build / "CTestTestfile.cmake").write_text("".join(
            f'add_test(gpu_{name} bash -c "trap : TERM; sleep {s}")\nset_tests_properties(gpu_{name} PROPERTIES LABELS gpu TIMEOUT 600)\n'
            for name, s in (("a", 0), ("b", 1000), ("c", 0))))
        result = self.run_in_time(16)
        self.assert_ends(result, 1, "failed: conformance, tests not run: gpu_c\n")
        self.assertRegex(result.stdout, r"gpu_b \.*\*\*\*Timeout")
        self.assertIn("not run, 0 skipped, not run: gpu_c" if "tests passed" not in result.stdout else "out of 2, 0 skipped, not run: gpu_c",
                      result.stdout)
        # What had no time is in the table; the ops had a second or none.
        self.assertRegex(self.calls("gpu_bench")[0], "--quick --seconds [01] ")
        self.assertEqual(self.calls("model_bench"), [])
        self.assertIn("model Llama-3.2-1B, context 1024: left out: the time was over", result.stdout)

    def test_a_quick_run_ends_a_benchmark_that_hangs(self):
        # Deaf to everything but SIGKILL, behind a line that it has begun.
        self.within(14)
        self.stand_in(self.made / "tests/bench/gpu/gpu_bench",
                      f"""head -n 3 "{self.folder}/bench.jsonl"; echo -n '{{"op": "co'; trap "" TERM; exec sleep 1000""")
        result = self.run_in_time(14)
        self.assert_ends(result, 1, "failed: gpu_bench did not end, table\n")
        self.assertIn("gpu_bench what is not above: it did not end in its time", result.stdout)
        self.assertIn("copy: 4096 GB/s", result.stdout)

    def test_without_time_everything_is_named(self):
        self.within(8)
        result = self.run_in_time(8)
        self.assert_ends(result, 0, "all passed")
        self.assertEqual(self.calls("gpu_bench"), ["gpu_bench --quick --seconds 0 quick=1"])

    def test_a_line_that_says_failed_fails_the_run(self):
        (self.folder / "bench.jsonl").write_text(lines([{"question": "Equal bits?", "answer": "no", "failed": True}]))
        result = self.run_it("--build", str(self.build))
        self.assert_ends(result, 1, "failed: table")
        self.assertIn("Equal bits? no", result.stdout)

    def test_sanitize_runs_each_test_under_each_tool_and_no_benchmark(self):
        result = self.run_it("--sanitize", "--build", str(self.build))
        self.assert_ends(result, 0, "all passed")
        self.assertIn("compute-sanitizer: 8 runs, 0 failed", result.stdout)
        self.assertEqual(
            [line.split()[2] for line in self.calls("compute-sanitizer")], ["memcheck", "racecheck", "synccheck", "initcheck"] * 2)
        self.assertEqual(self.calls("gpu_bench") + self.calls("ctest"), [])
        self.assertTrue(all(line.endswith("quick=1") for line in self.calls("compute-sanitizer")))
        self.assert_ends(self.run_it("--sanitize", "--build", str(self.build), fail="racecheck gpu_verify"), 1,
                         "failed: racecheck gpu_verify")

    @unittest.skipIf(os.path.exists("/usr/local/cuda/bin/compute-sanitizer"), "it is installed where the script looks")
    def test_without_compute_sanitizer_it_says_where_it_looked(self):
        (self.bin / "compute-sanitizer").unlink()
        self.assert_ends(self.run_it("--sanitize", "--build", str(self.build)), 2,
                         "compute-sanitizer not found, expected in the PATH, beside nvcc or in /usr/local/cuda/bin")


if __name__ == "__main__":
    unittest.main()
