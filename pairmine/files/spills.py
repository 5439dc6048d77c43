"""What a bounded dedup sets aside, in memory while it is little and in a file beyond that: pairs, and sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pairmine.distinct import distinct
from pairmine.files.arrays import ArrayFile, ArrayWriter


class PairSpill:
    """Pairs of numbers, left < right < 2^32, packed into 64 bits (the left one above) and each kept once."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = max(limit_bytes // 8, 1)
        self._pending: list[np.ndarray] = []
        self._count = 0
        self._files: list[ArrayFile] = []

    def add(self, pairs: np.ndarray) -> None:
        """Take in packed pairs, in any order."""
        self._pending.append(pairs)
        self._count += len(pairs)
        if self._count > self._limit:
            whole = self._joined()
            self._pending, self._count = [whole], len(whole)
            if len(whole) > self._limit // 2:
                self._spill(whole)

    def runs(self) -> Iterator[np.ndarray]:
        """All pairs, ascending and each once, so many at a time as fit."""
        whole = self._joined()
        if not self._files:
            yield whole
            return
        if len(whole):
            self._spill(whole)
        total = sum(file.count("pairs") for file in self._files)
        parts = 1
        while total * 3 > self._limit * parts:
            parts *= 2
        runs = [file.keys("pairs") for file in self._files]
        highest = max(int(file.facts["last"]) for file in self._files) + 1
        step = -(-highest // parts)
        for low in range(0, highest, step):
            yield distinct(np.concatenate([run.between(low, low + step)[0] for run in runs]))

    def _joined(self) -> np.ndarray:
        return distinct(np.concatenate([np.empty(0, np.uint64), *self._pending]))

    def _spill(self, whole: np.ndarray) -> None:
        path = self._folder / f"pairs-{len(self._files):04d}"
        writer = ArrayWriter(path)
        try:
            writer.put_keys("pairs", iter([(whole, np.empty(0, np.uint32))]))
            writer.commit(last=int(whole[-1]))
        except BaseException:
            writer.remove()
            raise
        self._files.append(ArrayFile(path))
        self._pending, self._count = [], 0


class RaggedSpill:
    """Rows of 64-bit numbers, each of a length of its own, numbered from 0. Offsets stay in memory, 8 bytes a row."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path = path
        self._limit = limit_bytes
        self._pieces: list[np.ndarray] = []
        self._bytes = 0
        self._sizes: list[np.ndarray] = []
        self._offsets = np.zeros(1, np.int64)
        self._writer: ArrayWriter | None = None
        self._file: ArrayFile | None = None

    def append(self, values: np.ndarray, sizes: np.ndarray) -> None:
        """Take in more rows: their `values` one after the other, uint64, and their `sizes`."""
        self._pieces.append(values)
        self._sizes.append(sizes)
        self._bytes += values.nbytes
        if self._writer is None and self._bytes > self._limit:
            self._writer = ArrayWriter(self._path)
            self._write = self._writer.begin("values", np.uint64)
        if self._writer is not None:
            self._flush()

    def finish(self) -> None:
        """No more rows come; from now on they can be read."""
        self._offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.empty(0, np.int64), *self._sizes]))])
        self._sizes = []
        if self._writer is not None:
            self._writer.commit()
            self._writer, self._file = None, ArrayFile(self._path)
        else:
            self._pieces = [np.concatenate([np.empty(0, np.uint64), *self._pieces])]

    def close(self) -> None:
        """Drop what is unfinished."""
        if self._writer is not None:
            self._writer.remove()

    @property
    def sizes(self) -> np.ndarray:
        """(n,) int64: the length of each row."""
        return np.diff(self._offsets)

    def take(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values of the rows with these ascending numbers, one after the other, and where each row ends, from 0."""
        starts = self._offsets[numbers]
        sizes = self._offsets[numbers + 1] - starts
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        if self._file is not None:
            return self._file.read_many("values", starts, sizes), offsets
        at = np.repeat(starts - offsets[:-1], sizes)
        at += np.arange(offsets[-1])
        return self._pieces[0][at], offsets

    def _flush(self) -> None:
        for piece in self._pieces:
            self._write(piece)
        self._pieces, self._bytes = [], 0


class Spills:
    """A folder for both, of a process's own; what does not fit into `budget_bytes` each lies there."""

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self._folder, self._budget = folder, budget_bytes

    def pairs(self) -> PairSpill:
        """A place for pairs."""
        return PairSpill(self._folder, self._budget)

    def rows(self, name: str) -> RaggedSpill:
        """A place for rows of numbers."""
        return RaggedSpill(self._folder / f"rows-{name}", self._budget)
