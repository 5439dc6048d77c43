"""MinHash signatures cut into bands: which texts are worth comparing at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pairmine.errors import PairmineError
from pairmine.stages.dedup.kernel.hashes import factors, mixed
from pairmine.stages.dedup.kernel.shingles import Ragged

RECALL = 0.999


def collision_probability(similarity: float, bands: int, rows: int) -> float:
    """How likely two sets of that Jaccard similarity share at least one of `bands` bands of `rows` minima.

    1 - (1 - s^r)^b, from Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4.

    >>> round(collision_probability(0.8, 25, 5), 5)
    0.99995
    """
    return float(1.0 - (1.0 - similarity**rows) ** bands)


def banding(threshold: float, permutations: int) -> tuple[int, int]:
    """(bands, rows per band) that find a pair at `threshold` with probability 0.999 or more.

    Of all that do, the longest bands, which let the fewest unlike pairs through, and as many as there are
    `permutations` for: fewer take no less time (14 bands of 4, 18 of 5 and 25 of 5 differ by a tenth), but miss more.
    Raises PairmineError when `permutations` do not suffice, with the number that does.

    >>> banding(0.8, 128)
    (25, 5)
    """
    for rows in range(permutations, 0, -1):
        if collision_probability(threshold, permutations // rows, rows) >= RECALL:
            return permutations // rows, rows
    needed = math.ceil(math.log(1 - RECALL) / math.log(1 - threshold))
    raise PairmineError(
        f"{permutations} permutations cannot find {RECALL:.1%} of the pairs at threshold {threshold:g}; "
        f"pass --permutations {needed} or more, or a higher --threshold"
    )


@dataclass(frozen=True)
class Bands:
    """`count` bands of so many `rows`, by datasketch's scheme affine32.

    `scale` and `shift` (count * rows,) uint32 make permutation k of a hash h: ``scale[k] * h + shift[k]`` modulo 2^32.
    `factors` (rows,) uint64 make a band's key out of its minima.
    """

    count: int
    rows: int
    scale: np.ndarray
    shift: np.ndarray
    factors: np.ndarray

    @classmethod
    def drawn(cls, count: int, rows: int, seed: int) -> Bands:
        """Those of `datasketch.MinHash(count * rows, seed=seed, scheme="affine32")`, by the same draws."""
        draw = np.random.RandomState(seed % 2**32)
        scale = draw.randint(0, 1 << 31, count * rows, np.uint32) * np.uint32(2) + np.uint32(1)
        shift = draw.randint(0, 1 << 32, count * rows, np.uint32)
        return cls(count, rows, scale, shift, factors("band", rows))


def band_keys(sets: Ragged, bands: Bands) -> np.ndarray:
    """(bands, n) uint64: equal in a band when all its minima are equal there; 0 for an empty set."""
    hashes = fmix32((sets.values >> np.uint64(32)).astype(np.uint32))
    filled = sets.sizes > 0
    starts = sets.offsets[:-1][filled]
    keys = np.zeros((bands.count, len(sets)), np.uint64)
    if not len(starts):
        return keys
    values = np.empty_like(hashes)
    for band in range(bands.count):
        key = np.zeros(len(starts), np.uint64)
        for row in range(bands.rows):
            permutation = band * bands.rows + row
            np.multiply(hashes, bands.scale[permutation], out=values)
            values += bands.shift[permutation]
            key += np.minimum.reduceat(values, starts) * bands.factors[row]
        keys[band, filled] = mixed(key)
    return keys


FMIX = ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1))
"""The shifts and factors of MurmurHash3's last step for 32 bits, which affine32 begins with."""


def fmix32(hashes: np.ndarray) -> np.ndarray:
    """The hashes as affine32 mixes them before it permutes them, (n,) uint32."""
    for shift, factor in FMIX:
        hashes = (hashes ^ (hashes >> np.uint32(shift))) * np.uint32(factor)
    return hashes
