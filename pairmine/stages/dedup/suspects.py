"""Which documents of a corpus share a key with another one, found a part of the keys at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pairmine.distinct import union
from pairmine.stages.dedup.bounds import Earlier, Keys, Pairs, Scratch
from pairmine.stages.dedup.candidates import in_buckets, is_among
from pairmine.stages.dedup.sketching import band_name

_RIGHT = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Suspects:
    """Documents that share a key with another one. They go by places: those of the index first, then the corpus's.

    `copies` and `firsts` (m,): documents with the text of an earlier one, ascending, and the first that has it.
    `pairs` may be near copies; `crowded` (ascending) are in buckets of too many to be paired with each other.
    `again` (ascending) are rows whose id may stand in the corpus twice. `earlier` documents are those of the index.
    """

    copies: np.ndarray
    firsts: np.ndarray
    pairs: Pairs
    crowded: np.ndarray
    again: np.ndarray
    earlier: int

    def packed(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The left and right places of `pairs`, so many at a time; those of two crowded ones are left out."""
        for run in self.pairs.runs():
            left, right = (run >> np.uint64(32)).astype(np.int64), (run & _RIGHT).astype(np.int64)
            wanted = ~(is_among(left, self.crowded) & is_among(right, self.crowded))
            yield left[wanted], right[wanted]

    def candidates(self) -> np.ndarray:
        """The places of all that may be near copies, ascending."""
        found = self.crowded
        for left, right in self.packed():
            found = union(found, union(left, right))
        return found


def find_suspects(scratch: Scratch, earlier: Earlier, rows: int, bands: int, engine: str) -> Suspects:
    """Look for documents that share a key among the `rows` of the corpus and with the `earlier` ones."""
    copies, firsts = _same_text(scratch, earlier)
    is_copy = np.zeros(rows, bool)
    is_copy[copies - earlier.rows] = True
    pairs, crowded = scratch.pairs(), np.empty(0, np.int64)
    for band in range(bands):
        name = band_name(band)
        for keys, of_key in scratch.parts(name, scratch.budget_bytes):
            distinct = ~is_copy[of_key]
            places = of_key[distinct] + np.int64(earlier.rows)
            left, right, many = in_buckets(*_with_earlier(keys[distinct], places, earlier, name), engine)
            is_new = right >= earlier.rows
            pairs.add(left[is_new].astype(np.uint64) << np.uint64(32) | right[is_new].astype(np.uint64))
            crowded = union(crowded, many)
    return Suspects(copies, firsts, pairs, crowded, _same_id(scratch), earlier.rows)


def _same_text(scratch: Scratch, earlier: Earlier) -> Keys:
    """Documents that have the text of an earlier one, ascending, and the first that has it."""
    parts = [same_key(*keys, earlier) for keys in scratch.parts("exact", scratch.budget_bytes)]
    return by_copy([copies for copies, _ in parts], [firsts for _, firsts in parts])


def same_key(keys: np.ndarray, rows: np.ndarray, earlier: Earlier) -> tuple[np.ndarray, np.ndarray]:
    """Of ascending whole-text `keys`, with the first row of a key first: the places of copies, and of whom."""
    places = rows + np.int64(earlier.rows)
    starts = _starts(keys)
    first = places[starts]
    number, row = earlier.find("exact", keys[starts])
    np.minimum.at(first, number, row.astype(np.int64))
    of_place = np.repeat(first, np.diff(starts, append=len(keys)))
    is_copy = of_place != places
    return places[is_copy], of_place[is_copy]


def by_copy(copies: Sequence[np.ndarray], firsts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All `copies`, ascending, and the first one of each."""
    every = np.concatenate([np.empty(0, np.int64), *copies])
    order = np.argsort(every)
    return every[order], np.concatenate([np.empty(0, np.int64), *firsts])[order]


def _same_id(scratch: Scratch) -> np.ndarray:
    """Rows whose id stands in another row as well, unless two ids share a key."""
    found = [repeated(*keys) for keys in scratch.parts("id", scratch.budget_bytes)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *found]))


def repeated(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows of those of the ascending `keys` that stand there more than once, (n,) int64."""
    sizes = np.diff(_starts(keys), append=len(keys))
    return rows[np.repeat(sizes > 1, sizes)].astype(np.int64)


def _with_earlier(keys: np.ndarray, places: np.ndarray, earlier: Earlier, name: str) -> Keys:
    """The same with the documents of the index that have one of the keys."""
    if not earlier.rows or not len(keys):
        return keys, places
    distinct = keys[_starts(keys)]
    number, row = earlier.find(name, distinct)
    return np.concatenate([distinct[number], keys]), np.concatenate([row.astype(np.int64), places])


def _starts(keys: np.ndarray) -> np.ndarray:
    """Where each of the ascending `keys` stands first."""
    return np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.empty(0, np.int64)
