"""Whole numbers counted one by one, and what can be said of them: summaries and histograms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

import numpy as np

BINS = 60
"""A histogram has no more bins than this: ours, as many as a chart on a phone can show."""


class Merges(Protocol):
    """What was counted of some rows, and takes in what was counted of others."""

    def merge(self, other: Self, /) -> None:
        """Count what `other` counted too."""


Name = TypeVar("Name")
Counted = TypeVar("Counted", bound=Merges)


def merge_named(own: dict[Name, Counted], other: Mapping[Name, Counted]) -> None:
    """Merge what has one name; what `own` lacks it takes over from `other`, which is not to be used any more."""
    for name, counted in other.items():
        if name in own:
            own[name].merge(counted)
        else:
            own[name] = counted


def rows_of(codes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each whole number of `codes` (n,), ascending, and the rows that have it, ascending; one sort for all of them."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for rows in np.split(order, starts[1:]) if len(order) else ():
        yield int(codes[rows[0]]), rows


class Tally:
    """How often each whole number occurred. Memory grows with the distinct numbers."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.int64)
        self._counts = np.empty(0, np.int64)
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._pending_size = 0

    def add(self, keys: np.ndarray, times: np.ndarray | None = None) -> None:
        """Count each of the integer `keys`, as often as `times` says (once when it is None)."""
        if times is None:
            keys, times = np.unique(keys, return_counts=True)
        self._pending.append((keys.astype(np.int64), times.astype(np.int64)))
        self._pending_size += len(keys)
        if self._pending_size > max(len(self._keys), 1 << 16):
            self._merge()

    def merge(self, other: Tally) -> None:
        """Count what `other` counted too."""
        self.add(*other.items())

    def _merge(self) -> None:
        if not self._pending:
            return
        parts = [(self._keys, self._counts), *self._pending]
        self._keys, places = np.unique(np.concatenate([keys for keys, _ in parts]), return_inverse=True)
        counts = np.zeros(len(self._keys), np.int64)
        np.add.at(counts, places, np.concatenate([times for _, times in parts]))
        self._counts = counts
        self._pending, self._pending_size = [], 0

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """The distinct numbers, ascending, and how often each occurred: (n,) int64 both."""
        self._merge()
        return self._keys, self._counts

    def total(self) -> int:
        """How many keys were counted."""
        return int(self.items()[1].sum())

    def above(self, limit: int) -> int:
        """How many keys are more than `limit`."""
        keys, counts = self.items()
        return int(counts[keys > limit].sum())

    def quantile(self, share: float, value_of: Callable[[int], float] = int) -> float | None:
        """The value below which `share` of all lie, between two neighbours in proportion; None without any."""
        total = self.total()
        if not total:
            return None
        place = (total - 1) * share
        low = int(place)
        upto = np.cumsum(self._counts)
        below, above = (
            value_of(int(self._keys[np.searchsorted(upto, at, side="right")])) for at in (low, min(low + 1, total - 1))
        )
        return float(below + (above - below) * (place - low))

    def summary(self) -> dict[str, Any]:
        """`count`, `min`, `mean`, `p5`, `p50`, `p95` and `max`."""
        count = self.total()
        some = count > 0
        return {
            "count": count,
            "min": int(self._keys[0]) if some else None,
            "mean": int(np.dot(self._keys, self._counts)) / count if some else None,
            **{f"p{percent}": self.quantile(percent / 100) for percent in (5, 50, 95)},
            "max": int(self._keys[-1]) if some else None,
        }

    def histogram(self) -> dict[str, list[int]]:
        """`edges` and `counts` of bins whose width is a power of two; see `counts_between`."""
        keys, _ = self.items()
        if not len(keys):
            return {"edges": [], "counts": []}
        low, high, width = int(keys[0]), int(keys[-1]), 1
        while high // width - low // width >= BINS:
            width *= 2
        edges = [number * width for number in range(low // width, high // width + 2)]
        return {"edges": edges, "counts": self.counts_between(edges)}

    def counts_between(self, edges: Sequence[int]) -> list[int]:
        """How many keys lie from each of the ascending `edges` up to the next one, which belongs to the next bin.

        The last bin ends with its upper edge, as `numpy.histogram` has it.
        """
        keys, counts = self.items()
        upto = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        places = np.searchsorted(keys, np.array(edges), side="left")
        places[-1] = np.searchsorted(keys, edges[-1], side="right")
        found: list[int] = np.diff(upto[places]).tolist()
        return found
