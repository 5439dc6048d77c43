"""A sample of candidates to judge, one for all thresholds, and what each of its rows stands for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STRATA = 8


@dataclass(frozen=True)
class Frame:
    """The candidates that some threshold picks, with how much each of them matters.

    `mass` (n,) is 0 for a candidate that no threshold picks, and otherwise the chance of being drawn up to a
    factor: the root of its squared shares in the picks of every threshold, which keeps the mean variance of all
    the estimates low. `hardness` (n,) orders the strata, `lots` (n,) uint64 is each one's luck.
    """

    mass: np.ndarray
    hardness: np.ndarray
    lots: np.ndarray

    def sample(self, size: int) -> np.ndarray:
        """The candidates to judge, in an order of which every beginning is a sample of its own.

        Sequential Poisson sampling (Ohlsson, "Sequential Poisson sampling", Journal of Official Statistics 14,
        1998) within strata of like hardness and equal mass, which take turns. A larger sample begins with
        the smaller one.
        """
        at = np.flatnonzero(self.mass > 0)
        luck = (self.lots[at].astype(np.float64) + 1) / 2.0**64 / self.mass[at]
        strata = self._strata()[at]
        order = np.lexsort((luck, strata))
        turn = np.empty(len(at), np.int64)
        starts = np.searchsorted(strata[order], strata[order])
        turn[order] = np.arange(len(at)) - starts
        return at[np.lexsort((strata, turn))][:size]

    def weights(self, judged: np.ndarray) -> np.ndarray:
        """How many candidates each of the `judged` (a mask) stands for, (n,) float64, 0 for the others."""
        strata = np.where(self.mass > 0, self._strata(), -1)
        if len(np.unique(strata[judged])) < len(np.unique(strata[self.mass > 0])):
            # A stratum that nobody looked into would stand for nothing, so all of them are taken as one.
            strata = np.minimum(strata, 0)
        weight = np.zeros(len(self.mass))
        for stratum in range(int(strata.max(initial=-1)) + 1):
            inside = np.flatnonzero(strata == stratum)
            chance = inclusion(self.mass[inside], int(judged[inside].sum()))
            drawn = judged[inside]
            weight[inside[drawn]] = 1 / chance[drawn]
        return weight

    def _strata(self) -> np.ndarray:
        """The stratum of each candidate, hardest first, each with about the same mass, (n,) int64."""
        order = np.argsort(-self.hardness, kind="stable")
        up_to = np.cumsum(self.mass[order])
        strata = np.empty(len(order), np.int64)
        middle = (up_to - self.mass[order] / 2) / max(up_to[-1] if len(up_to) else 0.0, 1e-300)
        strata[order] = np.minimum((middle * STRATA).astype(np.int64), STRATA - 1)
        return strata


def inclusion(mass: np.ndarray, size: int) -> np.ndarray:
    """The chance of each to be among `size` drawn in proportion to `mass`, (n,) in [0, 1]; they add up to `size`."""
    if size >= len(mass):
        return np.ones(len(mass))
    certain = np.zeros(len(mass), bool)
    while True:
        left = size - int(certain.sum())
        chance = np.where(certain, 1.0, left * mass / max(mass[~certain].sum(), 1e-300))
        over = ~certain & (chance >= 1)
        if not over.any():
            return chance
        certain |= over
