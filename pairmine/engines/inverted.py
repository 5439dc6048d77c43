"""Inverted lists over documents that lie in spans, which many workers search.

They are the lists of one machine: the same centres, each document in the list of its nearest one, and as much looked at
as reaches the recall on the same queries. A span proposes what all lists together would have a query look at in it,
with ranks; of all spans the lowest ranks are taken, each with its exact score. So a query gets what
`ApproximateSearch` over everything would give it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairmine.backends.precision import has_bfloat16
from pairmine.backends.vectors.approximate.clusters import assign
from pairmine.backends.vectors.approximate.faiss_indexes import longest
from pairmine.backends.vectors.approximate.ivf import Ivf
from pairmine.backends.vectors.approximate.ivf import Lists as InvertedLists
from pairmine.backends.vectors.approximate.search import HIT_BYTES, is_beyond, nothing, proposed
from pairmine.backends.vectors.exact import best, exact_products
from pairmine.backends.vectors.matrix import Span as VectorsOfSpan
from pairmine.backends.vectors.matrix import Vectors
from pairmine.backends.vectors.search import NOT_FOUND, Hits
from pairmine.engines.search import Block, Columns, Lists, Merger, Searched, Span, SpreadSearch, TooShort
from pairmine.engines.shards import Piece, Pool, Shared

_BLOCK_BYTES = 1 << 28
_LISTS_AT_ONCE = 65_536
"""Lists that are looked through together for some that the index left short."""


@dataclass(frozen=True)
class Measuring:
    """Makes what says how long the longest vector of a stretch is."""

    documents: Shared[Vectors]

    def __call__(self) -> Callable[[Piece], float]:
        documents = self.documents.get()
        return lambda piece: longest(_within(documents, piece), piece.rows)


@dataclass(frozen=True)
class Assigning:
    """Makes what finds the list of each document of a stretch, (n,) int32."""

    documents: Shared[Vectors]
    lists: Shared[InvertedLists]
    threads: int

    def __call__(self) -> Callable[[Piece], np.ndarray]:
        documents, lists = self.documents.get(), self.lists.get()
        means: dict[str, Any] = {"longest": lists.longest, "threads": self.threads, "quick": has_bfloat16()}

        def assigned(piece: Piece) -> np.ndarray:
            return assign(_within(documents, piece), piece.rows, lists.centres, **means).astype(np.int32)

        return assigned


def _within(documents: Vectors, piece: Piece) -> Vectors:
    return VectorsOfSpan(documents, piece.first, piece.first + piece.rows)


class InvertedSpans:
    """Documents in lists, of which a span is searched at a time, and queries; see `search.Searched`.

    `nearest` (n,) are the lists of all documents. What was read of a span last is kept for the next queries.
    """

    def __init__(
        self,
        documents: Vectors,
        queries: Vectors,
        lists: InvertedLists,
        nearest: np.ndarray,
        spans: Sequence[Span],
        *,
        effort: int,
        proposals: Proposals,
        threads: int,
        budget_bytes: int,
    ) -> None:
        self._documents, self._queries = documents, queries
        self._lists, self._nearest = lists, nearest
        self._before: dict[int, np.ndarray] = {}
        so_far = np.zeros(len(lists), np.int32)
        for first, stop in spans:
            self._before[first] = so_far
            so_far = so_far + np.bincount(nearest[first:stop], minlength=len(lists)).astype(np.int32)
        self._effort, self._proposals = effort, proposals
        self._threads, self._budget = threads, budget_bytes
        self._at_hand: tuple[Span, Ivf] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what was read, which is read again elsewhere."""
        return {**self.__dict__, "_at_hand": None}

    def search(self, span: Span, queries: np.ndarray, k: int) -> Columns:
        """Places (n, wide) that may be in a list of `k`, their exact scores and their ranks."""
        wide = self._proposals.wide(k)
        together = max(1, self._budget // 4 // (HIT_BYTES * wide))
        return _joined(self._some(span, queries[at : at + together], wide) for at in range(0, len(queries), together))

    def _some(self, span: Span, queries: np.ndarray, wide: int) -> Columns:
        vectors = self._queries.take(queries)
        places, ranks = self._index(span).ranked(vectors, wide, self._effort, nothing)
        return places, exact_products(vectors, self._documents, places, threads=self._threads), ranks

    def _index(self, span: Span) -> Ivf:
        if self._at_hand is None or self._at_hand[0] != span:
            self._at_hand = None  # two do not fit
            first, stop = span
            found = Ivf(
                self._documents,
                self._nearest[first:stop],
                self._lists,
                first=first,
                before=self._before[first],
                threads=self._threads,
                packed=2 * self._documents.dim * (stop - first) <= self._budget,
                block_bytes=min(self._budget // 4, _BLOCK_BYTES),
                quick=has_bfloat16(),
            )
            self._at_hand = span, found
        return self._at_hand[1]


def _joined(parts: Iterator[Columns]) -> Columns:
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


@dataclass(frozen=True)
class Proposals:
    """Merges what lists propose: of all spans the lowest ranks, of which those of the best scores are taken."""

    widening: float
    searchable: int

    def wide(self, k: int) -> int:
        """How many are proposed for a list of `k`."""
        return proposed(k, self.widening, self.searchable)

    def fields(self, k: int) -> Sequence[tuple[str, int]]:
        """See `search.Merger`."""
        wide = self.wide(k)
        return (("<i8", wide), ("<f4", wide), ("<i8", wide))

    def merge(self, parts: Sequence[Columns], k: int) -> Columns:
        """Those of the lowest ranks."""
        columns = [np.concatenate(column, axis=1) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[2], axis=1, kind="stable")[:, : self.wide(k)]
        return tuple(np.take_along_axis(column, order, axis=1) for column in columns)

    def hits(self, columns: Columns, k: int) -> Hits:
        """Those of the best scores."""
        return best(columns[0], columns[1], k)


@dataclass(frozen=True)
class _AllOf:
    """Makes what searches a span for all queries that there are."""

    searched: Shared[Searched]
    count: int
    k: int

    def __call__(self) -> Callable[[Span], Columns]:
        searched, everyone = self.searched.get(), np.arange(self.count)
        return lambda span: searched.search(span, everyone, self.k)


def search_once(pool: Pool, searched: Searched, merger: Merger, spans: Sequence[Span], count: int, k: int) -> Hits:
    """The lists of `k` of so many queries, few enough to be held here."""
    found: Columns | None = None
    for _, columns in pool.map(_AllOf(pool.share(searched), count, k), spans):
        found = columns if found is None else merger.merge([found, columns], k)
    assert found is not None
    return merger.hits(found, k)


class ListsOfLengths:
    """As `search.Lists`, but that a list of fewer documents is none of the beginnings of a longer one.

    An index proposes more for a longer list, so that it may begin with others.
    """

    def __init__(self, count: int, searchable: int) -> None:
        self.is_asked = False
        self.facts: dict[str, Any] = {}
        self._count, self._searchable = count, searchable
        self._of: dict[int, Lists] = {}

    def add(self, block: Block) -> None:
        """Take in the lists of some queries, in place of those of the same length."""
        self._of.setdefault(block.k, Lists(self._count, self._searchable)).add(block)

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """Each query's list of `k`. Raises TooShort where there is none of that length."""
        if k not in self._of:
            raise TooShort(np.asarray(queries), k)
        return self._of[k].search(queries, k)


class IndexSearch:
    """Searches by lists, and exactly where so many are asked for that the recall says nothing, or lists have too few.

    Both put what they find into `lists`. The recall was measured on lists of `depth`.
    """

    def __init__(self, by_lists: SpreadSearch, exact: SpreadSearch, depth: int, searchable: int) -> None:
        self.lists, self.spans = by_lists.lists, by_lists.spans
        self._by_lists, self._exact = by_lists, exact
        self._depth, self._searchable = depth, searchable

    def find(self, queries: np.ndarray, lengths: np.ndarray, watch: Callable[[int], None]) -> None:
        """See `SpreadSearch.find`."""
        is_far = np.array([is_beyond(int(k), self._depth, self._searchable) for k in lengths], bool)
        self._exact.find(queries[is_far], lengths[is_far], watch)
        near, of_near = queries[~is_far], lengths[~is_far]
        self._by_lists.find(near, of_near, watch)
        for k in np.unique(of_near):
            if len(short := self._short(near[of_near == k], int(k))):
                self._exact.find(short, np.full(len(short), k), nothing)

    def _short(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Those for which the lists have too few documents."""
        blocks = [queries[start : start + _LISTS_AT_ONCE] for start in range(0, len(queries), _LISTS_AT_ONCE)]
        return np.concatenate([some[(self.lists.search(some, k)[0] == NOT_FOUND).any(axis=1)] for some in blocks])
