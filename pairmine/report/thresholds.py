"""The thresholds that the lineage says were set, as numbers to draw: which column, where, by which rule."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pairmine.files.lineage import Entry
from pairmine.schema import SCORE_PREFIX

_LIMITS = {
    "max_score": "max-score",
    "min_score": "min-score",
    "min_positive_score": "min-positive-score",
    "relative_margin": "relative-margin",
    "absolute_margin": "absolute-margin",
}
_BANDS = {"candidate_gate": "candidate-gate", "gate": "gate", "curate": "curate"}
_MOST = 4
_ROCKETQA = ("0.1", "0.9")
_USUAL = ("score_ce", "score_llm", "score_dense")
_SUSPECTED, _WITHIN = "suspected false negative", "within "


@dataclass(frozen=True)
class Threshold:
    """One number of one rule of `filter`, on the score `column`."""

    rule: str
    column: str
    value: float
    note: str = ""

    @property
    def is_margin(self) -> bool:
        """Whether it is held to the distance below the positives, not to the score itself."""
        return self.rule.endswith("-margin")

    @property
    def text(self) -> str:
        """What stands beside the line."""
        return f"{self.rule.replace('-', ' ')} {self.value:g}{self.note}"


def thresholds(entries: Sequence[Entry], columns: Collection[str]) -> list[Threshold]:
    """All thresholds that stages of `filter` had set on one of the score `columns`, without repeats.

    Of a rule that the sources of a blend set in more than `_MOST` ways the lowest and the highest are given.
    """
    found = [each for entry in entries if entry.get("command") == "filter" for each in _of(entry, columns)]
    of_rule: dict[tuple[str, str], list[Threshold]] = {}
    for each in dict.fromkeys(found):
        if each.column in columns and math.isfinite(each.value):
            of_rule.setdefault((each.rule, each.column), []).append(each)
    return [each for group in of_rule.values() for each in _few(group)]


def _few(group: Sequence[Threshold]) -> Sequence[Threshold]:
    if len(group) <= _MOST:
        return group
    low, *_, high = sorted(group, key=lambda each: each.value)
    return [replace(low, note=f", lowest of {len(group)}"), replace(high, note=f", highest of {len(group)}")]


def negatives_wanted(entries: Sequence[Entry]) -> int | None:
    """How many negatives each query was to have, as the last filter had it; None where nobody said."""
    wanted = [entry.get("options", {}).get("negatives") for entry in entries if entry.get("command") == "filter"]
    return next((each for each in reversed(wanted) if isinstance(each, int) and each > 0), None)


def _of(entry: Entry, columns: Collection[str]) -> Iterator[Threshold]:
    options = entry.get("options", {})
    usual = _column(options.get("by"), columns) or next((name for name in _USUAL if name in columns), None)
    for option, rule in _LIMITS.items():
        if option == "relative_margin" and _is_idle(entry):
            continue
        for text in _listed(options.get(option)):
            name, _, value = text.rpartition(":")
            column = _column(name, columns) or (usual if not name else None)
            if column and (at := _float(value)) is not None:
                yield Threshold(rule, column, at)
    for option, rule in _BANDS.items():
        for text in _listed(options.get(option)):
            name, *numbers = text.partition(":judge=")[0].split(":")
            for value in numbers or _ROCKETQA:
                if (column := _column(name, columns)) and (at := _float(value)) is not None:
                    yield Threshold(rule, column, at)


def _is_idle(entry: Entry) -> bool:
    """Whether the margin that stands there by default was left out: where there is feedback, suspects act instead."""
    options, reasons = entry.get("options", {}), entry.get("counts", {}).get("rejected", {})
    suspected = any(reason.startswith(_SUSPECTED) for reason in reasons)
    acted = any(reason.startswith(_WITHIN) for reason in reasons)
    is_usual = _listed(options.get("relative_margin")) == ["0.05"]
    return bool(options.get("no_relative_margin") or (suspected and is_usual and not acted))


def _listed(value: Any) -> list[str]:
    if value is None or isinstance(value, bool):
        return []
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def _column(name: Any, columns: Collection[str]) -> str | None:
    if not isinstance(name, str) or not name:
        return None
    return next((each for each in (name, SCORE_PREFIX + name) if each in columns), None)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
