"""Rows that can be no negative whatever they score: what a query has already, and queries without a positive."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.filter.rows import NO_CODE, Rows, read_labels, read_queries, repeats, within
from pairmine.stages.filter.verdicts import Verdicts

NO_POSITIVE = "query has no positive"


def reject_known(rows: Rows, verdicts: Verdicts) -> None:
    """Reject whole queries without a positive, and every row that repeats what its query already has.

    Of repeated documents the first stays, a decided negative before a candidate.
    """
    positive = np.flatnonzero(rows.label == POSITIVE)
    answered = rows.answered
    verdicts.reject(~answered[rows.query], NO_POSITIVE)
    other = np.flatnonzero((rows.label != POSITIVE) & answered[rows.query] & verdicts.alive)
    decided = rows.label[other] == NEGATIVE
    documents = rows.joined(rows.doc[other], other)
    verdicts.reject(other[within(documents, rows.joined(rows.doc[positive], positive))], "same document as a positive")
    verdicts.reject(other[within(documents, rows.joined(rows.source, rows.source_rows))], "source of a positive")
    written = rows.text[other] != NO_CODE
    texts = rows.joined(rows.text[other], other)
    copies = within(texts, rows.joined(rows.text[positive], positive))
    verdicts.reject(other[written & copies], "copy of a positive")
    verdicts.reject(other[written & (rows.text[other] == rows.query_text[other])], "copy of the query")
    verdicts.reject(other[repeats(documents, decided)], "same document twice")
    left = written & verdicts.alive[other]
    verdicts.reject(other[left][repeats(texts[left], decided[left])], "same text twice")


def reject_copies(rows: Rows, of: np.ndarray, verdicts: Verdicts) -> None:
    """Reject the rows, positives apart, that repeat by id or text one of the rows `of` (a mask) of their query."""
    others, of = np.flatnonzero(rows.label != POSITIVE), np.flatnonzero(of)
    again = within(rows.joined(rows.doc[others], others), rows.joined(rows.doc[of], of))
    written = rows.text[others] != NO_CODE
    again |= written & within(rows.joined(rows.text[others], others), rows.joined(rows.text[of], of))
    verdicts.reject(others[again], "copy of a candidate that became a positive")


def reject_bereft(came: pa.Table, gated: pa.Table, verdicts: Verdicts, *, all_queries: bool) -> None:
    """Reject what is left of queries that had a positive in `came` and have none among the rows left of `gated`.

    Both hold the same rows, `gated` with the labels that gates gave. Graded and unlabelled queries had none to
    lose, and stay unless `all_queries` are meant.
    """
    query, query_ids = read_queries(came)
    had, has = (
        np.bincount(query[rows], minlength=len(query_ids)) > 0
        for rows in (read_labels(came) == POSITIVE, (read_labels(gated) == POSITIVE) & verdicts.alive)
    )
    verdicts.reject(((had | all_queries) & ~has)[query], NO_POSITIVE)
