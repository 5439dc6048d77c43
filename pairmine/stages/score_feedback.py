"""The column `score_feedback` for pair sets that no dense search mined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pairmine import schema
from pairmine.backends.encoders import Encoder, nothing
from pairmine.backends.models import Advance
from pairmine.backends.scorers import TextVectors
from pairmine.backends.vectors import InMemory
from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.identity import NO_TEXT, text_keys
from pairmine.outcome import Outcome, no_rejects
from pairmine.stages.export.rows import Texts, labels, query_runs
from pairmine.stages.feedback import FEEDBACK, Positives, Rows, feedback, is_candidate
from pairmine.stages.score import check_texts

if TYPE_CHECKING:
    from pairmine.backends.vectors.store import VectorStore


class FeedbackAdder:
    """Adds `score_feedback` to pair sets, as `mine` does with a dense retriever.

    It is the mean cosine of a document to those with label 1 in other rows of its query, less that to the query's
    candidates: undecided rows, and mined ones that became negatives. Copies of a text are one positive, and a row's own
    text is none of those that it is held against where the row is a positive itself. Null where no positive is left or
    there is no candidate; documents of such queries are not embedded. A text is embedded once over all calls while
    there is room to keep its vector, and a `store` keeps them for later runs.
    """

    def __init__(self, encoder: Encoder, store: VectorStore | None = None) -> None:
        self._vectors = TextVectors(encoder, "document", store)
        self.facts = encoder.facts

    def add(self, pairs: pa.Table, advance: Advance = nothing) -> Outcome:
        """`pairs`, whole queries, with the column in place of an earlier one.

        Raises PairmineError without a label, for a row without document text, and for rows of a query that are apart.
        """
        if "label" not in pairs.column_names:
            raise PairmineError(
                'the pair set has no "label", so no positives are known; '
                "run 'pairmine convert --label-column NAME' first"
            )
        check_texts(pairs, ("document",))
        scores = pa.array(self._scores(pairs), from_pandas=True)
        rest = pairs.drop_columns(schema.FEEDBACK) if schema.FEEDBACK in pairs.column_names else pairs
        kept = schema.as_pairs(rest.append_column(FEEDBACK, scores))
        advance(pairs.num_rows)
        query, is_positive = query_runs(pairs["query_id"]), labels(pairs) == schema.POSITIVE
        bare = len(distinct(query)) - len(distinct(query[is_positive]))
        notes = {"queries without a positive": bare} if bare else {}
        return Outcome(kept, no_rejects(kept), rows_in=pairs.num_rows, notes=notes)

    def _scores(self, pairs: pa.Table) -> np.ndarray:
        """The score of each row, (n,) float32, NaN for none."""
        query, is_positive, near = query_runs(pairs["query_id"]), labels(pairs) == schema.POSITIVE, is_candidate(pairs)
        found = np.full(pairs.num_rows, np.nan, np.float32)
        chosen = np.flatnonzero(np.isin(query, query[is_positive]) & np.isin(query, query[near]))
        if not len(chosen):
            return found
        texts = Texts.of(schema.cast_column(pairs["document"], schema.TEXT, "document"))
        used, text = np.unique(texts.codes[chosen], return_inverse=True)
        values = texts.values.take(pa.array(used))
        matrix, of_text = self._vectors.of(values.to_pylist())
        keys, place = text_keys(values)[text], of_text[text]
        query, is_positive, near = query[chosen], is_positive[chosen], near[chosen]
        place[is_positive] = _of_first(query[is_positive], keys[is_positive], place[is_positive])
        counts = is_positive & (keys != NO_TEXT)
        queries = int(query[-1]) + 1
        positives = Positives.of(query[counts], place[counts], queries)
        found[chosen] = feedback(InMemory(matrix), Rows(query, place, is_positive, near), positives, np.arange(queries))
        return found


def _of_first(query: np.ndarray, keys: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The place of the first row with the same query and text key, (n,)."""
    _, codes = np.unique(keys, return_inverse=True)
    _, first, at = np.unique(query * (len(keys) + 1) + codes, return_index=True, return_inverse=True)
    return place[first[at]]
