"""Which texts are worth comparing: those that share the key of a band."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pairmine.stages.dedup.kernel.compiled import NATIVE, compiled

CROWD = 16
"""Largest bucket whose members are all paired with each other; beyond it see `crowds`."""

# To sort the keys of a text by NumPy takes as long as to read so many bytes of text; see `compiled`.
_BYTES_A_KEY = 16
_PAIRS_SET_ASIDE = 1 << 22
_RIGHT = 0xFFFFFFFF
_PAIRS = np.stack(np.triu_indices(CROWD, 1))


@dataclass(frozen=True)
class Candidates:
    """Pairs of texts to compare, each once, `left` < `right`, ascending; and the `crowded` texts, ascending. int64.

    A crowded text shares a key with more than `CROWD` - 1 others; pairs of two crowded texts are left out.
    """

    left: np.ndarray
    right: np.ndarray
    crowded: np.ndarray


def candidates(bands: Iterable[np.ndarray], texts: np.ndarray, engine: str = "auto") -> Candidates:
    """Which of the `texts` (positions, ascending) share a key in one of the `bands`, each (n,) uint64.

    A band is read once, from start to end, and may lie on disk. Memory is for one band and for the pairs.
    """
    pairs = PackedPairs()
    crowded = [np.empty(0, np.int64)]
    for keys in bands:
        own = np.asarray(keys if len(texts) == len(keys) else keys[texts])
        left, right, many = in_buckets(own, texts, engine)
        pairs.add(left, right)
        crowded.append(np.setdiff1d(many, crowded[0], assume_unique=True))
        crowded = [np.sort(np.concatenate(crowded))]
    return pairs.without(crowded[0])


def in_buckets(keys: np.ndarray, texts: np.ndarray, engine: str = "auto") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (left < right) of `texts` with one key, and those of crowded buckets, ascending; each with its key."""
    if fast := compiled(NATIVE, len(keys) * _BYTES_A_KEY, engine=engine):
        some = fast.repeated(np.ascontiguousarray(keys))
        keys, texts = keys[some], texts[some]
    order = np.argsort(keys)
    starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))
    sizes = np.diff(starts, append=len(keys))
    starts, sizes, texts = starts[sizes > 1], sizes[sizes > 1], texts[order]
    lefts, rights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for size in np.flatnonzero(np.bincount(sizes[sizes <= CROWD])):
        members = np.sort(texts[starts[sizes == size][:, None] + np.arange(size)], axis=1)
        left, right = _PAIRS[:, _PAIRS[1] < size]
        lefts.append(members[:, left].ravel())
        rights.append(members[:, right].ravel())
    large = sizes > CROWD
    crowded = [texts[start : start + size] for start, size in zip(starts[large], sizes[large], strict=True)]
    return np.concatenate(lefts), np.concatenate(rights), np.sort(np.concatenate([texts[:0], *crowded]))


class PackedPairs:
    """Pairs of texts, each kept once: the left one in the upper 32 bits."""

    def __init__(self) -> None:
        self._pending: list[np.ndarray] = []
        self._count = self._settled = 0

    def add(self, left: np.ndarray, right: np.ndarray) -> None:
        """Take in pairs, in any order."""
        self._pending.append(left << 32 | right)
        self._count += len(left)
        # Copies share most bands: what is known already is dropped before it piles up.
        if self._count > max(_PAIRS_SET_ASIDE, 2 * self._settled):
            self._pending = [self._joined()]
            self._count = self._settled = len(self._pending[0])

    def without(self, crowded: np.ndarray) -> Candidates:
        """All pairs but those of two `crowded` texts."""
        packed = self._joined()
        left, right = packed >> 32, packed & _RIGHT
        wanted = ~(is_among(left, crowded) & is_among(right, crowded))
        return Candidates(left[wanted], right[wanted], crowded)

    def _joined(self) -> np.ndarray:
        # Twenty times as fast as np.unique, which hashes where no inverse is asked for.
        packed = np.sort(np.concatenate([np.empty(0, np.int64), *self._pending]))
        return packed[np.append(True, packed[1:] != packed[:-1])[: len(packed)]]


def is_among(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """Whether each of `values` is among the `ascending` ones."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: np.ndarray = ascending[at] == values
    return found
