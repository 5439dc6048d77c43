"""How hard the negatives are: their scores, and how far they lie below the lowest positive of their query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pairmine.stages.stats.labels import share
from pairmine.stages.stats.numbers import ExactSum, NumberTally
from pairmine.stages.stats.scores import Ordered
from pairmine.stages.stats.tally import merge_named, rows_of

RATIO_SCALES = ("cosine", "probability", "similarity", "bm25")
"""Scales on which a part of the positive's score says something; logits and log-probabilities cross or end at zero."""


class Hardness:
    """The negatives of one score column, all together and by who put them there."""

    def __init__(self, scale: str | None) -> None:
        self._has_ratio = scale in RATIO_SCALES
        self._queries = NumberTally()
        self._margin = NumberTally()
        self._relative = NumberTally()
        self._origins: dict[str, _OfOrigin] = {}

    def add(self, rows: Ordered, origins: Sequence[str]) -> None:
        """Count a chunk's rows; `origins` are the names behind `rows.origin`."""
        negative = ~rows.positive
        scores, query, origin = rows.scores[negative], rows.query[negative], rows.origin[negative]
        if not len(scores):
            return
        self._add_means(scores, query)
        lowest = rows.lowest[query]
        compared = np.isfinite(lowest)
        margins = np.where(compared, lowest, 0).astype(np.float64) - scores
        self._margin.add(_rounded(margins[compared]))
        if self._has_ratio:
            some = compared & (lowest != 0)
            self._relative.add(_rounded(margins[some] / np.abs(lowest[some].astype(np.float64))))
        for code, own in rows_of(origin):
            self._origins.setdefault(origins[code], _OfOrigin()).add(scores[own], margins[own][compared[own]])

    def merge(self, other: Hardness) -> None:
        """Count the rows of `other` too."""
        self._queries.merge(other._queries)
        self._margin.merge(other._margin)
        self._relative.merge(other._relative)
        merge_named(self._origins, other._origins)

    def _add_means(self, scores: np.ndarray, query: np.ndarray) -> None:
        starts = np.flatnonzero(np.append(True, query[1:] != query[:-1]))
        # Within a query the scores rise, so that their sum does not depend on the order of the rows.
        sums = np.add.reduceat(scores.astype(np.float64), starts)
        self._queries.add(_rounded(sums / np.diff(np.append(starts, len(scores)))))

    def to_dict(self) -> dict[str, Any]:
        """The numbers; margins and means of a query are rounded to float32 before they are counted."""
        return {
            "queries": self._queries.summary(),
            "margin": {**self._margin.summary(), "histogram": self._margin.histogram()},
            "relative_margin": {**self._relative.summary(), "histogram": self._relative.histogram()},
            "origins": {name: self._origins[name].to_dict() for name in sorted(self._origins)},
        }

    def __bool__(self) -> bool:
        """Whether there is a scored negative."""
        return self._queries.total() > 0


class _OfOrigin:
    """The negatives of one origin."""

    def __init__(self) -> None:
        self._scores = ExactSum()
        self._margins = ExactSum()
        self._above = 0

    def add(self, scores: np.ndarray, margins: np.ndarray) -> None:
        self._scores.add(scores)
        self._margins.add(_rounded(margins))
        self._above += int((margins < 0).sum())

    def merge(self, other: _OfOrigin) -> None:
        self._scores.merge(other._scores)
        self._margins.merge(other._margins)
        self._above += other._above

    def to_dict(self) -> dict[str, Any]:
        compared = self._margins.count
        return {
            "negatives": self._scores.count,
            "mean": self._scores.mean(),
            "compared": compared,
            "margin": self._margins.mean(),
            "above": share(self._above, compared),
        }


def _rounded(values: np.ndarray) -> np.ndarray:
    """Float32 of what a float32 can hold; others, of scores near its limits, become the largest."""
    limit = np.finfo(np.float32).max
    found: np.ndarray = np.clip(values, -limit, limit).astype(np.float32)
    return found
