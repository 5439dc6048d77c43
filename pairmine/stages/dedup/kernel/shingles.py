"""Texts as sets of word n-grams, and the exact Jaccard similarity of two such sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """n sets of 64-bit hashes, one after the other: set i is ``values[offsets[i]:offsets[i + 1]]``, ascending.

    `values` uint64, `offsets` (n + 1,) int64. Two different things share a hash once in 2^64; that
    is what "exact" means for counts of shared members.
    """

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def sizes(self) -> np.ndarray:
        """(n,) int64: members of each set."""
        return np.diff(self.offsets)

    def take(self, items: np.ndarray) -> Ragged:
        """The sets at the positions `items`, in that order."""
        starts, sizes = self.offsets[items], self.sizes[items]
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        return Ragged(self.values[np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)], offsets)

    def shared(self, one: int, others: np.ndarray) -> np.ndarray:
        """How many members set `one` shares with each of `others`, (len(others),) int64."""
        base, taken = self.values[self.offsets[one] : self.offsets[one + 1]], self.take(others)
        if not len(base):
            return np.zeros(len(others), np.int64)
        found = np.minimum(np.searchsorted(base, taken.values), len(base) - 1)
        hits = np.concatenate(([0], np.cumsum(base[found] == taken.values)))
        shared: np.ndarray = hits[taken.offsets[1:]] - hits[taken.offsets[:-1]]
        return shared


@dataclass(frozen=True)
class Texts:
    """What is left of n texts: the set of `shingles` of each, nothing when it has no word, and its bag of `words`.

    A bag holds a word's second occurrence as a member of its own, so its size counts the words.
    """

    shingles: Ragged
    words: Ragged

    def take(self, items: np.ndarray) -> Texts:
        """The texts at the positions `items`, in that order."""
        return Texts(self.shingles.take(items), self.words.take(items))

    def jaccard(self, one: int, others: np.ndarray) -> np.ndarray:
        """Jaccard similarity of the shingles of text `one` and of each of `others`, (len(others),) float64.

        All of them have a word; the empty set is similar to nothing.
        """
        shared = self.shingles.shared(one, others)
        similarity: np.ndarray = shared / (self.shingles.sizes[one] + self.shingles.sizes[others] - shared)
        return similarity

    def nested(self, one: int, others: np.ndarray) -> np.ndarray:
        """Whether each of `others` and text `one` differ by words added on one side only, (len(others),) bool."""
        smaller = np.minimum(self.words.sizes[one], self.words.sizes[others])
        nested: np.ndarray = self.words.shared(one, others) == smaller
        return nested


def joined(parts: Sequence[Ragged]) -> Ragged:
    """The sets of all parts, one after the other."""
    sizes = np.concatenate([np.empty(0, np.int64), *(part.sizes for part in parts)])
    values = np.concatenate([np.empty(0, np.uint64), *(part.values for part in parts)])
    return Ragged(values, np.concatenate(([0], np.cumsum(sizes))))
