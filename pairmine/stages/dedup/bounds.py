"""What a bounded dedup works with: where it sets things aside, and the documents of earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

Tables = Callable[[], Iterator[pa.Table]]
"""Reads the corpus from its start: the same tables each time."""

Advance = Callable[[int], Any]

Keys = tuple[np.ndarray, np.ndarray]
"""Keys (n,) uint64, and the row of each."""


class Pairs(Protocol):
    """Takes packed pairs; `runs` gives each once, ascending, so many at a time."""

    def add(self, pairs: np.ndarray) -> None: ...
    def runs(self) -> Iterator[np.ndarray]: ...


class Rows(Protocol):
    """Takes rows of numbers, uint64, and after `finish` gives those with ascending numbers, and where each ends."""

    def append(self, values: np.ndarray, sizes: np.ndarray) -> None: ...
    def finish(self) -> None: ...
    def take(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...
    @property
    def sizes(self) -> np.ndarray: ...


class Spills(Protocol):
    """Where pairs and sets are set aside; see `files.spills`."""

    def pairs(self) -> Pairs: ...
    def rows(self, name: str) -> Rows: ...


class Scratch(Spills, Protocol):
    """Where keys are set aside as well; see `files.sketches.SketchFolder`."""

    block_rows: int
    budget_bytes: int

    def has(self, block: int) -> bool: ...
    def put(self, block: int, keys: Iterable[tuple[str, Keys]]) -> None: ...
    def parts(self, name: str, budget_bytes: int) -> Iterator[Keys]: ...


class Earlier(Protocol):
    """The documents that earlier runs kept, by number; see `files.dedup_index.DedupIndex`. Those asked for ascend."""

    @property
    def rows(self) -> int: ...
    def find(self, name: str, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the ascending `keys` stand: the number of each found one among them, and the document that has it."""
        ...

    def counts(self, part: str, rows: np.ndarray) -> np.ndarray:
        """How many "shingles" or "words" each of these documents has."""
        ...

    def rows_of(self, part: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The "shingles" or "words" of these documents, one after the other, and how many each has here."""
        ...

    def ids(self, rows: np.ndarray) -> pa.Array: ...
    def seen_in(self, rows: np.ndarray) -> pa.Array: ...


class Segment(Protocol):
    """Takes the documents that a run adds to the index, part by part, then their keys."""

    def put(self, part: str, values: np.ndarray, sizes: np.ndarray, counts: np.ndarray | None = None) -> None: ...
    def finish(self, keys: Mapping[str, Iterator[Keys]], sources: list[tuple[str, int]]) -> None: ...


class Nothing:
    """No earlier documents."""

    rows = 0

    def find(self, name: str, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.empty(0, np.int64), np.empty(0, np.int64)

    def counts(self, part: str, rows: np.ndarray) -> np.ndarray:
        return np.empty(0, np.int64)

    def rows_of(self, part: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.empty(0, np.uint64), np.empty(0, np.int64)

    def ids(self, rows: np.ndarray) -> pa.Array:
        return pa.array([], pa.large_string())

    def seen_in(self, rows: np.ndarray) -> pa.Array:
        return pa.array([], pa.string())
