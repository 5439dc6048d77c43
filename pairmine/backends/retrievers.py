"""Retrievers: the best documents for each query, and the score of any pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from pairmine.backends.encoders import Encoder, nothing
from pairmine.backends.models import Advance
from pairmine.backends.scorers import row_products
from pairmine.backends.specs import Spec, slug
from pairmine.tokens import tokens

NOT_FOUND = -1
Hits = tuple[np.ndarray, np.ndarray]


class Retriever(Protocol):
    """Searches documents that it was given once; queries and documents are named by their place."""

    name: str
    score: str
    scale: str
    facts: dict[str, Any]

    def index(self, documents: Sequence[str], searchable: int, advance: Advance = ...) -> None:
        """Take in `documents`; only the first `searchable` of them are found, the others are only scored."""

    def prepare(self, queries: Sequence[str], advance: Advance = ...) -> None:
        """Take in `queries`."""

    def near(self, places: np.ndarray, texts: Sequence[str]) -> None:
        """Take in documents as further queries, numbered on from those of `prepare`: their places and their texts."""

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """The `k` best documents of some queries: (n, k) int64 places, (n, k) float32 scores, best first.

        Equal scores stand in the order of the documents. Where there are fewer, the place is -1.
        """

    def pair_scores(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """The scores of single pairs, (n,) float32."""


class DenseRetriever:
    """FAISS exact search over unit vectors: the inner product is the cosine.

    FAISS multiplies in blocks, and the last bits of its products change with the number of threads
    and queries. So a few more candidates than asked for are taken from it, and their scores are
    computed anew, each by itself, before the final order. Where a document beyond those could
    still belong among the best, by the bound on rounding errors, more are taken (vectors that are
    equal, of texts cut to the same beginning, come by the hundred). So the result is exact, and
    the same everywhere.
    """

    scale = "cosine"
    _SPARE = 8
    _BLOCK_CELLS = 1 << 23

    def __init__(self, spec: Spec, encoder: Encoder, *, score: str = "dense", threads: int = 0) -> None:
        self.name = spec.name
        self.score = score
        self.facts = encoder.facts
        self._encoder = encoder
        self._threads = threads
        self._searchable = 0
        self._documents = np.empty((0, 0), np.float32)
        self._queries = np.empty((0, 0), np.float32)

    def index(self, documents: Sequence[str], searchable: int, advance: Advance = nothing) -> None:
        """Embed `documents`, (n, dim) float32 in memory."""
        self.take_vectors(self._encoder.encode(documents, "document", advance), searchable)

    def take_vectors(self, documents: np.ndarray, searchable: int) -> None:
        """Use ready-made unit vectors of the documents, (n, dim) float32."""
        self._documents = documents
        self._searchable = searchable

    def prepare(self, queries: Sequence[str], advance: Advance = nothing) -> None:
        """Embed `queries`."""
        self.take_query_vectors(self._encoder.encode(queries, "query", advance))

    def take_query_vectors(self, queries: np.ndarray) -> None:
        """Use ready-made unit vectors of the queries, (n, dim) float32."""
        self._queries = queries

    @property
    def document_vectors(self) -> np.ndarray:
        """The vectors of all documents, (n, dim) float32, unit length."""
        return self._documents

    @property
    def query_vectors(self) -> np.ndarray:
        """The vectors of all queries, (n, dim) float32, unit length."""
        return self._queries

    def over(self, documents: np.ndarray) -> DenseRetriever:
        """Another one that searches these vectors, (n, dim), with the same encoder and threads."""
        other = DenseRetriever(Spec("st", self.name), self._encoder, score=self.score, threads=self._threads)
        other.take_vectors(documents, len(documents))
        return other

    def near(self, places: np.ndarray, texts: Sequence[str]) -> None:
        """Search with the vectors of documents, as documents."""
        self._queries = np.concatenate([self._queries, self._documents[places]])

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """The `k` nearest documents by cosine."""
        found = np.full((len(queries), k), NOT_FOUND, np.int64)
        values = np.full((len(queries), k), -np.inf, np.float32)
        rows, wide = np.arange(len(queries)), k + self._SPARE
        while len(rows) and self._searchable:
            wide = min(wide, self._searchable)
            step = max(1, self._BLOCK_CELLS // wide)
            unsettled = []
            for start in range(0, len(rows), step):
                piece = rows[start : start + step]
                found[piece], values[piece], is_settled = self._nearest(queries[piece], k, wide)
                unsettled.append(piece[~is_settled])
            rows, wide = np.concatenate(unsettled), wide * 4
        return found, values

    def _nearest(self, queries: np.ndarray, k: int, wide: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The `k` best among the `wide` that FAISS finds, and for which queries no other can be among them."""
        import faiss

        if self._threads:
            faiss.omp_set_num_threads(self._threads)
        vectors = np.ascontiguousarray(self._queries[queries])
        rough, places = faiss.knn(vectors, self._documents[: self._searchable], wide, metric=faiss.METRIC_INNER_PRODUCT)
        flat = places.ravel()
        scores = row_products(self._queries, self._documents, np.repeat(queries, wide), flat).reshape(places.shape)
        found, values = best(places, scores, k)
        if wide == self._searchable:
            return found, values, np.ones(len(queries), bool)
        rounding = vectors.shape[1] * 2.0**-23
        return found, values, values[:, -1] > rough[:, -1] + rounding

    def pair_scores(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Cosines of single pairs."""
        return row_products(self._queries, self._documents, queries, documents)


def best(places: np.ndarray, scores: np.ndarray, k: int) -> Hits:
    """Found documents (n, m) in order of falling score, then of place, cut or filled up to `k` columns."""
    order = np.lexsort((places, -scores), axis=1)[:, :k]
    found = np.take_along_axis(places, order, axis=1).astype(np.int64)
    values = np.take_along_axis(scores, order, axis=1)
    if found.shape[1] < k:
        room = ((0, 0), (0, k - found.shape[1]))
        found = np.pad(found, room, constant_values=NOT_FOUND)
        values = np.pad(values, room, constant_values=-np.inf)
    return found, values


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


def open_retriever(spec: Spec, *, score: str | None = None, threads: int = 0, **settings: Any) -> Retriever:
    """The retriever that `spec` names; `settings` go to the encoder of a dense one."""
    from pairmine.backends.encoders import open_encoder

    if spec.kind == "bm25":
        return Bm25Retriever(spec)
    return DenseRetriever(spec, open_encoder(spec, **settings), score=score or "dense", threads=threads)
