"""The funnel: how many rows each stage took, added, rejected and why, and gave, with bars to one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pairmine.files.lineage import Entry
from pairmine.report.charts import bar, table
from pairmine.report.flow import title_of
from pairmine.report.markup import Html, join, number, share, tag

_REASONS = 6
_LISTED = 200
_STAGES, _LINES = 40, 600
"""Stages with a bar and lines of the table at most, the last ones where there are more; ours."""


@dataclass(frozen=True)
class Level:
    """One stage's counts: `rows_in` and `added` are `went` and `rejected`, unless it makes rows of another kind."""

    title: str
    rows_in: int
    added: int
    rejected: dict[str, int]
    rows_out: int

    @classmethod
    def of(cls, entry: Entry) -> Level:
        """The counts in a stage's lineage."""
        counts = entry.get("counts", {})
        reasons = sorted(counts.get("rejected", {}).items(), key=lambda item: (-item[1], item[0]))
        return cls(
            title_of(entry), counts.get("rows_in", 0), counts.get("added", 0), dict(reasons), counts.get("rows_out", 0)
        )

    @property
    def lost(self) -> int:
        """How many rows were rejected."""
        return sum(self.rejected.values())

    @property
    def reshapes(self) -> bool:
        """Whether its rows out are of another kind than its rows in, so that they do not add up."""
        return self.rows_in + self.added != self.rows_out + self.lost


def funnel_section(entries: Sequence[Entry]) -> Html:
    """A bar for each stage, the reasons below it, and a table of everything behind."""
    levels = [Level.of(entry) for entry in entries]
    whole = max([1, *(level.rows_in + level.added for level in levels), *(level.rows_out for level in levels)])
    left = len(levels) - _STAGES
    said = tag("p", f"The last {_STAGES} of {len(levels):,} stages.", class_="none") if left > 0 else None
    shown = (_level(level, whole) for level in levels[-_STAGES:])
    return join([_key(), said, tag("ol", *shown, class_="funnel"), _table(levels)])


def _key() -> Html:
    kinds = (
        ("kept", "went on"),
        ("added", "added by the stage"),
        ("lost", "rejected"),
        ("used", "made into other rows"),
    )
    return tag("ul", *(tag("li", tag("i", class_=kind), text) for kind, text in kinds), class_="legend")


def _level(level: Level, whole: int) -> Html:
    new = 0 if level.reshapes else min(level.added, level.rows_out)
    parts = [("kept", level.rows_out - new), ("added", new), ("lost", level.lost)]
    if level.reshapes:
        parts = [("used", max(level.rows_in + level.added - level.lost, 0)), ("lost", level.lost)]
    counts = f"{level.rows_in:,} in, {level.added:,} added, {level.lost:,} rejected, {level.rows_out:,} out"
    return tag(
        "li",
        tag("h3", level.title),
        tag("p", *_told(level), class_="counts"),
        bar(parts, whole, f"{level.title}: rows {counts}"),
        bar([("kept", level.rows_out)], whole, f"{level.rows_out:,} rows made") if level.reshapes else None,
        _reasons(level),
    )


def _told(level: Level) -> list[object]:
    added = [" + ", tag("b", f"{level.added:,}", class_="added"), " added"] if level.added else []
    lost = [" − ", tag("b", f"{level.lost:,}", class_="lost"), " rejected"] if level.lost else []
    return [tag("b", f"{level.rows_in:,}"), " in", *added, *lost, " → ", tag("b", f"{level.rows_out:,}"), " out"]


def _reasons(level: Level) -> Html | None:
    if not level.rejected:
        return None
    taken = level.rows_in + level.added
    shown = list(level.rejected.items())[:_REASONS]
    rest = level.lost - sum(count for _, count in shown)
    if rest:
        shown.append((f"{len(level.rejected) - _REASONS} more reasons", rest))
    items = (
        tag("li", tag("span", reason), tag("b", f"{count:,}"), tag("small", share(count, taken)))
        for reason, count in shown
    )
    return tag("ul", *items, class_="reasons")


def _table(levels: Sequence[Level]) -> Html:
    rows: list[list[object]] = []
    for level in levels:
        rows.append([level.title, *map(number, (level.rows_in, level.added, level.lost, level.rows_out))])
        rows += [
            [tag("span", reason, class_="deep"), "", "", number(count), ""]
            for reason, count in list(level.rejected.items())[:_LISTED]
        ]
    cut = f"; the last {_LINES} of {len(rows):,} lines" if len(rows) > _LINES else ""
    heads = ["stage", "in", "added", "rejected", "out"]
    return table(heads, rows[-_LINES:], f"Rows of each stage; reasons stand below their stage{cut}")
