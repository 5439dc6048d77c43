"""Search by the cosines of unit vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pairmine.backends.encoders import Encoder, Side, nothing
from pairmine.backends.models import Advance
from pairmine.backends.retrievers.protocol import Hits, Listed
from pairmine.backends.specs import Spec
from pairmine.backends.vectors import InMemory, Joined, Searcher, Subset, Vectors, as_vectors
from pairmine.backends.vectors.exact import ExactSearch, pair_products

Embed = Callable[[Encoder, Sequence[str], Side, Advance], Vectors]
"""Texts to their vectors: embedded, or found where they were kept."""
MakeSearcher = Callable[[Vectors, int, Vectors], Searcher]
"""A search over vectors, of which the first so many are found; the queries are what it may be tuned on."""


def embed_in_memory(encoder: Encoder, texts: Sequence[str], side: Side, advance: Advance) -> Vectors:
    """Embed all of `texts`, and keep nothing for the next run."""
    return InMemory(encoder.encode(texts, side, advance))


class DenseRetriever:
    """Search over unit vectors, whose inner product is the cosine; exact unless `make_searcher` makes another one.

    `embed` says where the vectors come from. `threads` 0 are all. `searching` is told how many documents a search
    has gone through. With `lists`, which were found elsewhere, nothing is searched here.
    """

    scale = "cosine"

    def __init__(
        self,
        spec: Spec,
        encoder: Encoder,
        *,
        score: str = "dense",
        threads: int = 0,
        embed: Embed = embed_in_memory,
        make_searcher: MakeSearcher | None = None,
        budget_bytes: int = 1 << 30,
        device: str | None = None,
    ) -> None:
        self.name = spec.name
        self.score = score
        self.searching: Advance = nothing
        self.lists: Listed | None = None
        self._encoder = encoder
        self._threads = threads
        self._embed = embed
        self._make_searcher = make_searcher
        self._budget = budget_bytes
        self._device = device
        self._searchable = 0
        nowhere = InMemory(np.empty((0, 0), np.float32))
        self._documents: Vectors = nowhere
        self._queries: Vectors = nowhere
        self._tuned_on: Vectors = nowhere
        self._searcher: Searcher | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what makes vectors and searches them, which stay where they are."""
        left = {"_embed": embed_in_memory, "_make_searcher": None, "_searcher": None, "searching": nothing}
        return {**self.__dict__, **left}

    @property
    def facts(self) -> dict[str, Any]:
        """What a lineage records of the model and, once there is one, of the index."""
        if self.lists is not None:
            return {**self._encoder.facts, **(self.lists.facts if self.lists.is_asked else {})}
        return {**self._encoder.facts, **(self._searcher.facts if self._searcher is not None else {})}

    def index(self, documents: Sequence[str], searchable: int, advance: Advance = nothing) -> None:
        """Embed `documents`."""
        self.take_vectors(self._embed(self._encoder, documents, "document", advance), searchable)

    def take_vectors(self, documents: Vectors | np.ndarray, searchable: int) -> None:
        """Use ready-made unit vectors of the documents, (n, dim) float32."""
        self._documents = as_vectors(documents)
        self._searchable = searchable
        self._searcher = None

    def prepare(self, queries: Sequence[str], advance: Advance = nothing) -> None:
        """Embed `queries`."""
        self.take_query_vectors(self._embed(self._encoder, queries, "query", advance))

    def take_query_vectors(self, queries: Vectors | np.ndarray) -> None:
        """Use ready-made unit vectors of the queries, (n, dim) float32."""
        self._queries = self._tuned_on = as_vectors(queries)

    @property
    def encoder(self) -> Encoder:
        """What embeds texts."""
        return self._encoder

    @property
    def document_vectors(self) -> Vectors:
        """The vectors of all documents, unit length."""
        return self._documents

    def lacks(self, documents: np.ndarray) -> np.ndarray:
        """Which documents, by place, have no vector, (n,) bool."""
        return np.zeros(len(documents), bool)

    @property
    def query_vectors(self) -> Vectors:
        """The vectors of all queries, unit length."""
        return self._queries

    @property
    def tuned_on(self) -> Vectors:
        """What an index is tuned on: the vectors that are searched with."""
        return self._tuned_on

    def over(self, documents: Vectors) -> DenseRetriever:
        """Another one that searches all of these vectors, exactly, with the same encoder and threads."""
        other = DenseRetriever(
            Spec("st", self.name),
            self._encoder,
            score=self.score,
            threads=self._threads,
            budget_bytes=self._budget,
            device=self._device,
        )
        other.take_vectors(documents, len(documents))
        return other

    def near(self, places: np.ndarray, texts: Sequence[str]) -> None:
        """Search with the vectors of documents, as documents; what makes a searcher is tuned on those."""
        self._tuned_on = Subset(self._documents, places)
        self._queries = Joined(self._queries, self._tuned_on)

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """The `k` nearest documents by cosine; of the queries' vectors half the budget is held at once."""
        if self.lists is not None:
            return self.lists.search(queries, k)
        pieces = max(1, math.ceil(len(queries) * 8 * self._queries.dim / self._budget))
        found = [
            self.searcher.search(self._queries.take(some), k, self.searching)
            for some in np.array_split(queries, pieces)
        ]
        if len(found) == 1:
            return found[0]
        return np.concatenate([places for places, _ in found]), np.concatenate([scores for _, scores in found])

    @property
    def searcher(self) -> Searcher:
        """What searches the documents; an index is built when this is asked for first, after `prepare`."""
        if self._searcher is None:
            if self._make_searcher is not None:
                self._searcher = self._make_searcher(self._documents, self._searchable, self._tuned_on)
            else:
                self._searcher = ExactSearch(
                    self._documents,
                    self._searchable,
                    threads=self._threads,
                    budget_bytes=self._budget,
                    device=self._device,
                )
        return self._searcher

    def pair_scores(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Cosines of single pairs."""
        used, rows = np.unique(queries, return_inverse=True)
        return pair_products(self._queries.take(used), self._documents, rows, documents, threads=self._threads)

    def similarity(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Cosines of documents with documents, both by place, (n,) float32."""
        used, rows = np.unique(one, return_inverse=True)
        return pair_products(self._documents.take(used), self._documents, rows, other, threads=self._threads)
