"""Groups of texts that copy each other, exactly or nearly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pairmine.identity import NO_TEXT
from pairmine.stages.dedup.groups import first_of_each
from pairmine.stages.dedup.kernel import Sketches, exact_keys, sketch
from pairmine.stages.dedup.kernel.compiled import Tell
from pairmine.stages.dedup.matches import Matches, Near, match
from pairmine.stages.dedup.units import Units

__all__ = ["Copies", "best_ranks", "copies_of", "exact_firsts", "first_of_each"]


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
        """Pairs of texts that were left out because too many were much alike; see `crowds`."""
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


def copies_of(
    units: Units,
    *,
    exact: str,
    near: Near | None,
    group: str = "chain",
    ranks: np.ndarray | None = None,
    workers: int = 1,
    tell: Tell | None = None,
    sketches: Sketches | None = None,
) -> Copies:
    """Group the texts of `units`, none of them null; `near` None looks for exact copies alone, by so many `workers`.

    `group` is "chain" or "star"; for the latter, `ranks` (n,) are the texts' places in the order of preference, that of
    the input where they are None. See `matches.grouped`. `exact` and `tell` are those of `kernel.sketch`, and so are
    `sketches`, where they were made before.
    """
    if near is None:
        firsts = exact_firsts(exact_keys(units.texts, exact, workers=workers, tell=tell))
        return Copies(firsts, firsts, None)
    if sketches is None:
        sketches = sketch(units.texts, near, exact=exact, tell=tell)
    firsts = exact_firsts(sketches.exact)
    distinct = np.flatnonzero(firsts == np.arange(len(firsts)))
    best = None if ranks is None else best_ranks(firsts, ranks)
    matches = match(units.texts, sketches, distinct, near, group=group, ranks=best)
    return Copies(firsts, matches.groups[firsts], matches)


def exact_firsts(keys: np.ndarray) -> np.ndarray:
    """For each text, the first one with its exact key; one that has none, 0, is its own. (n,) int64."""
    return np.where(keys == NO_TEXT, np.arange(len(keys)), first_of_each(keys))


def best_ranks(firsts: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """For the first one of each text's exact copies, the best rank among them, (n,) int64."""
    best = ranks.copy()
    np.minimum.at(best, firsts, ranks)
    return best
