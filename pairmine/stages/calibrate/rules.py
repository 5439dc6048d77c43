"""Which rules can be tried on a pair set, and at which thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.schema import FEEDBACK, pair_score_names, scale_of
from pairmine.stages.calibrate.candidates import Candidates
from pairmine.stages.calibrate.kinds import (
    AbsoluteMargin,
    Consistency,
    MaxScore,
    MinPositiveScore,
    MinScore,
    Ranks,
    RelativeMargin,
    Rule,
    Skipped,
    Suspected,
)
from pairmine.stages.filter.anchors import Anchor
from pairmine.stages.filter.rules import check_rules, usual_columns

NO_RULE = "none"
_UNRANKED = ("rrf", "run")
"""Scales on which positives have no score."""
_BOUNDED = ("cosine", "probability", "similarity", "logit")
"""Scales on which one number means the same for every query."""

RULE_NAMES = tuple(
    rule.name
    for rule in (
        *(RelativeMargin, AbsoluteMargin, MaxScore, MinScore, Ranks, Skipped, Suspected),
        *(MinPositiveScore, Consistency),
    )
)


def find_rules(
    candidates: Candidates, *, anchors: Sequence[Anchor], by: str | None = None, names: Sequence[str] | None = None
) -> tuple[dict[Rule, list[float]], list[str]]:
    """The rules that the columns allow with their thresholds, and for each column that cannot serve why.

    Candidates are ordered by the column `by`. `names` holds the search to some, NAME[@COLUMN][=VALUE,VALUE...], with
    a grid of thresholds where no values are given; naming what cannot be tried is a PairmineError. "none" alone tries
    none. Without names those are tried that `Rule.is_shown` says.
    """
    if names and list(names) == [NO_RULE]:
        return {}, []
    schema = candidates.pairs.schema
    rules: list[Rule] = []
    remarks = []
    for column in pair_score_names(schema):
        if problem := _problem(candidates, column):
            remarks.append(f"left out: {problem}")
        else:
            rules += _of_column(candidates, column, anchors)
    if candidates.rank is not None:
        rules.append(Ranks("rank"))
    if by is not None:
        rules.append(Skipped(by))
    if not rules:
        raise PairmineError(
            f"no rule to try: {remarks[0].removeprefix('left out: ')}"
            if remarks
            else "no rule to try, since there is no score column and no rank; "
            "run 'pairmine mine' or 'pairmine score' first"
        )
    if not names:
        return {rule: rule.grid(candidates) for rule in rules if rule.is_shown(candidates)}, remarks
    trials: dict[Rule, list[float]] = {}
    for name in names:
        for rule, grid in _asked_for(name, rules, candidates).items():
            trials[rule] = sorted({*trials.get(rule, ()), *grid}, reverse=rule.falls)
    return trials, remarks


def _of_column(candidates: Candidates, column: str, anchors: Sequence[Anchor]) -> list[Rule]:
    """The rules that can be held on a score that every candidate has, and every positive of their queries."""
    schema = candidates.pairs.schema
    scale = scale_of(schema.field(column))
    rules: list[Rule] = []
    if scale != "logit":
        rules += [RelativeMargin(column, anchor) for anchor in anchors]
    rules += [AbsoluteMargin(column, anchor) for anchor in anchors]
    if scale in _BOUNDED:
        rules += [MaxScore(column), MinScore(column)]
    if FEEDBACK in schema.names and scale in ("cosine", "probability", "similarity"):
        rules.append(Suspected(column, others=usual_columns(schema, column)[2:]))
    if scale in _BOUNDED and np.isfinite(candidates.positive_scores(column)).all():
        rules.append(MinPositiveScore(column))
    return [*rules, Consistency(column)]


def _asked_for(name: str, rules: Sequence[Rule], candidates: Candidates) -> dict[Rule, list[float]]:
    told, equals, values = name.partition("=")
    fits = [rule for rule in rules if told in (rule.name, rule.spec, f"{rule.name}@{rule.column}")]
    if not fits:
        known = ", ".join(sorted({rule.spec for rule in rules}))
        raise PairmineError(f"rule {name} cannot be tried on this pair set; these can: {known}")
    if not equals:
        return {rule: rule.grid(candidates) for rule in fits}
    given = _thresholds(name, told, values, counts=fits[0].counts)
    for rule in fits:
        for value in given:
            check_rules(rule.rules(value), candidates.pairs.schema)
    return {rule: given[::-1] if rule.falls else given for rule in fits}


def _thresholds(name: str, told: str, values: str, *, counts: bool) -> list[float]:
    """The numbers in `values`, rising, which the user wrote behind the rule `told`."""
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
