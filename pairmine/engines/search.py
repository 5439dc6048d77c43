"""The best of all documents for each query, where the documents lie in spans that many workers search.

Every span gives its own best, and these are merged by a tree: sixteen lists become one, until there is one. Each
document's score is computed by itself and equal ones stand in the order of the documents, so that the lists are those
of a search over everything, whatever the spans. Lists go through files, 12 bytes for a document in one, so that no
machine ever holds those of all queries; a file that is there is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from pairmine.backends.vectors.exact import best
from pairmine.backends.vectors.parts import RowFile, write_rows
from pairmine.backends.vectors.search import NOT_FOUND, Hits
from pairmine.engines.shards import Pool, Shared
from pairmine.files.sharded import WorkFolder, exists

QUERIES = 16_384
"""Queries that are searched together: while a span's vectors are read once, so many times are they multiplied."""
_BLOCKS_AN_ITEM = 8
"""Blocks of queries that a worker searches a span for in a row, once it has that span at hand."""
ITEMS_A_WORKER = 4
"""So that none waits long for the last."""
FAN_IN = 16
"""Lists that become one at a time."""
_HIT_BYTES = 12
_SPANS_A_WORKER = 2
Span = tuple[int, int]
"""The first place of some documents, and that behind their last."""


Columns = tuple[np.ndarray, ...]
"""What a search gives: (n, width) places among all, scores, and what else tells which are the best."""


class Searched(Protocol):
    """Documents and queries, wherever they lie, as plain data that travels to those who search."""

    def search(self, span: Span, queries: np.ndarray, k: int) -> Columns:
        """What a list of `k` documents may take from a span, for queries by number."""


class Merger(Protocol):
    """Puts what several spans gave together; plain data to send."""

    def fields(self, k: int) -> Sequence[tuple[str, int]]:
        """The numpy type and the width of each column of a list of `k`."""

    def merge(self, parts: Sequence[Columns], k: int) -> Columns:
        """What all documents of several parts would have given."""

    def hits(self, columns: Columns, k: int) -> Hits:
        """The lists, of what all documents gave."""


class Nearest:
    """Merges the best `k` documents of each span, places and scores, best first."""

    def fields(self, k: int) -> Sequence[tuple[str, int]]:
        """See `Merger`."""
        return (("<i8", k), ("<f4", k))

    def merge(self, parts: Sequence[Columns], k: int) -> Columns:
        """The best `k` of them, equal scores in the order of the places."""
        if len(parts) == 1:
            return parts[0]
        places, scores = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
        return best(places, scores, k)

    def hits(self, columns: Columns, k: int) -> Hits:
        """They are."""
        places, scores = columns
        return places, scores


_HITS = Nearest()


@dataclass(frozen=True)
class Block:
    """Queries by number, ascending, of which each has a list of `k` documents in the file `path`."""

    queries: np.ndarray
    k: int
    path: str


class TooShort(Exception):
    """Of some queries of a retriever, longer lists are needed than there are: `k` documents of each."""

    def __init__(self, queries: np.ndarray, k: int) -> None:
        super().__init__(queries, k)
        self.queries, self.k = queries, k


