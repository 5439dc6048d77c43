"""Search by words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pairmine.backends.encoders import nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers.protocol import NOT_FOUND, Hits
from pairmine.backends.specs import Spec, slug
from pairmine.tokens import tokens


class Bm25Retriever:
    """BM25 (Lucene's form, k1 1.5, b 0.75) by bm25s; a document without any of the query's words is not found.

    Words are runs of letters and digits, NFKC and case folded; each character of a script
    without blanks (Chinese, Japanese, Thai, ...) is a word of its own.
    """

    scale = "bm25"
    _BLOCK_CELLS = 1 << 23

    def __init__(self, spec: Spec, *, k1: float = 1.5, b: float = 0.75) -> None:
        self.name = spec.name
        self.score = slug(spec.alias or "bm25")
        self.facts: dict[str, Any] = {"model": spec.public(), "method": "lucene", "k1": k1, "b": b}
        self._k1, self._b = k1, b
        self._vocabulary: dict[str, int] = {}
        self._searchable = 0
        self._by_document: Any = None
        self._queries: Any = None

    def index(self, documents: Sequence[str], searchable: int, advance: Advance = nothing) -> None:
        """Index `documents` as a sparse matrix of term scores; the collection's statistics are those of all."""
        import bm25s
        from scipy.sparse import csc_matrix

        vocabulary: dict[str, int] = {}
        ids = []
        for start in range(0, len(documents), 4096):
            piece = documents[start : start + 4096]
            ids += [[vocabulary.setdefault(word, len(vocabulary)) for word in lexical_words(text)] for text in piece]
            advance(len(piece))
        self._vocabulary = vocabulary
        self._searchable = searchable
        shape = (len(documents), max(len(vocabulary), 1))
        if not vocabulary:
            self._by_document = csc_matrix(shape, dtype=np.float32).tocsr()
            return
        index = bm25s.BM25(method="lucene", k1=self._k1, b=self._b, backend="numpy", csc_backend="scipy")
        index.index((ids, vocabulary), create_empty_token=False, show_progress=False)
        matrix = csc_matrix((index.scores["data"], index.scores["indices"], index.scores["indptr"]), shape=shape)
        self._by_document = matrix.tocsr()

    def prepare(self, queries: Sequence[str], advance: Advance = nothing) -> None:
        """Look up the words of `queries`; a word that comes twice counts twice."""
        self._queries = self._counts(queries)
        advance(len(queries))

    def near(self, places: np.ndarray, texts: Sequence[str]) -> None:
        """Search with the words of documents; a word that comes twice counts twice."""
        from scipy.sparse import vstack

        self._queries = vstack([self._queries, self._counts(texts)]).tocsr()

    def _counts(self, texts: Sequence[str]) -> Any:
        """How often each word of the vocabulary stands in each text, as a sparse matrix."""
        from scipy.sparse import csr_matrix

        rows: list[int] = []
        columns: list[int] = []
        for row, text in enumerate(texts):
            known = [self._vocabulary[word] for word in lexical_words(text) if word in self._vocabulary]
            rows += [row] * len(known)
            columns += known
        shape = (len(texts), self._by_document.shape[1])
        values = np.ones(len(rows), np.float32)
        counts = csr_matrix((values, (rows, columns)), shape=shape, dtype=np.float32)
        counts.sum_duplicates()
        return counts

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """The `k` documents with the highest BM25 sums above zero."""
        found = np.full((len(queries), k), NOT_FOUND, np.int64)
        values = np.full((len(queries), k), -np.inf, np.float32)
        terms = self._by_document[: self._searchable].T.tocsr()
        step = max(1, self._BLOCK_CELLS // max(self._searchable, 1))
        for start in range(0, len(queries), step):
            sums = self._queries[queries[start : start + step]] @ terms
            for row in range(sums.shape[0]):
                low, high = sums.indptr[row], sums.indptr[row + 1]
                self._take(sums.indices[low:high], sums.data[low:high], found[start + row], values[start + row])
        return found, values

    def _take(self, places: np.ndarray, scores: np.ndarray, found: np.ndarray, values: np.ndarray) -> None:
        k = len(found)
        if len(scores) > k:
            least = np.partition(scores, len(scores) - k)[len(scores) - k]
            kept = scores >= least
            places, scores = places[kept], scores[kept]
        order = np.lexsort((places, -scores))[:k]
        order = order[scores[order] > 0]
        found[: len(order)] = places[order]
        values[: len(order)] = scores[order]

    def pair_scores(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """BM25 sums of single pairs, 0 where no word is shared."""
        sums = np.empty(len(queries), np.float32)
        step = 65_536
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            shared = self._queries[queries[rows]].multiply(self._by_document[documents[rows]])
            sums[rows] = np.asarray(shared.sum(axis=1), np.float32).ravel()
        return sums


def lexical_words(text: str) -> list[str]:
    """The words of `text` as BM25 counts them: its tokens, cut at underscores too, as names in code want it.

    >>> lexical_words("Read_CSV, 東京!")
    ['read', 'csv', '東', '京']
    """
    return tokens(text.replace("_", " "))
