"""What the tests know of the rows that they have read: counts and whole numbers, from which `finish` tells the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pairmine.stages.check.across import check_across, straddling
from pairmine.stages.check.chunk import Chunk
from pairmine.stages.check.copies import Compared
from pairmine.stages.check.facts import Facts, Keeper
from pairmine.stages.check.language import Languages
from pairmine.stages.check.of_queries import check_queries
from pairmine.stages.check.scores import Scores
from pairmine.stages.check.tallies import Tallies, Tally

NearStraddling = Callable[[Facts, np.ndarray, Tallies], None]
"""Looks for near copies between splits, by reading the rows again: of the facts, and the rows known as copies."""


@dataclass
class _Stretch:
    """What is kept of every row from number `first` on."""

    first: int
    keeper: Keeper
    scores: Scores


class Gathered:
    """What the tests know of the rows from number `first` on; of disjoint stretches it merges in any order.

    It can be pickled. Of every row some tens of bytes are kept, of texts only those of samples.
    """

    def __init__(
        self, tests: Collection[str], *, examples: int, seed: int, with_splits: bool, workers: int = 1, first: int = 0
    ) -> None:
        self.found = Tallies(tests, examples=examples, seed=seed)
        self.compared = Compared(workers)
        self.rows = 0
        self._languages = Languages(seed=seed)
        self._has_languages = self.found.wants("language-mixture", "stray-language")
        self._with_splits = with_splits and self.found.wants("straddling")
        self._stretches = [_Stretch(first, Keeper(with_splits=self._with_splits), Scores())]

    def add(self, chunk: Chunk) -> None:
        """Keep of a chunk what the tests of the whole set need."""
        self.rows += len(chunk)
        stretch = self._stretches[-1]
        stretch.keeper.add(chunk)
        stretch.scores.add(chunk, self.found)
        self.compared.add(chunk, self.found)
        if self._has_languages:
            self._languages.add(chunk)

    def merge(self, other: Gathered) -> None:
        """Take in what is known of other rows; `other` is not to be used any more."""
        self.found.merge(other.found)
        self.compared.merge(other.compared)
        self._languages.merge(other._languages)
        self._stretches += other._stretches
        self.rows += other.rows

    @property
    def cuts_a_query(self) -> bool:
        """Whether rows of one query end a stretch and begin the next: the tests within it saw parts of it."""
        stretches = sorted(self._stretches, key=lambda stretch: stretch.first)
        ends = [found for stretch in stretches if (found := stretch.keeper.ends())]
        return any(one[1] == other[0] for one, other in pairwise(ends))

    def finish(self, near_straddling: NearStraddling) -> list[Tally]:
        """Run the tests of the whole set."""
        found = self.found
        found.looked("no-rows", 1)
        if not self.rows:
            found.found_many("no-rows", 1, [], "")
            return found.all()
        keeper, scores = self._joined()
        facts = keeper.facts()
        check_queries(facts, found)
        check_across(facts, found)
        scores.finish(facts, found)
        self.compared.finish(found)
        if self._has_languages:
            self._languages.finish(found)
        if self._with_splits:
            near_straddling(facts, straddling(facts, found), found)
        return found.all()

    def _joined(self) -> tuple[Keeper, Scores]:
        """What is kept of all rows, in their order; the stretches are let go of."""
        stretches = sorted(self._stretches, key=lambda stretch: stretch.first)
        self._stretches = []
        first, *others = stretches
        for stretch in others:
            first.keeper.merge(stretch.keeper)
            first.scores.merge(stretch.scores)
        return first.keeper, first.scores
