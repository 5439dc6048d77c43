"""What a data test finds: how many of how many, a few of them, and what mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
SHOWN_TEXT = 120
"""Characters of a text that an example shows."""


@dataclass(frozen=True)
class Example:
    """One place where a fault was found, as people look for it.

    `place` is "row 17" of a pair set (from 1, in the order of the file) or "line 3" of a text file, with the file's
    name before it where there are several. `note` says what is wrong there, where the texts alone do not show it.
    """

    place: str
    query_id: str | None = None
    doc_id: str | None = None
    query: str | None = None
    document: str | None = None
    note: str = ""

    def to_dict(self) -> dict[str, str]:
        """What there is of it, ready for JSON; long texts cut."""
        values = {
            "place": self.place,
            "query_id": self.query_id,
            "doc_id": self.doc_id,
            "query": short(self.query),
            "document": short(self.document),
            "note": self.note,
        }
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True)
class Finding:
    """What the test `name` found: `count` of the `out_of` things that it looked at, counted in `unit`.

    `severity` is "error" (training goes wrong), "warning" (look at it) or "note" (worth knowing). `what` is a sentence
    without a full stop, `remedy` the line that mends it. `fixable` says whether `check --fix` does.
    """

    name: str
    severity: str
    count: int
    out_of: int
    what: str
    remedy: str
    unit: str = "rows"
    examples: Sequence[Example] = field(default_factory=tuple)
    fixable: bool = False

    @property
    def share(self) -> float:
        """`count` of `out_of`, 0 where nothing was looked at."""
        return self.count / self.out_of if self.out_of else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "name": self.name,
            "severity": self.severity,
            "count": self.count,
            "out_of": self.out_of,
            "unit": self.unit,
            "share": self.share,
            "what": self.what,
            "examples": [example.to_dict() for example in self.examples],
            "remedy": self.remedy,
            "fixable": self.fixable,
        }


def short(text: str | None, most: int = SHOWN_TEXT) -> str | None:
    """`text` on one line of at most `most` characters; None stays None."""
    if text is None:
        return None
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."
