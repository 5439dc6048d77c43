"""How the scores of positives, negatives, candidates and rejected rows lie, with the thresholds that were set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pairmine.report.charts import Chart, Line, Mark, drawn, legend, steps, table
from pairmine.report.markup import Html, number, tag
from pairmine.report.thresholds import Threshold

LABELS = ("positive", "negative", "undecided")
COLUMNS = 12
"""Score columns that have charts, those with a threshold first; ours."""
_COLUMNS = ("count", "nulls", "mean", "p5", "p50", "p95", "max")


def score_cards(
    found: dict[str, Any], marks: Sequence[Threshold], rejected: dict[str, Any] | None = None
) -> list[Html]:
    """A card for each score column of `found` (`Stats.to_dict()`), with the scores of `rejected` rows beside them."""
    aside = (rejected or {}).get("scores", {})
    cards = [_card(name, found["scores"][name], marks, aside.get(name)) for name in charted(found["scores"], marks)]
    if len(found["scores"]) > COLUMNS:
        said = f"{COLUMNS} of {len(found['scores']):,} score columns; 'pairmine stats' has the numbers of all."
        cards.append(tag("p", said, class_="none"))
    return [card for card in cards if card] or [tag("p", "No score column holds a number.", class_="none")]


def charted(columns: Iterable[str], marks: Sequence[Threshold]) -> list[str]:
    """The columns that have charts, in their order."""
    names, set_on = list(columns), {mark.column for mark in marks}
    chosen = set(sorted(names, key=lambda name: name not in set_on)[:COLUMNS])
    return [name for name in names if name in chosen]


def _card(name: str, score: dict[str, Any], marks: Sequence[Threshold], rejected: dict[str, Any] | None) -> Html | None:
    lines = [line for label in LABELS if (line := _line(label, score["histogram"], label))]
    if rejected and (line := _line("rejected", rejected["histogram"], "undecided")):
        lines.append(line)
    if not lines:
        return None
    scale = f" ({score['scale']})" if score.get("scale") else ""
    here = [Mark(mark.value, mark.text) for mark in marks if mark.column == name and not mark.is_margin]
    margins = [mark for mark in marks if mark.column == name and mark.is_margin]
    title = f"{name}: share of each label's rows by score"
    return tag(
        "figure",
        tag("figcaption", tag("h4", f"{name}{scale}"), *_words(score, margins)),
        legend(lines),
        drawn(Chart(title, name, lines, here)),
        table(["", *_COLUMNS], _rows(score, rejected), f"{name}: numbers by label"),
        class_="card",
    )


def _line(name: str, histogram: dict[str, Any], label: str) -> Line | None:
    points = steps(histogram["edges"], histogram[label]) if histogram["edges"] else []
    return Line(name, name, points, filled=name in ("positive", "negative")) if points else None


def _words(score: dict[str, Any], margins: Sequence[Threshold]) -> list[Html]:
    said = []
    if score["auc"] is not None:
        said.append(
            f"A positive scores above a negative of its query in {score['auc']:.1%} of "
            f"{score['compared_pairs']:,} pairs (AUC {score['auc']:.3f})."
        )
    if score["negatives_above_lowest_positive"] is not None:
        said.append(
            f"{score['negatives_above_lowest_positive']:.1%} of negatives score above their query's lowest positive."
        )
    if score["overlap"] is not None:
        said.append(f"The two distributions overlap by {score['overlap']:.0%}.")
    said += [f"Set: {mark.text} below the positive." for mark in margins]
    return [tag("p", " ".join(said))] if said else []


def _rows(score: dict[str, Any], rejected: dict[str, Any] | None) -> list[list[object]]:
    named = [(label, score[label]) for label in LABELS]
    if rejected:
        named.append(("rejected", rejected["undecided"]))
    return [
        [label, *(number(summary.get(column)) for column in _COLUMNS)] for label, summary in named if summary["count"]
    ]
