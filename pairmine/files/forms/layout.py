"""What a format is to its reader: which tests it is put to, and how a row of it becomes a training row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pairmine.files.forms.group import Parse, Row
from pairmine.files.forms.notes import Notes

SCORE = "score_given"
"""The column for scores whose name the file does not tell."""
MARGIN = "margin"
"""The column, on rows of negatives, for the score of the positive less that of the negative."""


@dataclass(frozen=True)
class Head:
    """The first rows of a file, and the columns that they have, in the order of the first row.

    Where `is_delimited`, numbers stand there as text, as in CSV.
    """

    columns: Sequence[str]
    rows: Sequence[Row]
    is_delimited: bool = False


Prepare = Callable[[Head, Notes], Parse]


@dataclass(frozen=True)
class Layout:
    """A format by its `name`. `prepare` looks at the head of a file, notes what is wrong there, and gives the reader.

    `tests` are names of `FAULTS`. A `crossed` layout writes a pair in several training rows. `optional` are fields
    that all rows have or none. `fields` are all that the trainer knows, where it goes by their names.
    """

    name: str
    prepare: Prepare
    tests: tuple[str, ...]
    crossed: bool = False
    optional: tuple[str, ...] = ()
    fields: frozenset[str] = frozenset()


def static(parse: Parse) -> Prepare:
    """For a layout whose rows are read the same way in every file."""
    return lambda head, notes: parse
