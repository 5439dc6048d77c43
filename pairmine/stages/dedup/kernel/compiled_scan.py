"""Scanning texts for runs of words in one walk over the bytes of each, for numba; `scan` makes the same by numpy."""

from __future__ import annotations

import numpy as np
from numba import njit, types

from pairmine.stages.dedup.kernel import looks
from pairmine.stages.dedup.kernel.compiled_words import ABOUT_TEXT, LONGS, NUMBERS, mixed, walk
from pairmine.stages.dedup.kernel.machine_code import to_keep

_U64 = np.uint64
_FACTOR, _SECOND_BIT = _U64(looks.FACTOR), looks.SECOND_BIT
_OUT, _COUNTS = types.uint64[::1], types.int64[::1]


@njit(nogil=True, inline="always")
def _is_set(bits, place):
    return (bits[(place >> _U64(6)) & _U64(len(bits) - 1)] >> (place & _U64(63))) & _U64(1) != _U64(0)


@njit(nogil=True)
def _look(text, members, count, look, length, bits, of, where, hashes, found):
    """Put down each run whose bit is set, as long as there is room, and count them all."""
    out = _U64(1)
    for _ in range(length - 1):
        out *= _FACTOR
    total = _U64(0)
    for place in range(count):
        if place >= length:
            total -= members[place - length] * out
        total = total * _FACTOR + members[place]
        if place < length - 1:
            continue
        value = mixed(total)
        if _is_set(bits, value) and _is_set(bits, value >> _SECOND_BIT):
            if found < len(hashes):
                of[found], where[found], hashes[found] = look, text, value
            found += 1
    return found


@to_keep(
    types.void(
        *ABOUT_TEXT, NUMBERS, NUMBERS, LONGS, NUMBERS,
        _OUT, _OUT, _COUNTS, _OUT, _COUNTS, _COUNTS, _OUT,
    )
)  # fmt: skip
def scan(
    data, offsets, own, folded, own_codes, more, exact, by_character, lengths, of_members, bits, sizes,
    words, characters, state, whole, of, where, hashes,
):  # fmt: skip
    """From text ``state[0]`` on; stops at one that wants ``state[1]`` places in `words`, ``state[2]`` in `hashes`.

    ``state[3]`` counts what was found.
    """
    while state[0] < len(offsets) - 1:
        text = state[0]
        codes = own_codes if own[text] else folded
        word_count, character_count, _, _ = walk(
            data, offsets[text], offsets[text + 1], codes, more, exact, by_character, words, characters
        )
        state[1] = max(word_count, character_count)
        if state[1] > len(words):
            return
        # Room for what is found, not for all that might be: that would be a hundred times a text of 50 MB.
        start, state[2] = 0, state[3]
        for look in range(len(lengths)):
            members = characters if of_members[look] else words
            count = character_count if of_members[look] else word_count
            state[2] = _look(
                text, members, count, look, lengths[look], bits[start : start + sizes[look]],
                of, where, hashes, state[2],
            )  # fmt: skip
            start += sizes[look]
        if state[2] > len(hashes):
            return
        state[0], state[3] = state[0] + 1, state[2]
        for place in range(word_count):
            whole[text] += mixed(words[place] + _U64(place) * _FACTOR)
