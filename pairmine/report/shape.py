"""How hard the negatives are, where rows come from, how long texts are, and which documents come back too often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pairmine.report.charts import Chart, Line, Mark, bar, drawn, legend, steps, table
from pairmine.report.markup import Html, join, number, share, tag
from pairmine.report.scores import LABELS, charted
from pairmine.report.thresholds import Threshold

_SUMMARY = ("count", "mean", "p5", "p50", "p95", "max")
_ORIGINS = 30
_LISTED = 100
_FEWEST_BINS = 8


def hardness_cards(found: dict[str, Any], marks: Sequence[Threshold]) -> list[Html]:
    """The ranks of negatives, and for each score how far they lie below their query's lowest positive."""
    cards = [card for card in (_ranks(found["ranks"]), *_margins(found["hardness"], marks)) if card]
    return cards or [tag("p", "No negative has a rank or a score.", class_="none")]


def _ranks(ranks: dict[str, Any]) -> Html | None:
    there = [label for label in LABELS[1:] if ranks[label]["count"]]
    style = "" if len(there) > 1 else " alone"
    lines = [line for label in there if (line := _line(label, f"{label}{style}", ranks[label]["histogram"]))]
    rows = [[label, *_cells(ranks[label])] for label in LABELS if ranks[label]["count"]]
    if not lines:
        return None
    said = "Where negatives stood in the list that they were mined from; 1 is the hardest."
    return _figure("Ranks of negatives", said, Chart("Ranks by label", "rank", lines), rows)


def _margins(hardness: dict[str, Any], marks: Sequence[Threshold]) -> list[Html | None]:
    return [_margin(name, hardness[name], marks) for name in charted(hardness, marks)]


def _margin(name: str, found: dict[str, Any], marks: Sequence[Threshold]) -> Html | None:
    here = [mark for mark in marks if mark.column == name and mark.is_margin]
    relative = any(mark.rule == "relative-margin" for mark in here) and _is_fine(found["relative_margin"])
    margin = found["relative_margin" if relative else "margin"]
    line = _line("negatives", "negative alone", margin["histogram"])
    if line is None:
        return None
    rule = "relative-margin" if relative else "absolute-margin"
    drawn_marks = [Mark(mark.value, mark.text) for mark in here if mark.rule == rule]
    across = f"{'relative ' if relative else ''}margin by {name}"
    said = "How far negatives lie below the lowest positive of their query; those left of 0 score above it."
    rows = [["all", *_cells(margin)]]
    chart = Chart(f"{name}: {across}", across, [line], [Mark(0.0, "positive"), *drawn_marks])
    return tag(
        "figure",
        tag("figcaption", tag("h4", f"Margin by {name}"), tag("p", said)),
        drawn(chart),
        table(["", *_SUMMARY], rows, f"Margin by {name}"),
        _by_origin(name, found["origins"]),
        class_="card",
    )


def _is_fine(margin: dict[str, Any]) -> bool:
    """Whether the bins tell where most lie; positives near 0 make relative margins so large that they do not."""
    edges = margin["histogram"]["edges"]
    return bool(edges) and margin["p95"] - margin["p5"] >= _FEWEST_BINS * (edges[1] - edges[0])


def _by_origin(name: str, origins: dict[str, Any]) -> Html | None:
    rows = [
        [
            origin,
            number(each["negatives"]),
            *(number(each[column]) for column in ("mean", "margin")),
            _percent(each["above"]),
        ]
        for origin, each in list(origins.items())[:_LISTED]
    ]
    heads = ["origin", "negatives", "mean score", "mean margin", "above"]
    return table(heads, rows, f"{name} of negatives by origin", title="By origin") if rows else None


def origins_section(found: dict[str, Any]) -> Html:
    """Rows by origin, a bar in the colours of the labels for each."""
    ordered = sorted(found["origins"].items(), key=lambda item: (-sum(item[1].values()), item[0]))
    whole = max((sum(counts.values()) for _, counts in ordered), default=1)
    items = [_origin(origin, counts, whole, found["rows"]) for origin, counts in ordered[:_ORIGINS]]
    if len(ordered) > _ORIGINS:
        items.append(tag("li", f"and {len(ordered) - _ORIGINS:,} more origins"))
    rows = [[origin, *(number(counts[label]) for label in LABELS)] for origin, counts in ordered]
    return join(
        [tag("ul", *items, class_="origins"), table(["origin", *LABELS], rows[:_LISTED], "Rows by origin and label")]
    )


def _origin(origin: str, counts: dict[str, int], whole: int, rows: int) -> Html:
    total = sum(counts.values())
    told = f"{origin}: " + ", ".join(f"{counts[label]:,} {label}" for label in LABELS if counts[label])
    return tag(
        "li",
        tag("span", origin, class_="name"),
        tag("b", f"{total:,}"),
        tag("small", share(total, rows)),
        bar([(label, counts[label]) for label in LABELS], whole, told),
    )


def length_cards(found: dict[str, Any]) -> list[Html]:
    """How long queries and documents are: in tokens where they were counted, else in words."""
    cards = []
    for side in ("query", "document"):
        units = found["lengths"][side]
        unit = "tokens" if units.get("tokens") else "words"
        line = _line(f"{unit} of a {side}", "plain", units[unit].get("histogram"))
        if line is None:
            continue
        rows = [[name, *_cells(units[name])] for name in ("tokens", "words", "characters") if units.get(name)]
        said = "Each query once." if side == "query" else "Each row's document."
        cards.append(_figure(f"Length of a {side}", said, Chart(f"{unit} of a {side}", unit, [line]), rows))
    return cards or [tag("p", "The set holds no texts.", class_="none")]


def hubs_section(found: dict[str, Any]) -> Html:
    """The documents that are a negative of most queries, and how uneven that is."""
    hubs = found["hubs"]
    what = "negative" if hubs["of"] == "negative" else "candidate"
    said = (
        f"A document is a {what} of {number(hubs['mean'])} queries on average and of {hubs['max']:,} at most; "
        f"{hubs['never']:,} of {hubs['documents']:,} never are. The top 1% hold "
        f"{hubs['top_percent_share'] or 0:.1%} of these rows."
    )
    rows = [
        [each["doc_id"], number(each["queries"]), f"{each['share']:.1%}", each["document"] or ""]
        for each in hubs["top"]
    ]
    shown = (
        table(["document", "queries", "of all", "begins"], rows, f"Most frequent {what}s", folded=False)
        if rows
        else None
    )
    return join([tag("p", said), shown])


def _figure(title: str, said: str, chart: Chart, rows: Sequence[Sequence[object]]) -> Html:
    return tag(
        "figure",
        tag("figcaption", tag("h4", title), tag("p", said)),
        legend(chart.lines) if len(chart.lines) > 1 else None,
        drawn(chart),
        table(["", *_SUMMARY], rows, title),
        class_="card",
    )


def _line(name: str, kind: str, histogram: dict[str, Any] | None) -> Line | None:
    points = steps(histogram["edges"], histogram["counts"]) if histogram and histogram["edges"] else []
    return Line(name, kind, points, filled=True) if points else None


def _cells(summary: dict[str, Any]) -> list[str]:
    return [number(summary[column]) for column in _SUMMARY]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
