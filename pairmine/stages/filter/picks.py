"""Which survivors become the negatives: the best ones, a seeded sample, or those that differ most."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.schema import scale_of
from pairmine.stages.filter.columns import remedy
from pairmine.stages.filter.diverse import VECTORS, DocumentVectors, cluster_rounds, marginal_turns
from pairmine.stages.filter.firing import clusters_of
from pairmine.stages.filter.luck import exponential, lots
from pairmine.stages.filter.named import POSITIVE_NUMBERS, Named, Options, parse_named
from pairmine.stages.filter.order import in_turn
from pairmine.stages.filter.propensity import Compare, Propensity
from pairmine.stages.filter.rows import Rows, join, places

SPREAD = 0.05
"""The standard deviation of the cosines of a query's best hundred (MiniLM: cranfield 0.052, cisi 0.045).

Defaults that hang on the scale are made of it: an `a` by which SimANS gives a document that is one spread from
its mark 0.6 of the odds, as the paper's 0.5 does on a scale where the spread is 1, and a temperature of one spread.
"""

MOST = 1_000_000_000
"""More candidates than any query has; a larger number would not fit into those that rows are counted with."""

_BOUNDED = ("cosine", "probability", "similarity", None)
"""Scales on which a difference of 0.1 means about the same everywhere; None is a column that declares none."""


@dataclass(frozen=True)
class Pick:
    """A way of picking with all of its options, `parse_pick`'s answer; `told` are those that the user gave."""

    name: str
    options: Options
    told: frozenset[str] = frozenset()

    @property
    def pool(self) -> int | None:
        """How many of a query's best candidates it looks at; None for all."""
        pool = self.options.get("pool")
        return None if pool is None else int(pool)

    @property
    def looks_at_all(self) -> bool:
        """Whether a query's picks hang on rows of other queries, so that the whole table must be at hand."""
        return PICKS[self.name].looks_at_all

    def number(self, name: str) -> float:
        return float(self.options[name] or 0)

    def wide(self, negatives: int) -> Pick:
        """The same with a pool of `negatives` at least."""
        if self.pool is None or self.pool >= negatives:
            return self
        return replace(self, options={**self.options, "pool": float(negatives)})

    def check(self, schema: pa.Schema, by: str | None) -> None:
        """Raise a PairmineError where the score column `by`, or another column, cannot serve this pick."""
        kind = PICKS[self.name]
        if kind.column and kind.column not in schema.names:
            raise PairmineError(f"pick {self.name}: no column {kind.column}; {remedy(kind.column)}")
        if by is None:
            if kind.needs_scores:
                raise PairmineError(f"pick {self.name} goes by a score; run 'pairmine score' first, or pass by")
            return
        scale = scale_of(schema.field(by))
        if kind.unit and kind.unit not in self.told and scale not in _BOUNDED:
            raise PairmineError(
                f"pick {self.name}: the default {kind.unit}={kind.defaults[kind.unit]:g} is made for cosines and "
                f"probabilities, and {by} holds a {scale}; pass {kind.unit}=, or decide by another column"
            )


