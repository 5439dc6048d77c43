"""How much of each source a mixture holds."""

from __future__ import annotations

import math

import numpy as np

from pairmine.errors import PairmineError


def apportion(
    held: np.ndarray, *, alpha: float, weights: np.ndarray, size: int | None, repeat: bool = False
) -> np.ndarray:
    """How many of the `held` units (queries or pairs) of each source to take, (sources,) int64.

    A source's share is proportional to ``weight * held ** alpha``: with alpha 1 all sources lose the
    same part, with 0 all give the same number, and 0.5 lies between (GTE, Li et al. 2023, arXiv
    2308.03281, draws the source of each batch so; here the expected numbers are taken, rounded by
    largest remainder, and no dice thrown).

    Without `size`, as many as keep these shares exactly and repeat nothing. With it, what a source
    cannot give is divided among the others in proportion; with `repeat`, it gives again what it has.

    >>> apportion(np.array([100, 400]), alpha=0.5, weights=np.ones(2), size=30)
    array([10, 20])

    Raises PairmineError where `size` is more than all sources hold and nothing is to be repeated.
    """
    shares = np.where(held > 0, weights * np.power(np.maximum(held, 1), alpha), 0.0)
    if not shares.any():
        return np.zeros(len(held), np.int64)
    shares = shares / shares.sum()
    if size is None:
        some = shares > 0
        # Rounding must not lose a unit where the division is exact, as with alpha 1.
        size = math.floor(float((held[some] / shares[some]).min()) * (1 + 1e-12))
    elif not repeat and size > held.sum():
        raise PairmineError(f"--size {size:,}: the sources hold {held.sum():,} in all; ask for fewer, or pass --repeat")
    wanted = shares * size if repeat else _within(held, shares, size)
    return _rounded(wanted, size, None if repeat else held)


def _within(held: np.ndarray, shares: np.ndarray, size: int) -> np.ndarray:
    """`size` divided by shares, no source giving more than it has."""
    wanted = np.zeros(len(held))
    is_open = shares > 0
    while is_open.any():
        left = size - wanted[~is_open].sum()
        wanted[is_open] = left * shares[is_open] / shares[is_open].sum()
        over = is_open & (wanted > held)
        if not over.any():
            break
        wanted[over] = held[over]
        is_open &= ~over
    return wanted


def _rounded(wanted: np.ndarray, size: int, most: np.ndarray | None) -> np.ndarray:
    """Whole numbers with the sum of `wanted`, by largest remainder, the first of equals first."""
    counts = np.floor(wanted + 1e-9).astype(np.int64)
    missing = min(size, round(float(wanted.sum()))) - int(counts.sum())
    order = np.argsort(-(wanted - counts), kind="stable")
    if most is not None:
        order = order[counts[order] < most[order]]
    counts[order[: max(missing, 0)]] += 1
    return counts
