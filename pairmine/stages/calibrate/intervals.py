"""A share with its interval, where rows come in clusters and some stand for many."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """A share in [0, 1] with the ends of its 95% interval, from so many known rows of so many queries."""

    rate: float
    low: float
    high: float
    rows: int
    queries: int
    design: float = 1.0
    """How many times the variance of as many rows drawn one by one (the design effect)."""

    def to_dict(self) -> dict[str, float | int]:
        """For --json."""
        ends = {name: round(float(getattr(self, name)), 6) for name in ("rate", "low", "high")}
        return {**ends, "rows": self.rows, "queries": self.queries}

    def times(self, factor: float, most: float = 1.0) -> Share:
        """The share and its interval `factor` times as high, up to `most`."""
        rate, low, high = (min(end * factor, most) for end in (self.rate, self.low, self.high))
        return replace(self, rate=rate, low=low, high=high)


@dataclass(frozen=True)
class Picks:
    """The rows that a share is of, (n,) each, and that `share`."""

    false: np.ndarray
    weight: np.ndarray
    query: np.ndarray
    share: Share

    def influence(self, queries: int) -> np.ndarray:
        """What each query adds to the error of the share, (queries,)."""
        residual = self.weight * (self.false - self.share.rate)
        found: np.ndarray = np.bincount(self.query, residual, minlength=queries) / self.weight.sum()
        return found


def share_of(false: np.ndarray, weight: np.ndarray, query: np.ndarray, *, design: float = 1.0) -> Share | None:
    """The weighted share of `false` rows, None where none is known (a weight above 0).

    All are (n,). The variance is that of a ratio over queries, since rows of one query hang together and
    queries are what is drawn (linearised; a bootstrap over queries comes to the same). The interval is
    Korn and Graubard's ("Confidence intervals for proportions with small expected number of positive
    counts", Survey Methodology 24, 1998): that of Clopper and Pearson for as many rows drawn one by one
    as tell as much, which holds where none or few are false. `design` is the least design effect to
    reckon with: with no false row at hand there is none to see.
    """
    known = weight > 0
    false, weight, query = false[known], weight[known].astype(np.float64), query[known]
    if not len(weight):
        return None
    _, own = np.unique(query, return_inverse=True)
    clusters = int(own.max()) + 1
    total = weight.sum()
    rate = float((weight * false).sum() / total)
    alone = total**2 / (weight**2).sum()
    effect = max(design, _design(false, weight, own, rate, alone))
    size = alone / effect if clusters > 1 else 1.0
    low, high = _clopper_pearson(rate, _adjusted(size, alone, clusters))
    return Share(rate, low, high, len(weight), clusters, effect)


def part_of(picks: Picks, base: Picks) -> Share:
    """The share of `picks` over that of `base`, which is not 0, with its interval.

    Both are of the same queries and largely of the same rows, so that they err together. The variance is that of a
    ratio of ratios over queries, but never less than the one of the share alone for what the two have apart.
    """
    share, whole = picks.share, base.share.rate
    part = share.rate / whole
    if share.queries < 2 or not 0 < share.rate < 1:
        return share.times(1 / whole, np.inf)
    queries = 1 + int(max(picks.query.max(), base.query.max()))
    clusters = max(share.queries, base.share.queries)
    error = picks.influence(queries) - part * base.influence(queries)
    alone = picks.weight.sum() ** 2 / (picks.weight**2).sum()
    binomial = share.rate * (1 - share.rate)
    variance = max(
        clusters / (clusters - 1) * float((error**2).sum()), binomial * share.design / alone * max(1 - part, 0.0)
    )
    if variance <= 1e-12:
        return replace(share, rate=part, low=part, high=part)
    low, high = _clopper_pearson(share.rate, _adjusted(binomial / variance, alone, clusters))
    return replace(share, rate=part, low=low / whole, high=high / whole)


def _design(false: np.ndarray, weight: np.ndarray, own: np.ndarray, rate: float, alone: float) -> float:
    """The variance of `rate` over that of `alone` rows drawn one by one."""
    clusters = int(own.max()) + 1
    if clusters < 2 or not 0 < rate < 1:
        return 1.0
    residual = np.bincount(own, weight * (false - rate), minlength=clusters)
    variance = clusters / (clusters - 1) * (residual**2).sum() / weight.sum() ** 2
    return float(variance * alone / (rate * (1 - rate)))


def _adjusted(size: float, rows: float, clusters: int) -> float:
    """`size` less what few clusters leave unsure, by the ratio of Student's quantiles."""
    from scipy.special import stdtrit

    if clusters < 2:
        return size
    end = 0.5 + CONFIDENCE / 2
    return float(size * (stdtrit(max(rows - 1, 1), end) / stdtrit(clusters - 1, end)) ** 2)


def _clopper_pearson(rate: float, size: float) -> tuple[float, float]:
    from scipy.special import betaincinv

    tail, false = (1 - CONFIDENCE) / 2, rate * size
    low = betaincinv(false, size - false + 1, tail) if false > 0 else 0.0
    high = betaincinv(false + 1, size - false, 1 - tail) if false < size else 1.0
    return float(low), float(high)
