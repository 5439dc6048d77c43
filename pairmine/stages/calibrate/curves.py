"""Survival curves: what each threshold of each rule leaves, how hard it is and how much of it is false."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pairmine.schema import FEEDBACK, SCORE_PREFIX
from pairmine.stages.calibrate.candidates import Candidates, Picking
from pairmine.stages.calibrate.evidence import Known
from pairmine.stages.calibrate.intervals import Picks, Share, part_of, share_of
from pairmine.stages.calibrate.kinds import Rule
from pairmine.stages.calibrate.sample import Frame

Trials = Mapping[Rule, Sequence[float]]
"""Rules and their thresholds, the loosest first."""
_DEFAULTS = Picking()


@dataclass(frozen=True)
class Point:
    """What `filter` keeps at one threshold of one rule; `value` is None where no rule is on.

    `passed` candidates survive the rule, of which `picked` become negatives, so that `rows` are kept in all.
    `negatives` is the mean of the `queries`, decided ones too, `short` counts queries with fewer than wanted. Of
    the positives `positives` stay; queries that are `lost`, with the last of theirs, have no negatives and are short.
    `hardness` and `rank` are means over the picks, None where there are none; `false` is the share of false
    negatives among the picks, None where nothing is known, and `of_naive` that share over the one without a rule, None
    where that is 0.
    """

    value: float | None
    flags: tuple[str, ...]
    passed: int
    picked: int
    rows: int
    queries: int
    negatives: float
    short: int
    hardness: float | None
    rank: float | None
    positives: int
    lost: int
    false: Share | None = None
    of_naive: Share | None = None

    def to_dict(self) -> dict[str, Any]:
        """For --json."""
        aside = ("false", "of_naive", "flags")
        body: dict[str, Any] = {name: value for name, value in vars(self).items() if name not in aside}
        body["flags"] = " ".join(self.flags)
        if self.false is not None:
            body["false_negatives"] = self.false.to_dict()
        if self.of_naive is not None:
            body["of_naive"] = self.of_naive.to_dict()
        return body


@dataclass(frozen=True)
class Curve:
    """One rule at all its thresholds, the loosest first."""

    rule: Rule
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Calibration:
    """All curves; `naive` is what is picked without any rule, `evidence` says where estimates come from.

    Where it `is_relative`, the `of_naive` of a point can be relied on, and its `false` is no estimate of how many
    picks are false.
    """

    picking: Picking
    queries: int
    candidates: int
    hardness: str | None
    naive: Point
    curves: tuple[Curve, ...]
    evidence: str | None
    is_relative: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def points(self) -> list[Point]:
        """The naive point and all others."""
        return [self.naive, *(point for curve in self.curves for point in curve.points)]

    def estimate(self, point: Point) -> Share | None:
        """What is known of a point: the part of the naive false negatives, or the share of its picks."""
        return point.of_naive if self.is_relative else point.false

    def to_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "queries": self.queries,
            "candidates": self.candidates,
            "picking": vars(self.picking),
            "hardness": self.hardness,
            "estimated_from": self.evidence,
            "estimate": None if self.evidence is None else "of_naive" if self.is_relative else "false_negatives",
            "naive": self.naive.to_dict(),
            "rules": [
                {
                    "rule": curve.rule.name,
                    "column": curve.rule.column,
                    "points": [point.to_dict() for point in curve.points],
                }
                for curve in self.curves
            ],
            "remarks": list(self.remarks),
        }


class Sweep:
    """Every threshold of every rule, tried on one pair set."""

    def __init__(self, candidates: Candidates, trials: Trials, by: str | None, hardness: str | None) -> None:
        self.candidates = candidates
        self.hardness = hardness
        self._trials = trials
        self._by = by

    @property
    def tries_positives(self) -> bool:
        """Whether a rule for positives is tried."""
        return any(rule.of_positives for rule in self._trials)

    def reads(self, column: str) -> bool:
        """Whether a rule that is tried reads `column`."""
        return any(column in rule.reads for rule in self._trials)

    def frame(self) -> Frame:
        """What a sample is to be drawn from: the candidates that some threshold picks."""
        candidates = self.candidates
        mass = np.zeros(len(candidates))
        for picked in self._picks():
            if len(picked):
                mass[picked] += 1 / len(picked) ** 2
        hardness = np.zeros(len(mass)) if self.hardness is None else candidates.scores(self.hardness)
        return Frame(np.sqrt(mass), np.nan_to_num(hardness, nan=-np.inf), candidates.lots)

    def curves(self, known: Known | None) -> tuple[Point, tuple[Curve, ...]]:
        """The point without any rule, and a curve for each rule, with the share of false negatives if it is known."""
        told = known.naive_rate if known else None
        naive, base = self._naive(known)
        curves = tuple(
            Curve(rule, tuple(self._point(rule, value, known, base, told) for value in grid))
            for rule, grid in self._trials.items()
        )
        return _estimated(naive, base, base, told), curves

    def _naive(self, known: Known | None) -> tuple[Point, Picks | None]:
        everything = np.ones(len(self.candidates), bool)
        picked = self.candidates.picked(self._by, everything)
        point = self._described(None, self._options(None), everything, picked, None)
        return point, self._judged(None, None, picked, known, 1.0)

    def _point(self, rule: Rule, value: float, known: Known | None, base: Picks | None, told: float | None) -> Point:
        passes = rule.passes(self.candidates, value)
        picked = self.candidates.picked(self._by, passes)
        flags = self._options(rule) + rule.flags(value)
        point = self._described(value, flags, passes, picked, rule.positives(self.candidates, value))
        judged = self._judged(rule, value, picked, known, base.share.design if base else 1.0)
        return _estimated(point, judged, base, told)

    def _options(self, rule: Rule | None) -> tuple[str, ...]:
        """The options of `filter` that go with every threshold of `rule`: those that are not its own defaults."""
        picking = self.candidates.picking
        told: dict[str, object] = {"negatives": picking.negatives, "pick": picking.pick, "seed": picking.seed}
        if picking.pick == "random":
            told["pool"] = picking.pool
        by = [] if self._by is None else ["--by", self._by.removeprefix(SCORE_PREFIX)]
        options = by + [
            word
            for name, value in told.items()
            if value != getattr(_DEFAULTS, name)
            for word in (f"--{name}", str(value))
        ]
        acting = rule.name if rule else ""
        if FEEDBACK in self.candidates.pairs.column_names and acting != "suspects":
            options.append("--no-suspects")
        return (*options, *(() if acting == "relative-margin" else ("--no-relative-margin",)))

    def _described(
        self,
        value: float | None,
        flags: tuple[str, ...],
        passes: np.ndarray,
        picked: np.ndarray,
        positive: np.ndarray | None,
    ) -> Point:
        """The point at which these candidates pass and are `picked`, and these rows stay positives (None for all)."""
        candidates = self.candidates
        have = candidates.held + np.bincount(candidates.query[picked], minlength=len(candidates.held))
        stays = candidates.with_positive(positive)
        have = np.where(stays, have, 0)[candidates.answered]
        rank, positives = candidates.rank, int((candidates.positive if positive is None else positive).sum())
        return Point(
            value,
            flags,
            passed=int(passes.sum()),
            picked=len(picked),
            rows=positives + int(have.sum()),
            queries=len(have),
            negatives=float(have.mean()),
            short=int((have < candidates.picking.negatives).sum()),
            hardness=None if self.hardness is None else _mean(candidates.scores(self.hardness)[picked]),
            rank=None if rank is None else _mean(rank[picked]),
            positives=positives,
            lost=len(have) - int(stays.sum()),
        )

    def _judged(
        self, rule: Rule | None, value: float | None, picked: np.ndarray, known: Known | None, design: float
    ) -> Picks | None:
        """What is known of the picks, or of those from the candidates that `known` is of."""
        if known is None or (rule is not None and set(rule.reads) & set(known.stale)):
            return None
        candidates = known.candidates
        if rule is not None and rule.of_positives and known.is_relative:
            return None
        if candidates is not self.candidates:
            passes = np.ones(len(candidates), bool)
            if rule is not None and value is not None:
                passes = rule.passes(candidates, value)
            picked = candidates.picked(self._by, passes)
        found = known.false[picked], known.weight[picked], candidates.query[picked]
        share = share_of(*found, design=design)
        return None if share is None else Picks(*found, share)

    def _picks(self) -> Iterator[np.ndarray]:
        """What is picked at each threshold, without any rule first."""
        yield self.candidates.picked(self._by, np.ones(len(self.candidates), bool))
        for rule, grid in self._trials.items():
            for value in grid:
                yield self.candidates.picked(self._by, rule.passes(self.candidates, value))


def _estimated(point: Point, judged: Picks | None, base: Picks | None, told: float | None) -> Point:
    """`point` with its share, the part of the naive one, and, where that is `told`, the share that this makes."""
    if judged is None:
        return point
    part = part_of(judged, base) if base and base.share.rate else None
    if told is None:
        return replace(point, false=judged.share, of_naive=part)
    return replace(point, false=part.times(told) if part else None, of_naive=part)


def _mean(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean(dtype=np.float64)) if len(values) else None
