"""The hashes of words, shingles and whole texts: 64 bits, the same from numpy and from compiled code.

A word of code points c0, c1, ... is the mix of (c0 + 1) + (c1 + 1) P + (c2 + 1) P^2 + ..., modulo 2^64. A shingle is
the mix of its words, each times the odd number of its place. A text is the mix of a sum over its segments (words and
the code points between them), each mixed with its number.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from pairmine.identity import seed_of

LETTER_PLACE = seed_of(0, "letter place") | 1
SEGMENT_PLACE = np.uint64(seed_of(0, "segment place") | 1)
OCCURRENCE = np.uint64(seed_of(0, "occurrence") | 1)
BLANK_LETTER = np.uint64(ord(" ") + 1)

MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
"""The shifts and factors of SplitMix64's last step."""


def mixed(values: np.ndarray) -> np.ndarray:
    """Every bit of a value has a say in every bit of the result; one value, one result. (n,) uint64."""
    for shift, factor in MIX:
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values


@cache
def factors(name: str, count: int) -> np.ndarray:
    """(count,) uint64, odd: a number for each place in a shingle or a band, whose order matters."""
    return np.array([seed_of(0, name, str(place)) | 1 for place in range(count)], np.uint64)


def powers(base: int, count: int) -> np.ndarray:
    """The first `count` powers of `base` modulo 2^64, (count,) uint64."""
    found = np.ones(count, np.uint64)
    done = 1
    while done < count:
        step = min(done, count - done)
        found[done : done + step] = found[:step] * np.uint64(pow(base, done, 1 << 64))
        done += step
    return found
