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
        last = high - 1
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            middle = (low + high) >> 1
            below = (low < high) & (self.documents[np.minimum(middle, last)] < documents)
            low = np.where(below, middle + 1, low)
            high = np.where(below, high, middle)
        low = np.minimum(low, last)
        return np.where(self.documents[low] == documents, low, -1)


@dataclass(frozen=True)
class _Piece:
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
    pieces: deque[_Piece] = deque()
    for words, piece in in_order(_counted, pieces_of(documents), threads):
        piece.words[:] = [vocabulary.setdefault(word, len(vocabulary)) for word in words]
        pieces.append(piece)
        advance(len(piece.lengths))
    lengths = np.concatenate([np.empty(0, np.int32), *(piece.lengths for piece in pieces)])
    frequencies = np.zeros(len(vocabulary), np.int64)
    for piece in pieces:
        frequencies[piece.words] += piece.many
    rarity = np.log1p((len(lengths) - frequencies + 0.5) / (frequencies + 0.5))
    norms = k1 * (1 - b + b * (lengths / max(lengths.sum(dtype=np.float64) / max(len(lengths), 1), 1e-9)))
    starts = np.append(0, np.cumsum(frequencies))
    places, scores = _merged(pieces, starts, rarity, norms)
    ends = _ends(starts, places, searchable)
    highest = np.maximum.reduceat(scores, starts[:-1]) if len(scores) else scores
    return Postings(vocabulary, starts, ends, places, scores, highest)


def _counted(texts: Sequence[str]) -> tuple[list[str], _Piece]:
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
    return lists.words, _Piece(
        lengths, numbers, np.diff(by_word.indptr).astype(np.uint16), by_word.indices.astype(np.uint16), counts
    )


def _merged(
    pieces: deque[_Piece], starts: np.ndarray, rarity: np.ndarray, norms: np.ndarray
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
    """Where the documents below `searchable` end in each word's; every word has documents."""
    if not len(documents):
        return starts[1:]
    found = np.add.reduceat(documents < searchable, starts[:-1], dtype=np.int64)
    return starts[:-1] + found


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
