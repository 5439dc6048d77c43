"""Which rows can be no negative: the rules that look at one row and its query's positives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.schema import NEGATIVE, POSITIVE, scale_of, score_names
from pairmine.stages.filter.rows import NO_CODE, UNDECIDED, Rows, extreme, read_labels, read_queries, repeats, within

NO_CLUSTER = -1
NO_POSITIVE = "query has no positive"


class Verdicts:
    """The reason of each rejected row: that of the first rule which fired."""

    def __init__(self, rows: int) -> None:
        self._reasons: dict[str, int] = {}
        self._code = np.zeros(rows, np.int32)

    @property
    def alive(self) -> np.ndarray:
        return self._code == 0

    def reject(self, rows: np.ndarray, reason: str) -> None:
        """Reject `rows`, given by number or as a mask, unless an earlier rule did."""
        at = np.flatnonzero(rows) if rows.dtype == bool else rows
        at = at[self._code[at] == 0]
        if len(at):
            self._code[at] = self._reasons.setdefault(reason, len(self._reasons) + 1)

    def reasons(self) -> pa.Array:
        """The reasons of the rejected rows, in row order."""
        codes = self._code[self._code > 0] - 1
        return pa.array(list(self._reasons), pa.string()).take(pa.array(codes))


@dataclass(frozen=True)
class Limits:
    """The score rules; None switches one off. `ranks` is inclusive at both ends, None is open."""

    by: str | None
    relative_margin: float | None
    absolute_margin: float | None
    max_score: float | None
    min_score: float | None
    ranks: tuple[int | None, int | None] | None

    @property
    def needs_scores(self) -> bool:
        return self.needs_positives or self.max_score is not None or self.min_score is not None

    @property
    def needs_positives(self) -> bool:
        return self.relative_margin is not None or self.absolute_margin is not None

    def check(self, schema: pa.Schema) -> None:
        """Raise a PairmineError for values out of range and for a score column that cannot serve."""
        _check_range("relative margin", self.relative_margin, 0, 1)
        _check_range("absolute margin", self.absolute_margin, 0, math.inf)
        _check_range("max score", self.max_score, -math.inf, math.inf)
        _check_range("min score", self.min_score, -math.inf, math.inf)
        if self.max_score is not None and self.min_score is not None and self.min_score > self.max_score:
            raise PairmineError(f"min score {self.min_score:g} is above max score {self.max_score:g}: nothing is left")
        self._check_ranks(schema)
        self._check_column(schema)

    def _check_ranks(self, schema: pa.Schema) -> None:
        low, high = self.ranks or (None, None)
        if any(end is not None and end < 1 for end in (low, high)) or (low and high and low > high):
            raise PairmineError(f"ranks {span(low, high)} hold no rank; ranks count from 1, as in 10:100")
        if (low or high) and "rank" not in schema.names:
            raise PairmineError("no rank column, so no ranks to choose from; run 'pairmine mine' first")

    def _check_column(self, schema: pa.Schema) -> None:
        if self.by is None:
            if self.needs_scores:
                raise PairmineError(f"margins and score limits need a score column; name one of: {_scores(schema)}")
            return
        if self.by not in schema.names:
            raise PairmineError(f"no column {self.by} (found: {_scores(schema)}); run 'pairmine score' first")
        field = schema.field(self.by)
        if not (pa.types.is_floating(field.type) or pa.types.is_integer(field.type) or pa.types.is_null(field.type)):
            raise PairmineError(f"column {self.by} holds {field.type}, no numbers; use one of: {_scores(schema)}")
        if self.relative_margin is not None and scale_of(field) == "logit":
            raise PairmineError(
                f"{self.by} holds logits, which cross zero, so that a relative margin means nothing on them; "
                "score as probabilities, or use an absolute margin"
            )


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and (not math.isfinite(value) or not low <= value <= high):
        bounds = "a number" if low == -math.inf else f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
        raise PairmineError(f"{name} {value:g} is out of range; it is {bounds}")


def span(low: int | None, high: int | None) -> str:
    """Ranks as they are written on the command line: 10:100, 10: or :100."""
    return f"{'' if low is None else low}:{'' if high is None else high}"


def _scores(schema: pa.Schema) -> str:
    return ", ".join(score_names(schema)) or "no score column"


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


def reject_ranks(pairs: pa.Table, rows: Rows, limits: Limits, verdicts: Verdicts) -> None:
    """Reject candidates whose rank lies outside `limits.ranks`."""
    low, high = limits.ranks or (None, None)
    if low is None and high is None:
        return
    at = np.flatnonzero(verdicts.alive & (rows.label == UNDECIDED))
    rank = pc.cast(pairs["rank"], pa.float64()).to_numpy()[at]
    if nulls := int(np.isnan(rank).sum()):
        raise PairmineError(f"{nulls} of {len(at)} candidates have no rank; run 'pairmine mine' first, or drop --ranks")
    outside = np.zeros(len(at), bool)
    if low is not None:
        outside |= rank < low
    if high is not None:
        outside |= rank > high
    verdicts.reject(at[outside], f"rank outside {span(low, high)}")


def reject_clusters(pairs: pa.Table, rows: Rows, verdicts: Verdicts) -> dict[str, int]:
    """Reject candidates of the `cluster` that a positive of their query lies in: they may well answer it.

    Counts the candidates without a cluster, which stay, and the decided negatives that would have gone.
    """
    if "cluster" not in pairs.column_names:
        raise PairmineError(
            "no cluster column, so no clusters to compare; run 'pairmine mine --clusters' first, "
            "or join one on doc_id that says which cluster each document is in"
        )
    kind = pairs.schema.field("cluster").type
    if pa.types.is_nested(kind):
        raise PairmineError(
            f'column "cluster" holds {kind}, and a document is in one cluster; fill it with a number each'
        )
    cluster = pc.fill_null(pairs["cluster"].dictionary_encode().combine_chunks().indices, NO_CLUSTER)
    cluster = cluster.to_numpy(zero_copy_only=False).astype(np.int64)
    at = np.flatnonzero(verdicts.alive & (rows.label != POSITIVE))
    asked = np.bincount(rows.query[at], minlength=len(rows.query_ids)) > 0
    positives = np.flatnonzero((rows.label == POSITIVE) & asked[rows.query])
    if missing := int((cluster[positives] == NO_CLUSTER).sum()):
        raise PairmineError(
            f"{missing} of {len(positives)} positives have no cluster to hold candidates against; "
            "run 'pairmine mine --clusters' first"
        )
    known = cluster[at] != NO_CLUSTER
    own = known & within(rows.joined(cluster[at] + 1, at), rows.joined(cluster[positives] + 1, positives))
    decided = rows.label[at] == NEGATIVE
    verdicts.reject(at[own & ~decided], "in the cluster of a positive")
    return {
        "candidates without a cluster": int((~known & ~decided).sum()),
        "exempt, but in the cluster of a positive": int((own & decided).sum()),
    }


def read_scores(pairs: pa.Table, rows: Rows, limits: Limits, verdicts: Verdicts, *, picks: bool = True) -> np.ndarray:
    """The `limits.by` of each row, (n,) float32, NaN where a row has none.

    Raises a PairmineError when a candidate that is still in has none, or, with a margin, a positive
    of such a candidate's query. Where nothing is picked and no score rule is given, none is needed.
    """
    scores: np.ndarray = pc.cast(pairs[limits.by], pa.float32(), safe=False).to_numpy()
    if not (picks or limits.needs_scores):
        return scores
    matters = verdicts.alive & (rows.label == UNDECIDED)
    if limits.needs_positives:
        asked = np.bincount(rows.query[matters], minlength=len(rows.query_ids)) > 0
        matters |= (rows.label == POSITIVE) & asked[rows.query]
    missing = int((matters & ~np.isfinite(scores)).sum())
    if missing:
        of = int(matters.sum())
        raise PairmineError(f"{missing} of {of} rows have no {limits.by}; run 'pairmine score' first")
    return scores


def reject_scores(rows: Rows, scores: np.ndarray, limits: Limits, verdicts: Verdicts) -> dict[str, int]:
    """Reject candidates by score; counts, per rule, the decided negatives that it would have rejected."""
    at = np.flatnonzero(verdicts.alive & (rows.label != POSITIVE))
    decided = rows.label[at] == NEGATIVE
    exempt = {}
    for reason, fires in _score_rules(rows, at, scores, limits):
        verdicts.reject(at[fires & ~decided], reason)
        exempt[f"exempt, but {reason}"] = int((fires & decided).sum())
    return exempt


def _score_rules(rows: Rows, at: np.ndarray, scores: np.ndarray, limits: Limits) -> Iterator[tuple[str, np.ndarray]]:
    """Each rule's reason and the rows among `at` on which it fires, in order.

    Thresholds are rounded to float32 as the scores are, so that a score of 0.7 is not above 0.7.
    """
    mine = scores[at]
    if limits.max_score is not None:
        yield f"score above {limits.max_score:g}", mine > np.float32(limits.max_score)
    if limits.min_score is not None:
        yield f"score below {limits.min_score:g}", mine < np.float32(limits.min_score)
    if not limits.needs_positives:
        return
    lowest = extreme(np.minimum, rows.query, scores, rows.label == POSITIVE, len(rows.query_ids))
    if limits.absolute_margin is not None:
        threshold = (lowest - limits.absolute_margin).astype(np.float32)
        yield f"within {limits.absolute_margin:g} of the lowest positive", mine > threshold[rows.query[at]]
    if limits.relative_margin is not None:
        threshold = (lowest - np.abs(lowest) * limits.relative_margin).astype(np.float32)
        share = f"{limits.relative_margin * 100:g}%"
        yield f"within {share} of the lowest positive", mine > threshold[rows.query[at]]
