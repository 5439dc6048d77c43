"""Exact search of a stretch of vectors, for many workers that search a stretch each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pairmine.backends.vectors.exact import ExactSearch
from pairmine.backends.vectors.matrix import Span, Vectors
from pairmine.backends.vectors.search import NOT_FOUND, Hits


@dataclass(frozen=True)
class VectorSpans:
    """Vectors of documents, of which a span is searched at a time, and those of the queries; plain data to send."""

    documents: Vectors
    queries: Vectors
    threads: int
    budget_bytes: int
    device: str | None

    def search(self, span: tuple[int, int], queries: np.ndarray, k: int) -> Hits:
        """See `engines.search.Searched`."""
        first, stop = span
        search = ExactSearch(
            Span(self.documents, first, stop),
            stop - first,
            threads=self.threads,
            budget_bytes=self.budget_bytes,
            device=self.device,
        )
        places, scores = search.search(self.queries.take(queries), k)
        return np.where(places == NOT_FOUND, NOT_FOUND, places + first), scores
