"""Which documents may not be candidates of which query, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.retrievers import NOT_FOUND
from pairmine.stages.mine.texts import Documents, Queries

REASONS = ("a known positive, its source or a copy", "the query's own text", "in the pair set already")
_POSITIVE, _OWN_TEXT, _PRESENT = range(3)


@dataclass(frozen=True)
class Masks:
    """Sorted (query, place) keys with the reason of each, their number per query, and which pair rows are positive.

    A key is ``query * width + place``. Where several reasons hold, the first of `REASONS` counts.
    """

    keys: np.ndarray
    reasons: np.ndarray
    per_query: np.ndarray
    positive: np.ndarray
    width: int

    @classmethod
    def of(cls, pairs: pa.Table, queries: Queries, documents: Documents) -> Masks:
        """Everything that the pair set knows about its queries."""
        width = max(len(documents.texts), 1)
        rows = queries.of_rows(0, len(queries))
        positive = _positive(pairs)
        reason = np.where(positive, _POSITIVE, _PRESENT)
        searched = np.where(documents.of_pair < documents.searchable, documents.of_pair, NOT_FOUND)
        query = np.concatenate([rows, rows, rows, np.arange(len(queries))])
        place = np.concatenate([searched, documents.of_id, documents.of_source, documents.places_of(queries.keys)])
        why = np.concatenate([reason, reason, reason, np.full(len(queries), _OWN_TEXT)])
        found = place >= 0
        keys = query[found] * width + place[found]
        order = np.lexsort((why[found], keys))
        unique, first = np.unique(keys[order], return_index=True)
        per_query = np.bincount(unique // width, minlength=len(queries))
        return cls(unique, why[found][order][first], per_query, positive, width)

    def find(self, queries: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The reason why each place (n, k) is masked for its query (n,), -1 where it is not or there is none."""
        reasons = np.full(places.shape, NOT_FOUND, np.int8)
        low, high = (np.searchsorted(self.keys, (queries + end) * self.width) for end in (0, 1))
        for step in range(int((high - low).max(initial=0))):
            rows = np.flatnonzero(low + step < high)
            at = low[rows] + step
            hit, column = np.nonzero(places[rows] == (self.keys[at] % self.width)[:, None])
            reasons[rows[hit], column] = self.reasons[at[hit]]
        return reasons


def _positive(pairs: pa.Table) -> np.ndarray:
    if "label" not in pairs.column_names or not pairs.num_rows:
        return np.zeros(pairs.num_rows, bool)
    return pc.fill_null(pairs["label"], schema.NEGATIVE).to_numpy() == schema.POSITIVE
