"""Candidates verified a block at a time: no more sets are in memory than a budget allows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pairmine.stages.dedup.bounds import Earlier, Spills
from pairmine.stages.dedup.kernel.shingles import Ragged, Texts
from pairmine.stages.dedup.matches import Matches, Near, grouped
from pairmine.stages.dedup.sketching import keys_of_sets
from pairmine.stages.dedup.suspects import Suspects
from pairmine.stages.dedup.verify import Counts, Pairs, verify

_MEMBER_BYTES = 64
"""What a shingle takes while two texts are compared: itself, its word, and copies of both."""


class Sets:
    """The sets of the documents at the ascending `places`: those of the index lie there, others are set aside.

    `append` takes the latter in order; after `finish` all can be read, and `counts` says how many members each has.
    """

    def __init__(self, places: np.ndarray, scratch: Spills, earlier: Earlier) -> None:
        self.places = places
        self.counts = Counts(np.empty(0, np.int64), np.empty(0, np.int64))
        self._earlier = earlier
        self._first_new = int(np.searchsorted(places, earlier.rows))
        self._shingles = scratch.rows("shingles")
        self._words = scratch.rows("words")

    def append(self, texts: Texts) -> None:
        """Take in the sets of the next documents."""
        self._shingles.append(texts.shingles.values, texts.shingles.sizes)
        self._words.append(texts.words.values, texts.words.sizes)

    def finish(self) -> None:
        """No more come."""
        old = self.places[: self._first_new]
        self._shingles.finish()
        self._words.finish()
        self.counts = Counts(
            np.concatenate([self._earlier.counts("shingles", old), self._shingles.sizes]),
            np.concatenate([self._earlier.counts("words", old), self._words.sizes]),
        )

    def take(self, numbers: np.ndarray) -> Texts:
        """The sets of the documents with these ascending numbers among `places`."""
        cut = int(np.searchsorted(numbers, self._first_new))
        old, new = self.places[numbers[:cut]], numbers[cut:] - self._first_new
        return Texts(
            _both(_earlier_shingles(self._earlier, old), Ragged(*self._shingles.take(new))),
            _both(_earlier_words(self._earlier, old), Ragged(*self._words.take(new))),
        )


def _earlier_shingles(earlier: Earlier, rows: np.ndarray) -> Ragged:
    values, sizes = earlier.rows_of("shingles", rows)
    return Ragged(values, _offsets(sizes))


def _earlier_words(earlier: Earlier, rows: np.ndarray) -> Ragged:
    """Long texts, whose words nobody compares, have zeros in their place."""
    values, sizes = earlier.rows_of("words", rows)
    counts = earlier.counts("words", rows)
    offsets = _offsets(counts)
    filled = np.zeros(offsets[-1], np.uint64)
    filled[np.repeat(sizes == counts, counts)] = values
    return Ragged(filled, offsets)


def _offsets(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def _both(one: Ragged, other: Ragged) -> Ragged:
    if not len(one):
        return other
    values = np.concatenate([one.values, other.values])
    return Ragged(values, np.concatenate([one.offsets, one.offsets[-1] + other.offsets[1:]]))


def matches_among(
    suspects: Suspects,
    places: np.ndarray,
    sets: Sets,
    near: Near,
    *,
    group: str,
    ranks: np.ndarray,
    budget_bytes: int,
) -> Matches:
    """The near copies among the documents at the ascending `places`, and their groups; all by item of `places`."""
    item = np.searchsorted(places, sets.places)
    pairs = Pairs(item[:0], item[:0], np.empty(0), 0)
    for left, right in suspects.packed():
        left, right = np.searchsorted(sets.places, left), np.searchsorted(sets.places, right)
        for run in _runs(left, right, sets.counts, budget_bytes):
            pairs = pairs.and_also(verify(sets.take, left[run], right[run], sets.counts, near).of(item))
    shingles = np.zeros(len(places), np.int64)
    shingles[item] = sets.counts.shingles

    def sets_of(items: np.ndarray) -> Texts:
        return sets.take(np.searchsorted(sets.places, places[items]))

    crowded = np.searchsorted(places, suspects.crowded)
    keys = keys_of_sets(sets_of(crowded).shingles, near)
    return grouped(pairs, crowded, keys, shingles, sets_of, near, group=group, ranks=ranks)


def _runs(left: np.ndarray, right: np.ndarray, counts: Counts, budget_bytes: int) -> Iterator[slice]:
    """Pairs whose sets are in memory together."""
    taken = np.cumsum((counts.shingles[left] + counts.shingles[right]) * _MEMBER_BYTES)
    start = 0
    while start < len(left):
        before = int(taken[start - 1]) if start else 0
        stop = max(int(np.searchsorted(taken, before + budget_bytes, side="right")), start + 1)
        yield slice(start, stop)
        start = stop
