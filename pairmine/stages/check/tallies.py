"""What the tests have found so far: counts, a few rows of each, and the rows that `--fix` drops."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from pairmine.identity import seed_of
from pairmine.stages.check.catalog import BY_NAME, TESTS, DataTest
from pairmine.stages.dedup.kernel.hashes import mixed

Note = str | Callable[[int], str]
"""What is wrong with a row: the same for all, or told of the i-th row that was handed in."""


@dataclass
class Sampled:
    """A row that is shown: its number in the file, from 0, and what is wrong with it."""

    row: int
    note: str


class Tally:
    """What one test found. The rows that are shown are those of the smallest seeded hashes."""

    def __init__(self, test: DataTest, size: int, seed: int) -> None:
        self.test = test
        self.count = 0
        self.looked = 0
        self.sampled: list[Sampled] = []
        self._size, self._salt = size, np.uint64(seed_of(seed, "check", test.name))
        self._keys = np.empty(0, np.uint64)
        self._dropped: list[np.ndarray] = []

    def add(self, rows: np.ndarray, note: Note = "") -> None:
        """Take in rows (numbers in the file) at fault, each once."""
        if not len(rows):
            return
        self.count += len(rows)
        if self.test.fixable:
            self._dropped.append(rows)
        keys = mixed(rows.astype(np.uint64) ^ self._salt)
        best = np.argsort(keys, kind="stable")[: self._size]
        shown = [Sampled(int(rows[at]), note if isinstance(note, str) else note(int(at))) for at in best]
        self._show(shown, keys[best])

    def merge(self, other: Tally) -> None:
        """Take in what the same test found in other rows."""
        self.count += other.count
        self.looked += other.looked
        self._dropped += other._dropped
        self._show(other.sampled, other._keys)

    def _show(self, sampled: list[Sampled], keys: np.ndarray) -> None:
        """Show these rows too, of all no more than the best."""
        everything = np.concatenate([self._keys, keys])
        order = np.argsort(everything, kind="stable")[: self._size]
        both = [*self.sampled, *sampled]
        self.sampled, self._keys = [both[at] for at in order], everything[order]

    def dropped(self) -> np.ndarray:
        """The rows that `--fix` drops, in no order."""
        return np.concatenate([np.empty(0, np.int64), *self._dropped])


class Tallies:
    """The tallies of the tests that are to run; `wants` tells whether one is."""

    def __init__(self, names: Collection[str], *, examples: int, seed: int) -> None:
        self._examples, self._seed = examples, seed
        self._of = {test.name: Tally(test, examples, seed) for test in TESTS if test.name in names}

    def wants(self, *names: str) -> bool:
        """Whether one of the tests is to run."""
        unknown = [name for name in names if name not in BY_NAME]
        assert not unknown, unknown
        return any(name in self._of for name in names)

    def looked(self, name: str, count: int) -> None:
        """The test looked at so many more things."""
        if name in self._of:
            self._of[name].looked += count

    def found(self, name: str, rows: np.ndarray, note: Note = "") -> None:
        """The test found these rows, as `Tally.add` takes them."""
        if name in self._of:
            self._of[name].add(rows, note)

    def found_many(self, name: str, count: int, rows: list[int], note: str) -> None:
        """The test found so many things, of which these rows are examples."""
        if name in self._of:
            tally = self._of[name]
            tally.add(np.array(rows, np.int64), note)
            tally.count += count - len(rows)

    def like(self) -> Tallies:
        """Those of the same tests, which have found nothing."""
        return Tallies(self._of, examples=self._examples, seed=self._seed)

    def merge(self, other: Tallies) -> None:
        """Take in what the same tests found in other rows."""
        for name, tally in other._of.items():
            self._of[name].merge(tally)

    def all(self) -> list[Tally]:
        """In the order of the catalog."""
        return list(self._of.values())
