"""Which searched documents are near copies of some texts: all of them, by the verdict of `dedup`, in one reading."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers import NOT_FOUND
from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.stages.dedup.kernel.shingles import Ragged
from pairmine.stages.dedup.matches import Near, compare_pairs
from pairmine.stages.mine.word_sets import Shingled, owners_of, without_repeats

NEAR = 0.8
"""The threshold of `mine` by default, as that of `dedup`."""
_TEXTS = 1024
_INDEXED = 8_000_000
_SPARE = 3
_SAMPLED = 500_000
_SAMPLE_SLICE = 256
_COUNTERS = 20
_MOST = 63
_BYTES = 4 << 20
_COMPARED_WORDS = 2_000_000
"""Of the texts asked about that are compared with a piece of the documents at a time."""
_LOOKED_UP = 4_000_000
"""Texts that share a shingle with a document, so many at a time."""
_LISTED = 20_000_000
_CROWD = (16, 64)
"""A text is crowded where more documents are compared with it than its share of `_LISTED`, within these bounds."""
_JUDGED = 4096
"""Documents that are judged at a time."""


class Readable(Protocol):
    """Texts by place, in memory or on disk."""

    def __len__(self) -> int:
        """How many there are."""

    def take(self, places: np.ndarray) -> pa.Array:
        """Those at `places` (n,), as large strings."""


@dataclass(frozen=True)
class NearCopies:
    """Pairs of a text asked about and a searched document that nearly copies it, ascending.

    `of` is the number of the text, counted through all that was asked, `place` the document's, `similarity` the
    Jaccard similarity of their shingles, float64. `crowded` are the numbers, ascending, of texts so many documents are
    like that their copies are not listed here, which would take memory with the square of the documents that one
    template made: `Crowd` tells of each document by itself.
    """

    of: np.ndarray
    place: np.ndarray
    similarity: np.ndarray
    crowded: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[NearCopies]) -> NearCopies:
        """All of `parts`, save for the copies of texts that are crowded in any of them."""
        crowded = distinct(np.concatenate([np.empty(0, np.int64), *(part.crowded for part in parts)]))
        of = np.concatenate([np.empty(0, np.int64), *(part.of for part in parts)])
        place = np.concatenate([np.empty(0, np.int64), *(part.place for part in parts)])
        order = np.lexsort((place, of))
        similarity = np.concatenate([np.empty(0), *(part.similarity for part in parts)])
        order = order[~np.isin(of[order], crowded)] if len(crowded) else order
        return cls(of[order], place[order], similarity[order], crowded)


def near_as_dedup(threshold: float, workers: int = 1) -> Near:
    """When `pairmine dedup --threshold` calls two texts near copies, its other options left alone.

    Documents are read by as many `workers`, threads here; the same is found with any number.

    Raises PairmineError for a threshold that is no Jaccard similarity.
    """
    if not 0 < threshold <= 1:
        raise PairmineError(
            f"--near {threshold:g}: a Jaccard similarity above 0 and up to 1; --no-near keeps near copies"
        )
    return Near(threshold, 3, 128, 32, 80, workers, 0)


@dataclass(frozen=True)
class Asked:
    """Texts whose near copies are sought: those of `texts` at `places`.

    `are_documents` says that they are documents by the same places, which are no copies of themselves.
    """

    texts: Readable
    places: np.ndarray
    are_documents: bool = False


@dataclass(frozen=True)
class Stretch:
    """The near copies among some documents, and how many of them were compared with texts of an index, by number."""

    copies: NearCopies
    texts: np.ndarray
    compared: np.ndarray


Spread = Callable[["Index"], Iterable[Stretch]]
"""Looks for the near copies of an index's texts among all documents, some of them at a time, in any order."""


def near_copies(
    asked: Sequence[Asked],
    documents: Readable,
    searchable: int,
    near: Near,
    advance: Advance = nothing,
    spread: Spread | None = None,
) -> NearCopies:
    """All near copies of the texts asked about among the first `searchable` documents, which `spread` may look for.

    A set A of shingles and another one with a Jaccard similarity of t share t |A| of them at least. So of any
    |A| - ceil(t |A|) + 1 members of A, the other one has one (prefix filter; Chaudhuri, Ganti and Kaushik, ICDE 2006),
    and of j more members, j more. Of each text the rarest such members are kept, by their number in a
    sample of the documents; documents that have enough of them are compared in full, by the rule of `dedup`. So
    nothing is missed, and the documents are read once for every 8 million members kept, whatever their number.
    """
    wanted = _All(asked)
    if not len(wanted) or not searchable:
        return NearCopies.joined([])
    counts = _sample_counts(documents, searchable, near.ngram)
    found: list[NearCopies] = []
    for index in _indexes(wanted, near, counts):
        stretches = [index.among(documents, 0, searchable, advance)] if spread is None else spread(index)
        compared = np.zeros(index.texts, np.int64)
        for stretch in stretches:
            found.append(stretch.copies)
            compared[stretch.texts] += stretch.compared
        nowhere = np.empty(0, np.int64)
        found.append(NearCopies(nowhere, nowhere, np.empty(0), index.crowded(compared)))
    return NearCopies.joined(found)