class Lists:
    """The lists that were found for `count` queries among `searchable` documents; 8 bytes a query, plain data to send.

    A list that is added takes the place of a shorter one of its query.
    """

    def __init__(self, count: int, searchable: int) -> None:
        self.is_asked = False
        self.facts: dict[str, Any] = {"index": "exact"}
        self._searchable = searchable
        self._blocks: list[tuple[RowFile, int]] = []
        self._block = np.full(count, -1, np.int32)
        self._row = np.zeros(count, np.int32)

    def add(self, block: Block) -> None:
        """Take in the lists of some queries."""
        self._block[block.queries] = len(self._blocks)
        self._row[block.queries] = np.arange(len(block.queries))
        self._blocks.append((RowFile(block.path, _HIT_BYTES * block.k), block.k))

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """The first `k` of each query's list. Raises TooShort where a list is shorter than that."""
        places = np.full((len(queries), k), NOT_FOUND, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        number = self._block[queries]
        lengths = np.array([length for _, length in self._blocks] + [0])
        if (few := lengths[number] < min(k, self._searchable)).any():
            raise TooShort(np.asarray(queries)[few], k)
        for each in np.unique(number[number >= 0]):
            rows = np.flatnonzero(number == each)
            file, length = self._blocks[each]
            found, values = _read(file, self._row[np.asarray(queries)[rows]], _HITS.fields(length))
            wide = min(k, length)
            places[rows, :wide], scores[rows, :wide] = found[:, :wide], values[:, :wide]
        return places, scores


class Found(Protocol):
    """The lists that were found so far, as `Lists` has them; plain data to send."""

    is_asked: bool
    facts: dict[str, Any]

    def add(self, block: Block) -> None:
        """Take in the lists of some queries."""

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """Those of some queries. Raises TooShort where there are none of `k`."""


def spans_of(count: int, rows: int, workers: int, *, most: int | None = None) -> list[Span]:
    """So many documents in spans of whole shards of `rows`, about two for each worker; of `most`, or of one shard."""
    shards = -(-count // rows)
    together = rows * max(1, -(-shards // (_SPANS_A_WORKER * workers)))
    if most is not None:
        together = min(together, max(rows, most // rows * rows))
    return [(first, min(first + together, count)) for first in range(0, count, together)]


class Finder(Protocol):
    """Finds lists of queries."""

    lists: Found
    spans: list[Span]

    def find(self, queries: np.ndarray, lengths: np.ndarray, watch: Callable[[int], None]) -> None:
        """Add lists of `lengths` (n,) documents for `queries` (n,); `watch` is told of each query in each span."""


class SpreadSearch:
    """Searches `searched` on a pool, span by span; `name` is that of a place in the work folder."""

    def __init__(
        self,
        pool: Pool,
        folder: WorkFolder,
        name: str,
        searched: Searched,
        spans: Sequence[Span],
        count: int,
        *,
        on_gpus: bool = False,
        together: int = QUERIES,
        merger: Merger | None = None,
    ) -> None:
        self._merger = merger or _HITS
        self._pool, self._folder, self._name = pool, folder, name
        self._on_gpus, self._together = on_gpus, together
        self._searched = pool.share(searched)
        self.spans = list(spans)
        self.lists: Found = Lists(count, max((stop for _, stop in spans), default=0))

    def find(self, queries: np.ndarray, lengths: np.ndarray, watch: Callable[[int], None]) -> None:
        """See `Finder`."""
        asked: list[_Asked] = []
        self.lists.is_asked |= len(queries) > 0
        for k in np.unique(lengths) if self.spans else ():
            for some in _cut(np.sort(queries[lengths == k]), self._together):
                folder = f"lists/{self._name}/{k}-{_digest(some)}"
                asked.append(_Asked(len(asked), some, int(k), folder, self._folder.place(f"{folder}/whole")))
        missing = [each for each in asked if not exists(each.path)]
        self._search(asked, missing, watch)
        self._merge(missing)
        for each in asked:
            self.lists.add(Block(each.queries, each.k, each.path))

    def _search(self, asked: list[_Asked], missing: list[_Asked], watch: Callable[[int], None]) -> None:
        """Have every span searched for the queries of `missing`, which are some of `asked`."""
        items: list[_Item] = []
        at_once = len(self.spans) * len(missing) // (ITEMS_A_WORKER * self._pool.workers)
        at_once = min(max(at_once, 1), _BLOCKS_AN_ITEM)
        for first, stop in self.spans:
            for each in missing:
                is_all = len(self.spans) == 1
                each.files.append(each.path if is_all else self._folder.place(f"{each.folder}/{first}-{stop}"))
            left = [(each.number, each.files[-1]) for each in missing if not exists(each.files[-1])]
            items += [_Item((first, stop), left[at : at + at_once]) for at in range(0, len(left), at_once)]
        blocks = [(each.queries, each.k) for each in asked]
        last = self._merger if len(self.spans) == 1 else None
        make = _Searching(self._folder, self._searched, self._pool.share(blocks), last)
        for _, count in self._pool.map(make, items, resident=self._on_gpus):
            watch(count)

    def _merge(self, missing: list[_Asked]) -> None:
        """Make one file of the files of each, a level of the tree at a time."""
        level = 0
        while missing := [each for each in missing if each.files != [each.path]]:
            merges = [merge for each in missing for merge in each.merges(self._folder, level, self._merger)]
            for _ in self._pool.map(_Merging(self._folder), [each for each in merges if not exists(each.path)]):
                pass
            level += 1


@dataclass
class _Asked:
    """Queries that are searched for together, and the files that hold their lists so far."""

    number: int
    queries: np.ndarray
    k: int
    folder: str
    path: str
    files: list[str] = field(default_factory=list)

    def merges(self, work: WorkFolder, level: int, merger: Merger) -> list[_Merge]:
        """What makes fewer files of these, which then take their place; the last one is `path`."""
        groups = [self.files[start : start + FAN_IN] for start in range(0, len(self.files), FAN_IN)]
        # Named after what goes in: a run that goes on with more workers has other spans.
        paths = [work.place(f"{self.folder}/level-{level}-{_digest_of(group)}") for group in groups]
        is_last = len(paths) == 1
        paths = [self.path] if is_last else paths
        pairs = zip(groups, paths, strict=True)
        merges = [_Merge(group, path, len(self.queries), self.k, merger, is_last) for group, path in pairs]
        self.files = paths
        return merges


@dataclass(frozen=True)
class _Item:
    """A span, and the blocks of queries that it is searched for: their numbers, and the files of what is found."""

    span: Span
    blocks: Sequence[tuple[int, str]]


@dataclass(frozen=True)
class _Merge:
    files: Sequence[str]
    path: str
    rows: int
    k: int
    merger: Merger
    is_last: bool


@dataclass(frozen=True)
class _Searching:
    """Makes what searches a span for some blocks of queries, on a worker; with `last` the span is all documents."""

    folder: WorkFolder
    searched: Shared[Searched]
    blocks: Shared[list[tuple[np.ndarray, int]]]
    last: Merger | None

    def __call__(self) -> Callable[[_Item], int]:
        self.folder.check_seen()
        searched, blocks = self.searched.get(), self.blocks.get()

        def search_one(item: _Item) -> int:
            for number, path in item.blocks:
                queries, k = blocks[number]
                found = searched.search(item.span, queries, k)
                write_rows(path, found if self.last is None else self.last.hits(found, k))
            return sum(len(blocks[number][0]) for number, _ in item.blocks)

        return search_one


@dataclass(frozen=True)
class _Merging:
    """Makes what merges lists, on a worker."""

    folder: WorkFolder

    def __call__(self) -> Callable[[_Merge], None]:
        self.folder.check_seen()
        return _merge_files


def _merge_files(item: _Merge) -> None:
    fields, rows = item.merger.fields(item.k), np.arange(item.rows)
    parts = [_read(RowFile(path, _row_bytes(fields)), rows, fields) for path in item.files]
    found = item.merger.merge(parts, item.k)
    write_rows(item.path, item.merger.hits(found, item.k) if item.is_last else found)


def _row_bytes(fields: Sequence[tuple[str, int]]) -> int:
    return sum(np.dtype(kind).itemsize * width for kind, width in fields)


def _read(file: RowFile, rows: np.ndarray, fields: Sequence[tuple[str, int]]) -> Columns:
    """The columns in some rows of a file, one behind the other in each."""
    found = file.take(np.asarray(rows, np.int64))
    ends = list(accumulate(np.dtype(kind).itemsize * width for kind, width in fields))
    return tuple(
        np.ascontiguousarray(found[:, start:end]).view(kind).reshape(len(rows), width)
        for (kind, width), start, end in zip(fields, [0, *ends], ends, strict=False)
    )


def _cut(queries: np.ndarray, together: int) -> Iterator[np.ndarray]:
    for start in range(0, len(queries), together):
        yield queries[start : start + together]


def _digest(queries: np.ndarray) -> str:
    return blake2b(np.ascontiguousarray(queries, np.int64).tobytes(), digest_size=8).hexdigest()


def _digest_of(files: Sequence[str]) -> str:
    return blake2b("\n".join(files).encode(), digest_size=8).hexdigest()
