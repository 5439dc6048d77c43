"""The threshold to take: the hardest picks, once it is said how many false negatives may be left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pairmine.errors import PairmineError
from pairmine.stages.calibrate.curves import Calibration, Curve, Point

FEWEST = 20
"""An estimate from fewer known rows reaches no target: none false among a handful says little."""
LEVELS = (0.1, 0.05, 0.02)
"""Shares of false negatives that a choice is shown for."""
PARTS = (0.5, 0.25, 0.1)
"""The same as parts of what is false without a rule."""
ONLY_PARTS = (
    "hidden positives tell which part of the false negatives a threshold leaves, not how many there are, so no target "
    "can be held to them; say with --naive-rate what is false without a rule, or estimate from --qrels, --judge or "
    "--label"
)
_SPARE = 0.01
"""This part of the queries may be short beyond the fewest, for harder negatives."""


@dataclass(frozen=True)
class Choice:
    """The `point` to take where at most `limit` may be left, None where none leaves so little; `curve` is its rule's.

    `limit` is a share of the picks, or, where a calibration `is_relative`, a part of the naive false negatives. The
    point without a rule has no curve.
    """

    limit: float
    curve: Curve | None
    point: Point | None


@dataclass(frozen=True)
class Answer:
    """Each rule's loosest point that reaches the target, None where none does, and the best of them all."""

    target: float
    confident: bool
    points: tuple[tuple[Curve, Point | None], ...]
    best: Point | None

    def to_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "false_negatives": self.target,
            "confident": self.confident,
            "reached": [
                {"rule": curve.rule.name, "column": curve.rule.column, "value": point.value if point else None}
                for curve, point in self.points
            ],
            "best": self.best.to_dict() if self.best else None,
        }


def answer(found: Calibration, target: float, *, confident: bool = False) -> Answer:
    """The points at which at most `target` of the picks are false: by estimate, or by the interval's upper end.

    The best is that of `choose`. Raises a PairmineError where a calibration `is_relative`.
    """
    if found.is_relative:
        raise PairmineError(ONLY_PARTS)
    first = tuple((curve, next(_reaching(found, curve.points, target, confident), None)) for curve in found.curves)
    return Answer(target, confident, first, choose(found, target, confident=confident).point)


def choices(found: Calibration) -> list[Choice]:
    """What to take at some levels, by estimate; none where there is no estimate."""
    if found.evidence is None:
        return []
    return [choose(found, level) for level in (PARTS if found.is_relative else LEVELS)]


def choose(found: Calibration, limit: float, *, confident: bool = False) -> Choice:
    """The hardest of all points that leave at most `limit`.

    Those are set aside that leave more queries short than the fewest among them by more than one in a hundred.
    """
    reaching = list(_reaching(found, found.points, limit, confident))
    fewest = min((point.short for point in reaching), default=0)
    spared = [point for point in reaching if point.short <= fewest + _SPARE * found.queries]
    best = max(spared, key=_hardness, default=None)
    curve = next((curve for curve in found.curves if any(point is best for point in curve.points)), None)
    return Choice(limit, curve, best)


def _reaching(found: Calibration, points: Sequence[Point], limit: float, confident: bool) -> Iterator[Point]:
    for point in points:
        if (end := end_of(found, point, confident)) is not None and end <= limit:
            yield point


def end_of(found: Calibration, point: Point, confident: bool) -> float | None:
    """What is held to the limit, None where too little is known."""
    share = found.estimate(point)
    if share is None or share.rows < FEWEST:
        return None
    return share.high if confident else share.rate


def _hardness(point: Point) -> tuple[float, float]:
    """Hardest first: by the mean score of the picks, else by their mean rank."""
    hardness = float("-inf") if point.hardness is None else point.hardness
    return hardness, -(point.rank or 0.0)
