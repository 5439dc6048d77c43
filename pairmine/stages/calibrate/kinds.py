"""The rules of `filter` that have one threshold, each with the thresholds worth trying on a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from pairmine.schema import FEEDBACK, SCORE_PREFIX
from pairmine.stages.calibrate.candidates import Candidates
from pairmine.stages.filter.anchors import Anchor
from pairmine.stages.filter.firing import fire_on_candidates, fire_on_positives, first_suspects, outscored, riskiest
from pairmine.stages.filter.rules import SUSPECTS_POOL, Limit, Rules, Suspects

SHARES = (0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85)
"""The parts of the candidates that the thresholds reject; the first of a list of 100 is what a pick of 5 feels."""

LOWEST = Anchor()
_SKIPS = (1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500)
_SUSPECTS = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 75.0)


@dataclass(frozen=True)
class Rule:
    """One rule of `filter`; `column` is what it reads, `anchor` what of the positives it holds candidates to."""

    column: str
    anchor: Anchor = LOWEST
    name: ClassVar[str] = ""
    falls: ClassVar[bool] = False
    """Whether a lower threshold is a stricter one."""
    counts: ClassVar[bool] = False
    """Whether thresholds are whole numbers."""
    of_positives: ClassVar[bool] = False
    """Whether it is positives that leave."""

    @property
    def spec(self) -> str:
        """The rule as it is named to `find_rules`."""
        return f"{self.name}@{self.column.removeprefix(SCORE_PREFIX)}"

    @property
    def title(self) -> str:
        """The rule and what it reads, as tables name it."""
        return f"{self.name} on {self.column}"

    @property
    def reads(self) -> tuple[str, ...]:
        """All columns that it reads."""
        return (self.column,)

    def rules(self, value: float) -> Rules:
        """What `filter_pairs` makes of this rule at the threshold `value`."""
        raise NotImplementedError

    def grid(self, candidates: Candidates) -> list[float]:
        """Thresholds from the loosest to the strictest, at quantiles of the candidates."""
        raise NotImplementedError

    def is_shown(self, candidates: Candidates) -> bool:
        """Whether it is tried where nobody names rules: one that adds nothing to the others is not."""
        return True

    def flags(self, value: float) -> tuple[str, ...]:
        """The options of `pairmine filter` that hold candidates to `value`."""
        return f"--{self.name}", f"{self.column.removeprefix(SCORE_PREFIX)}:{value:.15g}"

    def passes(self, candidates: Candidates, value: float) -> np.ndarray:
        """Which candidates the rule leaves at the threshold `value`, (n,) bool."""
        left = np.ones(len(candidates), bool)
        for fired in fire_on_candidates(candidates.entered(self.rules(value))):
            left &= ~fired.rows[candidates.row]
        return left

    def positives(self, candidates: Candidates, value: float) -> np.ndarray | None:
        """Which rows it leaves as positives, (rows,) bool; None for all that there are."""
        return None


class _Margin(Rule):
    """A rule that holds candidates to an anchor."""

    @property
    def title(self) -> str:
        to = "" if self.anchor == LOWEST else f", {self.anchor.words}"
        return f"{super().title}{to}"

    def flags(self, value: float) -> tuple[str, ...]:
        anchor = self.anchor.name if self.anchor.share is None else f"{self.anchor.share:g}"
        return super().flags(value) + (() if self.anchor == LOWEST else ("--anchor", anchor))

    def _distance(self, candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
        """How far each candidate is below its anchor, and the anchor."""
        scores, anchors = candidates.entered(Rules(anchor=self.anchor)).held(self.column)
        anchor = anchors[candidates.query]
        return anchor - scores[candidates.row], anchor


class RelativeMargin(_Margin):
    """Rejects ``s > p - abs(p) * value``, p the anchor."""

    name = "relative-margin"

    def rules(self, value: float) -> Rules:
        return Rules(anchor=self.anchor, relative_margin=(Limit(self.column, value),))

    def grid(self, candidates: Candidates) -> list[float]:
        distance, anchor = self._distance(candidates)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = distance / np.abs(anchor)
        return _rising([0.0, 0.05, *(value for value in _margins(found) if value <= 1)])


class AbsoluteMargin(_Margin):
    """Rejects ``s > p - value``, p the anchor."""

    name = "absolute-margin"

    def rules(self, value: float) -> Rules:
        return Rules(anchor=self.anchor, absolute_margin=(Limit(self.column, value),))

    def grid(self, candidates: Candidates) -> list[float]:
        found, _ = self._distance(candidates)
        return _rising([0.0, 0.05, *_margins(found)])


class MaxScore(Rule):
    """Rejects ``s > value``, which is what the lower threshold of a candidate gate does as well."""

    name = "max-score"
    falls = True

    def rules(self, value: float) -> Rules:
        return Rules(max_score=(Limit(self.column, value),))

    def grid(self, candidates: Candidates) -> list[float]:
        return _rising(_quantiles(candidates.scores(self.column), 1 - np.array(SHARES)))[::-1]


class MinScore(Rule):
    """Rejects ``s < value``: what is too easy, so that it is tried where it is named alone."""

    name = "min-score"

    def rules(self, value: float) -> Rules:
        return Rules(min_score=(Limit(self.column, value),))

    def grid(self, candidates: Candidates) -> list[float]:
        return _rising(_quantiles(candidates.scores(self.column), np.array(SHARES)))

    def is_shown(self, candidates: Candidates) -> bool:
        return False


class Ranks(Rule):
    """Rejects the first ranks, up to `value`."""

    name = "ranks"
    counts = True

    @property
    def spec(self) -> str:
        return self.name

    @property
    def title(self) -> str:
        return self.name

    def rules(self, value: float) -> Rules:
        return Rules(ranks=(int(value) + 1, None))

    def grid(self, candidates: Candidates) -> list[float]:
        last = 0 if candidates.rank is None else candidates.rank.max(initial=0)
        return [float(skipped) for skipped in _SKIPS if skipped < last]

    def flags(self, value: float) -> tuple[str, ...]:
        return "--ranks", f"{int(value) + 1}:"


class Skipped(Rule):
    """Rejects the `value` best of each query by `column`, which is what orders its candidates."""

    name = "skip"
    counts = True

    @property
    def spec(self) -> str:
        return self.name

    def rules(self, value: float) -> Rules:
        return Rules(skip=int(value))

    def passes(self, candidates: Candidates, value: float) -> np.ndarray:
        left: np.ndarray = candidates.places(self.column) >= value
        return left

    def grid(self, candidates: Candidates) -> list[float]:
        last = candidates.places(self.column).max(initial=0)
        return [float(skipped) for skipped in _SKIPS if skipped <= last]

    def is_shown(self, candidates: Candidates) -> bool:
        """Where ranks fall with the column, ranks say the same."""
        return candidates.rank is None or not np.array_equal(candidates.ordered(self.column), candidates.ordered(None))

    def flags(self, value: float) -> tuple[str, ...]:
        return "--skip", f"{int(value)}"


@dataclass(frozen=True)
class Suspected(Rule):
    """Rejects the riskiest of each query, `value` times the root of how many positives it has.

    They are told by `column`, by feedback, and by the `others` that `filter` sums where it is not told what.
    """

    name = "suspects"
    others: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        return self.column, FEEDBACK, *self.others

    def rules(self, value: float) -> Rules:
        return Rules(suspects=Suspects(value, SUSPECTS_POOL, self.reads))

    def passes(self, candidates: Candidates, value: float) -> np.ndarray:
        rules = self.rules(value)
        assert rules.suspects is not None
        entered, rule = candidates.entered(rules), replace(rules.suspects, spared=candidates.picking.negatives)
        # The order does not depend on the number, and it is what takes time.
        ordered = candidates.once(self, lambda: riskiest(entered, rule))
        fires = np.zeros(candidates.pairs.num_rows, bool)
        fires[first_suspects(entered, rule, ordered)] = True
        return ~fires[candidates.row]

    def grid(self, candidates: Candidates) -> list[float]:
        return list(_SUSPECTS)

    def flags(self, value: float) -> tuple[str, ...]:
        columns = ",".join(name.removeprefix(SCORE_PREFIX) for name in self.reads)
        return "--suspects", f"{value:g}", "--suspects-by", columns


class _OfPositives(Rule):
    """A rule that positives leave by; a query that loses its last one leaves with all its rows.

    It cleans pairs, and says little of candidates, so that it is tried where it is named alone.
    """

    of_positives = True

    def is_shown(self, candidates: Candidates) -> bool:
        return False

    def passes(self, candidates: Candidates, value: float) -> np.ndarray:
        left: np.ndarray = candidates.with_positive(self.positives(candidates, value))[candidates.query]
        return left


class MinPositiveScore(_OfPositives):
    """Rejects positives with ``s < value``."""

    name = "min-positive-score"

    def rules(self, value: float) -> Rules:
        return Rules(min_positive_score=(Limit(self.column, value),))

    def positives(self, candidates: Candidates, value: float) -> np.ndarray:
        left = candidates.positive.copy()
        for fired in fire_on_positives(candidates.entered(self.rules(value))):
            left &= ~fired.rows
        return left

    def grid(self, candidates: Candidates) -> list[float]:
        return _rising(_quantiles(candidates.positive_scores(self.column), np.array(SHARES)))


class Consistency(_OfPositives):
    """Rejects positives that `value` candidates of their query, or more, outscore."""

    name = "consistency"
    falls = True
    counts = True

    def rules(self, value: float) -> Rules:
        return Rules(consistency=(Limit(self.column, value),))

    def positives(self, candidates: Candidates, value: float) -> np.ndarray:
        left: np.ndarray = candidates.positive & (self._outscored(candidates) < value)
        return left

    def grid(self, candidates: Candidates) -> list[float]:
        most = self._outscored(candidates).max(initial=0)
        return [float(many) for many in _SKIPS[::-1] if many <= most]

    def _outscored(self, candidates: Candidates) -> np.ndarray:
        """By how many candidates each positive is outscored, counted once for all thresholds."""
        return candidates.once(self, lambda: outscored(candidates.entered(Rules()), self.column))


def _margins(found: np.ndarray) -> list[float]:
    """Margins that reject `SHARES` of the candidates, whose distances below the anchor are `found` (n,).

    Where a margin of 0 rejects many already, the rest of the way is cut evenly instead.
    """
    found = found[np.isfinite(found)]
    at_once = float((found <= 0).mean()) if len(found) else 1.0
    shares = [share for share in SHARES if share > at_once]
    more = np.linspace(at_once, SHARES[-1] + 0.1, len(SHARES) - len(shares) + 2)[1:-1]
    return [value for value in _quantiles(found, np.array([*shares, *more])) if value > 0]


def _quantiles(values: np.ndarray, shares: np.ndarray) -> list[float]:
    """Quantiles to three digits, fit for a command line."""
    if not len(values):
        return []
    return [float(f"{value:.3g}") for value in np.quantile(values.astype(np.float64), np.clip(shares, 0, 1))]


def _rising(values: Iterable[float]) -> list[float]:
    return sorted({value + 0.0 for value in values})
