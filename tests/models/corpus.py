"""Builds the training corpus of the fixture models: Java sources of Apache-2.0 libraries.

    python corpus.py --work DIR

Fetches the -sources jars with Maven, strips licence headers, holds out whole files, trains the byte-level BPE tokenizer on
the training files alone, and writes to DIR: train.bin and heldout.bin (uint16 token ids, files separated by <|endoftext|>),
tokenizer.json, and prompts.jsonl (60 prompts cut from held-out files).
"""

import argparse
import hashlib
import json
import pathlib
import random
import re
import subprocess
import zipfile

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

ARTIFACTS = [
    "org.apache.commons:commons-lang3:3.20.0",
    "org.apache.commons:commons-collections4:4.5.0",
    "org.apache.commons:commons-math3:3.6.1",
    "org.apache.commons:commons-text:1.15.0",
    "commons-io:commons-io:2.21.0",
    "com.google.guava:guava:33.5.0-jre",
]
VOCAB = 2048
END_OF_TEXT = "<|endoftext|>"
HELD_OUT_PERCENT = 4
PROMPTS = 60

# A line break with the indentation after it, words, numbers, punctuation, blanks: each with one leading space.
PIECES = r"\r?\n[ \t]*| ?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|[ \t]+"


def fetch(work: pathlib.Path) -> list[pathlib.Path]:
    jars = work / "jars"
    jars.mkdir(parents=True, exist_ok=True)
    for artifact in ARTIFACTS:
        group, name, version = artifact.split(":")
        jar = jars / f"{name}-{version}-sources.jar"
        if not jar.exists():
            subprocess.run(
                ["mvn", "-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy",
                 f"-Dartifact={group}:{name}:{version}:jar:sources", f"-DoutputDirectory={jars}"],
                check=True)
    return sorted(jars.glob("*-sources.jar"))


def read_files(jars: list[pathlib.Path]) -> dict[str, str]:
    files = {}
    for jar in jars:
        with zipfile.ZipFile(jar) as z:
            for entry in sorted(z.namelist()):
                if entry.endswith(".java") and not entry.endswith(("package-info.java", "module-info.java")):
                    text = z.read(entry).decode("utf-8").replace("\r\n", "\n")
                    files[f"{jar.name}!{entry}"] = strip_licence(text)
    return files


def strip_licence(text: str) -> str:
    """Drops the comment before the package line when it is a licence header."""
    match = re.match(r"\s*/\*.*?\*/\s*", text, re.DOTALL)
    if match and re.search(r"licen[sc]e", match.group(0), re.IGNORECASE):
        text = text[match.end():]
    return text


def is_held_out(name: str) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 < HELD_OUT_PERCENT


def train_tokenizer(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[END_OF_TEXT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    end = tokenizer.token_to_id(END_OF_TEXT)
    ids = []
    for encoding in tokenizer.encode_batch(texts):
        ids.append(end)
        ids.extend(encoding.ids)
    return np.array(ids, dtype=np.uint16)


def prompts(held_out: dict[str, str], seed: int) -> list[dict]:
    """Cuts one prompt per held-out file: whole lines up to the opening brace of a method, 400 to 1200 characters."""
    rng = random.Random(seed)
    names = sorted(held_out)
    rng.shuffle(names)
    out = []
    for name in names:
        text = held_out[name]
        ends = [m.end() for m in re.finditer(r"\n {4,8}(?:public|protected|private|static)[^;=\n]*\{\n", text)]
        ends = [e for e in ends if e >= 500]
        if not ends:
            continue
        end = rng.choice(ends)
        start = max(0, end - rng.randint(400, 1200))
        start = text.find("\n", start) + 1 if start else 0
        source = name.split("!")[1]
        out.append({"id": f"{len(out):02d}-{source.rsplit('/', 1)[-1][:-5]}", "prompt": text[start:end]})
        if len(out) == PROMPTS:
            return out
    raise SystemExit(f"{len(out)} prompts, expected {PROMPTS}: too few held-out files have a method")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, required=True)
    work = parser.parse_args().work
    files = read_files(fetch(work))
    held_out = {n: t for n, t in files.items() if is_held_out(n)}
    train = {n: t for n, t in files.items() if n not in held_out}
    tokenizer = train_tokenizer(list(train.values()))
    tokenizer.save(str(work / "tokenizer.json"))
    order = sorted(train)
    random.Random(1).shuffle(order)
    ids = encode(tokenizer, [train[n] for n in order])
    held = encode(tokenizer, [held_out[n] for n in sorted(held_out)])
    ids.tofile(work / "train.bin")
    held.tofile(work / "heldout.bin")
    with open(work / "prompts.jsonl", "w", encoding="utf-8") as f:
        for line in prompts(held_out, seed=2):
            f.write(json.dumps(line) + "\n")
    size = sum(len(t.encode()) for t in files.values())
    print(f"{len(files)} files, {size / 1e6:.1f} MB; train {len(ids)} tokens, held out {len(held_out)} files {len(held)} tokens")


if __name__ == "__main__":
    main()
