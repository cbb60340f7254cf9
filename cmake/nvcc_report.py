#!/usr/bin/env python3
"""Runs nvcc, keeps what ptxas says of each kernel beside the object file, and fails when a kernel spills registers or waits for each
product of a warpgroup.

  nvcc_report.py [ccache] nvcc ... -Xptxas -v ... -o X.o      as a compiler launcher: writes X.o.kernels
  nvcc_report.py --table FOLDER [SOURCES ARCHITECTURES]       prints every X.o.kernels below FOLDER as one table, and fails when a
                                                              kernel of the .cu files below SOURCES is missing for one of
                                                              "80-real 90a-real" or spills

A line of X.o.kernels: architecture, registers, bytes of shared memory, bytes of stack, bytes of spills, kernel.
A spilled register is memory traffic that no bound of a kernel counts; a kernel that needs more registers than there
are is cut smaller.
"""
import pathlib
import re
import subprocess
import sys

ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\S+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def plain_name(kernel: str) -> str:
    """The demangled name without its parameters and without namespaces."""
    named = subprocess.run(["c++filt", "-p", kernel], capture_output=True, text=True).stdout.strip()
    named = re.sub(r"\(anonymous namespace\)::|_GLOBAL__N__\w+::|espalier::|simt::", "", named or kernel)
    return named.removeprefix("void ")


def kernels_of(log: str) -> list[dict]:
    kernels = []
    for line in log.splitlines():
        if match := ENTRY.search(line):
            kernels.append({"name": plain_name(match[1]), "arch": match[2], "registers": 0, "shared": 0, "stack": 0,
                            "spills": 0})
        elif kernels and (match := STACK.search(line)):
            kernels[-1]["stack"] = int(match[1])
            kernels[-1]["spills"] = int(match[2]) + int(match[3])
        elif kernels and (match := USED.search(line)):
            kernels[-1]["registers"] = int(match[1])
            kernels[-1]["shared"] = int(match[2] or 0)
    return kernels


def compile_and_check(command: list[str]) -> int:
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    # What is left when the notes of ptxas are taken out is for the user.
    sys.stderr.write("".join(line for line in result.stderr.splitlines(keepends=True)
                             if not line.startswith("ptxas info") and not STACK.search(line)))
    if result.returncode != 0 or "-c" not in command or "-o" not in command:
        return result.returncode
    out = pathlib.Path(command[command.index("-o") + 1])
    kernels = kernels_of(result.stderr)
    out.with_name(out.name + ".kernels").write_text("".join(
        f"{k['arch']}\t{k['registers']}\t{k['shared']}\t{k['stack']}\t{k['spills']}\t{k['name']}\n" for k in kernels))
    spilled = [k for k in kernels if k["spills"] > 0]
    for k in spilled:
        print(f"{out.stem}: {k['name']} for {k['arch']}: spills = {k['spills']} bytes, expected 0", file=sys.stderr)
    # A note to ptxas, and the end of what wgmma is for.
    serialized = [line for line in result.stderr.splitlines() if "instructions are serialized" in line]
    for line in serialized:
        print(f"{out.stem}: {line}", file=sys.stderr)
    if spilled or serialized:
        out.unlink()
    return 1 if spilled or serialized else 0


def named_kernels(sources: str) -> set[str]:
    """Those that the sources define."""
    return {name for file in pathlib.Path(sources).rglob("*.cu")
            for name in re.findall(r"__global__.*?\b(\w+_kernel)\s*\(", file.read_text(), re.S)}


def missing(rows: list[tuple], sources: str, architectures: str) -> list[str]:
    """Kernels of the sources of which nobody has said, for an architecture, that they spill nothing."""
    sound = {(row[0], row[5].split("<")[0].split("(")[0]) for row in rows if row[4] == "0"}
    wanted = [f"sm_{entry.removesuffix('-real').removesuffix('-virtual')}" for entry in architectures.split()]
    return [f"{name} for {arch}" for name in sorted(named_kernels(sources)) for arch in wanted if (arch, name) not in sound]


def table(folder: str, sources: str = "", architectures: str = "") -> int:
    rows = sorted({tuple(line.rstrip("\n").split("\t")) for file in pathlib.Path(folder).rglob("*.kernels")
                   for line in open(file)}, key=lambda row: (row[5], row[0]))
    print(f"{'kernel':<70} {'arch':>8} {'registers':>9} {'shared':>7} {'stack':>6} {'spills':>6}")
    for arch, registers, shared, stack, spills, name in rows:
        print(f"{name:<70} {arch:>8} {registers:>9} {shared:>7} {stack:>6} {spills:>6}")
    lacks = missing(rows, sources, architectures) if sources else []
    for kernel in lacks:
        print(f"no word of {kernel}, expected one of no spills", file=sys.stderr)
    named = f", all {len(named_kernels(sources))} named ones for {architectures} among them" if sources and not lacks else ""
    print(f"{len(rows)} kernels, {sum(row[4] != '0' for row in rows)} with spills{named}")
    return 1 if lacks else 0


if __name__ == "__main__":
    sys.exit(table(*sys.argv[2:]) if sys.argv[1:2] == ["--table"] else compile_and_check(sys.argv[1:]))