@dataclass(frozen=True)
class Candidates:
    """The candidates that a query's negatives are picked from, by query and from the best down.

    `at` says which row of `pairs` each is, `need` (queries,) how many each query takes. `scores` are those of
    all rows of `pairs`, `entered` marks all of its candidates that may be picked, and `anchors` gives
    (queries,) what the positives of each score. Where `pairs` is part of a larger set, `compare` weighs rows in that.
    """

    pairs: pa.Table
    rows: Rows
    at: np.ndarray
    need: np.ndarray
    seed: int
    entered: np.ndarray
    scores: np.ndarray | None = None
    anchors: Callable[[], np.ndarray] | None = None
    compare: Compare | None = None

    @cached_property
    def query(self) -> np.ndarray:
        return self.rows.query[self.at]

    @cached_property
    def place(self) -> np.ndarray:
        """The place of each among its query's, from 0."""
        return places(self.query)

    @cached_property
    def many(self) -> np.ndarray:
        """How many the query of each has, (n,)."""
        return np.bincount(self.query, minlength=len(self.need))[self.query]

    @cached_property
    def score(self) -> np.ndarray:
        """The score of each, (n,) float64."""
        assert self.scores is not None
        return self.scores[self.at].astype(np.float64)

    @cached_property
    def lots(self) -> np.ndarray:
        return lots(self.rows, self.at, self.seed)

    def only(self, which: np.ndarray) -> Candidates:
        """Those that `which` (a mask) marks."""
        return replace(self, at=self.at[which])

    def drawn(self, log_odds: np.ndarray | float) -> list[np.ndarray]:
        """Keys that put each first as likely as its odds say."""
        return [exponential(self.lots) - log_odds]


def picked(candidates: Candidates, pick: Pick) -> np.ndarray:
    """Which of `candidates` are picked, (n,) bool: `need` of each query, fewer where it has no more.

    A document's luck hangs on the seed, the query and its own id alone, so that a stricter margin
    changes no more of a sample than it must.
    """
    need = candidates.need[candidates.query]
    chosen = candidates.place < need
    if pick.name == "top":
        return chosen
    pool = candidates.many if pick.pool is None else np.minimum(candidates.many, pick.pool)
    contested = (candidates.place < pool) & (pool > need) & (need > 0)
    if contested.any() or (candidates.compare and pick.looks_at_all):
        pooled = candidates.only(contested)
        order = in_turn(pooled.query, PICKS[pick.name].keys(pooled, pick))
        first = np.empty(len(order), bool)
        first[order] = pooled.place < need[contested]
        chosen[contested] = first
    return chosen


def _random(of: Candidates, _: Pick) -> list[np.ndarray]:
    return [of.lots]


def _ambiguous(of: Candidates, pick: Pick) -> list[np.ndarray]:
    """SimANS: odds ``exp(-a (s - s+ - b)^2)``."""
    assert of.anchors is not None
    anchor = of.anchors()[of.query]
    if bare := len(distinct(of.query[~np.isfinite(anchor)])):
        raise PairmineError(
            f"pick simans: {bare} queries have candidates and no positive with a score to be near; "
            "run 'pairmine score' first, or decide by a column that scores positives too"
        )
    with np.errstate(over="ignore"):
        return of.drawn(-pick.number("a") * (of.score - anchor - pick.number("b")) ** 2)


def _softmax(of: Candidates, pick: Pick) -> list[np.ndarray]:
    return of.drawn(of.score / pick.number("temperature"))


def _rare(of: Candidates, pick: Pick) -> list[np.ndarray]:
    """Odds by inverse propensity among all candidates of the table."""
    assert of.scores is not None
    propensity = Propensity(int(pick.number("bins")), int(pick.number("bands")), pick.number("max"))
    odds = propensity.of_rows(of.pairs, of.entered, of.scores, "pick inverse-propensity", of.compare)
    return of.drawn(np.log(odds[of.at]))


def _strata(of: Candidates, pick: Pick) -> list[np.ndarray]:
    """One of each stratum by lot, then the next of each."""
    strata = of.need[of.query] if pick.options["strata"] is None else int(pick.number("strata"))
    stratum = of.place * strata // of.many
    within = np.empty(len(of.at), np.int64)
    order = in_turn(of.query, [of.lots, stratum])
    cell = join(of.query, stratum)[order]
    within[order] = places(cell)
    return [of.lots, within]


def _marginal(of: Candidates, pick: Pick) -> list[np.ndarray]:
    vectors = DocumentVectors(of.pairs, of.at, "pick mmr")
    need = of.need[of.query]
    return [marginal_turns(of.query, of.at, of.score, need, vectors, pick.number("lambda"))]


