"""Which pairs of texts are near copies: exact Jaccard similarity of their shingles, and the rules for short texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pairmine.stages.dedup.kernel.compiled import NATIVE, compiled
from pairmine.stages.dedup.kernel.shingles import Ragged, Texts

if TYPE_CHECKING:
    from pairmine.stages.dedup.matches import Near

SetsOf = Callable[[np.ndarray], Texts]
"""The sets of the texts at some positions, which ascend; texts are read again or their sets were kept."""

AT_ONCE = 1 << 20
"""Shingles of the texts that are compared at a time, 8 MB; their words take as much."""

# To compare a member by NumPy takes as long as to read so many bytes of text; see `compiled`.
_BYTES_A_MEMBER = 7
_PAIRS_A_THREAD = 4096
_MEMBERS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts that were verified as near copies, with their Jaccard similarity, float64.

    `compared` counts the pairs whose similarity was computed to find these, `passed_over` those that
    were left out for their number; see `crowds`.
    """

    left: np.ndarray
    right: np.ndarray
    similarity: np.ndarray
    compared: int
    passed_over: int = 0

    def of(self, texts: np.ndarray) -> Pairs:
        """The same pairs of numbers as pairs of the `texts` that have them."""
        return replace(self, left=texts[self.left], right=texts[self.right])

    def and_also(self, other: Pairs) -> Pairs:
        """Both, these first."""
        return Pairs(
            np.concatenate([self.left, other.left]),
            np.concatenate([self.right, other.right]),
            np.concatenate([self.similarity, other.similarity]),
            self.compared + other.compared,
            self.passed_over + other.passed_over,
        )


@dataclass(frozen=True)
class Counts:
    """How many `words` each of n texts has, and how many `shingles` at most, (n,) integers."""

    shingles: np.ndarray
    words: np.ndarray


def verify(sets_of: SetsOf, left: np.ndarray, right: np.ndarray, counts: Counts, near: Near) -> Pairs:
    """The pairs of texts with words that are near copies, by `left`, then `right`. Most texts are read once."""
    possible = _words_allow(counts.words[left], counts.words[right], near)
    left, right = left[possible], right[possible]
    found, compared = [np.empty(0, np.int64)], 0
    similarities = [np.empty(0)]
    for block, texts, one, other in _blocks(sets_of, left, right, counts.shingles):
        sizes = texts.shingles.sizes
        possible = sizes_allow(sizes[one], sizes[other], near.threshold)
        similarity, is_match = _compared(texts, one[possible], other[possible], near, matches_only=True)
        found.append(block[possible][is_match])
        similarities.append(similarity[is_match])
        compared += len(similarity)
    pairs, similarity = np.concatenate(found), np.concatenate(similarities)
    order = np.lexsort((right[pairs], left[pairs]))
    return Pairs(left[pairs[order]], right[pairs[order]], similarity[order], compared)


def compare(
    sets_of: SetsOf, left: np.ndarray, right: np.ndarray, shingles: np.ndarray, near: Near
) -> tuple[np.ndarray, np.ndarray]:
    """As `compare_pairs`, of texts by position, so many at a time; `shingles` (n,) is how many each has at most."""
    similarity, is_match = np.empty(len(left)), np.empty(len(left), bool)
    for block, texts, one, other in _blocks(sets_of, left, right, shingles):
        similarity[block], is_match[block] = compare_pairs(texts, one, other, near)
    return similarity, is_match


def _blocks(
    sets_of: SetsOf, left: np.ndarray, right: np.ndarray, shingles: np.ndarray
) -> Iterator[tuple[np.ndarray, Texts, np.ndarray, np.ndarray]]:
    """The numbers of the pairs, so many at a time, with their texts and where the two of each pair are among these."""
    for block in _connected_blocks(left, right, shingles):
        members, places = np.unique(np.concatenate([left[block], right[block]]), return_inverse=True)
        yield block, sets_of(members), places[: len(block)], places[len(block) :]


def _connected_blocks(left: np.ndarray, right: np.ndarray, shingles: np.ndarray) -> Iterator[np.ndarray]:
    """The numbers of the pairs, so many at a time; what other pairs connect comes together, to be read once."""
    if not len(left):
        return
    from pairmine.stages.dedup.groups import components

    members, places = np.unique(np.concatenate([left, right]), return_inverse=True)
    groups = components(len(members), places[: len(left)], places[len(left) :])
    order = np.argsort(groups[places[: len(left)]], kind="stable")
    cost = np.cumsum(shingles[left[order]].astype(np.int64) + shingles[right[order]])
    cuts = np.searchsorted(cost, np.arange(AT_ONCE, cost[-1], AT_ONCE))
    yield from (block for block in np.split(order, cuts) if len(block))


def sizes_allow(left: np.ndarray, right: np.ndarray, threshold: float) -> np.ndarray:
    """Whether two sets of these sizes can be so similar: one smaller than t times the other cannot reach t."""
    allowed: np.ndarray = np.minimum(left, right) / np.maximum(left, right) >= threshold
    return allowed


