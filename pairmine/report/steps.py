"""The stages one by one: the command that repeats each, its options, models and versions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pairmine.files.lineage import Entry
from pairmine.report.flow import flow, nodes_of, title_of
from pairmine.report.markup import Html, counted, join, tag

_DIGEST = 16
_LONGEST = 400
_BRIEF = 200
_DETAILS, _COMMANDS = 250_000, 500_000
"""Characters of markup after which stages show their commands alone, and after which they are not shown: of a blend
of many sets the last ones come first. Both are ours, so that a page stays below 3 MB."""


def lineage_section(entries: Sequence[Entry], commands: Sequence[Sequence[str]], name: str, below: str) -> Html:
    """The flow with its stages; `commands` holds the lines that repeat each of `entries`, comments first."""
    if not entries:
        said = f"{name} carries no lineage: another tool wrote it, or its format holds none (jsonl, csv, tsv)."
        return tag("p", said, class_="none")
    script = "\n".join(line for lines in commands for line in lines)
    steps = _steps(entries, commands)
    left = len(entries) - len(steps)
    said = f"{counted(left, 'earlier stage')} not shown here: 'pairmine info {name}' prints all commands."
    return join(
        [
            flow(nodes_of(entries, name, below)),
            tag("p", "All commands that build it", _copier(script), class_="all") if len(script) < _COMMANDS else None,
            tag("p", said, class_="none") if left else None,
            *steps,
        ]
    )


def _steps(entries: Sequence[Entry], commands: Sequence[Sequence[str]]) -> list[Html]:
    """The stages in their order; where all are too much, the last ones."""
    steps: list[Html] = []
    size = 0
    for at in range(len(entries), 0, -1):
        step = _step(at, entries[at - 1], commands[at - 1], detailed=size < _DETAILS)
        size += len(step)
        if size > _COMMANDS and steps:
            break
        steps.append(step)
    return steps[::-1]


def _step(at: int, entry: Entry, lines: Sequence[str], *, detailed: bool) -> Html:
    command = lines[-1] if lines else ""
    return tag(
        "details",
        tag("summary", tag("b", f"{at} {title_of(entry)}"), tag("code", command[:_BRIEF], class_="brief")),
        tag("div", tag("pre", tag("code", command)), _copier(command), class_="command"),
        tag("div", *_details(entry), class_="sheets") if detailed else None,
        tag("p", f"pairmine {entry.get('version', '?')}", class_="version"),
        id=f"step-{at}",
        class_="step",
    )


def _details(entry: Entry) -> list[Html | None]:
    return [
        *_models(entry.get("models", [])),
        _facts("Options", entry.get("options")),
        _facts("Notes", entry.get("counts", {}).get("notes")),
        _facts("Prompts", entry.get("prompts")),
    ]


def _copier(text: str) -> Html:
    """A button that puts `text` on the clipboard; it is shown where scripts run."""
    return tag("button", "Copy", type="button", class_="copy", data_text=text, hidden=True)


def _models(models: Sequence[dict[str, Any]]) -> list[Html | None]:
    return [_facts(f"Model {model.get('model', model.get('name', ''))}", model) for model in models]


def _facts(title: str, facts: Any) -> Html | None:
    """A list of names and values; None where there are none."""
    if not facts:
        return None
    pairs = facts.items() if isinstance(facts, dict) else [("", facts)]
    items = [part for name, value in pairs for part in (tag("dt", name), tag("dd", _shown(name, value)))]
    return tag("section", tag("h4", title), tag("dl", *items), class_="facts")


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name != "seed":
        return f"{value:,}"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if name in ("sha256", "digest") and len(text) > _DIGEST:
        return f"{text[:_DIGEST]}…"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
