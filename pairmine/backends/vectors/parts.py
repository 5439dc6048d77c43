"""Vectors in files that several machines write, a part each, and all of them read by place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pairmine.backends.vectors.matrix import Vectors
from pairmine.backends.vectors.shards import Rows
from pairmine.files.byte_ranges import ByteRanges, put_bytes

_PIECE = 8192


class RowFile(Rows):
    """A file of rows of equal length and nothing else, here or at an address; plain data until it is read."""

    def __init__(self, path: str, row_bytes: int) -> None:
        self.path = path
        self._row_bytes = row_bytes
        self._offset = 0
        self._file = ByteRanges(path)

    def read(self, start: int, stop: int) -> np.ndarray:
        """The rows from `start` to before `stop`, (n, row_bytes) uint8."""
        return self._file.read(start * self._row_bytes, stop * self._row_bytes).reshape(-1, self._row_bytes)


@dataclass(frozen=True)
class VectorPart:
    """A file of so many vectors, of `dim` numbers each; without vectors the length of one may be unknown, 0."""

    path: str
    count: int
    dim: int


class PartVectors:
    """The vectors of some parts in a row, read as `Vectors` says; plain data to send."""

    def __init__(self, parts: Sequence[VectorPart]) -> None:
        self.dim = max((part.dim for part in parts), default=0)
        self._files = [RowFile(part.path, 4 * self.dim) for part in parts]
        self._starts = np.cumsum([0, *(part.count for part in parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, places: np.ndarray) -> np.ndarray:
        """Those at `places` (n,), in any order, as (n, dim) float32."""
        found = np.empty((len(places), self.dim), np.float32)
        part = np.searchsorted(self._starts, places, side="right") - 1
        for number in np.unique(part):
            at = np.flatnonzero(part == number)
            rows = self._files[number].take(np.asarray(places)[at] - self._starts[number])
            found[at] = rows.view("<f4")
        return found

    def block(self, start: int, stop: int) -> np.ndarray:
        """Those from `start` to before `stop`, (stop - start, dim) float32."""
        bounds = np.clip(self._starts, start, stop)
        rows = [
            file.read(int(low - first), int(high - first)).view("<f4")
            for file, first, (low, high) in zip(self._files, self._starts[:-1], pairwise(bounds), strict=True)
            if low < high
        ]
        if len(rows) == 1:
            return rows[0]
        return np.concatenate([np.empty((0, self.dim), np.float32), *rows])


def write_part(path: str, vectors: Vectors) -> VectorPart:
    """Write all of `vectors` as the part `path`."""
    put_bytes(path, _rows_of(vectors))
    return VectorPart(path, len(vectors), vectors.dim)


def _rows_of(vectors: Vectors) -> Iterator[memoryview]:
    for start in range(0, len(vectors), _PIECE):
        block = vectors.block(start, min(start + _PIECE, len(vectors)))
        yield np.ascontiguousarray(block, "<f4").data.cast("B")


def write_rows(path: str, columns: Iterable[np.ndarray]) -> None:
    """Write a `RowFile` of which a row is that of each of `columns` (n, m) one behind the other."""
    rows = [np.ascontiguousarray(each).view(np.uint8).reshape(len(each), -1) for each in columns]
    put_bytes(path, [np.ascontiguousarray(np.concatenate(rows, axis=1)).data.cast("B")] if len(rows[0]) else [])
