"""What stays of each group of copies, and what is said of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.stages.dedup.copies import Copies
from pairmine.stages.dedup.groups import LARGE, chains, first_of_each
from pairmine.stages.dedup.preference import choose
from pairmine.stages.dedup.units import Units

EXACT_COPY = "exact copy"
NEAR_COPY = "near copy"
SEMANTIC_COPY = "semantic copy"


@dataclass(frozen=True)
class Choice:
    """For each of n items of one side: which member of its group stays, and what it was measured with.

    Items are texts ("query", "document") or rows ("pair"), named by `ids`; `kept` and `similar_to` (n,) int64 are
    items again. Where an item stays, it is its own. `similarity` (n,) float64 is that of each to its `similar_to`;
    `is_exact` says that the two have the same text, `is_semantic` that it is the cosine of two vectors.
    """

    side: str
    ids: pa.Array
    kept: np.ndarray
    is_exact: np.ndarray
    similarity: np.ndarray
    similar_to: np.ndarray
    is_semantic: np.ndarray

    @cached_property
    def leaves(self) -> np.ndarray:
        """Which items copy another one, (n,) bool."""
        leaving: np.ndarray = self.kept != np.arange(len(self.kept))
        return leaving

    @cached_property
    def sizes(self) -> np.ndarray:
        """How many members the group of each kept item has, (n,) int64; 0 for items that leave."""
        return np.bincount(self.kept, minlength=len(self.kept))

    @property
    def groups(self) -> int:
        """Groups of two or more."""
        return int((self.sizes > 1).sum())

    def take(self, items: np.ndarray) -> Choice:
        """What is said of each of `items`; `kept` and `similar_to` still name items of the whole."""
        return Choice(
            self.side,
            self.ids,
            self.kept[items],
            self.is_exact[items],
            self.similarity[items],
            self.similar_to[items],
            self.is_semantic[items],
        )

    def reasons(self, items: np.ndarray) -> list[str]:
        """Why each of `items` leaves."""
        found: list[str] = np.select(
            [self.is_exact[items], self.is_semantic[items]], [EXACT_COPY, SEMANTIC_COPY], NEAR_COPY
        ).tolist()
        return found


def choose_units(units: Units, copies: Copies, ranks: np.ndarray) -> Choice:
    """The text of each group that comes first by `ranks` stays.

    A near copy names the kept one where the two match by themselves, else the best of the matches that connect them.
    """
    everyone = np.arange(len(units.ids))
    kept, repeated = choose(copies.groups, ranks), choose(copies.exact, ranks)
    is_exact = repeated != everyone
    near = np.flatnonzero((kept != everyone) & ~is_exact)
    similarity, similar_to = np.ones(len(everyone)), repeated.copy()
    similarity[near], is_match = copies.similarity(near, kept[near])
    similar_to[near] = kept[near]
    chained = near[~is_match]
    if len(chained):
        similarity[chained], best = copies.best_match(chained)
        similar_to[chained] = repeated[best]
    return Choice(units.side, units.ids, kept, is_exact, similarity, similar_to, np.zeros(len(everyone), bool))


@dataclass(frozen=True)
class Giant:
    """A suspiciously large group; see `groups.chains`. `apart` is the share of its texts unlike the one that stays."""

    side: str
    kept: str
    size: int
    apart: float


def giants(choice: Choice, copies: Copies) -> list[Giant]:
    """The groups that many copies of copies made, the largest first."""
    is_match = np.ones(len(choice.kept), bool)
    looked_at = np.flatnonzero(choice.sizes[choice.kept] >= LARGE)
    is_match[looked_at] = copies.similarity(looked_at, choice.kept[looked_at])[1]
    found = chains(choice.kept, is_match) if len(looked_at) else []
    return [Giant(choice.side, choice.ids[each.kept].as_py(), each.size, each.apart) for each in found]


def choose_pairs(pairs: pa.Table, sides: Sequence[Units], copies: Sequence[Copies], ranks: np.ndarray) -> Choice:
    """The row of each group of pairs that comes first by `ranks` stays; both sides of a pair are copies, or it stays.

    The similarity is the lower one of the two sides to the pair that stays.
    """
    rows = np.arange(pairs.num_rows)
    of_row = [units.of_row for units in sides]
    kept = choose(_both([found.groups[row] for found, row in zip(copies, of_row, strict=True)]), ranks)
    repeated = choose(_both([found.exact[row] for found, row in zip(copies, of_row, strict=True)]), ranks)
    is_exact = repeated != rows
    near = np.flatnonzero((kept != rows) & ~is_exact)
    similarity, similar_to = np.ones(len(rows)), repeated.copy()
    similar_to[near] = kept[near]
    for found, row in zip(copies, of_row, strict=True):
        similarity[near] = np.minimum(similarity[near], found.similarity(row[near], row[kept[near]])[0])
    return Choice("pair", _pair_names(pairs), kept, is_exact, similarity, similar_to, np.zeros(len(rows), bool))


def _pair_names(pairs: pa.Table) -> pa.Array:
    """Each row's query id, a tab and its document id."""
    ids = [pairs[name].cast(pa.large_string()).combine_chunks() for name in ("query_id", "doc_id")]
    return pc.binary_join_element_wise(*ids, pa.scalar("\t", pa.large_string()))


def _both(labels: list[np.ndarray]) -> np.ndarray:
    """One label per row, equal where both `labels` are: the first row that has the two; (rows,) int64."""
    query, document = labels
    return first_of_each(query * (document.max(initial=0) + 1) + document)


def named(names: pa.Array, items: np.ndarray, missing: np.ndarray) -> pa.Array:
    """The name of each of `items`, null where it is `missing`."""
    return names.take(pa.array(items, pa.int64(), mask=missing)).cast(pa.string())


def group_names(choice: Choice, items: np.ndarray) -> pa.Array:
    """The id of the kept member of the group of each of `items`."""
    return named(choice.ids, choice.kept[items], np.zeros(len(items), bool))


def members(choice: Choice) -> pa.Table:
    """Every group of two or more, the first-kept group first, in each the kept one first and then in input order.

    Columns `side`, `group` (the id of its kept member), `id`, `kept`, and of the others `similarity`, `similar_to`
    and `reason`.
    """
    among = np.flatnonzero(choice.sizes[choice.kept] > 1)
    among = among[np.lexsort((among, choice.leaves[among], choice.kept[among]))]
    stays = ~choice.leaves[among]
    nowhere = np.zeros(len(among), bool)
    return pa.table(
        {
            "side": pa.array([choice.side], pa.string()).take(pa.array(np.zeros(len(among), np.int64))),
            "group": group_names(choice, among),
            "id": named(choice.ids, among, nowhere),
            "kept": pa.array(stays),
            "similarity": pa.array(choice.similarity[among], mask=stays),
            "similar_to": named(choice.ids, choice.similar_to[among], stays),
            "reason": pa.array(choice.reasons(among), pa.string(), mask=stays),
        }
    )
