"""One score column: its values by label, and how they order the positives and negatives of a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.stats.labels import LABELS, UNDECIDED, share
from pairmine.stages.stats.numbers import NumberTally, edges_over
from pairmine.stages.stats.tally import merge_named


@dataclass(frozen=True)
class Ordered:
    """The n scored and decided rows of a chunk, by query and within it by rising score.

    `scores` (n,) is float32, `query`, `origin` (n,) int64 and `positive` (n,) bool; `lowest` (queries,) float32 is
    the score of each query's lowest positive, infinite where it has none.
    """

    scores: np.ndarray
    query: np.ndarray
    positive: np.ndarray
    origin: np.ndarray
    lowest: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, query: np.ndarray, label: np.ndarray, origin: np.ndarray) -> Ordered:
        """The rows among all of a chunk; `scores` (rows,) float32 are NaN where there is none."""
        decided = np.isfinite(scores) & (label != UNDECIDED)
        order = np.lexsort((scores[decided], query[decided]))
        scores, query, positive, origin = (x[decided][order] for x in (scores, query, label == POSITIVE, origin))
        lowest = np.full(int(query[-1]) + 1 if len(query) else 0, np.inf, np.float32)
        found, first = np.unique(query[positive], return_index=True)
        lowest[found] = scores[positive][first]
        return cls(scores, query, positive, origin, lowest)


class Scores:
    """The numbers of one score column."""

    def __init__(self, scale: str | None) -> None:
        self._scale = scale
        self._values = {label: NumberTally() for label in LABELS}
        self._half_wins = 0
        self._compared_pairs = 0
        self._above = 0
        self._compared_negatives = 0

    def add(self, scores: np.ndarray, label: np.ndarray, rows: Ordered) -> None:
        """Count a chunk: `scores` (n,) float32 with NaN for null, `label` (n,), and the same ones in order."""
        finite = np.isfinite(scores)
        for value in LABELS:
            self._values[value].add(scores[finite & (label == value)])
        if len(rows.scores):
            self._compare(rows)

    def merge(self, other: Scores) -> None:
        """Count the rows of `other` too."""
        merge_named(self._values, other._values)
        self._half_wins += other._half_wins
        self._compared_pairs += other._compared_pairs
        self._above += other._above
        self._compared_negatives += other._compared_negatives

    def _compare(self, rows: Ordered) -> None:
        scores, query, positive = rows.scores, rows.query, rows.positive
        positives, negatives = (np.bincount(query[chosen], minlength=query[-1] + 1) for chosen in (positive, ~positive))
        tied = np.flatnonzero(np.append(True, (query[1:] != query[:-1]) | (scores[1:] != scores[:-1])))
        tied_negatives = np.add.reduceat(~positive, tied, dtype=np.int64)
        tied_positives = np.add.reduceat(positive, tied, dtype=np.int64)
        of_earlier_queries = (np.cumsum(negatives) - negatives)[query[tied]]
        lower_negatives = np.cumsum(tied_negatives) - tied_negatives - of_earlier_queries
        self._half_wins += int(np.dot(tied_positives, 2 * lower_negatives + tied_negatives))
        self._compared_pairs += int(np.dot(positives, negatives))
        self._above += int((scores > rows.lowest[query])[~positive].sum())
        self._compared_negatives += int(negatives[positives > 0].sum())

    def to_dict(self, rows: dict[int, int]) -> dict[str, Any]:
        """The column's numbers; `rows` counts the rows of each label, scored or not."""
        by_label = {}
        for label, values in self._values.items():
            summary = values.summary()
            by_label[LABELS[label]] = {"count": summary.pop("count"), "nulls": rows[label] - values.total(), **summary}
        histogram = self._histogram()
        return {
            "scale": self._scale,
            **by_label,
            "auc": share(self._half_wins, 2 * self._compared_pairs),
            "compared_pairs": self._compared_pairs,
            "negatives_above_lowest_positive": share(self._above, self._compared_negatives),
            "compared_negatives": self._compared_negatives,
            "overlap": overlap(histogram[LABELS[POSITIVE]], histogram[LABELS[NEGATIVE]]),
            "histogram": histogram,
        }

    def _histogram(self) -> dict[str, list[Any]]:
        filled = [values for values in self._values.values() if values.total()]
        if not filled:
            return {"edges": [], **{name: [] for name in LABELS.values()}}
        edges = edges_over(min(each.min for each in filled), max(each.max for each in filled))
        return {"edges": edges, **{LABELS[label]: each.counts_between(edges) for label, each in self._values.items()}}


def overlap(one: list[int], other: list[int]) -> float | None:
    """The overlapping coefficient of two histograms with the same bins (Weitzman 1970): the sum over the bins of the
    smaller share, from 0 (nothing in common) to 1 (the same); None where one of them is empty.

    >>> overlap([2, 2, 0], [0, 1, 3])
    0.25
    """
    ones, others = sum(one), sum(other)
    if not ones or not others:
        return None
    return sum(min(a * others, b * ones) for a, b in zip(one, other, strict=True)) / (ones * others)
