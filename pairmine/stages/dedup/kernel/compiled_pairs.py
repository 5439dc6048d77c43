"""The loops of `candidates` and `verify`, for numba; those do the same by numpy. Nothing allocates: see `to_keep`."""

from __future__ import annotations

import numpy as np
from numba import njit, types

from pairmine.stages.dedup.kernel.machine_code import to_keep

_SPREAD = np.uint64(0x9E3779B97F4A7C15)

# Arrays may be read-only: those of Arrow, or of a file that is mapped.
HASHES, NUMBERS = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint64, types.int64))
FRESH, _BITS = types.int64[::1], types.uint8[::1]


@to_keep(types.int64(HASHES, types.int64, _BITS, _BITS, FRESH))
def repeated(keys, bits, once, twice, found):
    """Fill `found` with the positions, ascending, of all keys that occur more than once, and of a few others.

    Each key sets one of 2^`bits` in `once`; who finds it set sets that of `twice`. How many were found.
    """
    shift = np.uint64(64 - bits)
    for key in keys:
        slot = np.int64((key * _SPREAD) >> shift)
        bit = np.uint8(1 << (slot & 7))
        twice[slot >> 3] |= once[slot >> 3] & bit
        once[slot >> 3] |= bit
    count = 0
    for position in range(len(keys)):
        slot = np.int64((keys[position] * _SPREAD) >> shift)
        found[count] = position
        count += (twice[slot >> 3] >> (slot & 7)) & 1
    return count


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


@to_keep(types.void(HASHES, NUMBERS, NUMBERS, NUMBERS, NUMBERS, FRESH))
def count_shared(values, offsets, left, right, least, shared):
    """Fill `shared` for each pair of sets."""
    for pair in range(len(left)):
        shared[pair] = shared_by(values, offsets, left[pair], right[pair], least[pair])
