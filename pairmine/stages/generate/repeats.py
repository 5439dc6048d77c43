"""Texts that an LLM wrote before: near copies among everything that a run has kept so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairmine.stages.dedup.minhash import band_keys, banding
from pairmine.stages.dedup.shingles import Ragged, read_texts

_NGRAM = 3
_PERMUTATIONS = 64


class Repeats:
    """Tells which texts are near copies of an earlier kept one: Jaccard of word 3-grams at `threshold` or more.

    Candidates come from MinHash bands that find 99.9% of the pairs at the threshold, and each is
    verified exactly. Per text some 200 bytes are kept, and 8 for each of its words.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._bands, self._rows = banding(threshold, _PERMUTATIONS)
        self._index = _Index()
        self._sets: list[np.ndarray] = []

    def among(self, groups: Sequence[Sequence[str]]) -> np.ndarray:
        """Whether each group of texts holds a near copy of an earlier kept text, (groups,) bool.

        The texts of a group that holds none are kept; texts of one group are not held against each other.
        """
        owner = np.repeat(np.arange(len(groups)), [len(each) for each in groups])
        sets = read_texts([text for group in groups for text in group], _NGRAM).shingles
        keys = self._keys(sets)
        first = len(self._sets)
        numbers = np.where(sets.sizes > 0, np.arange(len(sets)), -1)
        self._sets += np.split(sets.values, sets.offsets[1:-1]) if len(sets) else []
        pairs = self._candidates(keys, numbers, first)
        is_repeat = np.zeros(len(groups), bool)
        for new, earlier in pairs:
            group = owner[new - first]
            if is_repeat[group]:
                continue
            if earlier >= first and (owner[earlier - first] == group or is_repeat[owner[earlier - first]]):
                continue
            is_repeat[group] = _jaccard(self._sets[new], self._sets[earlier]) >= self._threshold
        kept = (numbers >= 0) & ~is_repeat[owner]
        self._index.add(keys[kept].ravel(), np.repeat(first + np.flatnonzero(kept), self._bands))
        for at in np.flatnonzero(~kept):
            self._sets[first + at] = _EMPTY
        return is_repeat

    def _keys(self, sets: Ragged) -> np.ndarray:
        """(n, bands) uint64; a key of one band is never one of another."""
        keys = band_keys(sets, bands=self._bands, rows=self._rows, seed=0)
        salt = np.arange(self._bands, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        salted: np.ndarray = keys ^ salt
        return salted

    def _candidates(self, keys: np.ndarray, numbers: np.ndarray, first: int) -> list[tuple[int, int]]:
        """(new text, earlier text), by new text and then by earlier one."""
        worded = np.flatnonzero(numbers >= 0)
        flat, own = keys[worded].ravel(), np.repeat(first + worded, self._bands)
        old_at, old = self._index.find(flat)
        fresh = _Index()
        fresh.add(flat, own)
        new_at, new = fresh.find(flat)
        left = np.concatenate([own[old_at], own[new_at]])
        right = np.concatenate([old, new])
        codes = np.unique(np.stack([left, right])[:, right < left], axis=1)
        return list(zip(codes[0].tolist(), codes[1].tolist(), strict=True))


_EMPTY = np.empty(0, np.uint64)


def _jaccard(one: np.ndarray, other: np.ndarray) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


class _Index:
    """Number(s) behind each 64-bit key, in a few sorted arrays that are merged as they grow."""

    def __init__(self) -> None:
        self._levels: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, keys: np.ndarray, numbers: np.ndarray) -> None:
        """Put `numbers` under `keys`, side by side."""
        while self._levels and len(self._levels[-1][0]) <= 2 * len(keys):
            older = self._levels.pop()
            keys, numbers = np.concatenate([older[0], keys]), np.concatenate([older[1], numbers])
        order = np.argsort(keys, kind="stable")
        self._levels.append((keys[order], numbers[order].astype(np.int64)))

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
