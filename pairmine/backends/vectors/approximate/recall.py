"""How hard an index has to look: the least effort whose recall against exact search reaches a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pairmine.backends.vectors.search import Hits, Searcher

SAMPLE = 400
_STEPS = 4
"""Halvings of the distance between an effort that is too small and one that is enough."""


@dataclass
class Effort:
    """A setting of an index, and the recall that was measured with it on queries that it was not chosen by."""

    effort: int
    widening: float
    recall: float


class Recall:
    """Half of a sample of the queries settles the effort, the other half measures it."""

    def __init__(self, queries: np.ndarray, exact: Searcher, depth: int) -> None:
        self.sample = len(queries)
        self.depth = depth
        self._halves = (queries[::2], queries[1::2]) if len(queries) > 1 else (queries, queries)
        self._truth = tuple(exact.search(half, depth) for half in self._halves)

    def of(self, half: int, search: Callable[[np.ndarray, int], Hits]) -> float:
        """The share of the `depth` first of an exact search that `search` finds for one half of the sample.

        By scores: of documents with equal vectors any will do.
        """
        least = self._truth[half][1][:, -1:]
        return float((search(self._halves[half], self.depth)[1] >= least).mean())

    def choose(
        self,
        search: Callable[[np.ndarray, int, int, float], Hits],
        first: int,
        largest: int,
        widenings: tuple[float, ...],
        target: float,
        effort_for: Callable[[np.ndarray, np.ndarray, float], int] | None = None,
    ) -> Effort:
        """The least effort that reaches `target` on one half, raised until the other half does too.

        `effort_for(queries, places, share)` tells an effort by which an index looks at this share of places, where
        it can; others are tried out.
        """
        goal = target + (1 - target) / 8
        for widening in widenings:

            def measured(half: int, effort: int, widening: float = widening) -> float:
                return self.of(half, lambda queries, k: search(queries, k, effort, widening))

            limit = largest if widening == widenings[-1] else max(first, largest // 2)
            if effort_for:
                effort = effort_for(self._halves[0], self._truth[0][0], goal)
                if widening != widenings[-1]:  # what a look at enough documents misses, rounding has lost
                    limit = max(effort, min(limit, effort + effort // 2))
            else:
                effort = _least(lambda effort: measured(0, effort), first, limit, goal)
            recall = measured(1, effort)
            while recall < target and effort < limit:
                effort = min(effort + effort // 8 + 1, limit)
                recall = measured(1, effort)
            if recall >= target:
                break
        return Effort(effort, widening, recall)


def _least(recall: Callable[[int], float], first: int, largest: int, target: float) -> int:
    """About the least effort up to `largest` whose recall reaches `target`; `largest` where none does."""
    low, high = 0, min(first, largest)
    while recall(high) < target:
        if high == largest:
            return largest
        low, high = high, min(high * 2, largest)
    for _ in range(_STEPS):
        middle = (low + high) // 2
        if middle <= low or high - low <= high // 16:
            break
        if recall(middle) < target:
            low = middle
        else:
            high = middle
    return high
