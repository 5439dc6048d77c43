"""One training row as every layout gives it: a query with its documents, and what is said of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pairmine.files.forms.notes import Notes

Row = dict[str, Any]


@dataclass(slots=True)
class Group:
    """A training row. `texts`, `labels`, `ids` and the lists of `extra` have one value for each document.

    A text is None where the file has null, or where an id resolves to nothing. `extra` holds columns by their name
    in the pair set. `number` counts the rows of the file from 0, broken ones too.
    """

    query: str | None
    texts: list[str | None]
    labels: list[int | None]
    query_id: str | None = None
    ids: list[str] | None = None
    extra: dict[str, list[Any]] | None = None
    number: int = 0
    place: str = ""


class At:
    """The place of the row that is being read, and the notes that are taken there.

    What should be the same in every row is compared with that of the first one.
    """

    __slots__ = ("_firsts", "notes", "place")

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.place = ""
        self._firsts: dict[str, object] = {}

    def note(self, name: str, note: str = "") -> None:
        """The row has the fault `name`."""
        self.notes.add(name, self.place, note)

    def differs(self, name: str, value: object) -> bool:
        """Whether the first row that had something to say of `name` said something else."""
        return self._firsts.setdefault(name, value) != value


def sides(positives: int, negatives: int) -> list[int | None]:
    """The labels of so many positives with so many negatives after them."""
    positive: list[int | None] = [1]
    negative: list[int | None] = [0]
    return positive * positives + negative * negatives


Parse = Callable[[Row, At], Group | None]
"""A row of a file as a training row; None where nothing in it can be used, which is noted."""
