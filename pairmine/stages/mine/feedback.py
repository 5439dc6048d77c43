"""Every row's `score_feedback`: nearer to the known positives of its query than to its candidates, or farther."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmine.backends.retrievers import DenseRetriever
from pairmine.identity import NO_TEXT
from pairmine.stages.feedback import Positives, Rows, feedback
from pairmine.stages.mine.masks import Masks
from pairmine.stages.mine.texts import Documents


@dataclass(frozen=True)
class Feedback:
    """The known positives of all queries by `dense`, which has taken the documents in by the time it is asked.

    Queries of one text share their positives, as they do for `Masks`; `group` is the number of each one's text. A
    positive counts once whatever its ids, and not at all where it has no text or no vector.
    """

    dense: DenseRetriever
    positives: Positives
    group: np.ndarray
    budget_bytes: int

    @classmethod
    def of(cls, dense: DenseRetriever, documents: Documents, masks: Masks, budget_bytes: int) -> Feedback:
        """The positives that `masks` know; vectors of about `budget_bytes` are held at once."""
        owners, places = masks.positives
        blank = documents.of_pair[(documents.pair_keys == NO_TEXT) & (documents.of_pair >= documents.searchable)]
        usable = ~np.isin(places, np.unique(blank))
        usable[usable] = ~dense.lacks(places[usable])
        count = 1 + int(masks.group.max(initial=-1))
        return cls(dense, Positives.of(owners[usable], places[usable], count), masks.group, budget_bytes)

    def scores(self, rows: Rows) -> pa.Array:
        """`score_feedback` of all rows of some queries, null where a document has no vector."""
        lacking = self.dense.lacks(rows.places)
        rows = Rows(rows.queries, rows.places, rows.is_positive, rows.is_candidate & ~lacking)
        found = feedback(self.dense.document_vectors, rows, self.positives, self.group, budget_bytes=self.budget_bytes)
        return pa.array(found, mask=lacking | np.isnan(found))
