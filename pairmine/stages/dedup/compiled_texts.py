"""The compiled path: sketches and sets in one walk over the bytes of a text. `plain` makes the same by numpy.

Imports numba and compiles, or loads what an earlier run compiled: import this only by way of `compiled`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from pairmine.stages.dedup import hashes, minhash, tables
from pairmine.stages.dedup.compiled_words import ABOUT_TEXT, BYTES, LONGS, U32S, WORDS, cut, larger, mixed, uneven
from pairmine.stages.dedup.kernel_slices import EXACT, Plan, Sketches, Slice
from pairmine.stages.dedup.shingles import Ragged, Texts

__all__ = ["read", "sketch", "uneven"]

_U64, _U32 = np.uint64, np.uint32
_SEGMENT_PLACE, _OCCURRENCE = hashes.SEGMENT_PLACE, hashes.OCCURRENCE
_FMIX = tuple((_U32(shift), _U32(factor)) for shift, factor in minhash.FMIX)


_SORTED = 4096
"""Hashes of a text that are sorted by buckets at most; a power of two."""


def sketch(texts: Slice, plan: Plan, out: Sketches) -> None:
    """See `kernel_slices.Engine`."""
    bands = plan.bands or minhash.Bands.drawn(0, 1, 0)
    _sketch(
        *_arguments(texts, plan), bands.scale, bands.shift, bands.factors,
        texts.place, out.exact, out.keys, out.shingles, out.words,
    )  # fmt: skip


def read(texts: Slice, plan: Plan) -> Texts:
    """See `kernel_slices.Engine`."""
    shingles, shingle_offsets, words, word_offsets = _read(*_arguments(texts, plan))
    return Texts(Ragged(shingles, shingle_offsets), Ragged(words, word_offsets))


def _arguments(texts: Slice, plan: Plan) -> tuple[Any, ...]:
    known = tables.letters()
    return (
        texts.data, texts.offsets, texts.own, known.folded, known.own, known.more,
        EXACT.index(plan.exact), plan.by_character, plan.shingle,
    )  # fmt: skip


@njit(nogil=True)
def _sum_of_bytes(data, start, end):
    """The exact sum of a text's bytes, eight at a time."""
    total = _U64(end - start)
    for place in range((end - start + 7) // 8):
        first = start + 8 * place
        value = _U64(0)
        for step in range(min(8, end - first)):
            value |= _U64(data[first + step]) << _U64(8 * step)
        total += mixed(value + _U64(place) * _SEGMENT_PLACE)
    return total


@njit(nogil=True)
def _hash_shingles(members, count, factors, shingles):
    """How many shingles so many members make, and room with their hashes."""
    width = min(count, len(factors))
    windows = count - width + 1 if count > 0 else 0
    if windows > len(shingles):
        shingles = larger(shingles, 0, windows)
    for window in range(windows):
        value = _U64(0)
        for place in range(width):
            value += members[window + place] * factors[place]
        shingles[window] = mixed(value)
    return windows, shingles


@njit(nogil=True)
def _take_minima(shingles, count, scale, shift, minima):
    """Fill `minima` (permutations,) uint32; four shingles at a time, which saves reading and writing them."""
    minima[:] = _U32(0xFFFFFFFF)
    for window in range(0, count, 4):
        one = _fmix(shingles[window])
        two = _fmix(shingles[min(window + 1, count - 1)])
        three = _fmix(shingles[min(window + 2, count - 1)])
        four = _fmix(shingles[min(window + 3, count - 1)])
        for place in range(len(minima)):
            a, b = scale[place], shift[place]
            low = min(_U32(a * one + b), _U32(a * two + b))
            high = min(_U32(a * three + b), _U32(a * four + b))
            minima[place] = min(minima[place], min(low, high))


@njit(nogil=True)
def _fmix(shingle):
    value = _U32(shingle >> _U64(32))
    value = _U32((value ^ (value >> _FMIX[0][0])) * _FMIX[0][1])
    value = _U32((value ^ (value >> _FMIX[1][0])) * _FMIX[1][1])
    return _U32(value ^ (value >> _FMIX[2][0]))


@njit(
    types.void(
        *ABOUT_TEXT, LONGS, U32S, U32S, LONGS, types.int64,
        types.uint64[::1], types.uint64[:, ::1], types.uint32[::1], types.uint32[::1],
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def _sketch(
    data, offsets, own, folded, own_codes, more, exact, by_character, factors, scale, shift, band_factors,
    first, out_exact, out_keys, out_shingles, out_words,
):  # fmt: skip
    words, characters, shingles = np.empty(1024, np.uint64), np.empty(1024, np.uint64), np.empty(1024, np.uint64)
    minima = np.empty(len(scale), np.uint32)
    for text in range(len(offsets) - 1):
        words, word_count, characters, character_count, has_any, total = cut(
            text, data, offsets, own, folded, own_codes, more, exact, by_character, words, characters
        )
        if exact == BYTES:
            total = _sum_of_bytes(data, offsets[text], offsets[text + 1])
        if word_count > 0 or (has_any and exact != WORDS):
            out_exact[first + text] = max(mixed(total), _U64(1))
        out_words[first + text] = word_count
        if len(out_keys) == 0:
            continue
        if by_character:
            windows, shingles = _hash_shingles(characters, character_count, factors, shingles)
        else:
            windows, shingles = _hash_shingles(words, word_count, factors, shingles)
        out_shingles[first + text] = windows
        if windows == 0:
            continue
        _take_minima(shingles, windows, scale, shift, minima)
        for band in range(len(out_keys)):
            key = _U64(0)
            for row in range(len(band_factors)):
                key += _U64(minima[band * len(band_factors) + row]) * band_factors[row]
            out_keys[band, first + text] = mixed(key)


@njit(nogil=True)
def _sort(members, spare, ends):
    """Sort hashes, which are evenly spread: into as many buckets by their first bits, then in place.

    Six times as fast as a general sort for the hundred or so hashes of a passage; `spare` and `ends` are room for that,
    and where it does not suffice the general one does it.
    """
    count = len(members)
    if count > len(spare):
        members.sort()
        return
    bits = 1
    while (1 << bits) < count:
        bits += 1
    shift = _U64(64 - bits)
    ends[: (1 << bits) + 1] = 0
    for place in range(count):
        spare[place] = members[place]
        ends[np.int64(members[place] >> shift) + 1] += 1
    for bucket in range(1 << bits):
        ends[bucket + 1] += ends[bucket]
    for place in range(count):
        bucket = np.int64(spare[place] >> shift)
        members[ends[bucket]] = spare[place]
        ends[bucket] += 1
    for place in range(1, count):
        value, at = members[place], place
        while at > 0 and members[at - 1] > value:
            members[at] = members[at - 1]
            at -= 1
        members[at] = value


@njit(nogil=True)
def _add_set(members, sets, count, spare, ends):
    """`sets` with the members behind the first `count`, ascending and each once, and the new count."""
    if count + len(members) > len(sets):
        sets = larger(sets, count, len(members))
    _sort(members, spare, ends)
    for place in range(len(members)):
        if place == 0 or members[place] != members[place - 1]:
            sets[count] = members[place]
            count += 1
    return sets, count


@njit(nogil=True)
def _add_bag(members, bags, count, spare, ends):
    """`bags` with the members behind the first `count`, made distinct and ascending, and the new count."""
    if count + len(members) > len(bags):
        bags = larger(bags, count, len(members))
    _sort(members, spare, ends)
    occurrence = _U64(0)
    for place in range(len(members)):
        occurrence = occurrence + _U64(1) if place > 0 and members[place] == members[place - 1] else _U64(0)
        bags[count + place] = members[place] + occurrence * _OCCURRENCE
    _sort(bags[count : count + len(members)], spare, ends)
    return bags, count + len(members)


_SETS = types.Tuple((types.uint64[::1], types.int64[::1], types.uint64[::1], types.int64[::1]))


@njit(_SETS(*ABOUT_TEXT, LONGS), nogil=True, cache=True)
def _read(data, offsets, own, folded, own_codes, more, exact, by_character, factors):
    texts = len(offsets) - 1
    words, characters, shingles = np.empty(1024, np.uint64), np.empty(1024, np.uint64), np.empty(1024, np.uint64)
    sets, bags = np.empty(len(data) // 4 + 16, np.uint64), np.empty(len(data) // 4 + 16, np.uint64)
    set_ends, bag_ends = np.zeros(texts + 1, np.int64), np.zeros(texts + 1, np.int64)
    spare, ends = np.empty(_SORTED, np.uint64), np.empty(_SORTED + 1, np.int64)
    for text in range(texts):
        words, word_count, characters, character_count, _, _ = cut(
            text, data, offsets, own, folded, own_codes, more, exact, by_character, words, characters
        )
        if by_character:
            windows, shingles = _hash_shingles(characters, character_count, factors, shingles)
        else:
            windows, shingles = _hash_shingles(words, word_count, factors, shingles)
        sets, set_ends[text + 1] = _add_set(shingles[:windows], sets, set_ends[text], spare, ends)
        bags, bag_ends[text + 1] = _add_bag(words[:word_count], bags, bag_ends[text], spare, ends)
    return sets[: set_ends[-1]].copy(), set_ends, bags[: bag_ends[-1]].copy(), bag_ends