def _clusters(of: Candidates, _: Pick) -> list[np.ndarray]:
    return [cluster_rounds(of.query, clusters_of(of.pairs)[of.at] + 1)]


@dataclass(frozen=True)
class Kind(Named):
    """A way of picking: `keys` puts candidates of a pool in their order, the most important key last.

    `unit` is the option whose default is made for cosines and probabilities, `column` what it reads.
    """

    keys: Callable[[Candidates, Pick], list[np.ndarray]]
    needs_scores: bool = False
    unit: str = ""
    column: str = ""
    looks_at_all: bool = False


_POOL = (1, float(MOST))
_ANY = (-math.inf, math.inf)

PICKS: Mapping[str, Kind] = {
    "top": Kind("the best", "", {}, {}, lambda of, _: [of.place]),
    "random": Kind(
        "a sample of the pool",
        "NV-Retriever, Moreira et al. 2024, arXiv 2407.15831: of the best 10",
        {"pool": 10.0},
        {"pool": _POOL},
        _random,
    ),
    "simans": Kind(
        "a sample with odds exp(-a (s - s+ - b)^2), s+ what the positives of the query score",
        "SimANS, Zhou et al. 2022, arXiv 2210.11773: a 0.5 and b 0 for TriviaQA, b 1 for NQ, on dot products and with "
        "replacement; defaults and the draw without replacement are ours",
        {"a": round(0.5 / SPREAD**2), "b": 0.0, "pool": None},
        {"a": (0, math.inf), "b": _ANY, "pool": _POOL},
        _ambiguous,
        needs_scores=True,
        unit="a",
    ),
    "softmax": Kind(
        "a sample with odds exp(s / temperature): the harder, the likelier",
        "after Sun et al. 2019, arXiv 1902.10197, and Robinson et al. 2021, arXiv 2010.04592; temperature is ours",
        {"temperature": SPREAD, "pool": None},
        {"temperature": POSITIVE_NUMBERS, "pool": _POOL},
        _softmax,
        needs_scores=True,
        unit="temperature",
    ),
    "stratified": Kind(
        "the pool in as many strata of ranks as negatives, one from each by lot",
        "ours",
        {"pool": 50.0, "strata": None},
        {"pool": _POOL, "strata": _POOL},
        _strata,
    ),
    "mmr": Kind(
        "the pool by score and unlikeness to what is picked: lambda s - (1 - lambda) the highest cosine to it",
        "Carbonell and Goldstein 1998; lambda and pool are ours",
        {"lambda": 0.7, "pool": 50.0},
        {"lambda": (0, 1), "pool": _POOL},
        _marginal,
        needs_scores=True,
        unit="lambda",
        column=VECTORS,
    ),
    "cluster": Kind(
        "the best of each cluster in turn; those of no cluster are one",
        "ours",
        {"pool": None},
        {"pool": _POOL},
        _clusters,
        column="cluster",
    ),
    "inverse-propensity": Kind(
        "a sample of the pool with odds for pairs whose look is rare for their score",
        "DebCSE, Miao et al. 2023, arXiv 2309.07396; formula and defaults are ours",
        {"pool": 10.0, "bins": 10.0, "bands": 5.0, "max": 5.0},
        {"pool": _POOL, "bins": (1, 1000), "bands": (1, 1000), "max": (1, math.inf)},
        _rare,
        needs_scores=True,
        looks_at_all=True,
    ),
}


def parse_pick(text: str, pool: int | None = None) -> Pick:
    """``NAME[:key=value,...]``, as simans:a=20; `pool` is what the pick's own is where it has one and says none.

    Raises a PairmineError for a name, an option or a value that there is not.
    """
    name, told = parse_named("pick", text, PICKS)
    defaults = dict(PICKS[name].defaults)
    if pool is not None and "pool" in defaults:
        defaults["pool"] = float(pool)
    return Pick(name, {**defaults, **told}, frozenset(told))
