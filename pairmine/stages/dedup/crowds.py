"""Texts in crowded buckets: their near copies, without comparing everyone to everyone.

A template filled ten thousand times puts ten thousand texts into one bucket. Two texts of a crowd are
compared only when they share a band and one of their rarest shingles: sets with Jaccard similarity t
share one among the |A| - ceil(t |A|) + 1 rarest of each (prefix filter; Chaudhuri, Ganti and Kaushik,
ICDE 2006; Bayardo, Ma and Srikant, WWW 2007). Neither loses a near copy. Those that share the most bands, as
near copies do, come first, and after `MOST_UNLIKE` that are none the others are passed over: that keeps the work
in proportion to the number of texts, and `passed_over` tells of it.

`join` and `groups.stars` say which of those pairs are compared; the compiled loops are in `compiled_crowds`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from pairmine.distinct import distinct
from pairmine.stages.dedup.kernel.compiled import compiled
from pairmine.stages.dedup.kernel.shingles import Ragged, Texts
from pairmine.stages.dedup.verify import Pairs, compare_one, sizes_allow

if TYPE_CHECKING:
    from pairmine.stages.dedup.matches import Near

MOST_UNLIKE = 1000
MOST_LOOKED_AT = 16_000
"""Texts that share a rare shingle, counted once for each that they share, among which those to compare are chosen."""

_COUNTERS = 20
# To compare a text by NumPy takes as long as to read so many bytes of text, and is asked about twice; see `compiled`.
_BYTES_A_TEXT = 1_500
_AT_ONCE = 256


@dataclass(frozen=True)
class Crowd:
    """n texts in crowded buckets, their band `keys` (n, bands) uint64, and who shares rare shingles.

    A bucket lists the texts that have one rare shingle: bucket b those in ``members[starts[b]:starts[b + 1]]``,
    ascending. Text i is listed at the places ``listed.values[listed.offsets[i]:listed.offsets[i + 1]]``, the
    smallest bucket first; `bucket_of` is the bucket of each place. At `most_looked_at` places it is looked for others,
    and with `most_unlike` that are no copies each text is compared.
    """

    texts: Texts
    keys: np.ndarray
    members: np.ndarray
    starts: np.ndarray
    bucket_of: np.ndarray
    listed: Ragged
    most_unlike: int
    most_looked_at: int

    def __len__(self) -> int:
        return len(self.keys)

    def places(self, text: int) -> np.ndarray:
        """Where `text` is listed, the smallest bucket first."""
        places: np.ndarray = self.listed.values[self.listed.offsets[text] : self.listed.offsets[text + 1]]
        return places

    def closest(self, text: int, others: np.ndarray, near: Near) -> np.ndarray:
        """Which of `others` to compare with `text`, as numbers in `others`: those first that share the most bands.

        Left out are those that cannot be near copies, having no band in common or too many shingles, or too few.
        """
        sizes = self.texts.shingles.sizes
        possible = np.flatnonzero(sizes_allow(sizes[text], sizes[others], near.threshold))
        bands = (self.keys[others[possible]] == self.keys[text]).sum(axis=1)
        order = np.argsort(-bands, kind="stable")
        return possible[order[: np.count_nonzero(bands)]]


def crowd_of(texts: Texts, keys: np.ndarray, near: Near) -> Crowd:
    """The crowd of `texts`, all with a word, whose band keys are `keys` (bands, n)."""
    shingles, owners = _rarest(texts.shingles, near)
    order = np.argsort(shingles, kind="stable")
    shingles, owners = shingles[order], owners[order]
    is_first = np.diff(shingles, prepend=~shingles[:1]) != 0
    sizes = np.diff(np.flatnonzero(np.append(is_first, True)))
    is_shared = np.repeat(sizes > 1, sizes)
    owners, sizes = owners[is_shared], sizes[sizes > 1]
    bucket_of = np.repeat(np.arange(len(sizes)), sizes)
    by_text = np.lexsort((bucket_of, sizes[bucket_of], owners))
    listed = Ragged(by_text, np.searchsorted(owners[by_text], np.arange(len(texts.shingles) + 1)))
    starts = np.concatenate(([0], np.cumsum(sizes)))
    by_text_keys = np.ascontiguousarray(keys.T)
    return Crowd(texts, by_text_keys, owners, starts, bucket_of, listed, MOST_UNLIKE, MOST_LOOKED_AT)


def _rarest(sets: Ragged, near: Near) -> tuple[np.ndarray, np.ndarray]:
    """The rarest shingles of each set that its near copies must share, and the set of each; by set.

    All sets put their members in one order: by how often the first bits of a hash occur here, then by the hash.
    """
    # The small number keeps t |A| = 4.000000000000001 from being rounded up to 5.
    wanted = sets.sizes - np.ceil(near.threshold * sets.sizes - 1e-9).astype(np.int64) + 1
    wanted = np.minimum(wanted, sets.sizes)
    shift = np.uint64(64 - _COUNTERS)
    counts = np.bincount((sets.values >> shift).view(np.int64), minlength=1 << _COUNTERS)
    owners = np.repeat(np.arange(len(sets)), wanted)
    if fast := compiled_for(len(sets), near):
        return fast.rarest(sets.values, sets.offsets, counts, shift, wanted, len(owners)), owners
    of_set = np.repeat(np.arange(len(sets)), sets.sizes)
    order = np.lexsort((counts[(sets.values >> shift).view(np.int64)], of_set))
    is_rare = np.arange(len(of_set)) - sets.offsets[of_set] < wanted[of_set]
    return sets.values[order[is_rare]], owners


def join(crowd: Crowd, near: Near) -> Pairs:
    """Pairs enough to connect all near copies in the crowd: each text is compared with later ones not yet connected.

    Those passed over are counted as far as nothing connects them in the end.
    """
    if fast := compiled_for(len(crowd), near):
        return Pairs(*fast.join_crowd(*as_arrays(crowd, near)))
    forest, later = Forest(len(crowd)), _Later(crowd)
    pairs: list[tuple[int, int, float]] = []
    compared, left_out = 0, np.zeros(len(crowd), np.int64)
    for text in range(len(crowd)):
        others, unseen = later.apart(text, forest)
        others = others[crowd.closest(text, others, near)]
        unlike = 0
        for number, (other, similarity, is_match) in enumerate(_verdicts(crowd.texts, text, others, near, forest)):
            if forest.root(other) == forest.root(text):
                continue
            if unlike == crowd.most_unlike:
                left_out[text] = len(others) - number
                break
            compared += 1
            if is_match:
                forest.unite(text, other)
                pairs.append((text, other, similarity))
            else:
                unlike += 1
        left_out[text] += unseen if unlike else 0
    later = _Later(crowd)
    passed_over = sum(min(int(left_out[text]), later.count(text, forest)) for text in np.flatnonzero(left_out).tolist())
    return pairs_of(pairs, compared, passed_over)


def _verdicts(
    texts: Texts, text: int, others: np.ndarray, near: Near, forest: Forest
) -> Iterator[tuple[int, float, bool]]:
    """Each of `others`, its similarity and whether it is a near copy, which are not told of those connected already."""
    for start in range(0, len(others), _AT_ONCE):
        some = others[start : start + _AT_ONCE]
        similarity, is_match = np.zeros(len(some)), np.zeros(len(some), bool)
        apart = np.flatnonzero(forest.are_apart(text, some))
        similarity[apart], is_match[apart] = compare_one(texts, text, some[apart], near)
        yield from zip(some.tolist(), similarity.tolist(), is_match.tolist(), strict=True)


def pairs_of(pairs: Sequence[tuple[int, int, float]], compared: int, passed_over: int) -> Pairs:
    """Pairs (left, right, similarity) as arrays."""
    left, right, similarity = zip(*pairs, strict=True) if pairs else ((), (), ())
    return Pairs(
        np.array(left, np.int64), np.array(right, np.int64), np.array(similarity, float), compared, passed_over
    )


def compiled_for(count: int, near: Near) -> ModuleType | None:
    """The compiled loops, where a crowd of so many texts is worth them."""
    return compiled("compiled_crowds", count * _BYTES_A_TEXT, engine=near.engine)


def as_arrays(crowd: Crowd, near: Near) -> tuple[object, ...]:
    """What the compiled loops take for a crowd, one after the other."""
    texts = crowd.texts
    sets = texts.shingles.values, texts.shingles.offsets, texts.words.values, texts.words.offsets
    buckets = crowd.members, crowd.starts, crowd.bucket_of, crowd.listed.values, crowd.listed.offsets
    rules = near.threshold, near.sentence_words, near.short_text_words
    return sets, crowd.keys, buckets, rules, crowd.most_unlike, crowd.most_looked_at


class _Later:
    """For each text the later ones that share a rare shingle and are not connected with it yet.

    Of a bucket, those that are not connected with some text are remembered: for the texts that are connected
    with that one, no others are left to look at.
    """

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._known: dict[int, tuple[int, np.ndarray]] = {}

    def apart(self, text: int, forest: Forest) -> tuple[np.ndarray, int]:
        """Ascending, and how many places of buckets were left out where they are too many."""
        found, room = [np.empty(0, np.int64)], self._crowd.most_looked_at
        places = self._crowd.places(text)
        for number, place in enumerate(places):
            others = self._in_bucket(text, place, forest)
            found.append(others[:room])
            if len(others) > room:
                return distinct(np.concatenate(found)), self._behind(place, others[room], places[number + 1 :])
            room -= len(others)
        return distinct(np.concatenate(found)), 0

    def count(self, text: int, forest: Forest) -> int:
        """How many such places there are."""
        return sum(len(self._in_bucket(text, place, forest)) for place in self._crowd.places(text))

    def _in_bucket(self, text: int, place: int, forest: Forest) -> np.ndarray:
        crowd = self._crowd
        bucket = int(crowd.bucket_of[place])
        of, known = self._known.get(bucket, (-1, np.empty(0, np.int64)))
        if of >= 0 and forest.root(of) == forest.root(text):
            later = known[np.searchsorted(known, text) :]
        else:
            later = crowd.members[place + 1 : crowd.starts[bucket + 1]]
        apart = later[forest.are_apart(text, later)]
        if of < 0 or len(apart) <= len(known):
            self._known[bucket] = text, apart
        return apart

    def _behind(self, place: int, first: int, places: np.ndarray) -> int:
        """How many places lie behind, from the `first` text on that is left out in the bucket of `place`."""
        crowd = self._crowd
        end = crowd.starts[crowd.bucket_of[place] + 1]
        behind = end - place - np.searchsorted(crowd.members[place:end], first)
        return int(behind + (crowd.starts[crowd.bucket_of[places] + 1] - places - 1).sum())


class Forest:
    """Union-find over n texts, in arrays; the first of those connected is their root."""

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count)

    def root(self, text: int) -> int:
        """The first text that is connected with `text`."""
        root = text
        while (above := int(self._parents[root])) != root:
            root = above
        self._parents[text] = root
        return root

    def are_apart(self, text: int, others: np.ndarray) -> np.ndarray:
        """Whether each of `others` is not connected with `text`, (n,) bool."""
        found: np.ndarray = self._parents[others]
        while not np.array_equal(above := self._parents[found], found):
            found = above
        self._parents[others] = found
        apart: np.ndarray = found != self.root(text)
        return apart

    def unite(self, one: int, other: int) -> None:
        """Connect two texts and all that are connected with them."""
        first, second = sorted((self.root(one), self.root(other)))
        self._parents[second] = first
