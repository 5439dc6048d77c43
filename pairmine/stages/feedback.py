"""Relevance feedback: is a document nearer to the known positives of its query than to the query's candidates?

The number is the mean cosine of the document to the positives less its mean cosine to the candidates, which is its
product with one vector: the mean of the positives less that of the candidates. That vector is Rocchio's (1971, in
Salton, ed., The SMART Retrieval System); to look for false negatives with it is ours.

Vectors of unit length and their means are rounded to multiples of 2**-25, and then a float64 sum of their products
loses nothing, whatever its order. So no bit depends on blocks, threads or the processor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.vectors import InMemory, Vectors

FEEDBACK = schema.score_field("feedback", "difference")
_STEPS = 2.0**25
"""Steps in 1. In whole steps the product of two vectors stays below 2**53 where that of their lengths is below 8."""
_ROWS = 512
"""How many documents are looked at together: what belongs to them stays in the processor's cache."""


@dataclass(frozen=True)
class Positives:
    """The known positives of every owner, a query or all queries of one text: places of documents, each once.

    Those of owner q are ``places[starts[q] : starts[q + 1]]``, ascending.
    """

    starts: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, owners: np.ndarray, places: np.ndarray, count: int) -> Positives:
        """From owners, below `count`, beside the places of their positives, in any order and with repeats."""
        order = np.lexsort((places, owners))
        owners, places = owners[order], places[order]
        new = np.ones(len(order), bool)
        new[1:] = (owners[1:] != owners[:-1]) | (places[1:] != places[:-1])
        return cls(np.searchsorted(owners[new], np.arange(count + 1)), places[new])

    @cached_property
    def sizes(self) -> np.ndarray:
        """How many positives each owner has."""
        return np.diff(self.starts)

    def has(self, owners: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Whether each place (n,) is a positive of its owner (n,)."""
        if not len(self.places):
            return np.zeros(len(places), bool)
        asked = owners * self._width + places
        at = np.minimum(np.searchsorted(self._keys, asked), len(self._keys) - 1)
        found: np.ndarray = (self._keys[at] == asked) & (places < self._width)
        return found

    @cached_property
    def _width(self) -> int:
        return 1 + int(self.places.max(initial=0))

    @cached_property
    def _keys(self) -> np.ndarray:
        """Ascending, one for each owner and place."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes) * self._width + self.places


@dataclass(frozen=True)
class Rows:
    """Rows of whole queries, (n,) each: number of the query, place of the document, what the row is in its query."""

    queries: np.ndarray
    places: np.ndarray
    is_positive: np.ndarray
    is_candidate: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Rows:
        """Those at `rows`, in that order."""
        return Rows(self.queries[rows], self.places[rows], self.is_positive[rows], self.is_candidate[rows])


def is_candidate(pairs: pa.Table) -> np.ndarray:
    """Which rows are candidates of their query or were: undecided ones, and mined ones that became negatives, bool."""
    if "label" not in pairs.column_names or not pairs.num_rows:
        return np.ones(pairs.num_rows, bool)
    is_mined = pc.starts_with(pairs["origin"].cast(pa.string()), "mine:")
    is_negative = pc.fill_null(pc.equal(pairs["label"], schema.NEGATIVE), False)
    found: np.ndarray = pc.or_(pc.is_null(pairs["label"]), pc.and_(is_mined, is_negative)).to_numpy()
    return found


def feedback(
    vectors: Vectors, rows: Rows, positives: Positives, owners: np.ndarray, *, budget_bytes: int = 1 << 28
) -> np.ndarray:
    """The mean cosine of each document to its query's positives less that to the query's candidates, (n,) float32.

    `vectors` are of unit length. `owners` is the owner of each query in `positives`; a row that is one of them itself
    is held against the others. NaN where no positive is left, or the query has no candidates. About `budget_bytes`
    are held at once.
    """
    found = np.full(len(rows.queries), np.nan, np.float32)
    order = np.argsort(rows.queries, kind="stable")
    together = max(_ROWS, budget_bytes // (8 * max(vectors.dim, 1)))
    for piece in _pieces(rows.queries[order], together):
        some = rows.take(order[piece])
        at_hand, places = _at_hand(vectors, some.places, together)
        for part in _pieces(some.queries, _ROWS):
            near = at_hand, places[part]
            found[order[piece][part]] = _of_piece(near, some.take(part), vectors, positives, owners)
    return found


def _at_hand(vectors: Vectors, places: np.ndarray, most: int) -> tuple[Vectors, np.ndarray]:
    """Vectors that lie on disk, read in the order of their places, and where those of `places` are then."""
    if isinstance(vectors, InMemory) or len(places) > most:
        return vectors, places
    used, at = np.unique(places, return_inverse=True)
    return InMemory(vectors.take(used)), at


def _pieces(queries: np.ndarray, together: int) -> Iterator[slice]:
    """The rows of so many whole queries as are at most `together` rows, and of one where it has more."""
    ends = np.append(np.flatnonzero(queries[1:] != queries[:-1]) + 1, len(queries))
    start = 0
    while start < len(queries):
        last = np.searchsorted(ends, start + together, "right")
        end = int(ends[max(last - 1, np.searchsorted(ends, start, "right"))])
        yield slice(start, end)
        start = end


def _of_piece(
    near: tuple[Vectors, np.ndarray], rows: Rows, vectors: Vectors, positives: Positives, owners: np.ndarray
) -> np.ndarray:
    """`feedback` of rows whose queries ascend, float64; `near` are vectors and where those of the rows are in them."""
    numbers, query = np.unique(rows.queries, return_inverse=True)
    owner = owners[numbers]
    itself = rows.is_positive & positives.has(owner[query], rows.places)
    known = positives.sizes[owner]
    candidates = np.bincount(query[rows.is_candidate], minlength=len(numbers))
    is_asked = (known[query] > itself) & (candidates[query] > 0)
    if not is_asked.any():
        return np.full(len(query), np.nan)

    @lru_cache(maxsize=1)
    def documents(start: int) -> np.ndarray:
        return _in_steps(near[0], near[1][start : start + _ROWS])

    starts = range(0, len(query), _ROWS)
    around = _Means(len(numbers), vectors.dim)
    for start in starts:
        some = np.flatnonzero(rows.is_candidate[start : start + _ROWS])
        around.add(query[start : start + _ROWS][some], documents(start)[some])
    middle, far = _means_of(vectors, positives, owner), around.means()
    found = np.empty(len(query))
    for start in starts:
        part = slice(start, start + _ROWS)
        of, alone = query[part], itself[part]
        found[part] = _products(documents(start), (middle - far)[of])
        # Without the document itself, the mean of the n - 1 others is (n times the mean less the document) / (n - 1).
        own = documents(start)[alone]
        less = _products(own, middle[of[alone]]) - _products(own, own)
        found[part][alone] += less / np.maximum(known[of[alone]] - 1, 1)
    return np.where(is_asked, found, np.nan)


def _means_of(vectors: Vectors, positives: Positives, owners: np.ndarray) -> np.ndarray:
    """The mean of the positives of each of `owners`, in whole steps; zero where there is none."""
    sizes = positives.sizes[owners]
    query = np.repeat(np.arange(len(owners)), sizes)
    number = np.arange(len(query)) + np.repeat(positives.starts[owners] - np.cumsum(sizes) + sizes, sizes)
    found = _Means(len(owners), vectors.dim)
    for start in range(0, len(query), _ROWS):
        part = slice(start, start + _ROWS)
        found.add(query[part], _in_steps(vectors, positives.places[number[part]]))
    return found.means()


class _Means:
    """The mean vector of each of `count` queries, added up in whole steps."""

    def __init__(self, count: int, dim: int) -> None:
        self._sums = np.zeros((count, dim))
        self._sizes = np.zeros((count, 1), np.int64)

    def add(self, queries: np.ndarray, vectors: np.ndarray) -> None:
        """Count vectors (n, dim), in steps, for their queries (n,), which ascend."""
        if not len(queries):
            return
        new = np.flatnonzero(np.append(True, queries[1:] != queries[:-1]))
        self._sums[queries[new]] += np.add.reduceat(vectors, new)
        self._sizes[queries[new], 0] += np.diff(np.append(new, len(queries)))

    def means(self) -> np.ndarray:
        """In whole steps; zero where there was none."""
        found: np.ndarray = np.rint(self._sums / np.maximum(self._sizes, 1))
        return found


def _products(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The products of vectors (n, dim) and others beside them, both in steps, (n,) float64."""
    return np.einsum("ij,ij->i", vectors, others) / _STEPS**2


def _in_steps(vectors: Vectors, places: np.ndarray) -> np.ndarray:
    """The vectors at `places` (n,) as whole numbers of steps, (n, dim) float64."""
    found = vectors.take(places).astype(np.float64)
    found *= _STEPS
    return np.rint(found, out=found)
