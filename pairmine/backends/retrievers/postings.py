"""For each word, the documents that it stands in and what it adds to their BM25 sums."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers.lexical import pieces_of, word_lists

Item = TypeVar("Item")
Result = TypeVar("Result")

_BYTES_PER_POSTING = 8
_BYTES_PER_POSTING_OF_PIECE = 3
_BYTES_PER_WORD = 150
_BYTES_PER_DOCUMENT = 24


def index_bytes(documents: int, words: float, vocabulary: int = 0) -> int:
    """Peak memory of indexing `documents` with `words` distinct words each, `vocabulary` in all; the texts not counted.

    The index that remains takes 8 bytes per posting and what the vocabulary takes.
    """
    postings = documents * words * (_BYTES_PER_POSTING + _BYTES_PER_POSTING_OF_PIECE)
    return int(postings) + vocabulary * _BYTES_PER_WORD + documents * _BYTES_PER_DOCUMENT


@dataclass(frozen=True)
class Postings:
    """Word w stands in `documents[starts[w]:starts[w + 1]]`, ascending, and adds `scores` of the same places.

    Documents that may be found come first: those of word w end at `ends[w]`, and none of them
    gets more than `highest[w]` from it.
    """

    vocabulary: dict[str, int]
    starts: np.ndarray
    ends: np.ndarray
    documents: np.ndarray
    scores: np.ndarray
    highest: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, without the vocabulary."""
        return sum(part.nbytes for part in (self.starts, self.ends, self.documents, self.scores, self.highest))

    def place_of(self, words: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Where the posting of each (word, document) stands, -1 where there is none, (n,) int64."""
        low, high = self.starts[words], self.starts[words + 1]
        last = np.maximum(high - 1, 0)
        if not len(self.documents):
            return np.full(len(words), -1, np.int64)
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            middle = (low + high) >> 1
            below = (low < high) & (self.documents[np.minimum(middle, last)] < documents)
            low = np.where(below, middle + 1, low)
            high = np.where(below, high, middle)
        is_inside = low < self.starts[words + 1]
        low = np.minimum(low, last)
        return np.where(is_inside & (self.documents[low] == documents), low, -1)


@dataclass(frozen=True)
class Collection:
    """What BM25 knows of all documents: how many there are, their words together, how many of them have each word."""

    documents: int
    length: float
    frequencies: np.ndarray

    @property
    def rarity(self) -> np.ndarray:
        """What a word adds at most, (words,) float64."""
        weights: np.ndarray = np.log1p((self.documents - self.frequencies + 0.5) / (self.frequencies + 0.5))
        return weights

    def norms(self, lengths: np.ndarray, k1: float, b: float) -> np.ndarray:
        """How far documents of so many words (n,) are held back, float64."""
        mean = max(self.length / max(self.documents, 1), 1e-9)
        held: np.ndarray = k1 * (1 - b + b * (lengths / mean))
        return held


@dataclass(frozen=True)
class Piece:
    """The postings of some documents, one word after the other: `words[i]` stands in the next `many[i]` of `documents`.

    It stands there `counts` times. A document's place is that in the piece, which fits 16 bits: so three bytes
    a posting wait for the end, not eight.
    """

    lengths: np.ndarray
    words: np.ndarray
    many: np.ndarray
    documents: np.ndarray
    counts: np.ndarray


def make_postings(
    documents: Sequence[str], searchable: int, *, k1: float, b: float, threads: int = 1, advance: Advance = nothing
) -> Postings:
    """Index `documents`, of which the first `searchable` may be found; the collection's statistics are those of all.

    A word that stands tf times in a document of n words, and in df of N documents, adds
    ln(1 + (N - df + 0.5) / (df + 0.5)) * tf / (tf + k1 * (1 - b + b * n / mean n)): BM25 in Lucene's form.
    """
    vocabulary: dict[str, int] = {}
    pieces: deque[Piece] = deque()
    for words, piece in in_order(counted, pieces_of(documents), threads):
        piece.words[:] = [vocabulary.setdefault(word, len(vocabulary)) for word in words]
        pieces.append(piece)
        advance(len(piece.lengths))
    count = sum(len(piece.lengths) for piece in pieces)
    length = float(sum(piece.lengths.sum(dtype=np.float64) for piece in pieces))
    whole = Collection(count, length, frequencies_in(pieces, len(vocabulary)))
    return index_pieces(pieces, vocabulary, whole, searchable, k1=k1, b=b)


def frequencies_in(pieces: Iterable[Piece], words: int) -> np.ndarray:
    """In how many of the documents each of so many words stands, (words,) int64."""
    frequencies = np.zeros(words, np.int64)
    for piece in pieces:
        frequencies[piece.words] += piece.many
    return frequencies


def index_pieces(
    pieces: deque[Piece], vocabulary: dict[str, int], whole: Collection, searchable: int, *, k1: float, b: float
) -> Postings:
    """The postings of all `pieces`, documents numbered through; the statistics are those of the `whole` collection.

    Pieces are given up as they are copied, so that `pieces` is empty then.
    """
    lengths = np.concatenate([np.empty(0, np.int32), *(piece.lengths for piece in pieces)])
    starts = np.append(0, np.cumsum(frequencies_in(pieces, len(vocabulary))))
    places, scores = _merged(pieces, starts, whole.rarity, whole.norms(lengths, k1, b))
    ends = _ends(starts, places, searchable)
    highest = _of_each(np.maximum, scores, starts)
    return Postings(vocabulary, starts, ends, places, scores, highest)


def counted(texts: Sequence[str]) -> tuple[list[str], Piece]:
    """The distinct words of a piece, and their postings; the words' numbers in the vocabulary are still to come."""
    from scipy.sparse import csr_array

    lists = word_lists(texts)
    ones = np.ones(len(lists.places), np.int32)
    by_text = csr_array((ones, lists.places, lists.starts), shape=(len(lists), len(lists.words)))
    by_word = by_text.tocsc()
    by_word.sum_duplicates()
    numbers = np.empty(len(lists.words), np.int32)
    lengths = np.diff(lists.starts).astype(np.int32)
    counts = by_word.data.astype(np.min_scalar_type(by_word.data.max(initial=1)))
    return lists.words, Piece(
        lengths, numbers, np.diff(by_word.indptr).astype(np.uint16), by_word.indices.astype(np.uint16), counts
    )


def _merged(
    pieces: deque[Piece], starts: np.ndarray, rarity: np.ndarray, norms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Documents and scores of all words, one word after the other; each piece is given up as soon as it is copied."""
    documents = np.empty(starts[-1], np.int32)
    scores = np.empty(starts[-1], np.float32)
    free = starts[:-1].copy()
    first = 0
    while pieces:
        piece = pieces.popleft()
        many = piece.many.astype(np.int64)
        target = np.repeat(free[piece.words] - (np.cumsum(many) - many), many)
        target += np.arange(len(target))
        free[piece.words] += many
        places = piece.documents.astype(np.int32) + np.int32(first)
        counts = piece.counts.astype(np.float64)
        scores[target] = np.repeat(rarity[piece.words], many) * (counts / (counts + norms[places]))
        documents[target] = places
        first += len(piece.lengths)
    return documents, scores


def _ends(starts: np.ndarray, documents: np.ndarray, searchable: int) -> np.ndarray:
    """Where the documents below `searchable` end in each word's."""
    found: np.ndarray = starts[:-1] + _of_each(np.add, (documents < searchable).astype(np.int64), starts)
    return found


def _of_each(what: np.ufunc, values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The sum or the greatest of each word's values, which begin at `starts`; 0 for a word that has none."""
    found = np.zeros(len(starts) - 1, values.dtype)
    some = np.flatnonzero(np.diff(starts))
    if len(some):
        found[some] = what.reduceat(values, starts[some])
    return found


def in_order(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """`function` of each item, in their order, on several threads; few items and results wait at any time."""
    if threads < 2:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) == threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
