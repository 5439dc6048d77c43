"""Inverted lists, searched list by list: all queries that look into a list are multiplied with it at once.

FAISS goes through the lists of one query after the other, at the speed of memory. Here the queries
that look into a list meet it in one matrix product, at the speed of the processor's bfloat16 unit, and lists lie in
chunks of 64 places, so that every query looks at equally many chunks and its scores fill one row of a matrix.
"""

from __future__ import annotations

from threading import local
from typing import Any

import numpy as np

from pairmine.backends.models import Advance
from pairmine.backends.vectors.approximate.clusters import assign, centroids
from pairmine.backends.vectors.approximate.faiss_indexes import longest
from pairmine.backends.vectors.approximate.integers import in_order, most_similar, products, whole_numbers
from pairmine.backends.vectors.approximate.workers import in_threads
from pairmine.backends.vectors.matrix import Vectors
from pairmine.backends.vectors.search import NOT_FOUND

CHUNK = 64
_SHAPE = 64
"""Products are made of a multiple of so many queries: preparing one of a new shape takes longer than the product."""
_MINUS_INFINITY = np.int16(-128)
"""The bits of -inf in bfloat16."""
_ROWS = 256
"""Rows that are selected from at once: their scores stay in the cache."""


class Ivf:
    """Lists of neighbours around centroids; `effort` is the number of chunks of 64 documents that a query looks at."""

    widenings: tuple[float, ...] = (1.25, 4.0, 16.0)

    def __init__(
        self,
        vectors: Vectors,
        searchable: int,
        *,
        lists: int,
        seed: int,
        threads: int,
        packed: bool,
        block_bytes: int,
        quick: bool,
    ) -> None:
        self._vectors = vectors
        self._threads = threads
        self._block_bytes = block_bytes
        self._quick = quick
        self._local = local()
        self._longest = longest(vectors, searchable)
        means: dict[str, Any] = {"longest": self._longest, "threads": threads, "quick": quick}
        self.centres = centroids(vectors, searchable, lists, seed=seed, **means)
        nearest = assign(vectors, searchable, self.centres, **means)
        self._lay_out(nearest)
        self._packed = self._pack() if packed else None
        self.chunks = int(self._first_chunk[-1])
        self.largest_effort = self.chunks
        self.first_effort = max(1, self.chunks // 64)

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return len(self.centres)

    def settings(self, effort: int) -> dict[str, Any]:
        """What the facts say of it."""
        return {"lists": self.lists, "scanned": round(min(effort / self.chunks, 1.0), 4)}

    def _lay_out(self, nearest: np.ndarray) -> None:
        """Give every list whole chunks: `_places` (chunks, 64) int32 holds its documents in order, then -1."""
        sizes = np.bincount(nearest, minlength=self.lists)
        self._chunks_of = -(-sizes // CHUNK)
        self._first_chunk = np.concatenate([[0], np.cumsum(self._chunks_of)])
        order = np.argsort(nearest, kind="stable")
        within = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        slots = np.repeat(self._first_chunk[:-1] * CHUNK, sizes) + within
        places = np.full(int(self._first_chunk[-1]) * CHUNK, NOT_FOUND, np.int32)
        places[slots] = order
        self._sizes = sizes
        self._places = places

    def _pack(self) -> Any:
        """The vectors of all lists in the order of `_places`, bfloat16; zeros where a chunk is not full."""
        import torch

        packed = torch.zeros((len(self._places), self._vectors.dim), dtype=torch.bfloat16)
        for number in range(self.lists):
            start = int(self._first_chunk[number]) * CHUNK
            packed[start : start + self._sizes[number]] = self._read(number)
        return packed

    def _read(self, number: int) -> Any:
        start = int(self._first_chunk[number]) * CHUNK
        places = self._places[start : start + self._sizes[number]]
        return whole_numbers(self._vectors.take(places), self._longest)

    def effort_for(self, queries: np.ndarray, places: np.ndarray, share: float) -> int:
        """The least effort that looks at this share of `places` (n, k), none of them -1."""
        order = most_similar(whole_numbers(queries), self.centres, self.lists)[0]
        counts = self._chunks_of[order]
        starts = np.empty_like(counts)
        np.put_along_axis(starts, order, np.cumsum(counts, axis=1) - counts, axis=1)
        chunk_of = np.empty(len(self._vectors), np.int64)
        filled = np.flatnonzero(self._places != NOT_FOUND)
        chunk_of[self._places[filled]] = filled // CHUNK
        chunk = chunk_of[places]
        lists = np.searchsorted(self._first_chunk, chunk, side="right") - 1
        needed = np.sort((np.take_along_axis(starts, lists, axis=1) + chunk - self._first_chunk[lists]).ravel())
        return int(needed[min(int(np.ceil(share * len(needed))), len(needed)) - 1]) + 1

    def candidates(self, queries: np.ndarray, wide: int, effort: int, advance: Advance) -> np.ndarray:
        """About the `wide` nearest of `effort` chunks, (n, wide) int64 in no order, -1 where there are fewer."""
        effort = min(effort, self.chunks)
        row_bytes = effort * (CHUNK * 2 + 4) + 24 * wide + 24 * self.lists + 6 * self._vectors.dim
        step = max(1, min(self._block_bytes // self._threads // row_bytes, -(-len(queries) // self._threads)))

        def piece(start: int) -> np.ndarray:
            block = queries[start : start + step]
            found = self._block(block, wide, effort)
            advance(len(block))
            return found

        if not len(queries):
            return np.empty((0, wide), np.int64)
        self._local = local()
        return np.concatenate(in_threads(piece, range(0, len(queries), step), self._threads))

    def _block(self, queries: np.ndarray, wide: int, effort: int) -> np.ndarray:
        import torch

        vectors = whole_numbers(queries)
        rows, lists, slots = self._probes(vectors, effort)
        lines = vectors.view(torch.int16).numpy()
        bits = self._room(len(queries) * effort)
        seen = np.full(len(queries) * effort, NOT_FOUND, np.int32)
        ends = np.searchsorted(lists, np.arange(self.lists + 1))
        for number in range(self.lists):
            low, high = ends[number], ends[number + 1]
            if low == high:
                continue
            taken = np.arange(self._chunks_of[number])
            slot = slots[low:high, None] + taken
            targets = rows[low:high, None] * effort + slot
            asking = np.resize(rows[low:high], -(-(high - low) // _SHAPE) * _SHAPE)
            scores = self._scores(torch.from_numpy(_take_lines(lines, asking)).view(torch.bfloat16), number)
            found = scores[: high - low].view(torch.int16).numpy().reshape(-1, CHUNK)
            chunk = np.broadcast_to(self._first_chunk[number] + taken, targets.shape)
            if slot.max() >= effort:
                fits = slot < effort
                targets, chunk, found = targets[fits], chunk[fits], found[fits.ravel()]
            as_lines(bits)[targets.ravel()] = as_lines(found)
            seen[targets.ravel()] = chunk.ravel()
        bits[seen == NOT_FOUND] = _MINUS_INFINITY
        return self._select(bits.reshape(len(queries), -1), seen.reshape(len(queries), -1), wide)

    def _room(self, chunks: int) -> np.ndarray:
        """Room for scores, (chunks, 64) int16; this thread uses it again, as new pages cost as much as a product."""
        room: np.ndarray | None = getattr(self._local, "room", None)
        if room is None or len(room) < chunks:
            self._local.room = room = np.empty((chunks, CHUNK), np.int16)
        return room[:chunks]

    def _probes(self, vectors: Any, effort: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which query looks into which list, sorted by list: rows, lists, and the slot where its scores begin."""
        most = min(self.lists, 8 + 4 * -(-effort * self.lists // self.chunks))
        lists = most_similar(vectors, self.centres, most)[0]
        counts = self._chunks_of[lists]
        slots = np.cumsum(counts, axis=1) - counts
        rows, columns = np.nonzero((slots < effort) & (counts > 0))
        chosen = lists[rows, columns]
        order = np.argsort(chosen.astype(np.uint16) if self.lists < 1 << 16 else chosen, kind="stable")
        return rows[order], chosen[order], slots[rows, columns][order]

    def _scores(self, queries: Any, number: int) -> Any:
        """Products of some queries with a list, (n, chunks * 64) bfloat16; -inf behind the list's end."""
        import torch

        start, end = (int(at) * CHUNK for at in self._first_chunk[number : number + 2])
        size = int(self._sizes[number])
        if self._packed is not None:
            documents = self._packed[start:end]
        else:
            documents = torch.zeros((end - start, self._vectors.dim), dtype=torch.bfloat16)
            documents[:size] = self._read(number)
        scores = products(queries, documents, quick=self._quick)
        scores[:, size:] = -torch.inf
        return scores

    def _select(self, bits: np.ndarray, seen: np.ndarray, wide: int) -> np.ndarray:
        """The places of the `wide` highest scores of each row; of equal ones those that stand first."""
        found = np.full((len(bits), wide), NOT_FOUND, np.int64)

        for start in range(0, len(bits), _ROWS):
            rows = slice(start, start + _ROWS)
            columns = highest(in_order(bits[rows]), wide)
            chunk = np.take_along_axis(seen[rows], columns // CHUNK, axis=1)
            places = self._places[chunk * CHUNK + columns % CHUNK]
            found[rows, : columns.shape[1]] = np.where(chunk == NOT_FOUND, NOT_FOUND, places)
        return found


def as_lines(matrix: np.ndarray) -> np.ndarray:
    """The rows of `matrix` as single items, which are copied several times as fast."""
    return np.ascontiguousarray(matrix).view(np.dtype((np.void, matrix.shape[1] * matrix.itemsize))).reshape(-1)


def _take_lines(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = as_lines(matrix)[rows].view(matrix.dtype).reshape(len(rows), -1)
    return found


def highest(keys: np.ndarray, wide: int) -> np.ndarray:
    """The columns of the `wide` highest of each row of `keys` (n, m) int16, ascending; of equal ones the first.

    Looking for the value of the last of them, and then for all that reach it, takes a third of the time of
    `argpartition`.
    """
    count = keys.shape[1]
    if count <= wide:
        return np.broadcast_to(np.arange(count), keys.shape)
    least = np.partition(keys, count - wide, axis=1)[:, count - wide, None]
    rows, columns = np.divmod(np.flatnonzero(keys >= least), count)
    if len(rows) == len(keys) * wide:
        return columns.reshape(-1, wide)
    is_equal = keys[rows, columns] == least[rows, 0]
    equal_before = np.cumsum(is_equal) - is_equal
    first = np.searchsorted(rows, np.arange(len(keys)))
    above = np.bincount(rows[~is_equal], minlength=len(keys))
    keep = ~is_equal | (equal_before - equal_before[first][rows] < (wide - above)[rows])
    return columns[keep].reshape(-1, wide)
