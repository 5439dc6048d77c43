"""What a retriever is: the best documents for each query, and the score of any pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from pairmine.backends.models import Advance
from pairmine.backends.vectors.exact import best
from pairmine.backends.vectors.search import NOT_FOUND, Hits

__all__ = ["NOT_FOUND", "Hits", "Listed", "Retriever", "best"]


class Listed(Protocol):
    """What was searched before, or elsewhere; `is_asked` says whether anything was, and `facts` how."""

    is_asked: bool
    facts: dict[str, Any]

    def search(self, queries: np.ndarray, k: int) -> Hits:
        """As that of `Retriever`."""


class Retriever(Protocol):
    """Searches documents that it was given once; queries and documents are named by their place."""

    name: str
    score: str
    scale: str

    @property
    def facts(self) -> dict[str, Any]:
        """What a lineage records of it."""

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
