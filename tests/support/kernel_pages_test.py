#!/usr/bin/env python3
"""Each op of the op table has a page in docs/kernels that says what a page has to say, and names files that are there."""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "kernels"
NO_OPS = {"README", "mutants"}
SAYS = ("Math", "Shapes", "Layout", "Bytes", "Floor", "Error", "Source")


def missing(text):
    """What is neither a row of the page's table nor a section."""
    rows = ", ".join(re.findall(r"^(?:\| |#+ )([^|\n]*)", text, re.M)).lower()
    return [word for word in SAYS if not re.search(rf"\b{word.lower()}\b", rows)]


class Pages(unittest.TestCase):
    def test_every_op_has_one(self):
        ops = set(re.findall(r"\bvoid cuda_(\w+)\(", (ROOT / "cuda" / "launchers.h").read_text()))
        self.assertGreater(len(ops), 10)
        self.assertEqual(ops - {page.stem for page in PAGES.glob("*.md")}, set())

    def test_each_says_what_the_op_computes_costs_and_comes_from(self):
        for page in sorted(PAGES.glob("*.md")):
            if page.stem not in NO_OPS:
                self.assertEqual(missing(page.read_text()), [], page.name)

    def test_each_has_measured_times_or_says_that_there_are_none(self):
        for page in sorted(PAGES.glob("*.md")):
            if page.stem not in NO_OPS:
                self.assertRegex(page.read_text(), r"not measured|measured .*20\d\d-\d\d-\d\d", page.name)

    def test_files_that_a_page_names_are_there(self):
        for page in sorted(PAGES.glob("*.md")):
            for name in re.findall(r"`((?:cuda|native|tests|cmake|docs)/[\w./-]+\.\w+)`", page.read_text()):
                self.assertTrue((ROOT / name).exists(), f"{page.name}: {name}")


if __name__ == "__main__":
    unittest.main()
