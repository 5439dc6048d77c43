"""What LLM rows yielded, recipe by recipe, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pairmine.report.charts import table
from pairmine.report.markup import Html, counted, number, share, tag
from pairmine.report.scores import LABELS

_VALUES = 20


def generated_sections(found: dict[str, Any]) -> Iterator[tuple[str, str, Html]]:
    """A section for the recipes of the set and one for money, each where there is something of it."""
    if found["templates"]:
        cards = [_recipe(name, recipe) for name, recipe in found["templates"].items()]
        yield "recipes", "Recipes", tag("div", *cards, class_="cards")
    if found.get("spent"):
        yield "spent", "Spent", _spent(found["spent"])


def _recipe(name: str, recipe: dict[str, Any]) -> Html:
    rows = ", ".join(f"{recipe['rows'][label]:,} {label}" for label in LABELS if recipe["rows"][label])
    planned = (
        f" Of {recipe['planned']:,} rows planned, {number(recipe['written'])} were written."
        if recipe["planned"]
        else ""
    )
    lost = sorted(recipe["rejected"].items(), key=lambda item: (-item[1], item[0]))
    reasons = [tag("li", tag("span", reason), tag("b", f"{count:,}")) for reason, count in lost[:_VALUES]]
    draws = [_draws(draw, values) for draw, values in recipe["by"].items() if len(values) > 1]
    return tag(
        "figure",
        tag("figcaption", tag("h4", name), tag("p", f"In this set: {rows or 'no rows'}.{planned}")),
        tag("ul", *reasons, class_="reasons") if reasons else None,
        *draws,
        class_="card",
    )


def _draws(draw: str, values: dict[str, Any]) -> Html:
    """How the values that were drawn did; `rejected` is known with --rejects alone."""
    total = {value: sum(counts[label] for label in LABELS) for value, counts in values.items()}
    most = sorted(values, key=lambda value: (-total[value], value))[:_VALUES]
    whole = sum(total.values())
    rows = [
        [value, number(total[value]), share(total[value], whole), number(values[value]["rejected"])] for value in most
    ]
    left = f", the {_VALUES} most frequent of {len(values):,}" if len(values) > _VALUES else ""
    return table([draw, "rows", "share", "rejected"], rows, f"Rows by {draw}{left}", title=f"By {draw}")


def _spent(spent: dict[str, Any]) -> Html:
    rows = [
        [
            each["recipe"],
            each["model"],
            *(number(each[name]) for name in ("replies", "prompt_tokens", "completion_tokens", "rows")),
            _dollars(each["usd"]),
            "-" if each["rows"] is None else _dollars(each["usd_per_row"]),
        ]
        for each in spent["recipes"]
    ]
    heads = ["recipe", "model", "replies", "tokens in", "tokens out", "rows", "dollars", "a row"]
    said = f"{_dollars(spent['usd'])} for {counted(len(rows), 'recipe')}, {_dollars(spent['usd_per_query'])} a query."
    return tag("div", tag("p", said), table(heads, rows, "Of all runs with these recipes", folded=False))


def _dollars(value: float | None) -> str:
    if value is None:
        return "no price known"
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.3g}"
