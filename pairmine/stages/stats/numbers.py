"""Numbers with a fraction, float32, counted so that neither chunks nor order change what is said of them."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np

from pairmine.stages.stats.tally import BINS, Tally

_DROPPED_BITS = 8
_MANTISSA_BITS = 24
_LOWEST_EXPONENT = -160
_LEAST_WIDTH = 2.0**-120


class ExactSum:
    """The count and the mean of finite float32 values.

    The sum is kept as whole multiples of each power of two that occurs, so that it does not depend on the order.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sums: Counter[int] = Counter()

    def add(self, values: np.ndarray) -> None:
        """Count (n,) float32 values."""
        fraction, exponent = np.frexp(values.astype(np.float64))
        # Whole numbers of up to 24 bits: their float64 sums are exact for any chunk under 2**29 rows.
        sums = np.bincount(exponent - _LOWEST_EXPONENT, weights=np.ldexp(fraction, _MANTISSA_BITS))
        for place in np.flatnonzero(sums).tolist():
            self._sums[place] += int(sums[place])
        self.count += len(values)

    def merge(self, other: ExactSum) -> None:
        """Count the values of `other` too."""
        self._sums.update(other._sums)
        self.count += other.count

    def mean(self) -> float | None:
        """The mean, exact but for its last rounding; None without values."""
        if not self.count:
            return None
        total = sum(
            (whole * Fraction(2) ** (place + _LOWEST_EXPONENT - _MANTISSA_BITS) for place, whole in self._sums.items()),
            Fraction(),
        )
        return float(total / self.count)


class NumberTally:
    """Finite float32 values: an exact count, mean, minimum and maximum, and bins for quantiles and histograms.

    A bin holds the values that share their sign, exponent and leading 16 significant bits, rounded down.
    """

    def __init__(self) -> None:
        self._bins = Tally()
        self._sum = ExactSum()
        self.min = math.inf
        self.max = -math.inf

    def add(self, values: np.ndarray) -> None:
        """Count (n,) float32 values."""
        if not len(values):
            return
        self._bins.add(_keys(values))
        self._sum.add(values)
        self.min = min(self.min, float(values.min()))
        self.max = max(self.max, float(values.max()))

    def merge(self, other: NumberTally) -> None:
        """Count the values of `other` too."""
        self._bins.merge(other._bins)
        self._sum.merge(other._sum)
        self.min, self.max = min(self.min, other.min), max(self.max, other.max)

    def total(self) -> int:
        """How many values were counted."""
        return self._sum.count

    def summary(self) -> dict[str, Any]:
        """`count`, `min`, `mean`, `p5`, `p50`, `p95` and `max`."""
        count = self.total()
        return {
            "count": count,
            "min": self.min if count else None,
            "mean": self._sum.mean(),
            **{f"p{percent}": self._bins.quantile(percent / 100, self._value_of) for percent in (5, 50, 95)},
            "max": self.max if count else None,
        }

    def histogram(self) -> dict[str, list[Any]]:
        """`edges` as `edges_over` gives them, and `counts`."""
        if not self.total():
            return {"edges": [], "counts": []}
        edges = edges_over(self.min, self.max)
        return {"edges": edges, "counts": self.counts_between(edges)}

    def counts_between(self, edges: list[float]) -> list[int]:
        """How many values lie between the `edges`, which `edges_over` gave; exact, as `numpy.histogram` counts."""
        with np.errstate(over="ignore"):
            keys = _keys(np.array(edges, np.float32)).tolist()
        counts = self._bins.counts_between(keys)
        counts[-1] = self.total() - sum(counts[:-1])
        return counts

    def _value_of(self, key: int) -> float:
        magnitude = float(np.array([abs(key) << _DROPPED_BITS], np.int32).view(np.float32)[0])
        return min(max(-magnitude if key < 0 else magnitude, self.min), self.max)


def edges_over(low: float, high: float) -> list[float]:
    """The edges of up to 60 bins that hold `low` to `high`: multiples of a power of two.

    Such edges never fall inside a bin of `NumberTally`.
    """
    least = max((high - low) / BINS, max(abs(low), abs(high)) * 2.0**-15, _LEAST_WIDTH)
    width = 2.0 ** math.ceil(math.log2(least))
    while math.ceil(high / width) - math.floor(low / width) > BINS:
        width *= 2
    first = math.floor(low / width)
    last = max(math.ceil(high / width), first + 1)
    return [number * width for number in range(first, last + 1)]


def _keys(values: np.ndarray) -> np.ndarray:
    """Of each float32 its 16 leading significant bits as a whole number that orders as the values do."""
    bits = np.ascontiguousarray(values).view(np.int32).astype(np.int64)
    ordered = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    keys: np.ndarray = ordered >> _DROPPED_BITS
    return keys
