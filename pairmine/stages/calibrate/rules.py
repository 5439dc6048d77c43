"""The rules of `filter` that have one threshold, and the thresholds worth trying on a corpus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.schema import FEEDBACK, SCORE_PREFIX, pair_score_names, scale_of
from pairmine.stages.calibrate.candidates import Candidates
from pairmine.stages.filter.anchors import Anchor
from pairmine.stages.filter.firing import fire_on_candidates, first_suspects, riskiest
from pairmine.stages.filter.rules import SUSPECTS_POOL, Limit, Rules, Suspects, check_rules, usual_columns

SHARES = (0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85)
"""The parts of the candidates that the thresholds reject; the first of a list of 100 is what a pick of 5 feels."""

LOWEST = Anchor()
NO_RULE = "none"
_UNRANKED = ("rrf", "run")
"""Scales on which positives have no score."""
_BOUNDED = ("cosine", "probability", "similarity", "logit")
"""Scales on which one number means the same for every query."""
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

    def flags(self, value: float) -> tuple[str, ...]:
        """The options of `pairmine filter` that hold candidates to `value`."""
        return f"--{self.name}", f"{self.column.removeprefix(SCORE_PREFIX)}:{value:g}"

    def passes(self, candidates: Candidates, value: float) -> np.ndarray:
        """Which candidates the rule leaves at the threshold `value`, (n,) bool."""
        left = np.ones(len(candidates), bool)
        for fired in fire_on_candidates(candidates.entered(self.rules(value))):
            left &= ~fired.rows[candidates.row]
        return left


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


class Ranks(Rule):
    """Rejects the first ranks, up to `value`."""

    name = "ranks"

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
        return "--ranks", f"{value + 1:g}:"


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


RULE_NAMES = tuple(rule.name for rule in (RelativeMargin, AbsoluteMargin, MaxScore, Ranks, Suspected))


def find_rules(
    candidates: Candidates, *, anchors: Sequence[Anchor], names: Sequence[str] | None = None
) -> tuple[dict[Rule, list[float]], list[str]]:
    """The rules that the columns allow with their thresholds, and for each column that cannot serve why.

    `names` holds the search to some, NAME[@COLUMN][=VALUE,VALUE...], with a grid of thresholds where no values are
    given; naming what cannot be tried is a PairmineError. "none" alone tries none.
    """
    if names and list(names) == [NO_RULE]:
        return {}, []
    schema = candidates.pairs.schema
    rules: list[Rule] = []
    remarks = []
    for column in pair_score_names(schema):
        if problem := _problem(candidates, column):
            remarks.append(f"left out: {problem}")
            continue
        scale = scale_of(schema.field(column))
        if scale != "logit":
            rules += [RelativeMargin(column, anchor) for anchor in anchors]
        rules += [AbsoluteMargin(column, anchor) for anchor in anchors]
        if scale in _BOUNDED:
            rules.append(MaxScore(column))
        if FEEDBACK in schema.names and scale in ("cosine", "probability", "similarity"):
            rules.append(Suspected(column, others=usual_columns(schema, column)[2:]))
    if candidates.rank is not None:
        rules.append(Ranks("rank"))
    if not rules:
        raise PairmineError(
            f"no rule to try: {remarks[0].removeprefix('left out: ')}"
            if remarks
            else "no rule to try, since there is no score column and no rank; "
            "run 'pairmine mine' or 'pairmine score' first"
        )
    if not names:
        return {rule: rule.grid(candidates) for rule in rules}, remarks
    trials: dict[Rule, list[float]] = {}
    for name in names:
        for rule, grid in _asked_for(name, rules, candidates).items():
            trials[rule] = sorted({*trials.get(rule, ()), *grid}, reverse=rule.falls)
    return trials, remarks


def _asked_for(name: str, rules: Sequence[Rule], candidates: Candidates) -> dict[Rule, list[float]]:
    told, equals, values = name.partition("=")
    fits = [rule for rule in rules if told in (rule.name, rule.spec, f"{rule.name}@{rule.column}")]
    if not fits:
        known = ", ".join(sorted({rule.spec for rule in rules}))
        raise PairmineError(f"rule {name} cannot be tried on this pair set; these can: {known}")
    if not equals:
        return {rule: rule.grid(candidates) for rule in fits}
    given = _thresholds(name, told, values)
    for rule in fits:
        for value in given:
            check_rules(rule.rules(value), candidates.pairs.schema)
    return {rule: given[::-1] if rule.falls else given for rule in fits}


def _thresholds(name: str, told: str, values: str) -> list[float]:
    """The numbers in `values`, rising, which the user wrote behind the rule `told`."""
    counts = told == Ranks.name
    try:
        found = sorted({float(value) for value in values.split(",")})
    except ValueError:
        found = [math.nan]
    if not all(math.isfinite(value) and (not counts or value == int(value)) for value in found):
        what, shown = ("whole numbers", "5,10") if counts else ("numbers", "0.05,0.1")
        raise PairmineError(f"rule {name}: thresholds are {what} parted by commas, as in {told}={shown}")
    return found


def _problem(candidates: Candidates, column: str) -> str:
    """Why `column` cannot decide; empty where it can."""
    schema = candidates.pairs.schema
    if column not in schema.names:
        return f"no column {column}"
    field = schema.field(column)
    if not (pa.types.is_floating(field.type) or pa.types.is_integer(field.type) or pa.types.is_null(field.type)):
        return f"column {column} holds {field.type}, no numbers"
    if scale_of(field) in _UNRANKED:
        return f"{column} scores what was listed alone, and no positives"
    candidates_without, positives_without = candidates.unscored(column)
    if candidates_without:
        return f"{candidates_without:,} of {len(candidates):,} candidates have no {column}; run 'pairmine score' first"
    if positives_without:
        return f"{positives_without:,} positives have no {column}; run 'pairmine score' first"
    return ""


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
