"""The compiled parts of `candidates` and `verify`; those do the same by NumPy. Imports numba: see `compiled`."""

from __future__ import annotations

import numpy as np
from numba import njit, types

_SPREAD = np.uint64(0x9E3779B97F4A7C15)

# Arrays may be read-only: those of Arrow, or of a file that is mapped.
HASHES, NUMBERS = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint64, types.int64))
FRESH = types.int64[::1]


@njit(FRESH(HASHES), cache=True, nogil=True)
def repeated(keys):
    """The positions, ascending, of all keys that occur more than once, and of a few others.

    Each key sets one of eight bits per key; who finds it set is seen twice.
    """
    bits = 3
    while (1 << bits) < 8 * len(keys):
        bits += 1
    once, twice = np.zeros(1 << (bits - 3), np.uint8), np.zeros(1 << (bits - 3), np.uint8)
    shift = np.uint64(64 - bits)
    for key in keys:
        slot = np.int64((key * _SPREAD) >> shift)
        bit = np.uint8(1 << (slot & 7))
        twice[slot >> 3] |= once[slot >> 3] & bit
        once[slot >> 3] |= bit
    found = np.empty(len(keys), np.int64)
    count = 0
    for position in range(len(keys)):
        slot = np.int64((keys[position] * _SPREAD) >> shift)
        found[count] = position
        count += (twice[slot >> 3] >> (slot & 7)) & 1
    return found[:count]


@njit(nogil=True)
def shared_by(values, offsets, one, other, least):
    """How many members two ascending sets share, or -1 as soon as they cannot share `least`."""
    i, j = offsets[one], offsets[other]
    end_i, end_j = offsets[one + 1], offsets[other + 1]
    last_i, last_j = end_i - least, end_j - least
    shared = 0
    while i < end_i and j < end_j:
        a, b = values[i], values[j]
        shared += a == b
        i += a <= b
        j += b <= a
        if i - shared > last_i or j - shared > last_j:
            return -1
    return shared


@njit(types.void(HASHES, NUMBERS, NUMBERS, NUMBERS, NUMBERS, FRESH), cache=True, nogil=True)
def count_shared(values, offsets, left, right, least, shared):
    """Fill `shared` for each pair of sets."""
    for pair in range(len(left)):
        shared[pair] = shared_by(values, offsets, left[pair], right[pair], least[pair])
