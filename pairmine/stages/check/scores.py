"""Tests of numbers: score columns, grades, weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pairmine import schema
from pairmine.stages.check.catalog import OUTLIER_Z, REVERSED_SHARE
from pairmine.stages.check.chunk import Chunk
from pairmine.stages.check.facts import Facts
from pairmine.stages.check.tallies import Tallies

_RANGES = {
    "cosine": (-1.0, 1.0),
    "probability": (0.0, 1.0),
    "similarity": (0.0, 1.0),
    "bm25": (0.0, np.inf),
    "logprob": (-np.inf, 0.0),
    "rrf": (0.0, np.inf),
    "difference": (-2.0, 2.0),
}
_SLACK = 1e-3
"""How far a cosine made of float16 vectors may lie beyond 1."""
_JUDGES = ("score_ce", "score_llm")
_JUDGING = ("probability", "similarity")
_UNBOUNDED = (None, "logit", "logprob")
"""Not BM25 sums, whose size goes with the length of the query."""
_FEW = 20
"""With fewer values nothing is called constant, an outlier or reversed."""


@dataclass
class _Column:
    """A score column: what its field declares, and its values, NaN where there is none or no finite one."""

    scale: str | None
    is_judge: bool
    values: list[np.ndarray] = field(default_factory=list)


class Scores:
    """Gathers the score columns, 4 bytes a value, and tests them at the end."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}
        self._rows = 0

    def add(self, chunk: Chunk, found: Tallies) -> None:
        """Take in a chunk; what a row shows by itself is told at once."""
        _bounded(chunk, "grade", "bad-grades", 0.0, 1.0, found)
        _bounded(chunk, "weight", "bad-weights", 0.0, np.inf, found)
        bad = np.zeros(len(chunk), bool)
        names = [""] * len(chunk)
        scores = schema.score_names(chunk.pairs.schema)
        for name in scores:
            values = chunk.numbers(name)
            if values is None:
                continue
            column = self._columns.setdefault(name, _column(name, chunk.pairs.schema.field(name)))
            wrong = _out_of(values, chunk.there(name), *_RANGES.get(column.scale or "", (-np.inf, np.inf)))
            for row in np.flatnonzero(wrong & ~bad).tolist():
                names[row] = f"{name} is {values[row]:g}" + (f", a {column.scale}" if column.scale else "")
            bad |= wrong
            finite = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
            self._extend(column, [finite])
        self._rows += len(chunk)
        if scores:
            rows = np.flatnonzero(bad)
            found.looked("bad-scores", len(chunk))
            found.found("bad-scores", chunk.rows(rows), lambda at: names[rows[at]])

    def merge(self, later: Scores) -> None:
        """Take in the columns of the rows that follow."""
        for name, column in later._columns.items():
            self._extend(self._columns.setdefault(name, _Column(column.scale, column.is_judge)), column.values)
        self._rows += later._rows

    def _extend(self, column: _Column, values: list[np.ndarray]) -> None:
        missing = self._rows - sum(map(len, column.values))
        column.values += [np.full(missing, np.nan, np.float32), *values]

    def finish(self, facts: Facts, found: Tallies) -> None:
        """The tests that look at whole columns."""
        for name in list(self._columns):
            column = self._columns.pop(name)
            values = np.concatenate(column.values)
            values = np.append(values, np.full(self._rows - len(values), np.nan, np.float32))
            _constant(name, values, found)
            if column.scale in _UNBOUNDED:
                _outliers(name, values, facts, found)
            if name != schema.FEEDBACK:
                _below_negatives(name, values, facts, found)
            if column.is_judge:
                _suspected(name, values, facts, found)


def _column(name: str, declared: pa.Field) -> _Column:
    scale = schema.scale_of(declared)
    return _Column(scale, name.startswith(_JUDGES) or scale in _JUDGING)


def _bounded(chunk: Chunk, name: str, test: str, low: float, high: float, found: Tallies) -> None:
    values, there = chunk.numbers(name), chunk.there(name)
    if values is None or there is None:
        return
    rows = np.flatnonzero(_out_of(values, there, low, high))
    found.looked(test, int(there.sum()))
    found.found(test, chunk.rows(rows), lambda at: f"{name} is {values[rows[at]]:g}")


