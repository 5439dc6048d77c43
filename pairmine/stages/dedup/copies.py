"""Groups of texts that copy each other, and which member of a group stays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pairmine.identity import NO_TEXT
from pairmine.stages.dedup.matches import Matches, Near, find_matches
from pairmine.stages.dedup.units import Units


@dataclass(frozen=True)
class Copies:
    """Who copies whom among n texts.

    `exact` and `groups` (n,) int64 hold, for each text, the first one with the same text and the
    first one of its group; a text without copies is its own. Near copies are sought among the first
    ones of `exact` only, so `matches` speaks of those; None when only exact copies were asked for.
    """

    exact: np.ndarray
    groups: np.ndarray
    matches: Matches | None

    @property
    def compared(self) -> int:
        """Pairs of texts whose Jaccard similarity was computed to find the groups."""
        return self.matches.pairs.compared if self.matches else 0

    @property
    def passed_over(self) -> int:
        """Pairs of texts that were left out because too many were much alike; see `matches.join`."""
        return self.matches.pairs.passed_over if self.matches else 0

    def similarity(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For pairs of texts out of one group: their similarity, float64, and whether they match by themselves."""
        left, right = self.exact[left], self.exact[right]
        similarity, is_match = np.ones(len(left)), np.ones(len(left), bool)
        apart = np.flatnonzero(left != right)
        if self.matches and len(apart):
            similarity[apart], is_match[apart] = self.matches.similarity_of(left[apart], right[apart])
        return similarity, is_match

    def best_match(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For near copies: the similarity of the best match found for each, and the text it is with."""
        if self.matches is None:
            raise AssertionError("without near copies, every copy matches the one that stays")
        pairs = self.matches.pairs
        one = np.concatenate([pairs.left, pairs.right])
        other = np.concatenate([pairs.right, pairs.left])
        similarity = np.tile(pairs.similarity, 2)
        order = np.lexsort((other, -similarity, one))
        best = order[np.searchsorted(one[order], self.exact[texts])]
        return similarity[best], other[best]


def copies_of(units: Units, *, exact: str, near: Near | None) -> Copies:
    """Group the texts of `units`, none of them null; `near` None looks for exact copies alone."""
    firsts = _exact_firsts(units, exact)
    if near is None:
        return Copies(firsts, firsts, None)
    distinct = firsts == np.arange(len(firsts))
    found = find_matches(units.texts.filter(pa.array(distinct)), near)
    names = np.flatnonzero(distinct)
    pairs = replace(found.pairs, left=names[found.pairs.left], right=names[found.pairs.right])
    matches = replace(found, pairs=pairs, members=names[found.members])
    return Copies(firsts, _components(len(firsts), pairs.left, pairs.right)[firsts], matches)


def _exact_firsts(units: Units, exact: str) -> np.ndarray:
    keys = units.keys
    if exact == "bytes":
        keys = units.texts.combine_chunks().dictionary_encode().indices.to_numpy()
    return np.where(units.keys == NO_TEXT, np.arange(len(keys)), first_of_each(keys))


def first_of_each(labels: np.ndarray) -> np.ndarray:
    """For each item, the position of the first one with its label; (n,) int64."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return first[inverse]


def _components(count: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not count:
        return np.empty(0, np.int64)
    edges = coo_array((np.ones(len(left), bool), (left, right)), shape=(count, count))
    return first_of_each(connected_components(edges, directed=False)[1])


def choose(groups: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """For each item, the member of its group that stays: the first, or the first of the longest by `lengths`."""
    if lengths is None:
        return first_of_each(groups)
    order = np.lexsort((np.arange(len(groups)), -lengths, groups))
    leaders = order[np.flatnonzero(np.diff(groups[order], prepend=-1))]
    chosen: np.ndarray = leaders[np.unique(groups, return_inverse=True)[1]]
    return chosen
