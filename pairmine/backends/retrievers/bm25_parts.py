"""BM25 over documents whose words were counted part by part: the same sums as over all of them in one place.

Only the words of queries matter. A part keeps in a file how often each of them stands in which of its documents,
and says in how many; from these numbers come those of the whole collection, and from them every score.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers.bm25 import Bm25Retriever, QueryWords, words_of_queries
from pairmine.backends.retrievers.lexical import pieces_of, word_lists
from pairmine.backends.retrievers.postings import Collection, Piece, Postings, counted, index_pieces
from pairmine.backends.retrievers.protocol import NOT_FOUND, Hits, Listed
from pairmine.backends.retrievers.word_search import WordSearch
from pairmine.files.byte_ranges import put_bytes, whole_file

_COLUMNS = ("lengths", "words", "many", "documents", "counts")


@dataclass(frozen=True)
class CountedPart:
    """What a part says of itself: its file, its documents and how many words they have together.

    Of each known word that it has, `words` (m,) are the numbers, `frequencies` in how many documents it stands, and
    `turns` when it comes first, counted from 0.
    """

    path: str
    documents: int
    length: float
    words: np.ndarray
    frequencies: np.ndarray
    turns: np.ndarray


def query_words(texts: Sequence[str]) -> dict[str, int]:
    """The distinct words of `texts` by number."""
    numbers: dict[str, int] = {}
    for piece in pieces_of(texts):
        for word in word_lists(piece).words:
            numbers.setdefault(word, len(numbers))
    return numbers


def count_part(path: str, texts: Sequence[str], known: dict[str, int]) -> CountedPart:
    """Count the `known` words in `texts`, and keep in the file `path` which of them has which."""
    pieces: list[Piece] = []
    turns: dict[int, int] = {}
    frequencies = np.zeros(len(known), np.int64)
    for piece in known_pieces(texts, known):
        for word in piece.words.tolist():
            turns.setdefault(word, len(turns))
        frequencies[piece.words] += piece.many
        pieces.append(piece)
    _write(path, pieces)
    words = np.fromiter(turns, np.int64, len(turns))
    length = float(sum(piece.lengths.sum(dtype=np.float64) for piece in pieces))
    numbers = np.fromiter(turns.values(), np.int64, len(turns))
    return CountedPart(path, len(texts), length, words, frequencies[words], numbers)


def known_pieces(texts: Sequence[str], known: dict[str, int]) -> Iterator[Piece]:
    """The postings of the `known` words alone; the lengths of documents are those with all their words."""
    for piece in pieces_of(texts):
        words, found = counted(piece)
        numbers = np.array([known.get(word, -1) for word in words], np.int32)
        is_known = numbers >= 0
        at = np.repeat(is_known, found.many)
        yield Piece(found.lengths, numbers[is_known], found.many[is_known], found.documents[at], found.counts[at])


def _write(path: str, pieces: Sequence[Piece]) -> None:
    columns = {f"{name}-{at}": getattr(piece, name) for at, piece in enumerate(pieces) for name in _COLUMNS}
    packed = io.BytesIO()
    np.savez(packed, count=np.array(len(pieces)), **columns)
    put_bytes(path, [packed.getbuffer()])


def _read(path: str, numbers: np.ndarray) -> Iterator[Piece]:
    """The pieces of a file, each word by its number in the collection, `numbers` (known words,)."""
    with np.load(io.BytesIO(whole_file(path)), allow_pickle=False) as columns:
        for at in range(int(columns["count"])):
            piece = Piece(*(columns[f"{name}-{at}"] for name in _COLUMNS))
            piece.words[:] = numbers[piece.words]
            yield piece


@dataclass(frozen=True)
class CountedWords:
    """The words of a whole collection, counted part by part, as plain data to send.

    A word has the number that it would have were all documents read in their order: that of its first occurrence.
    `numbers` says it for each word by the number that the parts know, -1 where no document has it; `firsts` is the
    place of each part's first document, with the end behind them, and `postings` how many each part has.
    """

    vocabulary: dict[str, int]
    numbers: np.ndarray
    whole: Collection
    paths: Sequence[str]
    firsts: np.ndarray
    postings: np.ndarray
    searchable: int
    k1: float
    b: float

    @classmethod
    def of(
        cls, known: dict[str, int], parts: Sequence[CountedPart], searchable: int, *, k1: float, b: float
    ) -> CountedWords:
        """From the parts in their order, which counted the `known` words."""
        words = np.concatenate([np.empty(0, np.int64), *(part.words for part in parts)])
        many = np.concatenate([np.empty(0, np.int64), *(part.frequencies for part in parts)])
        turns = np.concatenate([np.empty(0, np.int64), *(part.turns for part in parts)])
        owner = np.repeat(np.arange(len(parts)), [len(part.words) for part in parts])
        order = np.lexsort((turns, owner))
        _, first = np.unique(words[order], return_index=True)
        numbers = np.full(len(known), -1, np.int32)
        numbers[words[order][np.sort(first)]] = np.arange(len(first))
        frequencies = np.zeros(len(first), np.int64)
        np.add.at(frequencies, numbers[words], many)
        length = float(sum(part.length for part in parts))
        whole = Collection(sum(part.documents for part in parts), length, frequencies)
        vocabulary = {word: int(numbers[at]) for word, at in known.items() if numbers[at] >= 0}
        firsts = np.cumsum([0, *(part.documents for part in parts)])
        postings = np.array([part.frequencies.sum() for part in parts], np.int64)
        return cls(vocabulary, numbers, whole, [part.path for part in parts], firsts, postings, searchable, k1, b)

    def spans(self, most: int) -> list[tuple[int, int]]:
        """All documents in stretches of whole parts with at most so many postings, or of one part."""
        starts: list[int] = []
        held = 0
        for first, postings in zip(self.firsts[:-1].tolist(), self.postings.tolist(), strict=True):
            if not starts or held + postings > most:
                starts.append(first)
                held = 0
            held += postings
        return list(pairwise([*starts, int(self.firsts[-1])])) if starts else []

    def indexed(self, first: int, stop: int) -> Postings:
        """The postings of the documents from `first` to before `stop`, which are whole parts, numbered from 0."""
        return self._indexed(deque(self._pieces(first, stop)), max(min(self.searchable, stop) - first, 0))

    def highest(self, first: int, stop: int) -> np.ndarray:
        """What each word gives one of these documents at most, (words,) float32: that of their postings."""
        found = np.zeros(len(self.vocabulary))
        for piece in self._pieces(first, stop):
            counts = piece.counts.astype(np.float64)
            scores = counts / (counts + self.whole.norms(piece.lengths, self.k1, self.b)[piece.documents])
            starts = np.cumsum(piece.many.astype(np.int64)) - piece.many
            if len(starts):
                found[piece.words] = np.maximum(found[piece.words], np.maximum.reduceat(scores, starts))
        return (self.whole.rarity * found).astype(np.float32)

    def _pieces(self, first: int, stop: int) -> Iterator[Piece]:
        low, high = np.searchsorted(self.firsts, [first, stop])
        for path in self.paths[low:high]:
            yield from _read(path, self.numbers)

    def postings_of(self, texts: Sequence[str]) -> Postings:
        """The postings of some documents of the collection by their texts, numbered from 0."""
        return self._indexed(deque(known_pieces(texts, self.vocabulary)), 0)

    def _indexed(self, pieces: deque[Piece], searchable: int) -> Postings:
        return index_pieces(pieces, self.vocabulary, self.whole, searchable, k1=self.k1, b=self.b)


@dataclass
class WordSpans:
    """What is searched of `words`, a span at a time, for `queries`; the postings of the last span are kept at hand."""

    words: CountedWords
    queries: QueryWords
    _span: tuple[int, int] = (0, 0)
    _postings: list[Postings] = field(default_factory=list)

    def search(self, span: tuple[int, int], queries: np.ndarray, k: int) -> Hits:
        """See `engines.search.Searched`."""
        if span != self._span or not self._postings:
            self._postings.clear()
            self._span, self._postings = span, [self.words.indexed(*span)]
        first, stop = span
        search = WordSearch(self._postings[0], max(min(self.words.searchable, stop) - first, 0))
        found = np.full((len(queries), k), NOT_FOUND, np.int64)
        values = np.full((len(queries), k), -np.inf, np.float32)
        for row, query in enumerate(queries.tolist()):
            places, scores = search.best(*self.queries.words_of(query), k)
            found[row, : len(places)] = places + np.int64(first)
            values[row, : len(places)] = scores
        return found, values


class PartsBm25(Bm25Retriever):
    """`Bm25Retriever` over documents that are counted part by part, elsewhere; `lists` are found there too.

    `index`, `prepare` and `near` note texts; `settle` has them counted, and what is searched is `spans` then.
    """

    lists: Listed
    _texts: Any
    _asked: list[Sequence[str]]
    _words: CountedWords

    def index(self, documents: Sequence[str], searchable: int, advance: Advance = nothing) -> None:
        """Note the documents, which can be taken by place."""
        self._texts, self._searchable, self._asked = documents, searchable, []

    def prepare(self, queries: Sequence[str], advance: Advance = nothing) -> None:
        """Note the queries."""
        self._asked = [queries]

    def near(self, places: np.ndarray, texts: Sequence[str]) -> None:
        """Note documents as further queries."""
        self._asked.append(texts)

    def settle(
        self,
        count: Callable[[Sequence[str], dict[str, int]], Sequence[CountedPart]],
        highest: Callable[[CountedWords], np.ndarray],
    ) -> None:
        """Count the words of the queries in all documents; `highest` is what each word gives a document at most."""
        known: dict[str, int] = {}
        for texts in self._asked:
            for word in query_words(texts):
                known.setdefault(word, len(known))
        parts = count(self._texts, known)
        self._words = CountedWords.of(known, parts, self._searchable, k1=self._k1, b=self._b)
        most = highest(self._words)
        read = [
            words_of_queries(piece, self._words.vocabulary, most) for texts in self._asked for piece in pieces_of(texts)
        ]
        self._queries = QueryWords.joined([QueryWords.none(), *read])
        self._asked = []

    @property
    def searched(self) -> WordSpans:
        """What is searched, a span at a time."""
        return WordSpans(self._words, self._queries)

    def spans(self, most: int) -> list[tuple[int, int]]:
        """The spans to search, with at most so many postings each, 8 bytes of memory for one."""
        return self._words.spans(most)

    @property
    def firsts(self) -> np.ndarray:
        """Where each part begins, and the end."""
        return self._words.firsts

    @property
    def query_count(self) -> int:
        """How many there are, with the documents that are searched with."""
        return len(self._queries)

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """The first `k` of each query's list."""
        return self.lists.search(queries, k)

    def pair_scores(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """BM25 sums of single pairs, 0 where no word is shared, from the texts of their documents."""
        if not len(documents):
            return np.empty(0, np.float32)
        used, at = np.unique(documents, return_inverse=True)
        self._postings = self._words.postings_of(self._texts.take(used).to_pylist())
        return super().pair_scores(queries, at)
