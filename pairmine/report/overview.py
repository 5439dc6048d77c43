"""The head of the page: what the set is in a few numbers, and what the data tests say of it in a line."""

from __future__ import annotations

from typing import Any

from pairmine.report.charts import bar
from pairmine.report.findings import Checked
from pairmine.report.markup import Html, counted, number, share, tag
from pairmine.report.scores import LABELS

_SIGNS = {"positive": "+", "negative": "−", "undecided": "?"}


def overview(title: str, name: str, found: dict[str, Any], checked: Checked | None) -> Html:
    """Title, numbers, the labels as one bar, and the verdict."""
    return tag(
        "header",
        tag("p", "pair set", class_="kicker"),
        tag("h1", title),
        tag("p", name, class_="file") if name != title else None,
        tag("dl", *_numbers(found), class_="numbers-of"),
        _labels(found["labels"], found["rows"]),
        _verdict(found, checked),
        class_="head",
        id="top",
    )


def _numbers(found: dict[str, Any]) -> list[Html]:
    shown = [("rows", found["rows"]), ("queries", found["queries"]), ("documents", found["documents"])]
    per_query = found["per_query"]["negative"]["mean"]
    if found["labels"]["negative"] and per_query is not None:
        shown.append(("negatives per query", per_query))
    return [tag("div", tag("dt", what), tag("dd", number(value))) for what, value in shown]


def _labels(labels: dict[str, int], rows: int) -> Html | None:
    if not rows:
        return None
    there = [label for label in LABELS if labels[label]]
    told = ", ".join(f"{labels[label]:,} {label}" for label in there)
    return tag(
        "div",
        bar([(label, labels[label]) for label in there], rows, told),
        tag("ul", *(_label(label, labels[label], rows) for label in there), class_="legend"),
        class_="labels",
    )


def _label(label: str, count: int, rows: int) -> Html:
    return tag(
        "li",
        tag("i", _SIGNS[label], class_=f"sign {label}", aria_hidden="true"),
        f"{count:,} {label}, {share(count, rows)}",
    )


def _verdict(found: dict[str, Any], checked: Checked | None) -> Html:
    if not found["rows"]:
        return tag("p", "The set is empty.", class_="verdict warning")
    if checked is None:
        alone = found["queries_without_positive"]
        said = f"{counted(alone, 'query has', 'queries have')} no positive." if alone else "Every query has a positive."
        return tag("p", said, class_=f"verdict {'warning' if alone else 'ok'}")
    return tag("p", tag("a", checked.verdict, href="#checks"), class_=f"verdict {checked.worst}")
