#!/usr/bin/env python3
"""What a shipped library needs of the machine that it is put on, and what it shows: the C library alone, and its one face.

  library_needs.py LIBRARY PATTERN        PATTERN: of the names that it exports
"""
import re
import subprocess
import sys

# Parts of the C library, by their names in glibc 2.34 and before.
C_LIBRARY = {"libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "ld-linux-x86-64.so.2"}


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main():
    library, pattern = sys.argv[1:]
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", said("readelf", "-d", library))
    exported = [line.split()[-1].split("@")[0] for line in said("nm", "-D", "--defined-only", library).splitlines()]
    print(f"{library} needs {', '.join(needed)}; exports {len(exported)} names")
    wrong = [f"needs {name}, expected the C library alone" for name in needed if name not in C_LIBRARY]
    wrong += [f"exports {name}, expected {pattern}" for name in exported if not re.fullmatch(pattern, name)]
    if not needed or not exported:
        wrong.append("needs or exports nothing: is it a shared library?")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
