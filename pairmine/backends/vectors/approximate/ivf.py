"""Inverted lists, searched list by list: all queries that look into a list are multiplied with it at once.

FAISS goes through the lists of one query after the other, at the speed of memory. Here the queries
that look into a list meet it in one matrix product, at the speed of the processor's bfloat16 unit, and lists lie in
chunks of 64 places, so that every query looks at equally many chunks and its scores fill one row of a matrix.
"""

from __future__ import annotations

from threading import local
from typing import Any, NamedTuple

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


_POSITION_BITS = 44
"""Of a rank: what a document's place among those that its query looks at has, beside the 16 bits of a score."""
NO_RANK = np.iinfo(np.int64).max


class Lists:
    """Lists of neighbours around centroids, of a whole corpus: how many documents each has. Plain data to send."""

    def __init__(self, centres: Any, sizes: np.ndarray, longest: float) -> None:
        import torch

        self._bits: np.ndarray = centres.view(torch.int16).numpy()
        self.sizes = sizes
        self.longest = longest

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def centres(self) -> Any:
        """A bfloat16 tensor of whole numbers, (lists, dim)."""
        import torch

        return torch.from_numpy(self._bits.copy()).view(torch.bfloat16)  # what was sent may not be written to

    @property
    def chunks_of(self) -> np.ndarray:
        """How many chunks each list has, (lists,) int64; the last one of a list may be short."""
        found: np.ndarray = -(-self.sizes // CHUNK)
        return found


class Ivf:
    """Lists of neighbours around centroids; `effort` is the number of chunks of 64 documents that a query looks at.

    It may hold a stretch of the documents: then it proposes those of its own that all lists together would have it look
    at. `nearest` (n,) are the lists of the documents from `first` on, and `before` (lists,) tells how many earlier ones
    each list has.
    """

    widenings: tuple[float, ...] = (1.25, 4.0, 16.0)

    def __init__(
        self,
        vectors: Vectors,
        nearest: np.ndarray,
        lists: Lists,
        *,
        threads: int,
        packed: bool,
        block_bytes: int,
        quick: bool,
        first: int = 0,
        before: np.ndarray | None = None,
    ) -> None:
        self._vectors = vectors
        self._threads = threads
        self._block_bytes = block_bytes
        self._quick = quick
        self._local = local()
        self._whole = lists
        self.centres = lists.centres
        self._chunks_of_all = lists.chunks_of
        self._lay_out(nearest, first, np.zeros(len(lists), np.int64) if before is None else before)
        self._packed = self._pack() if packed else None
        self.chunks = int(self._chunks_of_all.sum())
        self.largest_effort = self.chunks
        self.first_effort = max(1, self.chunks // 64)

    @classmethod
    def of(
        cls, vectors: Vectors, searchable: int, *, lists: int, seed: int, threads: int, quick: bool, **settings: Any
    ) -> Ivf:
        """Lists of the first `searchable` vectors."""
        length = longest(vectors, searchable)
        means: dict[str, Any] = {"longest": length, "threads": threads, "quick": quick}
        centres = centroids(vectors, searchable, lists, seed=seed, **means)
        nearest = assign(vectors, searchable, centres, **means)
        whole = Lists(centres, np.bincount(nearest, minlength=len(centres)), length)
        return cls(vectors, nearest, whole, threads=threads, quick=quick, **settings)

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return len(self.centres)

    def settings(self, effort: int) -> dict[str, Any]:
        """What the facts say of it."""
        return {"lists": self.lists, "scanned": round(min(effort / self.chunks, 1.0), 4)}

    def _lay_out(self, nearest: np.ndarray, first: int, before: np.ndarray) -> None:
        """Give every list whole chunks: `_places` (chunks * 64,) int32 holds its documents in order, -1 elsewhere.

        A list's documents stand in its chunks where they do among all documents: the first may begin in the middle of
        one, behind `_lead` places.
        """
        sizes = np.bincount(nearest, minlength=self.lists)
        self._lead, self._skipped = before % CHUNK, before // CHUNK
        self._chunks_of = np.where(sizes > 0, -(-(self._lead + sizes) // CHUNK), 0)
        self._first_chunk = np.concatenate([[0], np.cumsum(self._chunks_of)])
        order = np.argsort(nearest, kind="stable")
        within = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        slots = np.repeat(self._first_chunk[:-1] * CHUNK + self._lead, sizes) + within
        places = np.full(int(self._first_chunk[-1]) * CHUNK, NOT_FOUND, np.int32)
        places[slots] = order + first
        self._sizes = sizes
        self._places = places

    def _pack(self) -> Any:
        """The vectors of all lists in the order of `_places`, bfloat16; zeros where a chunk is not full."""
        import torch

        packed = torch.zeros((len(self._places), self._vectors.dim), dtype=torch.bfloat16)
        for number in np.flatnonzero(self._sizes).tolist():
            start, end = self._stretch(number)
            packed[start:end] = self._read(number)
        return packed

    def _stretch(self, number: int) -> tuple[int, int]:
        """Where the documents of a list stand in `_places`."""
        start = int(self._first_chunk[number]) * CHUNK + int(self._lead[number])
        return start, start + int(self._sizes[number])

    def _read(self, number: int) -> Any:
        start, end = self._stretch(number)
        return whole_numbers(self._vectors.take(self._places[start:end]), self._whole.longest)

    def effort_for(self, queries: np.ndarray, places: np.ndarray, share: float) -> int:
        """The least effort that looks at this share of `places` (n, k), none of them -1; of all documents alone."""
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
        return self._found(queries, wide, effort, advance, with_ranks=False)[0]

    def ranked(self, queries: np.ndarray, wide: int, effort: int, advance: Advance) -> tuple[np.ndarray, np.ndarray]:
        """The same with the rank of each, (n, wide) int64: of several stretches those of the lowest ranks are taken.

        A rank is the place of a score among those that bfloat16 has, highest first, and then that of the document among
        all that its query looks at; `NO_RANK` where there is none.
        """
        return self._found(queries, wide, effort, advance, with_ranks=True)

    def _found(
        self, queries: np.ndarray, wide: int, effort: int, advance: Advance, *, with_ranks: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        effort = min(effort, self.chunks)
        row_chunks = min(effort, int(self._first_chunk[-1]))
        row_bytes = row_chunks * (CHUNK * 2 + 4) + 24 * wide + 24 * self.lists + 6 * self._vectors.dim
        row_bytes += (4 * row_chunks + 8 * wide) * with_ranks
        step = max(1, min(self._block_bytes // self._threads // row_bytes, -(-len(queries) // self._threads)))

        def piece(start: int) -> tuple[np.ndarray, np.ndarray]:
            block = queries[start : start + step]
            found = self._block(block, wide, effort, with_ranks)
            advance(len(block))
            return found

        if not len(queries):
            return np.empty((0, wide), np.int64), np.empty((0, wide), np.int64)
        self._local = local()
        places, ranks = zip(*in_threads(piece, range(0, len(queries), step), self._threads), strict=True)
        return np.concatenate(places), np.concatenate(ranks)

    def _block(self, queries: np.ndarray, wide: int, effort: int, with_ranks: bool) -> tuple[np.ndarray, np.ndarray]:
        import torch

        vectors = whole_numbers(queries)
        probes, width = self._probes(vectors, effort)
        lines = vectors.view(torch.int16).numpy()
        bits = self._room(len(queries) * width)
        seen = np.full(len(queries) * width, NOT_FOUND, np.int32)
        slot_of = np.zeros(len(queries) * width if with_ranks else 0, np.int32)
        ends = np.searchsorted(probes.lists, np.arange(self.lists + 1))
        for number in np.flatnonzero(np.diff(ends)).tolist():
            mine = slice(ends[number], ends[number + 1])
            rows, counts = probes.rows[mine], probes.counts[mine]
            taken = np.arange(self._chunks_of[number])
            targets = rows[:, None] * width + probes.columns[mine, None] + taken
            asking = np.resize(rows, -(-len(rows) // _SHAPE) * _SHAPE)
            scores = self._scores(torch.from_numpy(_take_lines(lines, asking)).view(torch.bfloat16), number)
            found = scores[: len(rows)].view(torch.int16).numpy().reshape(-1, CHUNK)
            chunk = np.broadcast_to(self._first_chunk[number] + taken, targets.shape)
            slot = probes.slots[mine, None] + taken if with_ranks else targets
            if counts.min() < len(taken):
                fits = taken < counts[:, None]
                targets, chunk, slot, found = targets[fits], chunk[fits], slot[fits], found[fits.ravel()]
            as_lines(bits)[targets.ravel()] = as_lines(found)
            seen[targets.ravel()] = chunk.ravel()
            if with_ranks:
                slot_of[targets.ravel()] = slot.ravel()
        bits[seen == NOT_FOUND] = _MINUS_INFINITY
        shape = len(queries), width
        return self._select(
            bits.reshape(len(queries), -1), seen.reshape(shape), slot_of.reshape(len(queries), -1), wide
        )

    def _room(self, chunks: int) -> np.ndarray:
        """Room for scores, (chunks, 64) int16; this thread uses it again, as new pages cost as much as a product."""
        room: np.ndarray | None = getattr(self._local, "room", None)
        if room is None or len(room) < chunks:
            self._local.room = room = np.empty((chunks, CHUNK), np.int16)
        return room[:chunks]

    def _probes(self, vectors: Any, effort: int) -> tuple[_Probes, int]:
        """Which query looks into which list, sorted by list, and the most chunks here that one of them looks at."""
        most = min(self.lists, 8 + 4 * -(-effort * self.lists // self.chunks))
        lists = most_similar(vectors, self.centres, most)[0]
        counts = self._chunks_of_all[lists]
        slots = np.cumsum(counts, axis=1) - counts + self._skipped[lists]
        here = np.clip(effort - slots, 0, self._chunks_of[lists])
        behind = np.cumsum(here, axis=1)
        rows, columns = np.nonzero(here)
        chosen = lists[rows, columns]
        order = np.argsort(chosen.astype(np.uint16) if self.lists < 1 << 16 else chosen, kind="stable")
        rows, columns, chosen = rows[order], columns[order], chosen[order]
        some = here[rows, columns]
        probes = _Probes(rows, chosen, behind[rows, columns] - some, some, slots[rows, columns])
        return probes, int(behind[:, -1].max())

    def _scores(self, queries: Any, number: int) -> Any:
        """Products of some queries with a list, (n, chunks * 64) bfloat16; -inf before its start and behind its end."""
        import torch

        first, last = (int(at) * CHUNK for at in self._first_chunk[number : number + 2])
        start, end = self._stretch(number)
        if self._packed is not None:
            documents = self._packed[first:last]
        else:
            documents = torch.zeros((last - first, self._vectors.dim), dtype=torch.bfloat16)
            documents[start - first : end - first] = self._read(number)
        scores = products(queries, documents, quick=self._quick)
        scores[:, : start - first] = -torch.inf
        scores[:, end - first :] = -torch.inf
        return scores

    def _select(
        self, bits: np.ndarray, seen: np.ndarray, slot_of: np.ndarray, wide: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The places of the `wide` highest scores of each row, of equal ones the first; their ranks with `slot_of`."""
        found = np.full((len(bits), wide), NOT_FOUND, np.int64)
        ranks = np.full((len(bits), wide), NO_RANK, np.int64)

        for start in range(0, len(bits) if bits.shape[1] else 0, _ROWS):
            rows = slice(start, start + _ROWS)
            keys = in_order(bits[rows])
            columns = highest(keys, wide)
            chunk = np.take_along_axis(seen[rows], columns // CHUNK, axis=1)
            places = self._places[chunk * CHUNK + columns % CHUNK]
            places = np.where(chunk == NOT_FOUND, NOT_FOUND, places)
            found[rows, : columns.shape[1]] = places
            if not slot_of.shape[1]:
                continue
            slot = np.take_along_axis(slot_of[rows], columns // CHUNK, axis=1).astype(np.int64)
            score = np.iinfo(np.int16).max - np.take_along_axis(keys, columns, axis=1).astype(np.int64)
            rank = (score << _POSITION_BITS) | (slot * CHUNK + columns % CHUNK)
            ranks[rows, : columns.shape[1]] = np.where(places == NOT_FOUND, NO_RANK, rank)
        return found, ranks


class _Probes(NamedTuple):
    """Which of `rows` looks into which of `lists`, all (n,), sorted by list.

    `counts` is at how many chunks of it that are here, `columns` where these begin in the row's scores, and `slots`
    where among all chunks that the row looks at.
    """

    rows: np.ndarray
    lists: np.ndarray
    columns: np.ndarray
    counts: np.ndarray
    slots: np.ndarray


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
