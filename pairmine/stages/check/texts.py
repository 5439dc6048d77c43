"""Tests that read each text by itself: empty, too long, broken, with a prompt."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.stages.check.catalog import LONG_CHARACTERS
from pairmine.stages.check.chunk import BAD_LABEL, SHAPELESS, Chunk
from pairmine.stages.check.tallies import Tallies
from pairmine.stages.export.rows import Texts

CountTokens = Callable[[list[str]], list[int]]
"""How many tokens a model makes of each text."""

_CONTROLS = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\u0080-\u009f]"
_AS_LATIN = "[\u00c2\u00c3][\u0080-\u00bf]"
"""UTF-8 read as Latin-1: a letter beyond ASCII becomes one of these two and a sign."""
_AS_WINDOWS = "\u00e2\u20ac[\u2122\u0153\u02dc\u00a6\u201c\u201d\u009d\u00a2]"
"""The same for quotation marks, dashes and dots, read as Windows-1252."""
BROKEN = f"\ufffd|{_CONTROLS}|{_AS_LATIN}|{_AS_WINDOWS}"

MARKUP = (
    r"&(?:amp|lt|gt|quot|nbsp|apos|#\d{1,5}|#x[0-9a-fA-F]{1,4});"
    r"|</(?:p|br|div|span|a|li|ul|ol|td|tr|table|b|i|em|strong|h[1-6])>"
)

PROMPTS = (
    r"^(?:query: |passage: |search_query: |search_document: |clustering: |classification: "
    r"|Represent this (?:sentence|query|passage)[^:]{0,80}: ?|Instruct: |task: [^|]{0,60}\| query: "
    r"|title: none \| text: |为这个句子生成表示以用于检索相关文章：)"
)
"""What E5, BGE, Nomic, Qwen, GTE and EmbeddingGemma want before a text."""

_PATTERNS = {
    "one-letter-texts": f"^[^{SHAPELESS}]$",
    "broken-text": BROKEN,
    "markup-in-texts": MARKUP,
    "prompts-in-texts": PROMPTS,
}


@dataclass(frozen=True)
class Limit:
    """The most tokens that a model reads and how it counts them, or without `count` the most characters."""

    most: int = LONG_CHARACTERS
    count: CountTokens | None = None

    def over(self, texts: pa.Array) -> np.ndarray:
        """The length of each text that is too long, 0 for the others, (n,) int64."""
        if self.count is None:
            characters = pc.fill_null(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False)
            return np.where(characters > self.most, characters, 0)
        found = np.zeros(len(texts), np.int64)
        # A token is a byte at least, so most texts need no counting.
        size = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
        at = np.flatnonzero(size > self.most)
        lengths = np.array(self.count(texts.take(pa.array(at)).to_pylist()), np.int64)
        found[at] = np.where(lengths > self.most, lengths, 0)
        return found

    @property
    def unit(self) -> str:
        """What it counts."""
        return "tokens" if self.count else "characters"


class PlainTexts:
    """The tests of single texts."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit

    def add(self, chunk: Chunk, found: Tallies) -> None:
        """Look at a chunk's texts, each distinct one once."""
        _bad_labels(chunk, found)
        sides = [(name, texts) for name, texts in (("query", chunk.queries), ("document", chunk.documents)) if texts]
        if not sides:
            return
        _empty(chunk, sides, found)
        for name, pattern in _PATTERNS.items():
            if found.wants(name):
                _matched(chunk, sides, name, pattern, found)
        if found.wants("over-long"):
            self._over_long(chunk, sides, found)

    def _over_long(self, chunk: Chunk, sides: list[tuple[str, Texts]], found: Tallies) -> None:
        long = np.zeros(len(chunk), np.int64)
        for _, texts in sides:
            long = np.maximum(long, self._limit.over(texts.values)[texts.codes])
        rows = np.flatnonzero(long)
        found.looked("over-long", len(chunk))
        note = f"{self._limit.unit}, {self._limit.most:,} at most"
        found.found("over-long", chunk.rows(rows), lambda at: f"{long[rows[at]]:,} {note}")


def _bad_labels(chunk: Chunk, found: Tallies) -> None:
    if "label" not in chunk.pairs.column_names:
        return
    found.looked("bad-labels", len(chunk))
    values, there = chunk.numbers(BAD_LABEL), chunk.there(BAD_LABEL)
    if values is not None and there is not None:
        rows = np.flatnonzero(there)
        found.found("bad-labels", chunk.rows(rows), lambda at: f"label is {values[rows[at]]:g}")


def _empty(chunk: Chunk, sides: list[tuple[str, Texts]], found: Tallies) -> None:
    blank = {name: (chunk.asked if name == "query" else chunk.told) == 0 for name, _ in sides}
    rows = np.flatnonzero(np.logical_or.reduce(list(blank.values())))
    found.looked("empty-texts", len(chunk))
    found.found(
        "empty-texts",
        chunk.rows(rows),
        lambda at: "no text in " + " and ".join(name for name, empty in blank.items() if empty[rows[at]]),
    )


def _matched(chunk: Chunk, sides: list[tuple[str, Texts]], test: str, pattern: str, found: Tallies) -> None:
    """Take in the rows with a text on either side in which `pattern` is found; each distinct text is read once."""
    of_side = {name: _holds(texts.values, pattern)[texts.codes] for name, texts in sides}
    rows = np.flatnonzero(np.logical_or.reduce(list(of_side.values())))
    found.looked(test, len(chunk))

    def note(at: int) -> str:
        row = int(rows[at])
        name, texts = next((name, texts) for name, texts in sides if of_side[name][row])
        return f"{name}: {_around(texts.values[int(texts.codes[row])].as_py(), pattern)}"

    found.found(test, chunk.rows(rows), note)


def _holds(values: pa.Array, pattern: str) -> np.ndarray:
    matched = pc.match_substring_regex(values, pattern)
    found: np.ndarray = pc.fill_null(matched, False).to_numpy(zero_copy_only=False)
    return found


def _around(text: str, pattern: str) -> str:
    """The place where `pattern` is found, with some letters before and behind it."""
    match = re.search(pattern, text)
    if match is None:
        return ""
    start, end = max(match.start() - _BESIDE, 0), match.end() + _BESIDE
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"


_BESIDE = 20
