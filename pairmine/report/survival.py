"""Survival curves: how many candidates, and queries with enough of them, each threshold would leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.report.charts import Chart, Line, Mark, drawn, legend, table
from pairmine.report.markup import Html, counted, number, share, tag
from pairmine.report.scores import charted
from pairmine.report.thresholds import Threshold
from pairmine.schema import NEGATIVE, scale_of, score_names
from pairmine.stages.calibrate.candidates import Candidates, Picking, checked
from pairmine.stages.calibrate.curves import Curve, Sweep
from pairmine.stages.calibrate.kinds import LOWEST, Rule
from pairmine.stages.calibrate.rules import find_rules

_RULES = ("relative-margin", "max-score")
_MEANINGS = {
    "relative-margin": "A candidate leaves unless it scores this part below the lowest positive of its query.",
    "absolute-margin": "A candidate leaves unless it scores this much below the lowest positive of its query.",
    "max-score": "A candidate leaves that scores above this.",
}


@dataclass(frozen=True)
class Survival:
    """What thresholds leave of `candidates` of `queries` queries that are to have `negatives` each."""

    queries: int
    candidates: int
    negatives: int
    curves: Sequence[Curve]


def survival(pairs: pa.Table, negatives: int, marks: Sequence[Threshold]) -> Survival | str:
    """The curves of every score column of `pairs`, whose negatives are taken as candidates; or why there are none."""
    pairs = _with_candidates(pairs)
    if "label" in pairs.column_names and not pairs["label"].null_count:
        return "The set has no negatives and no candidates."
    try:
        candidates = Candidates(checked(pairs), Picking(negatives, pick="top"))
        if not len(candidates):
            return "Every candidate is a copy of something that its query has, or of a query without a positive."
        trials = _trials(candidates, marks)
    except PairmineError as error:
        return f"No curves: {error}."
    _, curves = Sweep(candidates, trials, None, None).curves(None)
    return Survival(candidates.queries, len(candidates), negatives, curves)


def _with_candidates(pairs: pa.Table) -> pa.Table:
    """`pairs` with their negatives undecided, as `filter` met them."""
    if "label" not in pairs.column_names:
        return pairs
    label = pc.if_else(pc.equal(pairs["label"], NEGATIVE), pa.scalar(None, pa.int8()), pairs["label"])
    return pairs.set_column(pairs.column_names.index("label"), "label", label)


def _trials(candidates: Candidates, marks: Sequence[Threshold]) -> dict[Rule, list[float]]:
    """The margins and limits that the columns allow, at thresholds along the way and at those that were set."""
    schema = candidates.pairs.schema
    logits = {name for name in score_names(schema) if scale_of(schema.field(name)) == "logit"}
    found, _ = find_rules(candidates, anchors=[LOWEST])
    trials = {}
    shown = charted(score_names(schema), marks)
    for rule, grid in found.items():
        if rule.column not in shown:
            continue
        wanted = _RULES if rule.column not in logits else ("absolute-margin", "max-score")
        set_at = {mark.value for mark in marks if (mark.rule, mark.column) == (rule.name, rule.column)}
        if grid and rule.name in _MEANINGS and (set_at or rule.name in wanted):
            trials[rule] = sorted({*grid, *set_at}, reverse=rule.falls)
    return trials


def survival_cards(found: Survival | str, marks: Sequence[Threshold]) -> list[Html]:
    """A chart for each curve, with the threshold that was set; or the reason why there is none."""
    if isinstance(found, str):
        return [tag("p", found, class_="none")]
    if not found.curves:
        return [tag("p", "No score column allows a margin or a limit.", class_="none")]
    return [_card(found, curve, marks) for curve in found.curves]


def _card(found: Survival, curve: Curve, marks: Sequence[Threshold]) -> Html:
    points = sorted(curve.points, key=lambda point: point.value or 0.0)
    lines = [
        Line(
            "candidates that stay",
            "negative",
            [(point.value or 0.0, point.passed / found.candidates) for point in points],
        ),
        Line(
            f"queries with {counted(found.negatives, 'negative')}",
            "undecided",
            [(point.value or 0.0, 1 - point.short / max(point.queries, 1)) for point in points],
        ),
    ]
    here = [mark for mark in marks if (mark.rule, mark.column) == (curve.rule.name, curve.rule.column)]
    title = f"{curve.rule.title}: share of candidates and queries that stay as the threshold moves"
    chart = Chart(
        title, curve.rule.title, lines, [Mark(mark.value, f"set: {mark.value:g}") for mark in here], "", True, 1.0
    )
    rows = [
        [
            number(point.value),
            number(point.passed),
            share(point.passed, found.candidates),
            number(point.queries - point.short),
        ]
        for point in points
    ]
    heads = ["threshold", "stay", "share", f"queries with {found.negatives}"]
    return tag(
        "figure",
        tag("figcaption", tag("h4", curve.rule.title), tag("p", _MEANINGS[curve.rule.name])),
        legend(lines),
        drawn(chart),
        table(heads, rows, f"{curve.rule.title}, on {found.candidates:,} candidates of {found.queries:,} queries"),
        class_="card",
    )