class Crowd:
    """Tells whether documents are near copies of texts asked about, of one pair after the other.

    `asked` are the texts as `near_copies` was given them, `documents` those that it searched.
    """

    def __init__(self, asked: Sequence[Asked], documents: Readable, near: Near) -> None:
        self._wanted, self._documents, self._near = _All(asked), documents, near

    def judge(self, of: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The Jaccard similarity of each text by number and document by place, (n,) float64, and whether it is a copy.

        As in `near_copies`, no document is a copy of itself.
        """
        similarity, is_copy = np.zeros(len(of)), np.zeros(len(of), bool)
        others, other = np.unique(places, return_inverse=True)
        order = np.argsort(other, kind="stable")
        bounds = np.searchsorted(other[order], np.arange(0, len(others) + _JUDGED, _JUDGED))
        for number, (low, high) in enumerate(pairwise(bounds)):
            # One text after the other, each with its documents.
            rows = np.sort(order[low:high])
            texts, text = np.unique(of[rows], return_inverse=True)
            first = number * _JUDGED
            documents = self._documents.take(others[first : first + _JUDGED]).cast(pa.large_string())
            sets = Shingled(pa.concat_arrays([self._wanted.take(texts), documents]), self._near.ngram).sets()
            document = other[rows] - first + len(texts)
            comparable = (sets.shingles.sizes[text] > 0) & (sets.shingles.sizes[document] > 0)
            comparable &= self._wanted.places[of[rows]] != places[rows]
            found = compare_pairs(sets, text[comparable], document[comparable], self._near)
            similarity[rows[comparable]], is_copy[rows[comparable]] = found
        return similarity, is_copy


def _pieces(texts: Readable, low: int, high: int) -> Iterator[tuple[int, pa.Array]]:
    """The texts from `low` to before `high`, from place to place, at most 1,024 and about 4 MB at a time."""
    for first in range(low, high, _TEXTS):
        taken = texts.take(np.arange(first, min(first + _TEXTS, high))).cast(pa.large_string())
        ends = np.cumsum(pc.fill_null(pc.binary_length(taken), 0).to_numpy())
        start = 0
        while start < len(taken):
            before = ends[start - 1] if start else 0
            stop = max(int(np.searchsorted(ends, before + _BYTES, "right")), start + 1)
            yield first + start, taken.slice(start, stop - start)
            start = stop


class _All:
    """Texts of several sources in a row. `places` are those of the documents among them, -1 for others."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self._asked = asked
        self._ends = np.cumsum([0, *(len(each.places) for each in asked)])
        own = [each.places if each.are_documents else np.full(len(each.places), NOT_FOUND) for each in asked]
        self.places = np.concatenate([np.empty(0, np.int64), *own])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(self, numbers: np.ndarray) -> pa.Array:
        """The texts with the ascending `numbers`."""
        bounds = np.searchsorted(numbers, self._ends)
        parts = [pa.array([], pa.large_string())]
        for each, first, low, high in zip(self._asked, self._ends, bounds, bounds[1:], strict=False):
            if low < high:
                parts.append(each.texts.take(each.places[numbers[low:high] - first]).cast(pa.large_string()))
        return parts[1] if len(parts) == 2 else pa.concat_arrays(parts)


def _sample_counts(documents: Readable, searchable: int, ngram: int) -> np.ndarray:
    """How often shingles occur in a sample of the documents, at most 63, counted by the first bits of their hashes."""
    starts = np.random.default_rng(0).permutation(np.arange(0, searchable, _SAMPLE_SLICE))
    sampled = [np.empty(0, np.uint64)]
    taken = 0
    for start in starts:
        places = np.arange(start, min(start + _SAMPLE_SLICE, searchable))
        sampled.append(Shingled(documents.take(places), ngram).shingles.values)
        taken += len(sampled[-1])
        if taken >= _SAMPLED:
            break
    counts = np.bincount(_counter(np.concatenate(sampled)), minlength=1 << _COUNTERS)
    return np.minimum(counts, _MOST).astype(np.uint64)


def _counter(values: np.ndarray) -> np.ndarray:
    return (values >> np.uint64(64 - _COUNTERS)).view(np.int64)


T = TypeVar("T")


def _in_threads(
    work: Callable[[int, pa.Array], T], pieces: Iterator[tuple[int, pa.Array]], workers: int
) -> Iterator[tuple[T, int]]:
    """What `work` makes of each piece, in order, and how many texts it holds; NumPy leaves other threads a core."""
    waiting: deque[tuple[Future[T], int]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for start, texts in pieces:
            waiting.append((pool.submit(work, start, texts), len(texts)))
            if len(waiting) > workers:
                done, read = waiting.popleft()
                yield done.result(), read
        while waiting:
            done, read = waiting.popleft()
            yield done.result(), read


class Index:
    """The kept shingles of some texts, sorted, with the text of each, and what a document must have to be compared.

    `owners` are numbers of texts; `wanted` (texts,) is how many of its kept shingles a near copy has at least,
    `least` how many shingles, `words` how many words the text has; by the text's number less `first`.
    """

    def __init__(
        self,
        wanted: _All,
        near: Near,
        first: int,
        kept: Sequence[tuple[np.ndarray, np.ndarray]],
        rules: Sequence[tuple[np.ndarray, ...]],
    ) -> None:
        values = np.concatenate([values for values, _ in kept])
        order = np.argsort(values)
        self._kept = _Kept.of(values[order], np.concatenate([owners for _, owners in kept])[order])
        self._wanted, self._least, self._words = (np.concatenate(column) for column in zip(*rules, strict=True))
        self._asked, self._first, self._near = wanted, first, near
        self._most = min(max(_LISTED // len(wanted), _CROWD[0]), _CROWD[1])
        self._compared = np.zeros(len(self._words), np.int64)
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    @property
    def texts(self) -> int:
        """How many texts it is about."""
        return len(self._words)

    def blank(self) -> Index:
        """One of the same texts that has compared nothing yet."""
        other = copy(self)
        other._compared, other._lock = np.zeros_like(self._compared), Lock()
        return other

    def crowded(self, compared: np.ndarray) -> np.ndarray:
        """The numbers of the texts that too many documents are like to list them: so many were `compared` with each."""
        return np.flatnonzero(compared > self._most) + self._first

    def among(self, documents: Readable, low: int, high: int, advance: Advance = nothing) -> Stretch:
        """What is found among the documents from place `low` to before `high`."""
        found: list[NearCopies] = []
        for copies, read in _in_threads(self.copies, _pieces(documents, low, high), self._near.workers):
            found += copies
            advance(read)
        texts = np.flatnonzero(self._compared)
        return Stretch(NearCopies.joined(found), texts, self._compared[texts])

    def copies(self, start: int, documents: pa.Array) -> list[NearCopies]:
        """The near copies of the texts among `documents`, those from place `start` on."""
        candidates = self.candidates(Shingled(documents, self._near.ngram), start)
        return list(_verified(candidates, self._asked, documents, start, self._near)) if candidates.size else []

    def candidates(self, documents: Shingled, start: int) -> np.ndarray:
        """Texts, documents and the words of the text (3, n) that are worth comparing, by the number of the text.

        `documents` are those from place `start` on.
        """
        kept = self._kept
        possible, at = kept.find(documents.shingles.values)
        holders = kept.bounds[at + 1] - kept.bounds[at]
        place = np.searchsorted(documents.shingles.offsets, possible, "right") - 1
        order = np.argsort(place, kind="stable")
        at, place, holders = at[order], place[order], holders[order]
        ends = np.cumsum(holders)
        found = [np.empty((3, 0), np.int64)]
        low = 0
        while low < len(at):
            before = ends[low - 1] if low else 0
            last = min(int(np.searchsorted(ends, before + _LOOKED_UP)), len(at) - 1)
            high = int(np.searchsorted(place, place[last], "right"))  # a document's shingles are counted together
            found.append(self._like(documents, start, kept, at[low:high], place[low:high], holders[low:high]))
            low = high
        candidates = np.concatenate(found, axis=1)
        candidates = candidates[:, self._compared[candidates[0] - self._first] <= self._most]
        return candidates[:, np.lexsort((candidates[1], candidates[0]))]

    def _like(
        self, documents: Shingled, start: int, kept: _Kept, at: np.ndarray, place: np.ndarray, holders: np.ndarray
    ) -> np.ndarray:
        """As `candidates`, of documents at some places: which kept shingles they have, and how many texts do."""
        before = np.cumsum(holders) - holders
        owner = kept.owners[np.arange(holders.sum()) + np.repeat(kept.bounds[at] - before, holders)]
        place = np.repeat(place, holders)
        worth = self._asked.places[owner] != place + start
        worth &= self._compared[owner - self._first] <= self._most
        owner, place = owner[worth], place[worth]
        wide = len(documents.shingles)
        pairs, shared = np.unique(owner * wide + place, return_counts=True)
        owner, place = pairs // wide, pairs % wide
        text = owner - self._first
        fits = (shared >= self._wanted[text]) & (documents.shingles.sizes[place] >= self._least[text])
        words, others = self._words[text], documents.words.sizes[place]
        fits &= (words == others) | (np.maximum(words, others) >= self._near.sentence_words)
        self._count(text[fits])
        return np.stack([owner, place + start, words])[:, fits]

    def _count(self, texts: np.ndarray) -> None:
        """Count documents to compare, and forget the shingles of crowded texts once they are the most."""
        with self._lock:
            self._compared += np.bincount(texts, minlength=len(self._compared))
            kept = self._kept
            is_open = self._compared[kept.owners - self._first] <= self._most
            if 2 * is_open.sum() < len(is_open):
                values = np.repeat(kept.values, np.diff(kept.bounds))
                self._kept = _Kept.of(values[is_open], kept.owners[is_open])


@dataclass(frozen=True)
class _Kept:
    """Distinct shingles, ascending, the texts that hold the i-th in `owners[bounds[i]:bounds[i + 1]]`."""

    values: np.ndarray
    bounds: np.ndarray
    owners: np.ndarray
    shift: np.uint64
    is_known: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, owners: np.ndarray) -> _Kept:
        """From ascending shingles with a text each."""
        distinct, starts = np.unique(values, return_index=True)
        bits = min(max(int(16 * len(values)).bit_length(), 16), 26)
        shift = np.uint64(64 - bits)
        is_known = np.zeros(1 << bits, bool)
        is_known[distinct >> shift] = True
        return cls(distinct, np.append(starts, len(values)), owners, shift, is_known)

    def find(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of `values` are kept, and where."""
        possible = np.flatnonzero(self.is_known[(values >> self.shift).view(np.int64)])
        if not len(self.values):
            return possible[:0], possible[:0]
        # In ascending order the search finds what it reads in the cache.
        possible = possible[np.argsort(values[possible])]
        at = np.searchsorted(self.values, values[possible])
        is_kept = self.values[np.minimum(at, len(self.values) - 1)] == values[possible]
        return possible[is_kept], at[is_kept]


def _indexes(wanted: _All, near: Near, counts: np.ndarray) -> Iterator[Index]:
    """The kept shingles of all texts asked about, so many texts at a time as make `_INDEXED` of them."""
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    rules: list[tuple[np.ndarray, ...]] = []
    first = size = 0
    for start, texts in _pieces(wanted, 0, len(wanted)):
        shingled = Shingled(texts, near.ngram)
        sets = _rarest_first(shingled.shingles, counts)
        # The small number keeps t |A| = 4.000000000000001 from being rounded up to 5.
        least = np.ceil(near.threshold * sets.sizes - 1e-9).astype(np.int64)
        count = np.minimum(sets.sizes - least + 1 + _SPARE, sets.sizes)
        owners = owners_of(sets)
        is_kept = np.arange(len(owners)) - sets.offsets[owners] < count[owners]
        kept.append((sets.values[is_kept], owners[is_kept] + start))
        rules.append((count - (sets.sizes - least), least, shingled.words.sizes))
        size += len(kept[-1][0])
        stop = start + len(texts)
        if size >= _INDEXED or stop == len(wanted):
            yield Index(wanted, near, first, kept, rules)
            kept, rules, first, size = [], [], stop, 0


def _rarest_first(rows: Ragged, counts: np.ndarray) -> Ragged:
    """The set of each row (fewer than 1025 rows), the least counted members first."""
    owners = owners_of(rows)
    # One number to sort by: 10 bits of row, 6 of count, 48 of hash.
    key = (owners.astype(np.uint64) << np.uint64(54)) | (counts[_counter(rows.values)] << np.uint64(48))
    values = rows.values[np.argsort(key | (rows.values >> np.uint64(16)))]
    return without_repeats(values, owners, len(rows))


def _verified(
    candidates: np.ndarray, wanted: _All, documents: pa.Array, start: int, near: Near
) -> Iterator[NearCopies]:
    """Those of the candidates (3, n) that are near copies; `documents` are those from place `start` on."""
    is_new = np.diff(candidates[0], prepend=-1) != 0
    turns = np.cumsum(np.where(is_new, candidates[2], 0)) // _COMPARED_WORDS
    for of, place, _ in np.split(candidates, np.flatnonzero(np.diff(turns)) + 1, axis=1):
        texts, text = np.unique(of, return_inverse=True)
        copies, copy = np.unique(place - start, return_inverse=True)
        both = pa.concat_arrays([wanted.take(texts), documents.take(pa.array(copies))])
        similarity, is_copy = compare_pairs(Shingled(both, near.ngram).sets(), text, copy + len(texts), near)
        yield NearCopies(of[is_copy], place[is_copy], similarity[is_copy], np.empty(0, np.int64))
