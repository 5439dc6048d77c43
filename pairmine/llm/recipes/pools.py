"""Draws from pools by rendezvous, so that a pool can change without moving the rows that the change is not about.

Every entry of a pool gets a number out of the row's seed and the entry's own name, and the largest
win. Hence the order of entries changes nothing, a new or a lost entry moves only the rows that draw
it, and an edited text moves none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from pairmine.identity import seed_of
from pairmine.llm.recipes.recipe import Choice

_MASK = (1 << 64) - 1
_UNIT = 2.0**-64
_MIX = 0xBF58476D1CE4E5B9
_MIX_AGAIN = 0x94D049BB133111EB


class _Named(Protocol):
    @property
    def name(self) -> str:
        """What draws go by."""


_Entry = TypeVar("_Entry", bound=_Named)


class Pool(Generic[_Entry]):
    """A pool to draw from by rendezvous, weighted.

    Of the entries' numbers u in (0, 1), log(u) / weight is largest for an entry with the
    probability that its weight has in the sum of all (Efraimidis and Spirakis, 2006).
    """

    def __init__(self, name: str, entries: Sequence[_Entry]) -> None:
        self.entries: tuple[_Entry, ...] = tuple(sorted(entries, key=lambda entry: entry.name))
        self._marks = [seed_of(0, name, entry.name) for entry in self.entries]
        weights = [entry.weight if isinstance(entry, Choice) else 1.0 for entry in self.entries]
        self._weights = weights if len(set(weights)) > 1 else None

    def first(self, seed: int) -> _Entry:
        """The entry that wins."""
        if len(self.entries) == 1:
            return self.entries[0]
        numbers = self._numbers(seed)
        return self.entries[numbers.index(max(numbers))]

    def several(self, seed: int, count: int) -> list[_Entry]:
        """The `count` entries that win, the first one first; all where there are no more."""
        numbers = self._numbers(seed)
        best = sorted(range(len(numbers)), key=numbers.__getitem__, reverse=True)[:count]
        return [self.entries[at] for at in best]

    def top(self, seed: int, count: int) -> list[_Entry]:
        """The `count` entries that win, ordered by name, so that prompts with the same ones begin alike."""
        if count >= len(self.entries):
            return list(self.entries)
        numbers = self._numbers(seed)
        best = sorted(range(len(numbers)), key=numbers.__getitem__, reverse=True)[:count]
        return [self.entries[at] for at in sorted(best)]

    def _numbers(self, seed: int) -> Sequence[float]:
        """The number of each entry; both inputs are digests, so that two multiplications mix them well enough."""
        numbers = [
            (((mixed := (seed ^ mark) * _MIX & _MASK) ^ mixed >> 32) * _MIX_AGAIN) & _MASK for mark in self._marks
        ]
        if self._weights is None:
            return numbers
        log = math.log
        return [log((number + 0.5) * _UNIT) / weight for number, weight in zip(numbers, self._weights, strict=True)]