def _words_allow(left: np.ndarray, right: np.ndarray, near: Near) -> np.ndarray:
    """Whether texts of so many words can be near copies: two sentences need the same number."""
    allowed: np.ndarray = (np.maximum(left, right) >= near.sentence_words) | (left == right)
    return allowed


def compare_pairs(texts: Texts, left: np.ndarray, right: np.ndarray, near: Near) -> tuple[np.ndarray, np.ndarray]:
    """For pairs of `texts` that have a word: their Jaccard similarity, float64, and whether they are near copies."""
    return _compared(texts, left, right, near, matches_only=False)


def _compared(
    texts: Texts, left: np.ndarray, right: np.ndarray, near: Near, matches_only: bool
) -> tuple[np.ndarray, np.ndarray]:
    """As `compare_pairs`; with `matches_only` the similarity of the others is not worked out."""
    both = texts.shingles.sizes[left] + texts.shingles.sizes[right]
    least = least_shared(both, near.threshold) if matches_only else np.zeros(len(left), np.int64)
    shared = shared_members(texts.shingles, left, right, least, near)
    similarity = shared / (both - shared)
    is_match = similarity >= near.threshold
    size, other = texts.words.sizes[left], texts.words.sizes[right]
    is_match &= _words_allow(size, other, near)
    is_short = np.maximum(size, other) < max(near.sentence_words, near.short_text_words)
    doubtful = np.flatnonzero(is_match & is_short)
    smaller = np.minimum(size, other)[doubtful]
    held = shared_members(texts.words, left[doubtful], right[doubtful], smaller, near)
    is_match[doubtful] = held == smaller
    return similarity, is_match


def compare_one(texts: Texts, one: int, others: np.ndarray, near: Near) -> tuple[np.ndarray, np.ndarray]:
    """As `compare_pairs`, for text `one` and each of `others`, which are few."""
    similarity = texts.jaccard(one, others)
    size, sizes = texts.words.sizes[one], texts.words.sizes[others]
    is_match = (similarity >= near.threshold) & _words_allow(size, sizes, near)
    is_short = np.maximum(size, sizes) < max(near.sentence_words, near.short_text_words)
    doubtful = np.flatnonzero(is_match & is_short)
    if len(doubtful):
        is_match[doubtful] = texts.nested(one, others[doubtful])
    return similarity, is_match


def least_shared(both: np.ndarray, threshold: float) -> np.ndarray:
    """How many members two sets of `both` members together share at least when they are so similar, int64.

    The small number keeps 4.000000000000001 from being rounded up to 5; the similarity itself decides afterwards.
    """
    return np.ceil(threshold / (1 + threshold) * both - 1e-6).astype(np.int64)


def shared_members(sets: Ragged, left: np.ndarray, right: np.ndarray, least: np.ndarray, near: Near) -> np.ndarray:
    """How many members two sets share, for each pair of them, int64; -1 may stand for fewer than `least`."""
    both = sets.sizes[left] + sets.sizes[right]
    fast = compiled(NATIVE, _BYTES_A_MEMBER * int(both.sum()), engine=near.engine)
    if fast is None:
        parts = [_shared(sets, left[run], right[run]) for run in _runs(both)]
        return np.concatenate([np.empty(0, np.int64), *parts])
    shared = np.empty(len(left), np.int64)

    def count(start: int) -> None:
        run = slice(start, start + _PAIRS_A_THREAD)
        fast.count_shared(sets, left[run], right[run], least[run], shared[run])

    starts = range(0, len(left), _PAIRS_A_THREAD)
    with ThreadPoolExecutor(near.workers) as pool:
        list(pool.map(count, starts))
    return shared


def _runs(costs: np.ndarray) -> Iterator[slice]:
    """Runs of pairs that cost about `_MEMBERS_AT_ONCE` each."""
    ends = np.cumsum(costs)
    start = 0
    while start < len(costs):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + _MEMBERS_AT_ONCE, "right")), start + 1)
        yield slice(start, stop)
        start = stop


def _shared(sets: Ragged, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Sorts the members of both sets of each pair: what they share then stands side by side."""
    members, places = np.unique(np.concatenate([left, right]), return_inverse=True)
    own = sets.take(members)
    codes = np.unique(own.values, return_inverse=True)[1]
    sets = Ragged(codes, own.offsets)
    tagged = np.concatenate([_tagged(sets, side) for side in np.split(places, 2)])
    # Two ascending runs, which the stable sort merges.
    tagged.sort(kind="stable")
    repeated = tagged[1:][tagged[1:] == tagged[:-1]]
    return np.bincount(repeated >> 32, minlength=len(left))


def _tagged(sets: Ragged, items: np.ndarray) -> np.ndarray:
    """The members of each of `items`, below the number of the item, so that all of them ascend."""
    taken = sets.take(items)
    tagged: np.ndarray = taken.values | np.repeat(np.arange(len(items)) << 32, taken.sizes)
    return tagged
