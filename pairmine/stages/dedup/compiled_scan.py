"""The compiled way to scan texts for runs of words: one walk over the bytes of each. `scan` makes the same by numpy.

Imports numba and compiles, or loads what an earlier run compiled: import this only where it pays, by `scan.scanner`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit, types

from pairmine.stages.dedup import tables
from pairmine.stages.dedup.compiled_words import ABOUT_TEXT, LONGS, NUMBERS, WORDS, cut, larger, mixed, uneven
from pairmine.stages.dedup.kernel_slices import Slice
from pairmine.stages.dedup.scan import FACTOR, SECOND_BIT, Look, Sighting

__all__ = ["scan", "uneven"]

_U64 = np.uint64
_FACTOR, _SECOND_BIT = _U64(FACTOR), SECOND_BIT


def scan(texts: Slice, by_character: bool, looks: Sequence[Look]) -> tuple[np.ndarray, list[Sighting]]:
    """See `scan.Scan`."""
    known = tables.letters()
    lengths = np.array([look.length for look in looks], np.int64)
    of_members = np.array([look.of_members and by_character for look in looks], np.int64)
    sizes = np.array([len(look.bits) for look in looks], np.int64)
    bits = np.concatenate([np.empty(0, np.uint64), *(look.bits for look in looks)])
    whole, of, where, hashes = _scan(
        texts.data, texts.offsets, texts.own, known.folded, known.own, known.more,
        int(WORDS), by_character, lengths, of_members, bits, sizes,
    )  # fmt: skip
    return whole, [Sighting(where[of == look], hashes[of == look]) for look in range(len(looks))]


@njit(nogil=True, inline="always")
def _is_set(bits, place):
    return (bits[(place >> _U64(6)) & _U64(len(bits) - 1)] >> (place & _U64(63))) & _U64(1) != _U64(0)


@njit(nogil=True)
def _look(text, members, count, look, length, bits, of, where, hashes, found):
    """Put down each run whose bit is set, and count them."""
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
            of[found], where[found], hashes[found] = look, text, value
            found += 1
    return found


_FOUND = types.Tuple((types.uint64[::1], types.int64[::1], types.int64[::1], types.uint64[::1]))


@njit(_FOUND(*ABOUT_TEXT, NUMBERS, NUMBERS, LONGS, NUMBERS), nogil=True, cache=True)
def _scan(data, offsets, own, folded, own_codes, more, exact, by_character, lengths, of_members, bits, sizes):
    texts = len(offsets) - 1
    words, characters = np.empty(1024, np.uint64), np.empty(1024, np.uint64)
    whole = np.zeros(texts, np.uint64)
    of, where, hashes, found = np.empty(1024, np.int64), np.empty(1024, np.int64), np.empty(1024, np.uint64), 0
    for text in range(texts):
        words, word_count, characters, character_count, _, _ = cut(
            text, data, offsets, own, folded, own_codes, more, exact, by_character, words, characters
        )
        for place in range(word_count):
            whole[text] += mixed(words[place] + _U64(place) * _FACTOR)
        start = 0
        for look in range(len(lengths)):
            members = characters if of_members[look] else words
            count = character_count if of_members[look] else word_count
            most = found + max(0, count - lengths[look] + 1)
            if most > len(hashes):
                of, where = larger(of, found, most - found), larger(where, found, most - found)
                hashes = larger(hashes, found, most - found)
            found = _look(
                text, members, count, look, lengths[look], bits[start : start + sizes[look]], of, where, hashes, found
            )
            start += sizes[look]
    return whole, of[:found].copy(), where[:found].copy(), hashes[:found].copy()
