"""Which texts hold enough of the n-grams of one of a few others: an inverted index over those."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pairmine.distinct import distinct
from pairmine.stages.dedup.kernel.hashes import mixed
from pairmine.stages.dedup.kernel.looks import FACTOR, Look, Sighting
from pairmine.stages.dedup.kernel.shingles import Ragged
from pairmine.stages.dedup.scan import Streams, bits_of, rolled

_AT_ONCE = 8_000_000
"""Pairs of a text and an indexed one that are held at a time."""

_COUNTERS = 20
_MORE = 3
_CROWD = 256

Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Texts, the indexed text that each shares enough with, and how many runs they share."""


@dataclass(frozen=True)
class Candidates:
    """Texts and indexed ones that may share enough, ascending by text and then by the place of the other one."""

    texts: np.ndarray
    owners: np.ndarray


class RunIndex:
    """Some texts, indexed by their runs of `length` words (or members of shingles).

    Finds the texts that hold a `share` or more of the runs of one of them. A text with k of the m runs of another one
    has one of any m - k + 1 of them (prefix filter; Chaudhuri, Ganti and Kaushik, ICDE 2006), and of j more, j more. So
    only so many of each are looked for: those that are the rarest in a `sample` of the texts that will be searched.
    A run that more than `_CROWD` of the indexed texts have, as a template makes them, leads to the first of these only.
    """

    def __init__(
        self, streams: Streams, of: np.ndarray, length: int, share: float, sample: Streams, *, of_members: bool
    ) -> None:
        self._of, self._length, self._of_members = of, length, of_members
        self._sets = as_sets(self._runs(streams.take(of)))
        self._needed = np.maximum(np.ceil(share * self._sets.sizes - 1e-9).astype(np.int64), 1)
        self._more = np.minimum(self._needed - 1, _MORE)
        self._hashes, self._owners, self._starts = self._looked_for(self._runs(sample).values)
        self.look = Look(length, of_members, bits_of(self._hashes))

    def candidates(self, sighting: Sighting) -> Candidates:
        """Which of the sighted texts have enough of what is looked for to be compared."""
        at = np.minimum(np.searchsorted(self._hashes, sighting.hashes), max(len(self._hashes) - 1, 0))
        hit = self._hashes[at] == sighting.hashes if len(self._hashes) else np.zeros(len(at), bool)
        codes = distinct(sighting.texts[hit] * max(len(self._hashes), 1) + at[hit])
        text, number = codes // max(len(self._hashes), 1), codes % max(len(self._hashes), 1)
        found = [self._paired(text[part], number[part]) for part in self._parts(text, number)]
        texts, owners = (np.concatenate([np.empty(0, np.int64), *(each[i] for each in found)]) for i in range(2))
        return Candidates(texts, owners)

    def find(self, candidates: Candidates, streams: Streams, texts: np.ndarray) -> Found:
        """Which candidates share enough; `streams` are of the ascending `texts` alone, with all candidates among them.

        Texts are told by their places in `texts`, the others by their numbers.
        """
        runs, row, owner = self._runs(streams), np.searchsorted(texts, candidates.texts), candidates.owners
        possible = runs.sizes[row] >= self._needed[owner]
        row, owner = row[possible], owner[possible]
        shared = _shared(runs, row, self._sets.take(owner))
        enough = shared >= self._needed[owner]
        return row[enough], self._of[owner[enough]], shared[enough]

    def sizes(self, of: np.ndarray) -> np.ndarray:
        """How many runs each of some indexed texts has, repeats not counted."""
        return self._sets.sizes[np.searchsorted(self._of, of)]

    def sizes_of(self, streams: Streams, rows: np.ndarray) -> np.ndarray:
        """How many runs each of `rows` has, repeats not counted."""
        used, place = np.unique(rows, return_inverse=True)
        return as_sets(self._runs(streams).take(used)).sizes[place]

    def _runs(self, streams: Streams) -> Ragged:
        return rolled(streams.members if self._of_members else streams.words, self._length)

    def _looked_for(self, sample: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The hashes to look for, ascending; their owners, one after the other; and where those of each start."""
        sets = self._sets
        owners = np.repeat(np.arange(len(sets)), sets.sizes)
        hashes, inverse, counts = np.unique(sets.values, return_inverse=True, return_counts=True)
        sampled = np.bincount(_counter(sample), minlength=1 << _COUNTERS)[_counter(sets.values)]
        order = np.lexsort((sets.values, counts[inverse], sampled, owners))
        place = np.arange(len(order)) - np.repeat(sets.offsets[:-1], sets.sizes)
        first = place <= np.repeat(sets.sizes - self._needed + self._more, sets.sizes)
        number, owner = inverse[order][first], owners[first]
        by_hash = np.argsort(number, kind="stable")
        number, owner = number[by_hash], owner[by_hash]
        listed = np.arange(len(number)) - np.searchsorted(number, number) < _CROWD
        self._more[owner[~listed]] = 0
        present, starts = np.unique(number[listed], return_index=True)
        return hashes[present], owner[listed], np.append(starts, int(listed.sum()))

    def _parts(self, text: np.ndarray, number: np.ndarray) -> list[slice]:
        """Cuts between two texts, so that no part of the hits makes many more pairs than `_AT_ONCE`."""
        pairs = np.cumsum(np.diff(self._starts)[number])
        wanted = np.searchsorted(pairs, np.arange(_AT_ONCE, pairs[-1] if len(pairs) else 0, _AT_ONCE))
        cuts = distinct(np.searchsorted(text, text[wanted]))
        return [slice(low, high) for low, high in pairwise([0, *cuts.tolist(), len(text)])]

    def _paired(self, text: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Texts and the owners of their hits, those pairs that have hits enough."""
        sizes = np.diff(self._starts)[number]
        places = np.arange(sizes.sum()) + np.repeat(self._starts[number] - np.cumsum(sizes) + sizes, sizes)
        codes, hits = np.unique(np.repeat(text, sizes) * len(self._of) + self._owners[places], return_counts=True)
        texts, owners = codes // max(len(self._of), 1), codes % max(len(self._of), 1)
        enough = hits > self._more[owners]
        return texts[enough], owners[enough]


def _counter(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> np.uint64(64 - _COUNTERS)).view(np.int64)


def as_sets(rows: Ragged) -> Ragged:
    """Each row ascending, each value once."""
    owners = np.repeat(np.arange(len(rows)), rows.sizes)
    order = np.lexsort((rows.values, owners))
    values, owners = rows.values[order], owners[order]
    first = np.ones(len(values), bool)
    first[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
    sizes = np.bincount(owners[first], minlength=len(rows))
    return Ragged(values[first], np.concatenate(([0], np.cumsum(sizes))))


def _shared(runs: Ragged, row: np.ndarray, wanted: Ragged) -> np.ndarray:
    """How many members of each wanted set stand in the row beside it, (n,) int64."""
    used, place = np.unique(row, return_inverse=True)
    held = runs.take(used)
    keys = np.sort(_keyed(held.values, np.repeat(np.arange(len(used)), held.sizes)))
    sought = _keyed(wanted.values, np.repeat(place, wanted.sizes))
    at = np.minimum(np.searchsorted(keys, sought), max(len(keys) - 1, 0))
    is_there = keys[at] == sought if len(keys) else np.zeros(len(sought), bool)
    hits = np.concatenate(([0], np.cumsum(is_there)))
    shared: np.ndarray = hits[wanted.offsets[1:]] - hits[wanted.offsets[:-1]]
    return shared


def _keyed(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A hash of value and row together."""
    return mixed(values + rows.astype(np.uint64) * np.uint64(FACTOR))
