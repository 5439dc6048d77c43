"""The page as one file: sections, style, data and script, and the policy that lets nothing else run."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.resources import files
from typing import Any

from pairmine.files.lineage import Entry
from pairmine.report.findings import Checked, findings_section
from pairmine.report.funnel import funnel_section
from pairmine.report.generated import generated_sections
from pairmine.report.markup import Html, counted, embedded, join, tag
from pairmine.report.overview import overview
from pairmine.report.rows import fitted
from pairmine.report.scores import score_cards
from pairmine.report.shape import hardness_cards, hubs_section, length_cards, origins_section
from pairmine.report.steps import lineage_section
from pairmine.report.survival import Survival, survival_cards
from pairmine.report.thresholds import Threshold

LARGEST = 2_950_000
"""Bytes of a page at most, so that it stays below 3 MB; ours."""
_STYLES = ("base.css", "sections.css", "charts.css", "browser.css")
_SCRIPTS = ("dom.js", "page.js", "data.js", "words.js", "list.js", "detail.js", "browser.js", "keys.js")
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Ccircle cx='6' cy='8' r='5' fill='%230072b2'/%3E%3Ccircle cx='11' cy='8' r='4' fill='%23d55e00'/%3E%3C/svg%3E"
)


@dataclass(frozen=True)
class Seen:
    """A pair set as the page shows it beside others: its name, `Stats.to_dict()` and survival curves."""

    name: str
    stats: dict[str, Any]
    survival: Survival | str


@dataclass(frozen=True)
class Material:
    """Everything that the page is made of. `commands` holds, for each of `entries`, the lines that repeat it.

    `stages` are pair sets of earlier stages, `rejected` the numbers of rejected rows; `rows` is `rows_data`'s.
    """

    title: str
    name: str
    this: Seen
    entries: Sequence[Entry]
    commands: Sequence[Sequence[str]]
    rows: dict[str, Any]
    marks: Sequence[Threshold] = ()
    stages: Sequence[Seen] = ()
    rejected: dict[str, Any] | None = None
    checked: Checked | None = None


def page(material: Material) -> str:
    """The page; the same material gives the same bytes."""
    style, script = _joined(_STYLES), _script()
    data = embedded(material.rows)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{material.title} · pairmine"),
        tag("link", rel="icon", href=_ICON),
        tag("style", Html(style)),
    )
    sections = list(_sections(material))
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#top", class_="skip"),
        _bar(sections),
        tag(
            "main",
            overview(material.title, material.name, material.this.stats, material.checked),
            *map(_section, sections),
        ),
        tag("footer", "Made by pairmine. This file asks nothing of a network."),
        tag("script", data, type="application/json", id="data"),
        tag("script", Html(script)),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def fitting(material: Material) -> Material:
    """`material` with as many of its rows as a page of `LARGEST` bytes holds."""
    over = len(page(material).encode()) - LARGEST
    if over <= 0:
        return material
    return replace(material, rows=fitted(material.rows, len(embedded(material.rows).encode()) - over))


def _sections(material: Material) -> Iterable[tuple[str, str, object]]:
    """Of each section its name in addresses, its title and what it holds; what the set has nothing of is left out."""
    rows = counted(material.this.stats["rows"], "row")
    yield "lineage", "Lineage", lineage_section(material.entries, material.commands, material.name, rows)
    if material.entries:
        yield "funnel", "Funnel", funnel_section(material.entries)
    if material.checked is not None:
        yield "checks", "Checks", findings_section(material.checked)
    yield from _numbers(material)
    yield from generated_sections(material.this.stats)
    yield "rows", "Rows", _browser(material)


def _numbers(material: Material) -> Iterable[tuple[str, str, object]]:
    """The sections about scores and texts."""
    found = material.this.stats
    if any(seen.stats["scores"] for seen in (material.this, *material.stages)):
        yield "scores", "Scores", _of_each(material, _scores)
        yield "survival", "Survival", _of_each(material, lambda seen, _: survival_cards(seen.survival, material.marks))
    if found["hardness"] or any(ranks["count"] for ranks in found["ranks"].values()):
        yield "hardness", "Hardness", tag("div", *hardness_cards(found, material.marks), class_="cards")
    if found["rows"]:
        yield "origins", "Origins", origins_section(found)
        yield "lengths", "Lengths", tag("div", *length_cards(found), class_="cards")
    if found["hubs"]["of"]:
        yield "hubs", "Hubs", hubs_section(found)


def _scores(seen: Seen, material: Material) -> list[Html]:
    return score_cards(seen.stats, material.marks, material.rejected if seen is material.this else None)


def _of_each(material: Material, cards: Any) -> Html:
    """The cards of this set, then those of each earlier stage under its name."""
    if not material.stages:
        return tag("div", *cards(material.this, material), class_="cards")
    return join(
        join(
            [
                tag("h3", f"{seen.name}, {counted(seen.stats['rows'], 'row')}"),
                tag("div", *cards(seen, material), class_="cards"),
            ]
        )
        for seen in (material.this, *material.stages)
    )


_LEADS = {
    "lineage": "How this file came to be. Choose a stage to see its command, options and models.",
    "funnel": "What each stage took, added, rejected and gave. Bars are to one scale.",
    "checks": "What the data tests of 'pairmine check' found.",
    "scores": "How far positives and negatives lie apart. The area under each line is the same.",
    "survival": "What would stay if a threshold were moved, from a sample of the queries.",
    "hardness": "How near the negatives come to the positives of their queries.",
    "origins": "Who put the rows there.",
    "lengths": "How long the texts are.",
    "hubs": "Documents that come back in query after query.",
    "recipes": "What the rows that an LLM wrote yielded, by recipe and by what was drawn for them.",
    "spent": "Tokens and money, as the ledger knows them.",
    "rows": "A sample of the rows, by query.",
}


def _section(section: tuple[str, str, object]) -> Html:
    name, title, body = section
    lead = tag("p", _LEADS[name], class_="lead") if name in _LEADS else None
    return tag("section", tag("h2", title, id=f"{name}-title"), lead, body, id=name, aria_labelledby=f"{name}-title")


def _bar(sections: Iterable[tuple[str, str, object]]) -> Html:
    links = [tag("a", title, href=f"#{name}") for name, title, _ in sections]
    theme = tag("button", "Theme", type="button", id="theme", hidden=True, aria_label="Switch between light and dark")
    return tag(
        "nav",
        tag("a", "pairmine", href="#top", class_="brand"),
        tag("div", *links, class_="links"),
        theme,
        class_="bar",
        aria_label="Sections",
    )


def _browser(material: Material) -> Html:
    held, queries = len(material.rows["rows"]), len(material.rows["queries"])
    if not held:
        return tag("p", "No rows to show.", class_="none")
    said = f"{counted(held, 'row')} of {counted(queries, 'query', 'queries')}, drawn by lot."
    without = tag(
        "noscript",
        tag("p", f"{said} Switch scripts on to look through them; everything above works without.", class_="none"),
    )
    return join([without, tag("div", id="browser", data_said=said)])


def _joined(names: Sequence[str]) -> str:
    folder = files("pairmine.report") / "assets"
    return "\n".join((folder / name).read_text(encoding="utf-8").strip() for name in names)


def _script() -> str:
    """All scripts as one function, so that none of their names is the page's."""
    return f'(() => {{\n"use strict";\n{_joined(_SCRIPTS)}\n}})();'


def _policy(style: str, script: str) -> str:
    """Nothing is loaded, and nothing runs but these two texts."""
    return (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
