"""What a search over vectors gives."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from pairmine.backends.models import Advance

NOT_FOUND = -1
"""The place where no document was found; FAISS uses the same."""
Hits = tuple[np.ndarray, np.ndarray]
"""(n, k) int64 places and (n, k) float32 scores, best first."""


class Searcher(Protocol):
    """Finds the vectors of the highest inner product."""

    facts: dict[str, Any]
    """What a lineage records: the kind of index, its settings, the recall that was measured."""

    def search(self, queries: np.ndarray, k: int, advance: Advance = ...) -> Hits:
        """The `k` best places for each of `queries` (n, dim) float32, with their exact float32 products.

        Equal scores stand in the order of the places; where there are fewer than `k`, the place is -1
        and the score -inf. The same query always gets the same places and scores, whatever
        stands beside it and however many threads there are. `advance` is told how many documents were gone through.
        """
