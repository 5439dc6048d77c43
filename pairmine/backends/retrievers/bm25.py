"""Search by words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers.lexical import lexical_words, pieces_of, word_lists
from pairmine.backends.retrievers.postings import cores, in_order, index_bytes, make_postings
from pairmine.backends.retrievers.protocol import NOT_FOUND, Hits
from pairmine.backends.retrievers.word_search import WordSearch
from pairmine.backends.specs import Spec, slug

__all__ = ["Bm25Retriever", "index_bytes", "lexical_words"]

_PAIRS_AT_ONCE = 1 << 18
_DOCUMENTS_FOR_THREADS = 1 << 16
"""In smaller collections a search is so quick that threads would only wait for each other."""
_MOST_SEARCHING = 8
"""Threads that search: each has a sum for every document, 4 bytes."""


class Bm25Retriever:
    """BM25 (Lucene's form, k1 1.5, b 0.75); a document without any of the query's words is not found.

    Words are runs of letters and digits, NFKC and case folded; each character of a script
    without blanks (Chinese, Japanese, Thai, ...) is a word of its own.

    A sum is made in float32, always in the same order of the query's words, so it is the same number
    whether a document was found, found in another block, or asked for by `pair_scores`.
    `threads` read texts and, in large collections, search; 0 stands for one per core.
    """

    scale = "bm25"

    def __init__(self, spec: Spec, *, k1: float = 1.5, b: float = 0.75, threads: int = 0) -> None:
        self.name = spec.name
        self.score = slug(spec.alias or "bm25")
        self.facts: dict[str, Any] = {"model": spec.public(), "method": "lucene", "k1": k1, "b": b}
        self._k1, self._b = k1, b
        self._threads = threads or cores()
        self._searchable = 0
        self._postings = make_postings([], 0, k1=k1, b=b)
        self._queries = QueryWords.none()

    def index(self, documents: Sequence[str], searchable: int, advance: Advance = nothing) -> None:
        """Index `documents` by word; the collection's statistics are those of all."""
        self._searchable = searchable
        self._postings = make_postings(
            documents, searchable, k1=self._k1, b=self._b, threads=self._threads, advance=advance
        )
        self._queries = QueryWords.none()

    @property
    def postings_count(self) -> int:
        """How many distinct words the indexed documents have, each counted by itself."""
        return len(self._postings.documents)

    def prepare(self, queries: Sequence[str], advance: Advance = nothing) -> None:
        """Look up the words of `queries`; a word that comes twice counts twice."""
        self._queries = QueryWords.joined([QueryWords.none(), *self._read(queries, advance)])

    def near(self, places: np.ndarray, texts: Sequence[str]) -> None:
        """Search with the words of documents; a word that comes twice counts twice."""
        self._queries = QueryWords.joined([self._queries, *self._read(texts, nothing)])

    def _read(self, texts: Sequence[str], advance: Advance) -> Iterator[QueryWords]:
        def read(piece: Sequence[str]) -> QueryWords:
            return words_of_queries(piece, self._postings.vocabulary, self._postings.highest)

        for queries in in_order(read, pieces_of(texts), self._threads):
            advance(len(queries))
            yield queries

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """The `k` documents with the highest BM25 sums above zero."""
        found = np.full((len(queries), k), NOT_FOUND, np.int64)
        values = np.full((len(queries), k), -np.inf, np.float32)
        if not k:
            return found, values

        def fill(rows: np.ndarray) -> None:
            search = WordSearch(self._postings, self._searchable)
            for row, query in zip(rows.tolist(), queries[rows].tolist(), strict=True):
                places, scores = search.best(*self._queries.words_of(query), k)
                found[row, : len(places)] = places
                values[row, : len(places)] = scores

        threads = min(self._threads, _MOST_SEARCHING) if self._searchable >= _DOCUMENTS_FOR_THREADS else 1
        for _ in in_order(fill, np.array_split(np.arange(len(queries)), threads), threads):
            pass
        return found, values

    def pair_scores(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """BM25 sums of single pairs, 0 where no word is shared."""
        sums = np.zeros(len(queries), np.float32)
        lengths = np.diff(self._queries.starts)[queries]
        ends = np.cumsum(lengths)
        low = 0
        while low < len(queries):
            before = ends[low - 1] if low else 0
            high = max(low + 1, int(np.searchsorted(ends, before + _PAIRS_AT_ONCE, side="right")))
            self._add_up(sums[low:high], queries[low:high], documents[low:high], lengths[low:high])
            low = high
        return sums

    def _add_up(self, sums: np.ndarray, queries: np.ndarray, documents: np.ndarray, lengths: np.ndarray) -> None:
        """Add what each of a query's words gives to its document, in the order of `search`."""
        pair = np.repeat(np.arange(len(queries)), lengths)
        word = np.arange(len(pair)) + np.repeat(self._queries.starts[queries] - (np.cumsum(lengths) - lengths), lengths)
        words, weights = self._queries.words[word], self._queries.weights[word]
        place = self._postings.place_of(words, documents[pair])
        there = place >= 0
        # np.add.at goes through its places in their order, so the rounding is that of a search.
        np.add.at(sums, pair[there], self._postings.scores[place[there]] * weights[there])


@dataclass(frozen=True)
class QueryWords:
    """Known words of queries, each once with how often it comes: those of query q at `starts[q]:starts[q + 1]`.

    The word that can give most comes first: with it the sums of the best documents are soon beyond what
    the remaining words can give any other.
    """

    words: np.ndarray
    weights: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @staticmethod
    def none() -> QueryWords:
        return QueryWords(np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(1, np.int64))

    @staticmethod
    def joined(parts: Sequence[QueryWords]) -> QueryWords:
        lengths = np.concatenate([np.diff(part.starts) for part in parts])
        words = np.concatenate([part.words for part in parts])
        weights = np.concatenate([part.weights for part in parts])
        return QueryWords(words, weights, np.append(0, np.cumsum(lengths)))

    def words_of(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """The words of one query and their weights."""
        own = slice(self.starts[query], self.starts[query + 1])
        return self.words[own], self.weights[own]


def words_of_queries(texts: Sequence[str], vocabulary: Mapping[str, int], highest: np.ndarray) -> QueryWords:
    """The words of `texts` that are in the `vocabulary`; `highest` is what each can give a document at most."""
    from scipy.sparse import csr_array

    lists = word_lists(texts)
    ones = np.ones(len(lists.places), np.int32)
    counts = csr_array((ones, lists.places, lists.starts), shape=(len(lists), len(lists.words)))
    counts.sum_duplicates()
    known = np.array([vocabulary.get(word, -1) for word in lists.words], np.int32)
    words = known[counts.indices]
    rows = np.repeat(np.arange(len(lists)), np.diff(counts.indptr))[words >= 0]
    weights = counts.data[words >= 0].astype(np.float32)
    words = words[words >= 0]
    order = np.lexsort((words, -(highest[words] * weights), rows))
    starts = np.append(0, np.cumsum(np.bincount(rows, minlength=len(lists))))
    return QueryWords(words[order], weights[order], starts)
