"""Inverse propensity: pairs whose look is rare for how near they are in meaning count more.

DebCSE (Miao, Du, Zhang, CIKM 2023, arXiv 2309.07396) samples pairs by inverse propensities from surface and
semantic similarity, so that positives are not only look-alikes and negatives not only unlike. The formula
here is ours: the propensity of a pair is the share of its edit-ratio bin within its band of scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmine.stages.filter.rows import join
from pairmine.stages.filter.surface import measured, word_ratio

_ROUNDS = 10
"""Scaling to the mean 1 and clipping undo each other a little; so many rounds settle it."""


@dataclass(frozen=True)
class Propensity:
    """`bins` of equal width for the edit ratio, `bands` of equally many pairs for the score; weights up to `most`."""

    bins: int = 10
    bands: int = 5
    most: float = 5.0

    def weights(self, scores: np.ndarray, ratios: np.ndarray) -> np.ndarray:
        """One weight per pair, (n,) float64: 1 / (share of the pair's bin within its band), clipped, of mean 1.

        Before the clip to between 1/`most` and `most` every bin that occurs in a band has the same total, and
        every band the mean 1; after it the whole is scaled until the mean is 1 again, to about a thousandth.
        `scores` (n,) are finite, `ratios` (n,) lie in [0, 1].

        >>> Propensity(bins=2, bands=1).weights(np.zeros(4), np.array([0.1, 0.2, 0.3, 0.9])).round(2).tolist()
        [0.67, 0.67, 0.67, 2.0]
        """
        if not len(scores):
            return np.zeros(0)
        edges = np.quantile(scores, np.arange(1, self.bands) / self.bands)
        band = np.searchsorted(edges, scores, side="right")
        cell = join(band, np.minimum((ratios * self.bins).astype(np.int64), self.bins - 1))
        cells, which, many = np.unique(cell, return_inverse=True, return_counts=True)
        of_band = np.bincount(band, minlength=self.bands)
        occupied = np.bincount(cells >> 32, minlength=self.bands)
        weights = of_band[band] / (many[which] * occupied[band])
        balanced: np.ndarray = np.clip(weights, 1 / self.most, self.most)
        for _ in range(_ROUNDS):
            balanced = np.clip(balanced / balanced.mean(), 1 / self.most, self.most)
        return balanced

    def of_rows(
        self, pairs: pa.Table, rows: np.ndarray, scores: np.ndarray, what: str, compare: Compare | None = None
    ) -> np.ndarray:
        """The weights of `rows` (a mask), (n,) float64; 1 elsewhere and without text.

        They are weighed among themselves, or where they are part of a larger set as `compare` does it.
        """
        ratios = measured(pairs, rows, word_ratio(), what=what)
        at = np.flatnonzero(rows & ~np.isnan(ratios))
        found = np.ones(pairs.num_rows)
        found[at] = compare(self, scores[at], ratios[at]) if compare else self.weights(scores[at], ratios[at])
        return found


Compare = Callable[[Propensity, np.ndarray, np.ndarray], np.ndarray]
"""Gives the weights of some rows of a set by their scores and ratios: `Propensity.weights` among all rows of it."""