def _out_of(values: np.ndarray, there: np.ndarray | None, low: float, high: float) -> np.ndarray:
    """Values that are there and not finite, or beyond the bounds, (n,) bool."""
    slack = _SLACK if np.isfinite(high) and np.isfinite(low) else 0.0
    inside = np.isfinite(values) & (values >= low - slack) & (values <= high + slack)
    wrong: np.ndarray = ~inside if there is None else there & ~inside
    return wrong


def _constant(name: str, values: np.ndarray, found: Tallies) -> None:
    rows = np.flatnonzero(~np.isnan(values))
    if len(rows) < _FEW:
        return
    found.looked("constant-scores", len(rows))
    if values[rows].min() == values[rows].max():
        found.found("constant-scores", rows, f"{name} is {values[rows[0]]:g} in every row")


def _outliers(name: str, values: np.ndarray, facts: Facts, found: Tallies) -> None:
    """Values whose robust z-score, by the median and the median deviation of their label, is high."""
    for label in (1, 0, -1):
        rows = np.flatnonzero((facts.label == label) & ~np.isnan(values))
        if len(rows) < _FEW:
            continue
        found.looked("score-outliers", len(rows))
        some = values[rows].astype(np.float64)
        away = np.abs(some - np.median(some))
        scale = 1.4826 * np.median(away)
        if scale:
            far = np.flatnonzero(away > OUTLIER_Z * scale)
            _found_far(name, rows[far], some[far], away[far] / scale, found)


def _found_far(name: str, rows: np.ndarray, values: np.ndarray, z: np.ndarray, found: Tallies) -> None:
    found.found("score-outliers", rows, lambda at: f"{name} is {values[at]:g}, {z[at]:.0f} deviations from the median")


def _below_negatives(name: str, values: np.ndarray, facts: Facts, found: Tallies) -> None:
    """Queries whose highest positive scores below their highest negative, where most do."""
    positive, negative = (_highest(values, chosen, facts.query) for chosen in (facts.positive, facts.negative))
    size = min(len(positive), len(negative))
    positive, negative = positive[:size], negative[:size]
    compared = np.isfinite(positive) & np.isfinite(negative)
    if compared.sum() < _FEW:
        return
    below = np.flatnonzero(compared & (positive < negative))
    found.looked("positives-below-negatives", int(compared.sum()))
    if len(below) <= REVERSED_SHARE * compared.sum():
        return
    rows = np.flatnonzero(facts.positive)
    first = np.full(size, -1)
    rows = rows[facts.query[rows] < size][::-1]
    first[facts.query[rows]] = rows
    found.found(
        "positives-below-negatives",
        first[below],
        lambda at: f"{name}: {positive[below[at]]:g} at best, a negative {negative[below[at]]:g}",
    )


def _suspected(name: str, values: np.ndarray, facts: Facts, found: Tallies) -> None:
    """Negatives that a judge puts level with the lowest positive of their query, or above."""
    lowest = -_highest(-values, facts.positive, facts.query)
    negative = np.flatnonzero(facts.negative & ~np.isnan(values))
    negative = negative[facts.query[negative] < len(lowest)]
    bound = lowest[facts.query[negative]]
    negative, bound = negative[np.isfinite(bound)], bound[np.isfinite(bound)]
    found.looked("suspected-false-negatives", len(negative))
    high = np.flatnonzero(values[negative] >= bound)
    rows, bound = negative[high], bound[high]
    found.found(
        "suspected-false-negatives", rows, lambda at: f"{name} {values[rows[at]]:g}, its positive {bound[at]:g}"
    )


def _highest(values: np.ndarray, chosen: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The highest value among the chosen rows of each query, -inf for none, (queries,) float32."""
    rows = np.flatnonzero(chosen & ~np.isnan(values))
    highest = np.full(int(query.max(initial=-1)) + 1, -np.inf, np.float32)
    np.maximum.at(highest, query[rows], values[rows])
    return highest
