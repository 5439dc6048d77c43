"""Real English that lies on every machine with pairmine: the docstrings of Python and of the packages that it needs."""

from __future__ import annotations

import ast
import importlib.util
import random
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from pydoc_data.topics import topics

PACKAGES = ("numpy", "scipy", "sklearn", "transformers")
SHORTEST, LONGEST = 20, 160


def passages(count: int, seed: int = 0) -> list[str]:
    """`count` distinct texts, each of neighbouring paragraphs, of 20 to 160 words or a little more, in random order."""
    generator = random.Random(seed)
    found = dict.fromkeys(islice(_cut(generator), 4 * count))
    if len(found) < count:
        raise SystemExit(f"{len(found):,} texts are all that these packages have, {count:,} are too many")
    return generator.sample(list(found), count)


def _cut(generator: random.Random) -> Iterator[str]:
    for source in _sources():
        run: list[str] = []
        wanted = generator.randint(SHORTEST, LONGEST)
        for paragraph in source.split("\n\n"):
            words = paragraph.split()
            if len(words) < 6 or ">>>" in paragraph or words[-1][-1] not in ".:;!?":
                continue
            run += words
            if len(run) >= wanted:
                for start in range(0, len(run) - SHORTEST, LONGEST):
                    yield " ".join(run[start : start + LONGEST])
                run, wanted = [], generator.randint(SHORTEST, LONGEST)
        if len(run) >= SHORTEST:
            yield " ".join(run[:LONGEST])


def _sources() -> Iterator[str]:
    yield from topics.values()
    folders = [Path(sysconfig.get_path("stdlib"))]
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None:
            folders.append(Path(found.origin).parent)
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            if {"site-packages", "test", "tests"}.isdisjoint(path.relative_to(folder).parts):
                yield from _docstrings(path)


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
