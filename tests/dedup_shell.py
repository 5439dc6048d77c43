"""Runs `dedup` as a shell does, in memory, in bounded memory, and so that it is killed on the way."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pairmine.cli import dedup_scale
from pairmine.cli.main import main

WORDS = [f"w{i}" for i in range(400)]


_read = dedup_scale.read_within


class Shell:
    """Runs commands in this process, in a folder of their own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, heard: pytest.CaptureFixture[str]) -> None:
        patch.chdir(folder)
        self.folder, self._patch, self._heard = folder, patch, heard

    def __call__(self, words: str) -> tuple[int, str]:
        """The exit code and what was said on stderr."""
        return self.words(words.split())

    def words(self, words: list[str]) -> tuple[int, str]:
        """The same for words that may be empty or hold blanks."""
        self._patch.setattr(sys, "argv", ["pairmine", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), self._heard.readouterr().err

    def small(self, block_rows: int = 100) -> None:
        """From now on no corpus fits into memory, and a block of sketches has few rows."""
        self._patch.setattr(dedup_scale, "read_within", lambda source, room, each=None: None)
        self._patch.setattr(dedup_scale, "BLOCK_ROWS", block_rows)
        self._patch.setattr(dedup_scale, "_SHARES", 100_000)

    def roomy(self) -> None:
        """From now on everything fits into memory again."""
        self._patch.setattr(dedup_scale, "read_within", lambda source, room, each=None: _read(source, 1 << 60, each))

    @contextmanager
    def patched(self, name: str, value: Any) -> Iterator[None]:
        with self._patch.context() as patch:
            patch.setattr(name, value)
            yield

    def pipe(self, data: bytes) -> None:
        """What the next command finds on standard input."""
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    def write(self, name: str, rows: list[dict[str, Any]]) -> None:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def rows(self, name: str) -> list[dict[str, Any]]:
        return list(pq.read_table(self.folder / name).to_pylist())

    def ids(self, name: str) -> list[str]:
        return [row["id"] for row in self.rows(name)]

    def same(self, command: str, *outputs: str) -> None:
        """Whether a command writes the same bytes in memory and in bounded memory."""
        self.roomy()
        assert self(command)[0] == 0
        expected = [(self.folder / name).read_bytes() for name in outputs]
        self.small()
        assert self(command)[0] == 0
        assert [(self.folder / name).read_bytes() for name in outputs] == expected


def corpus(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Texts with copies of every sort, a template filled forty times, blanks, and texts of one word."""
    draw = random.Random(seed)
    texts = ["", " ", "!!!", "!!!", "word", "Word", "word.", "猫が寝ている。", "猫が寝ている"]
    for _ in range(count):
        words = draw.choices(WORDS, k=draw.randint(1, 110))
        cut = " ".join(words[: draw.randint(len(words) // 2, len(words))])
        texts += [" ".join(words), cut, " ".join(words).upper()][: draw.randint(1, 3)]
    template = draw.choices(WORDS, k=100)
    for _ in range(40):
        filled = list(template)
        for _ in range(draw.randint(0, 6)):
            filled[draw.randrange(100)] = f"x{draw.randrange(9)}"
        texts.append(" ".join(filled))
    draw.shuffle(texts)
    return [
        {"id": f"s{seed}-{i}", "text": text, "source": "ab"[i % 2], "quality": draw.choice([1, 2.5, None])}
        for i, text in enumerate(texts)
    ]


KILLED = """
import os, signal, sys
from pairmine.cli import dedup_scale as scale
from pairmine.files import sketches
from pairmine.stages.dedup import bounded, sketching

scale.read_within = lambda source, room, each=None: None
scale.BLOCK_ROWS = 50
where, sketched = sys.argv.pop(1), sketching.sketch
put, gather = sketches.SketchFolder.put, bounded._gather

def sketch(texts, *given, **more):
    print(f"sketched {len(texts)}", file=sys.stderr)
    return sketched(texts, *given, **more)

def putting(self, block, keys):
    if where == "block 3" and block == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, block, keys)

def gathering(*given, **more):
    if where == "second reading":
        os.kill(os.getpid(), signal.SIGKILL)
    return gather(*given, **more)

def sinking(self, entries):
    if where == "commit":
        os.kill(os.getpid(), signal.SIGKILL)
    committed(self, entries)

from pairmine.files.sink import Sink
sketching.sketch, sketches.SketchFolder.put, bounded._gather = sketch, putting, gathering
committed, Sink.commit = Sink.commit, sinking
from pairmine.cli.main import main
main()
"""
"""The command itself, in bounded memory, with blocks of 50 rows; it says what it sketches, and kills itself."""


def killed(folder: Path, where: str, words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLED, where, *words.split()]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def sketched(said: str) -> int:
    return sum(int(line.split()[1]) for line in said.splitlines() if line.startswith("sketched "))
