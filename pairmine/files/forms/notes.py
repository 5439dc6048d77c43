"""Where the faults of a form are written down, and what becomes of them: one finding for each name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pairmine.files.forms.faults import FAULTS
from pairmine.stages.check.finding import ERROR, Example, Finding

MOST_EXAMPLES = 20


@dataclass
class _Count:
    rows: int = 0
    last: object = None
    examples: list[Example] = field(default_factory=list)


class Notes:
    """The faults of one file or folder, counted by rows: a fault that a row has twice counts once.

    A `muted` one takes no notes, for whoever reads the file once more.
    """

    def __init__(self, *, muted: bool = False) -> None:
        self.is_muted = muted
        self._out_of: dict[str, tuple[int, str]] = {}
        self._counts: dict[str, _Count] = {}

    def add(self, name: str, place: str, note: str = "", *, query: str | None = None) -> None:
        """One more row at `place` has the fault `name`."""
        if self.is_muted:
            return
        count = self._counts.setdefault(name, _Count())
        if count.last == place:
            return
        count.rows, count.last = count.rows + 1, place
        if len(count.examples) < MOST_EXAMPLES:
            count.examples.append(Example(place, query=query, note=note))

    def add_many(self, name: str, rows: int, places: Iterable[str], note: str) -> None:
        """So many `rows` have the fault, the first of them at `places`; of several such faults the largest counts."""
        if self.is_muted:
            return
        count = self._counts.setdefault(name, _Count())
        count.rows = max(count.rows, rows)
        known = {example.place for example in count.examples}
        count.examples += [Example(place, note=note) for place in places if place not in known]

    def among(self, name: str, out_of: int, unit: str) -> None:
        """The fault `name` is counted among so many more of `unit`, and not among the rows."""
        self._out_of[name] = (self._out_of.get(name, (0, ""))[0] + out_of, unit)

    def count(self, name: str) -> int:
        """How many rows have the fault."""
        return self._counts[name].rows if name in self._counts else 0

    def first(self) -> tuple[str, Example] | None:
        """The first fault that is an error, else the first one, with its first example; None where there is none."""
        found = sorted(self._counts, key=lambda name: FAULTS[name].severity != ERROR)
        return (found[0], self._counts[found[0]].examples[0]) if found else None

    def findings(self, rows: int, unit: str) -> list[Finding]:
        """One finding for each fault, in the order of `FAULTS`; one without a number of its own is among `rows`."""
        found = []
        for name, fault in FAULTS.items():
            if count := self._counts.get(name):
                out_of, what = self._out_of.get(name, (rows, unit))
                found.append(
                    Finding(
                        name,
                        fault.severity,
                        count.rows,
                        max(out_of, count.rows),
                        fault.what,
                        fault.remedy,
                        unit=what,
                        examples=tuple(count.examples),
                    )
                )
        return found


def told(names: Iterable[str]) -> Sequence[tuple[str, str, str]]:
    """(name, severity, what) of each test, each once, in the order of `FAULTS`."""
    wanted = set(names)
    return [(fault.name, fault.severity, fault.what) for fault in FAULTS.values() if fault.name in wanted]
