"""Texts that an LLM wrote before: near copies among everything that a run has kept so far."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairmine.distinct import distinct
from pairmine.stages.dedup.kernel import read_texts
from pairmine.stages.dedup.kernel.minhash import Bands, band_keys, banding
from pairmine.stages.dedup.kernel.shingles import Ragged

_NGRAM = 3
# Long bands, since small models open alike: of two queries with a quarter of their 3-grams in common, 36 bands of
# seven minima bring together two in a thousand, 16 bands of four (with 64 permutations) six in a hundred.
_PERMUTATIONS = 256


@dataclass(frozen=True)
class Sketches:
    """What is left of the texts of some groups: enough to tell copies among them.

    `owner` (texts,) int64 is the group of each text, `groups` their number. `keys` (texts, bands) uint32 are those of
    its bands, `sets[i]` uint32 ascending its 3-grams, none where it has no word.
    """

    owner: np.ndarray
    groups: int
    keys: np.ndarray
    sets: Sequence[np.ndarray]


class Sketching:
    """Makes sketches for one threshold, of each text by itself."""

    def __init__(self, threshold: float) -> None:
        self.bands = Bands.drawn(*banding(threshold, _PERMUTATIONS), seed=0)

    def of(self, groups: Sequence[Sequence[str]]) -> Sketches:
        """The sketches of the texts of each group."""
        owner = np.repeat(np.arange(len(groups)), [len(each) for each in groups])
        sets = read_texts([text for group in groups for text in group], _NGRAM).shingles
        short = (sets.values >> np.uint64(32)).astype(np.uint32)
        texts = np.split(short, sets.offsets[1:-1]) if len(sets) else []
        return Sketches(owner, len(groups), self._keys(sets), texts)

    def _keys(self, sets: Ragged) -> np.ndarray:
        """(n, bands) uint32; that a key of one band is one of another by chance costs a comparison and no more."""
        keys = band_keys(sets, self.bands).T
        salt = np.arange(self.bands.count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        short: np.ndarray = ((keys ^ salt) >> np.uint64(32)).astype(np.uint32)
        return short


class Repeats:
    """Tells which texts are near copies of an earlier kept one: Jaccard of word 3-grams at `threshold` or more.

    Candidates come from MinHash bands that find 99.9% of the pairs at the threshold, and each is
    verified by its exact similarity. Per text some 300 bytes are kept, and 4 for each of its words.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._sketching = Sketching(threshold)
        self._count = self._sketching.bands.count
        self._index = _Index()
        self._kept = _Sets()

    def among(self, groups: Sequence[Sequence[str]]) -> np.ndarray:
        """Whether each group of texts holds a near copy of an earlier kept text, (groups,) bool.

        The texts of a group that holds none are kept; texts of one group are not held against each other.
        """
        return self.among_sketches(self._sketching.of(groups))

    def among_sketches(self, sketches: Sketches) -> np.ndarray:
        """The same of texts whose sketches were made before."""
        owner, keys, texts = sketches.owner, sketches.keys, sketches.sets
        worded = np.flatnonzero(np.array([len(each) for each in texts], np.int64) > 0)
        is_repeat = np.zeros(sketches.groups, bool)
        # Earlier calls first, then this one: what is a copy of the former is nothing to be held against.
        left, right = self._pairs(keys, worded, self._index)
        alike = self._are_alike([texts[at] for at in left], [self._kept[number] for number in right])
        is_repeat[owner[left[alike]]] = True
        here = _Index()
        here.add(keys[worded].ravel(), np.repeat(worded, self._count))
        left, right = self._pairs(keys, worded, here)
        later = (right < left) & (owner[right] != owner[left])
        left, right = left[later], right[later]
        alike = self._are_alike([texts[at] for at in left], [texts[at] for at in right])
        for text, earlier in zip(left[alike].tolist(), right[alike].tolist(), strict=True):
            is_repeat[owner[text]] |= not is_repeat[owner[earlier]]
        kept = worded[~is_repeat[owner[worded]]]
        numbers = self._kept.add([texts[text] for text in kept])
        self._index.add(keys[kept].ravel(), np.repeat(numbers, self._count))
        return is_repeat

    def _pairs(self, keys: np.ndarray, worded: np.ndarray, index: _Index) -> tuple[np.ndarray, np.ndarray]:
        """Texts and numbers in the index that share a band, each pair once, by text and then by number."""
        positions, numbers = index.find(keys[worded].ravel())
        codes = distinct(worded[positions // self._count] << 32 | numbers)
        return codes >> 32, codes & 0xFFFFFFFF

    def _are_alike(self, ones: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> np.ndarray:
        """Whether each two sets, side by side, are similar enough, (n,) bool."""
        if not len(ones):
            return np.zeros(0, bool)
        one, other = _tagged(ones), _tagged(others)
        found = np.minimum(np.searchsorted(one, other), len(one) - 1)
        shared = np.bincount((other[one[found] == other] >> np.uint64(32)).astype(np.int64), minlength=len(ones))
        sizes = np.array([len(a) + len(b) for a, b in zip(ones, others, strict=True)])
        alike: np.ndarray = shared >= self._threshold * (sizes - shared)
        return alike


def _tagged(sets: Sequence[np.ndarray]) -> np.ndarray:
    """All members with the number of their set in front, ascending as the members of each set are."""
    tags = np.repeat(np.arange(len(sets), dtype=np.uint64), [len(each) for each in sets])
    tagged: np.ndarray = tags << np.uint64(32) | np.concatenate(sets).astype(np.uint64)
    return tagged


class _Sets:
    """Sets of 32-bit hashes by number, packed."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._chunks: list[tuple[np.ndarray, np.ndarray]] = []
        self._count = 0

    def add(self, sets: Sequence[np.ndarray]) -> np.ndarray:
        """Keep `sets` and return their numbers."""
        numbers = np.arange(self._count, self._count + len(sets), dtype=np.int32)
        if sets:
            offsets = np.cumsum([0, *map(len, sets)]).astype(np.int32)
            self._firsts.append(self._count)
            self._chunks.append((np.concatenate(sets), offsets))
            self._count += len(sets)
        return numbers

    def __getitem__(self, number: int) -> np.ndarray:
        chunk = bisect_right(self._firsts, number) - 1
        values, offsets = self._chunks[chunk]
        at = number - self._firsts[chunk]
        return values[offsets[at] : offsets[at + 1]]


# To merge two arrays takes four times their memory for a moment; arrays of this size stay as they are.
_LARGEST = 1 << 21


class _Index:
    """Numbers behind each 32-bit key, in a few sorted arrays that are merged as they grow."""

    def __init__(self) -> None:
        self._levels: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, keys: np.ndarray, numbers: np.ndarray) -> None:
        """Put `numbers` under `keys`, side by side."""
        while self._levels and len(self._levels[-1][0]) <= min(2 * len(keys), _LARGEST - len(keys)):
            older = self._levels.pop()
            keys, numbers = np.concatenate([older[0], keys]), np.concatenate([older[1], numbers])
        order = np.argsort(keys, kind="stable")
        self._levels.append((keys[order], numbers[order].astype(np.int32)))

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(position in `keys`, number) of each hit."""
        positions, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for level_keys, level_numbers in self._levels:
            start = np.searchsorted(level_keys, keys, "left")
            counts = np.searchsorted(level_keys, keys, "right") - start
            hits = np.repeat(np.arange(len(keys)), counts)
            offset = np.arange(len(hits)) - np.repeat(np.cumsum(counts) - counts, counts)
            positions.append(hits)
            numbers.append(level_numbers[np.repeat(start, counts) + offset])
        return np.concatenate(positions), np.concatenate(numbers)
