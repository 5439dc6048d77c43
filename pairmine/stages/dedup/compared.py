"""Who copies whom on each side of a table, found when it is asked for and once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pairmine.stages.dedup.choice import Choice, choose_pairs, choose_units
from pairmine.stages.dedup.copies import Copies, copies_of
from pairmine.stages.dedup.kernel import Sketches
from pairmine.stages.dedup.kernel.compiled import Tell
from pairmine.stages.dedup.matches import Near
from pairmine.stages.dedup.preference import row_ranks, unit_ranks
from pairmine.stages.dedup.units import Units, units_of

if TYPE_CHECKING:
    from pairmine.stages.dedup.semantic import Meaning

PAIR = "pair"


@dataclass(frozen=True)
class Rules:
    """When two texts are copies (`near` None: exact ones alone), how they make groups, and which of a group stays.

    `meaning` looks for texts that say the same among those that stay then. `tell` takes a line for the user where code
    is compiled. `sketches` are those of a corpus's texts, where they were made before.
    """

    exact: str
    near: Near | None
    keep: str
    group: str = "chain"
    workers: int = 1
    tell: Tell | None = None
    meaning: Meaning | None = None
    sketches: Sketches | None = None


@dataclass(frozen=True)
class Compared:
    """The rows of `table`, whose texts are compared by `rules`."""

    table: pa.Table
    rules: Rules
    _units: dict[str, Units] = field(default_factory=dict)
    _copies: dict[str, Copies] = field(default_factory=dict)
    _written: dict[str, Choice] = field(default_factory=dict)
    _choices: dict[str, Choice] = field(default_factory=dict)

    def units(self, side: str) -> Units:
        """The texts of one side, "query" or "document"."""
        if side not in self._units:
            self._units[side] = units_of(self.table, side)
        return self._units[side]

    def copies(self, side: str) -> Copies:
        """Who copies whom on one side."""
        if side not in self._copies:
            rules, units = self.rules, self.units(side)
            self._copies[side] = copies_of(
                units,
                exact=rules.exact,
                near=rules.near,
                group=rules.group,
                ranks=self._ranks(side),
                workers=rules.workers,
                tell=rules.tell,
                sketches=rules.sketches,
            )
        return self._copies[side]

    def written(self, side: str) -> Choice:
        """What stays on one side, or of the pairs, as far as the letters go."""
        if side not in self._written:
            self._written[side] = self._chosen_pairs() if side == PAIR else self._chosen(side)
        return self._written[side]

    def choice(self, side: str) -> Choice:
        """What stays on one side, or of the pairs."""
        meaning = self.rules.meaning
        if meaning is None or side == PAIR:
            return self.written(side)
        if side not in self._choices:
            self._choices[side] = meaning.thin(self.written(side), self.units(side), self._ranks(side))
        return self._choices[side]

    def item_of_row(self, side: str) -> np.ndarray:
        """The item of `choice` that each row holds, (rows,) int64."""
        return np.arange(self.table.num_rows) if side == PAIR else self.units(side).of_row

    def rows(self, kept: np.ndarray) -> Compared:
        """The same for the rows of `kept` (rows,) bool alone."""
        if kept.all():
            return self
        units = {side: units.of_rows(kept) for side, units in self._units.items()}
        return Compared(self.table.filter(pa.array(kept)), replace(self.rules, sketches=None), units)

    @property
    def found(self) -> Sequence[Copies]:
        """What was found so far, side by side."""
        return list(self._copies.values())

    def _ranks(self, side: str) -> np.ndarray:
        return unit_ranks(self.table, self.units(side), self.rules.keep)

    def _chosen(self, side: str) -> Choice:
        return choose_units(self.units(side), self.copies(side), self._ranks(side))

    def _chosen_pairs(self) -> Choice:
        sides = [self.units(side) for side in ("query", "document")]
        copies = [self.copies(side) for side in ("query", "document")]
        return choose_pairs(self.table, sides, copies, row_ranks(self.table, sides, self.rules.keep))
