"""Groups of texts, out of the pairs that are near copies: chains, or stars around a text that stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pairmine.distinct import distinct
from pairmine.stages.dedup.crowds import Crowd, as_arrays, compiled_for
from pairmine.stages.dedup.kernel.shingles import Ragged
from pairmine.stages.dedup.verify import Pairs, compare_one

if TYPE_CHECKING:
    from pairmine.stages.dedup.matches import Near

GROUPS = ("chain", "star")

# Our defaults: a chain is worth a warning that is a hundredth of all texts, a tenth of it unlike the one that stays.
LARGE_SHARE = 0.01
LARGE = 100
_APART = 0.1
_MANY_PAIRS = 1 << 20


def first_of_each(labels: np.ndarray) -> np.ndarray:
    """For each item, the position of the first one with its label; (n,) int64."""
    order = np.argsort(labels)
    starts = np.flatnonzero(np.append(True, np.diff(labels[order]) != 0)[: len(order)])
    firsts = np.empty(len(labels), np.int64)
    if len(order):
        firsts[order] = np.repeat(np.minimum.reduceat(order, starts), np.diff(starts, append=len(order)))
    return firsts


def components(count: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """For each of `count` items, the first one that pairs connect it with, over others too; (count,) int64.

    In each round all groups join the first one beside them, so their number halves at least; to import SciPy's takes
    longer than the rounds for a million pairs, of more it does them in less time.
    """
    if len(left) > _MANY_PAIRS:
        return _components_by_scipy(count, left, right)
    firsts = np.arange(count)
    both = np.concatenate([left, right])
    while True:
        one, other = firsts[left], firsts[right]
        apart = one != other
        if not apart.any():
            return firsts
        left, right, one, other = left[apart], right[apart], one[apart], other[apart]
        np.minimum.at(firsts, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(above := firsts[firsts[both]], firsts[both]):
            firsts[both] = above


def _components_by_scipy(count: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(left), np.bool_), (left, right)), shape=(count, count))
    many, labels = connected_components(edges, directed=False)
    first = np.empty(many, np.int64)
    first[labels[::-1]] = np.arange(count)[::-1]
    return first[labels]


@dataclass(frozen=True)
class Stars:
    """The groups of n items: `leaders` (n,) int64 are the kept ones, each its own. `pairs` were found on the way."""

    leaders: np.ndarray
    pairs: Pairs


def stars(known: Ragged, place: np.ndarray, crowd: Crowd, near: Near) -> Stars:
    """Items come in order of preference; each joins the first kept one that it matches, or is kept.

    `known` lists for each item the earlier ones that it is known to match, ascending. Those that are part of the
    crowd, at `place` (n,) in it, -1 for the others, are compared with the kept ones of the crowd as well.
    """
    if fast := compiled_for(len(crowd), near):
        found = fast.stars_of_crowd((known.values, known.offsets), place, *as_arrays(crowd, near))
    else:
        found = _Stars(known, place, crowd, near).run()
    leaders, similarity, compared, passed_over = found
    by_crowd = np.flatnonzero(similarity >= 0)
    return Stars(leaders, Pairs(leaders[by_crowd], by_crowd, similarity[by_crowd], compared, passed_over))


@dataclass(frozen=True)
class Chain:
    """A large group of which many do not match the one that stays: `size` texts, `kept`, and the share `apart`."""

    kept: int
    size: int
    apart: float


def chains(kept: np.ndarray, is_match: np.ndarray) -> list[Chain]:
    """The groups that are suspiciously large, the largest first.

    `kept` (n,) int64 is the text that stays for each of n, itself where it stays, and `is_match` (n,) bool says whether
    the two match by themselves. Such a group holds more than a hundredth of all texts and a hundred at least, and a
    tenth of it is like the kept one only by way of others; `--group star` would keep these apart.
    """
    sizes = np.bincount(kept, minlength=len(kept))
    apart = np.bincount(kept[~is_match], minlength=len(kept)) / np.maximum(sizes, 1)
    large = np.flatnonzero((sizes > LARGE_SHARE * len(kept)) & (sizes >= LARGE) & (apart >= _APART))
    large = large[np.argsort(-sizes[large], kind="stable")]
    return [Chain(int(text), int(sizes[text]), float(apart[text])) for text in large]


class _Stars:
    """As `stars`, by NumPy."""

    def __init__(self, known: Ragged, place: np.ndarray, crowd: Crowd, near: Near) -> None:
        self._known, self._place, self._crowd, self._near = known, place, crowd, near
        self._leaders, self._similarity = np.arange(len(place)), np.full(len(place), -1.0)
        self._kept_in, self._filled = np.empty(len(crowd.members), np.int64), crowd.starts[:-1].copy()
        self._compared = self._passed_over = 0

    def run(self) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Leaders and the similarity to them, -1 where it is not known from here; pairs compared and passed over."""
        for item in range(len(self._place)):
            leader = self._first_kept(item)
            text = int(self._place[item])
            if text >= 0:
                leader = self._first_match(item, text, leader)
            if leader < item:
                self._leaders[item] = leader
            elif text >= 0:
                buckets = self._crowd.bucket_of[self._crowd.places(text)]
                self._kept_in[self._filled[buckets]] = item
                self._filled[buckets] += 1
        return self._leaders, self._similarity, self._compared, self._passed_over

    def _first_kept(self, item: int) -> int:
        """The first of the texts known to match `item` that is kept, `item` itself where there is none."""
        matches = self._known.values[self._known.offsets[item] : self._known.offsets[item + 1]]
        kept = matches[self._leaders[matches] == matches]
        return int(kept[0]) if len(kept) else item

    def _first_match(self, item: int, text: int, leader: int) -> int:
        """The first kept item of the crowd that `text` matches, if it comes before `leader`."""
        items = self._kept_before(text, leader)
        closest = self._crowd.closest(text, self._place[items], self._near)
        most = self._crowd.most_unlike
        self._passed_over += max(0, len(closest) - most)
        items = np.sort(items[closest[:most]])
        start, step = 0, 16
        while start < len(items):
            some = items[start : start + step]
            similarity, is_match = compare_one(self._crowd.texts, text, self._place[some], self._near)
            first = int(np.argmax(is_match))
            if is_match[first]:
                self._compared += first + 1
                self._similarity[item] = similarity[first]
                return int(some[first])
            self._compared += len(some)
            start, step = start + step, 2 * step
        return leader

    def _kept_before(self, text: int, leader: int) -> np.ndarray:
        """The kept items before `leader` that share a rare shingle with `text`, ascending."""
        found, room = [np.empty(0, np.int64)], self._crowd.most_looked_at
        buckets = self._crowd.bucket_of[self._crowd.places(text)]
        for number, bucket in enumerate(buckets):
            kept = self._kept_in[self._crowd.starts[bucket] : self._filled[bucket]]
            before = kept[: np.searchsorted(kept, leader)]
            found.append(before[:room])
            if len(before) > room:
                later = buckets[number + 1 :]
                self._passed_over += len(kept) - room
                self._passed_over += int((self._filled[later] - self._crowd.starts[later]).sum())
                break
            room -= len(before)
        return distinct(np.concatenate(found))
