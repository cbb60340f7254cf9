#!/usr/bin/env python3
"""Adds up what the tests of a run counted: programs, cases, emulated launches, kernels, planted bugs, Java tests.

  counts.py LOG ...       a log of CTest (Testing/Temporary/LastTest.log), or the folder that ESPALIER_SIMT_COUNTS named
  counts.py --java ROOT   the reports of Surefire below ROOT

Prints a few lines. Exit code 1 where there is nothing to add up.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree

ENDED = re.compile(r"^(\d+) tests, (\d+) failed$", re.M)
EMULATED = re.compile(r"^emulated: (\d+) kernels, (\d+) launches, (\d+) blocks, (\d+) threads, (\d+) accesses checked$", re.M)
PLANTED = re.compile(r"^planted bugs: (\d+), (\d+) left to AddressSanitizer, (\d+) not to be seen in this build; (\d+) reports$", re.M)
PROGRAM = re.compile(r"^Test (Passed|Failed)\.", re.M)


def of_log(text):
    ends, emulated, planted = ENDED.findall(text), EMULATED.findall(text), PLANTED.findall(text)
    outcomes = PROGRAM.findall(text)
    lines = [f"{len(outcomes)} programs of CTest, {outcomes.count('Failed')} failed; in {len(ends)} of them "
             f"{sum(int(n) for n, _ in ends):,} cases, {sum(int(n) for _, n in ends)} failed"]
    if emulated:
        launches, blocks, threads, accesses = (sum(int(each[i]) for each in emulated) for i in range(1, 5))
        lines.append(f"emulated: {launches:,} launches, {blocks:,} blocks, {threads:,} threads, {accesses:,} accesses checked")
    for bugs, left, unseen, reports in planted:
        caught = int(bugs) - int(unseen)
        by_asan = f", {left} of them by AddressSanitizer" if left != "0" else ""
        lines.append(f"planted bugs: {caught} of {bugs} caught{by_asan}, {reports} reports")
    return lines if outcomes else []


def of_folder(folder):
    ours, tests = set(), set()
    for file in folder.glob("*.txt"):
        of_the_emulator = file.stem in ("simt_planted", "simt_primitives")
        (tests if of_the_emulator else ours).update(file.read_text().splitlines()[1:])
    return [f"kernels under the emulator: {len(ours)} of the product, {len(tests)} of the emulator's own tests"] if ours | tests else []


def of_java(root):
    total = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for report in root.glob("**/target/surefire-reports/TEST-*.xml"):
        suite = xml.etree.ElementTree.parse(report).getroot()
        for name in total:
            total[name] += int(suite.get(name, 0))
    if total["tests"] == 0:
        return []
    return [f"Java: {total['tests']:,} tests, {total['failures'] + total['errors']} failed, {total['skipped']} skipped"]


def main(arguments):
    if not arguments or arguments == ["--java"]:
        sys.exit(__doc__.strip())
    if arguments[0] == "--java":
        parts = [(arguments[1], of_java(pathlib.Path(arguments[1])))]
    else:
        parts = [(name, of_folder(path) if path.is_dir() else of_log(path.read_text(errors="replace")))
                 for name, path in ((name, pathlib.Path(name)) for name in arguments)]
    for name, lines in parts:
        if not lines:
            sys.exit(f"counts.py: {name}: nothing was counted")
        print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
