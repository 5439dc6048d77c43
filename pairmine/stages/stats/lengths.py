"""How long texts are, in characters, words and tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.stages.export.rows import Texts
from pairmine.stages.stats.labels import share
from pairmine.stages.stats.tally import Tally, merge_named

Count = Callable[[Sequence[str]], np.ndarray]
"""The tokens of each text, (n,) int64."""

_REMEMBERED = 500_000
"""Texts whose tokens are not counted again: some 50 MB. A tokenizer takes 60 us for a passage."""


class Remembered:
    """A `Count` that does not count again what it counted before."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._known: dict[int, int] = {}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """The tokens of each text, (n,) int64."""
        keys = [hash(text) for text in texts]
        sizes = np.fromiter((self._known.get(key, -1) for key in keys), np.int64, len(keys))
        new = np.flatnonzero(sizes < 0)
        if len(new):
            sizes[new] = self._count([texts[at] for at in new.tolist()])
            room = max(_REMEMBERED - len(self._known), 0)
            self._known.update((keys[at], int(sizes[at])) for at in new[:room])
        return sizes


class Lengths:
    """The lengths of one side: of each query once, of the document of each row."""

    def __init__(self, tokens: Count | None, max_tokens: int | None) -> None:
        self._count = tokens
        self._limit = max_tokens
        self._tallies = {unit: Tally() for unit in ("characters", "words", *(["tokens"] if tokens else []))}

    def add(self, texts: Texts, once_in: np.ndarray | None = None) -> None:
        """Count the texts of a chunk's rows; with `once_in` (n,) only the first one of each of its numbers."""
        present = texts.values.is_valid().to_numpy(zero_copy_only=False)[texts.codes]
        rows = np.flatnonzero(present)
        if once_in is not None:
            rows = rows[np.unique(once_in[rows], return_index=True)[1]]
        times = np.bincount(texts.codes[rows], minlength=len(texts.values))
        used = np.flatnonzero(times)
        values = texts.values.take(pa.array(used))
        for unit, lengths in self._lengths(values):
            self._tallies[unit].add(lengths, times[used])

    def merge(self, other: Lengths) -> None:
        """Count the texts of `other` too."""
        merge_named(self._tallies, other._tallies)

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which merges and counts no texts."""
        return {**vars(self), "_count": None}

    def _lengths(self, texts: pa.Array) -> list[tuple[str, np.ndarray]]:
        plain = texts.to_pylist()
        found = [
            ("characters", pc.utf8_length(texts).to_numpy(zero_copy_only=False)),
            ("words", np.fromiter((len(text.split()) for text in plain), np.int64, len(plain))),
        ]
        return found if self._count is None else [*found, ("tokens", self._count(plain))]

    def to_dict(self) -> dict[str, Any]:
        """A summary and a histogram for each unit, and with tokens how many texts are longer than the limit."""
        found = {unit: {**tally.summary(), "histogram": tally.histogram()} for unit, tally in self._tallies.items()}
        if "tokens" in found:
            tally = self._tallies["tokens"]
            over = None if self._limit is None else tally.above(self._limit)
            part = None if over is None else share(over, tally.total())
            found["tokens"] |= {"limit": self._limit, "over": over, "share_over": part}
        return found
