"""Builds the editing task: held-out Java text and a small edit of it, for drafters that copy their input.

    python edits.py --prompts prompts.jsonl --out edits.jsonl

Each text of prompts.jsonl (held-out files) gets one edit, in turns: a renamed identifier, an added modifier, a fixed typo. A
line is {"id", "kind", "prompt", "edited"}: the prompt is the input, then the edited text up to the end of its first line;
"edited" is the rest, which a model that does the edit would write.
"""

import argparse
import json
import pathlib
import random
import re

KINDS = ["rename", "modifier", "typo"]
IDENTIFIER = re.compile(r"\b[a-z][a-z]*[A-Z]?\w{3,}\b")
NAMES = ["current", "candidate", "pendingEntry", "inputValue", "lastResult", "element", "shiftedIndex", "newBuffer"]
# Where a modifier may be added: behind the access modifier of a declaration that has no other one.
DECLARATION = re.compile(r"\b(public|protected|private) (?!static|final|abstract|class|interface|enum|synchronized)")
MODIFIERS = ["final", "static", "synchronized"]
WORD = re.compile(r"\b[A-Za-z]{5,}\b")
KEYWORDS = {
    "abstract", "boolean", "break", "catch", "class", "continue", "default", "double", "else", "extends", "final",
    "finally", "float", "implements", "import", "instanceof", "interface", "long", "null", "package", "private",
    "protected", "public", "return", "short", "static", "super", "switch", "synchronized", "this", "throw", "throws",
    "true", "false", "void", "while", "param", "link", "code", "since", "inheritDoc"}


def rename(text: str, rng: random.Random) -> tuple[str, str] | None:
    """One identifier gets another name wherever it stands; at least three times."""
    counts: dict[str, int] = {}
    for match in IDENTIFIER.finditer(text):
        counts[match.group()] = counts.get(match.group(), 0) + 1
    known = sorted(name for name, n in counts.items() if n >= 3 and name not in KEYWORDS)
    if not known:
        return None
    old = rng.choice(known)
    new = rng.choice([name for name in NAMES if name not in text])
    return text, re.sub(rf"\b{old}\b", new, text)


def modifier(text: str, rng: random.Random) -> tuple[str, str] | None:
    """Each declaration that can have it gets one more modifier."""
    word = rng.choice(MODIFIERS)
    edited = DECLARATION.sub(rf"\1 {word} ", text)
    return None if edited == text else (text, edited)


def typo(text: str, rng: random.Random) -> tuple[str, str] | None:
    """Three words of the input have two letters swapped; the edited text is right."""
    places = [m for m in WORD.finditer(text) if m.group()[2] != m.group()[3] and m.group() not in KEYWORDS]
    if len(places) < 3:
        return None
    wrong = text
    for match in rng.sample(places, 3):
        at = match.start() + 2
        wrong = wrong[:at] + wrong[at + 1] + wrong[at] + wrong[at + 2:]
    return wrong, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    edit = {"rename": rename, "modifier": modifier, "typo": typo}
    rng = random.Random(4)
    counts = dict.fromkeys(KINDS, 0)
    lines = []
    for line in args.prompts.read_text(encoding="utf-8").splitlines():
        held_out = json.loads(line)
        text = held_out["prompt"]
        # The kind that came least often so far, of those that fit the text.
        for kind in sorted(KINDS, key=lambda k: counts[k]):
            done = edit[kind](text, rng)
            if done is not None:
                break
        else:
            continue
        given, edited = done
        counts[kind] += 1
        cut = edited.index("\n") + 1
        prompt = f"// Input\n{given}// Edited\n{edited[:cut]}"
        lines.append({"id": f"{held_out['id']}-{kind}", "kind": kind, "prompt": prompt, "edited": edited[cut:]})
    args.out.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(f"{len(lines)} edits: {counts}")


if __name__ == "__main__":
    main()
