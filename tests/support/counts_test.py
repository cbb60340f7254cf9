#!/usr/bin/env python3
"""counts.py on small logs and reports."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

import counts

LOG = """1/3 Testing: a
Output:
----
  note: 3 tests, 9 failed of something else
2 tests, 0 failed
emulated: 3 kernels, 10 launches, 20 blocks, 640 threads, 1000 accesses checked
<end of output>
Test Passed.
2/3 Testing: planted
planted bugs: 50, 4 left to AddressSanitizer, 20 not to be seen in this build; 78 reports
1001 tests, 1 failed
emulated: 3 kernels, 1 launches, 2 blocks, 64 threads, 2500 accesses checked
Test Failed.
3/3 Testing: script
Ran 6 tests in 0.455s
Test Passed.
"""
REPORT = '<testsuite name="A" tests="{}" errors="{}" skipped="{}" failures="{}"><properties/></testsuite>'


class Counts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_it(self, *arguments):
        return subprocess.run([sys.executable, counts.__file__, *map(str, arguments)], capture_output=True, text=True)

    def test_a_log_is_added_up(self):
        self.assertEqual(counts.of_log(LOG), [
            "3 programs of CTest, 1 failed; in 2 of them 1,003 cases, 1 failed",
            "emulated: 11 launches, 22 blocks, 704 threads, 3,500 accesses checked",
            "planted bugs: 30 of 50 caught, 4 of them by AddressSanitizer, 78 reports"])

    def test_kernels_of_all_programs_count_once(self):
        for program, kernels in (("a", "verify_kernel\nembed_kernel\n"), ("b", "verify_kernel\n"), ("simt_planted", "bad_kernel\n")):
            (self.folder / f"{program}.txt").write_text("1 2 3 4\n" + kernels)
        self.assertEqual(self.run_it(self.folder).stdout,
                         "kernels under the emulator: 2 of the product, 1 of the emulator's own tests\n")

    def test_reports_of_surefire_are_added_up(self):
        for module, numbers in (("core", (1000, 1, 2, 3)), ("cli", (10, 0, 0, 0))):
            reports = self.folder / "java" / module / "target" / "surefire-reports"
            reports.mkdir(parents=True)
            (reports / "TEST-A.xml").write_text(REPORT.format(*numbers))
        self.assertEqual(self.run_it("--java", self.folder).stdout, "Java: 1,010 tests, 4 failed, 2 skipped\n")

    def test_nothing_to_count_is_a_failure(self):
        log = self.folder / "log"
        log.write_text("nothing\n")
        for arguments in ((log,), (self.folder,), ("--java", self.folder), ()):
            self.assertEqual(self.run_it(*arguments).returncode, 1, arguments)


if __name__ == "__main__":
    unittest.main()
