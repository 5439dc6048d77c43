"""Bi-encoders as scorers, and the vectors of texts that come again."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from pairmine.backends.encoders import Encoder, Side, nothing
from pairmine.backends.models import Advance
from pairmine.backends.vectors.exact import row_products

if TYPE_CHECKING:
    from pairmine.backends.vectors.store import VectorStore

_KEPT_BYTES = 1 << 30


class BiEncoderScorer:
    """The cosine of a bi-encoder's query and document vectors, which come from `store` where they are there.

    A document stands beside many queries, in one chunk of a pair set after the other, so vectors
    are kept in memory from call to call, up to `_KEPT_BYTES` a side.
    """

    scale = "cosine"

    def __init__(self, encoder: Encoder, store: VectorStore | None = None) -> None:
        self.store = store
        self._queries = TextVectors(encoder, "query", store)
        self._documents = TextVectors(encoder, "document", store)
        self.facts = {**encoder.facts, "scale": self.scale}

    def score(self, queries: Sequence[str], documents: Sequence[str], advance: Advance = nothing) -> np.ndarray:
        """Cosines, (n,) float32 in [-1, 1]."""
        if not queries:
            return np.empty(0, np.float32)
        query_vectors, query_rows = self._queries.of(queries)
        document_vectors, document_rows = self._documents.of(documents)
        scores = row_products(query_vectors, document_vectors, query_rows, document_rows)
        advance(len(queries))
        return scores


class TextVectors:
    """The vectors of one side's texts; each text is embedded once while there is room to keep them.

    With a `store` of float32 vectors they come from there, and new ones go there.
    """

    def __init__(self, encoder: Encoder, side: Side, store: VectorStore | None = None) -> None:
        self._encoder = encoder
        self._side = side
        self._store = store
        self._kept: dict[bytes, np.ndarray] = {}
        self._bytes = 0

    @property
    def dim(self) -> int:
        """The width of the vectors."""
        return int(self._encoder.encode([""], self._side).shape[1])

    def of(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of the distinct texts, (m, dim), and the row of each text, (n,)."""
        distinct, rows = _distinct(texts)
        keys = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in distinct]
        new = [at for at, key in enumerate(keys) if key not in self._kept]
        fresh = self._embed([distinct[at] for at in new])
        dim = fresh.shape[1] if new else len(self._kept[keys[0]])
        vectors = np.empty((len(distinct), dim), np.float32)
        vectors[new] = fresh.reshape(len(new), dim)
        old = np.setdiff1d(np.arange(len(distinct)), new)
        for at in old:
            vectors[at] = self._kept[keys[at]]
        for at, vector in zip(new, fresh, strict=True):
            if self._bytes < _KEPT_BYTES:
                self._kept[keys[at]] = vector.copy()
                self._bytes += vector.nbytes
        return vectors, rows

    def _embed(self, texts: list[str]) -> np.ndarray:
        if self._store is None or not texts:
            return self._encoder.encode(texts, self._side)
        return self._store.vectors(self._encoder, texts, self._side).block(0, len(texts))


def _distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    place: dict[str, int] = {}
    rows = np.fromiter((place.setdefault(text, len(place)) for text in texts), np.int64, len(texts))
    return list(place), rows
