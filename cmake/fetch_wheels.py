#!/usr/bin/env python3
"""Unpacks pinned Python wheels that hold a compiler or headers, once, into a cache folder; prints the folder.

  fetch_wheels.py REQUIREMENTS

REQUIREMENTS is a requirements file with hashes beside this script. The folder is ESPALIER_CACHE_DIR when that is set, else
`espalier` in $XDG_CACHE_HOME or ~/.cache; in it, one folder for each content of a requirements file.
"""
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys


def cache_folder() -> pathlib.Path:
    if os.environ.get("ESPALIER_CACHE_DIR"):
        return pathlib.Path(os.environ["ESPALIER_CACHE_DIR"])
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base) / "espalier"


def link_as_toolkit(root: pathlib.Path) -> None:
    """The names that a CUDA toolkit has and the wheels lack."""
    (root / "lib64").symlink_to("lib")
    (root / "lib" / "libcudart.so").symlink_to("libcudart.so.13")


def install(requirements: pathlib.Path, folder: pathlib.Path) -> None:
    for left in folder.parent.glob(folder.name + ".unfinished-*"):  # by a fetch that was interrupted
        shutil.rmtree(left, ignore_errors=True)
    # A name of its own: the pip of a fetch that was killed may still be writing.
    unfinished = folder.with_name(f"{folder.name}.unfinished-{os.getpid()}")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps",
           "--only-binary", ":all:", "--require-hashes", "--target", str(unfinished), "-r", str(requirements)]
    result = subprocess.run(pip, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{requirements.name}: pip = exit code {result.returncode}, expected 0; needs Python's pip and a package "
                 f"index\n{result.stdout}{result.stderr}")
    toolkit = unfinished / "nvidia" / "cu13"
    if toolkit.is_dir():
        link_as_toolkit(toolkit)
    unfinished.rename(folder)


def main() -> None:
    requirements = pathlib.Path(__file__).resolve().parent / sys.argv[1]
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cache = cache_folder()
    folder = cache / f"{requirements.stem.removesuffix('-requirements')}-{digest}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / "fetch.lock", "w") as lock:  # two builds at once fetch once
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                install(requirements, folder)
    print(folder)


if __name__ == "__main__":
    main()
