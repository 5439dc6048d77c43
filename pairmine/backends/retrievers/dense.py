"""Search by the cosines of unit vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairmine.backends.encoders import Encoder, nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers.protocol import NOT_FOUND, Hits, best
from pairmine.backends.scorers import row_products
from pairmine.backends.specs import Spec


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
