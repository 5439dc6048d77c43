"""The score that a query's candidates are held to: one number out of those of its positives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pairmine.errors import PairmineError
from pairmine.stages.filter.rows import extreme, places

ANCHORS = ("min", "median", "mean", "max")
_NAMES = {"min": "lowest", "max": "highest"}


@dataclass(frozen=True)
class Anchor:
    """Which score stands for the positives of a query: `name` is one of `ANCHORS`, or `share` their quantile."""

    name: str = "min"
    share: float | None = None

    @property
    def words(self) -> str:
        """How a reason names it."""
        if self.share is not None:
            return f"the {self.share:g} quantile of the positives"
        return f"the {_NAMES.get(self.name, self.name)} positive"

    def of_queries(self, query: np.ndarray, scores: np.ndarray, rows: np.ndarray, queries: int) -> np.ndarray:
        """The anchor of each query among its `rows` (a mask).

        (queries,) float64, NaN for a query without such a row or with a NaN among them.
        """
        if self.share is None and self.name in _NAMES:
            reduce = np.minimum if self.name == "min" else np.maximum
            return extreme(reduce, query, scores, rows, queries)
        at = np.flatnonzero(rows)
        own, values = query[at], scores[at].astype(np.float64)
        many = np.bincount(own, minlength=queries)
        if self.name == "mean" and self.share is None:
            with np.errstate(invalid="ignore"):
                mean: np.ndarray = np.bincount(own, values, minlength=queries) / many
            return mean
        return _quantiles(own, values, many, 0.5 if self.share is None else self.share)


def _quantiles(own: np.ndarray, values: np.ndarray, many: np.ndarray, share: float) -> np.ndarray:
    """The quantile `share` of each query's values, between two of them in proportion."""
    found = np.full(len(many), np.nan)
    if not len(own):
        return found
    values = values[np.lexsort((values, own))]
    held = np.flatnonzero(many)
    first = np.flatnonzero(places(own) == 0)
    place = (many[held] - 1) * share
    low = np.floor(place).astype(np.int64)
    below, above = values[first + low], values[first + np.minimum(low + 1, many[held] - 1)]
    found[held] = below + (above - below) * (place - low)
    found[own[np.isnan(values)]] = np.nan
    return found


LOWEST = Anchor()


def parse_anchor(text: str | float) -> Anchor:
    """One of `ANCHORS`, or a quantile from 0 to 1, as 0.25."""
    if isinstance(text, str) and text in ANCHORS:
        return Anchor(text)
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise PairmineError(f"anchor {text}: choose {', '.join(ANCHORS)}, or a quantile from 0 to 1, as 0.25")
    return Anchor("quantile", share)
