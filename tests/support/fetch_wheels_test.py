#!/usr/bin/env python3
"""fetch_wheels.py with wheels made up here and no network: fetched once, whole or not at all, by their hashes."""
import hashlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "cmake" / "fetch_wheels.py"

# Stands before the real pip: notes each call, and after it does what the test wants, while the folder is not renamed yet.
PIP = """
import os, pathlib, runpy, signal, sys, time
here = str(pathlib.Path(__file__).resolve().parents[1])
sys.path.remove(here)
del sys.modules["pip"]
target = pathlib.Path(sys.argv[sys.argv.index("--target") + 1])
with open(os.path.join(here, "calls"), "a") as calls:
    calls.write(target.name + "\\n")
after = os.environ.get("AFTER", "")
if after == "wait":
    time.sleep(1)
try:
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
finally:
    if after == "kill":
        (target / "half").write_text("of an interrupted fetch")
        os.kill(os.getppid(), signal.SIGKILL)
"""


@unittest.skipUnless(importlib.util.find_spec("pip"), "python3 has no pip")
class FetchWheels(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="espalier-wheels-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.cache = self.folder / "cache"
        self.wheels = self.folder / "wheels"
        self.wheels.mkdir()
        (self.folder / "first" / "pip").mkdir(parents=True)
        (self.folder / "first" / "pip" / "__init__.py").touch()
        (self.folder / "first" / "pip" / "__main__.py").write_text(PIP)
        self.requirements = self.folder / "made-up-requirements.txt"
        self.require(self.wheel("made-up", {"made_up/header.h": "// 1\n"}))

    def wheel(self, name, files):
        """A wheel with these files; returns its line of a requirements file."""
        stem = name.replace("-", "_") + "-1.0"
        path = self.wheels / f"{stem}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for file, text in files.items():
                archive.writestr(file, text)
            archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{stem}.dist-info/RECORD", "")
        return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"

    def require(self, *lines):
        self.requirements.write_text("".join(lines))

    def start(self, **environment):
        own = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PIP_CONFIG_FILE": os.devnull,
               "PYTHONPATH": str(self.folder / "first"), "ESPALIER_CACHE_DIR": str(self.cache)}
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON", "XDG_", "ESPALIER_"))}
        return subprocess.Popen([sys.executable, SCRIPT, self.requirements], env=clean | own | environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def fetch(self, **environment):
        """The folder that is printed."""
        process = self.start(**environment)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err)
        return pathlib.Path(out.strip())

    def calls(self):
        calls = self.folder / "first" / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def in_cache(self):
        return sorted(path.name for path in self.cache.iterdir() if path.name != "fetch.lock")

    def test_wheels_are_unpacked_once(self):
        folder = self.fetch()
        self.assertEqual((folder / "made_up" / "header.h").read_text(), "// 1\n")
        self.assertRegex(folder.name, "^made-up-[0-9a-f]{12}$")
        self.assertEqual(folder.parent, self.cache)
        self.assertEqual(self.fetch(), folder)
        self.assertEqual(len(self.calls()), 1)
        self.assertEqual(self.in_cache(), [folder.name])

    def test_two_at_once_fetch_once(self):
        both = [self.start(AFTER="wait"), self.start(AFTER="wait")]
        said = [process.communicate(timeout=120) for process in both]
        self.assertEqual([process.returncode for process in both], [0, 0], said)
        self.assertEqual(said[0], said[1])
        self.assertEqual(len(self.calls()), 1)

    def test_an_interrupted_fetch_is_begun_anew(self):
        process = self.start(AFTER="kill")
        self.assertEqual(process.communicate(timeout=120)[0], "")
        self.assertLess(process.returncode, 0)
        left = self.in_cache()
        self.assertEqual(len(left), 1)
        self.assertTrue((self.cache / left[0] / "half").exists())
        folder = self.fetch()
        self.assertNotEqual(folder.name, left[0])
        self.assertEqual(self.in_cache(), [folder.name])
        self.assertEqual((folder / "made_up" / "header.h").read_text(), "// 1\n")
        self.assertFalse((folder / "half").exists())

    def test_a_pip_that_outlives_its_fetch_writes_where_no_other_does(self):
        self.start(AFTER="kill").communicate(timeout=120)
        self.fetch()
        self.assertEqual(len(set(self.calls())), 2)

    def test_another_hash_is_refused(self):
        self.require(self.wheel("made-up", {"made_up/header.h": "// 1\n"}))
        self.wheel("made-up", {"made_up/header.h": "// somebody else's\n"})
        process = self.start()
        out, err = process.communicate(timeout=120)
        self.assertEqual((process.returncode, out), (1, ""))
        self.assertTrue(err.startswith("made-up-requirements.txt: pip = exit code 1, expected 0; needs Python's pip and a package"), err)
        self.assertIn("DO NOT MATCH THE HASHES", err)
        self.assertIn("made-up==1.0", err)
        self.assertEqual(self.in_cache(), [])

    def test_a_requirement_without_a_hash_is_refused(self):
        self.require("made-up==1.0\n")
        process = self.start()
        err = process.communicate(timeout=120)[1]
        self.assertEqual(process.returncode, 1)
        self.assertIn("made-up-requirements.txt: pip = exit code 1", err)
        self.assertEqual(self.in_cache(), [])

    def test_other_requirements_have_another_folder(self):
        before = self.fetch()
        self.require(self.wheel("made-up", {"made_up/header.h": "// 2\n"}), self.wheel("other", {"other/o.h": ""}))
        after = self.fetch()
        self.assertNotEqual(after, before)
        self.assertEqual((before / "made_up" / "header.h").read_text(), "// 1\n")
        self.assertEqual((after / "made_up" / "header.h").read_text(), "// 2\n")
        self.assertTrue((after / "other" / "o.h").exists())

    def test_a_toolkit_gets_the_names_that_wheels_lack(self):
        self.require(self.wheel("made-up", {"nvidia/cu13/lib/libcudart.so.13": "runtime", "nvidia/cu13/bin/nvcc": "compiler"}))
        toolkit = self.fetch() / "nvidia" / "cu13"
        self.assertEqual((toolkit / "lib64" / "libcudart.so").read_text(), "runtime")

    def test_the_folder_is_in_the_users_cache(self):
        user = self.folder / "user"
        self.assertEqual(self.fetch(ESPALIER_CACHE_DIR="", XDG_CACHE_HOME=str(user)).parent, user / "espalier")
        self.assertEqual(self.fetch(ESPALIER_CACHE_DIR="", HOME=str(user)).parent, user / ".cache" / "espalier")


if __name__ == "__main__":
    unittest.main()
