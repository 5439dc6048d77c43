"""Sketches and sets in one walk over the bytes of a text, for numba; `plain` makes the same by numpy.

Nothing here allocates, see `machine_code.to_keep`: where the room handed in does not suffice, a function writes
into `state` how much would, and goes on from the same text when it is called with more.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

from pairmine.stages.dedup.kernel import hashes, minhash
from pairmine.stages.dedup.kernel.compiled_words import ABOUT_TEXT, BYTES, LONGS, U32S, WORDS, mixed, walk
from pairmine.stages.dedup.kernel.machine_code import to_keep

_U64, _U32 = np.uint64, np.uint32
_SEGMENT_PLACE, _OCCURRENCE = hashes.SEGMENT_PLACE, hashes.OCCURRENCE
_FMIX = tuple((_U32(shift), _U32(factor)) for shift, factor in minhash.FMIX)

_OUT, _OUT32, _COUNTS = types.uint64[::1], types.uint32[::1], types.int64[::1]


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
def _hash_shingles(members, count, factors):
    """How many shingles so many members make; their hashes take the members' places."""
    width = min(count, len(factors))
    windows = count - width + 1 if count > 0 else 0
    for window in range(windows):
        value = _U64(0)
        for place in range(width):
            value += members[window + place] * factors[place]
        members[window] = mixed(value)
    return windows


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


@to_keep(
    types.void(
        *ABOUT_TEXT, LONGS, U32S, U32S, LONGS, types.int64,
        _OUT, _OUT, _OUT32, _COUNTS, _OUT, types.uint64[:, ::1], _OUT32, _OUT32,
    )
)  # fmt: skip
def sketch(
    data, offsets, own, folded, own_codes, more, exact, by_character, factors, scale, shift, band_factors,
    first, words, characters, minima, state, out_exact, out_keys, out_shingles, out_words,
):  # fmt: skip
    """From text ``state[0]`` on; stops at one that wants ``state[1]`` places in `words` and `characters`."""
    while state[0] < len(offsets) - 1:
        text = state[0]
        codes = own_codes if own[text] else folded
        word_count, character_count, has_any, total = walk(
            data, offsets[text], offsets[text + 1], codes, more, exact, by_character, words, characters
        )
        state[1] = max(word_count, character_count)
        if state[1] > len(words):
            return
        state[0] += 1
        if exact == BYTES:
            total = _sum_of_bytes(data, offsets[text], offsets[text + 1])
        if word_count > 0 or (has_any and exact != WORDS):
            out_exact[first + text] = max(mixed(total), _U64(1))
        out_words[first + text] = word_count
        if len(out_keys) == 0:
            continue
        shingles = characters if by_character else words
        windows = _hash_shingles(shingles, character_count if by_character else word_count, factors)
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
def _sort(members, count, spare, ends):
    """Sort the first `count` hashes, which are evenly spread: into as many buckets by their first bits, then in place.

    Six times as fast as a general sort for the hundred or so hashes of a passage; `spare` and `ends` are room for that,
    and where it does not suffice a heap does it.
    """
    if count > len(spare):
        _heap_sort(members, count)
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
def _heap_sort(members, count):
    for start in range(count // 2 - 1, -1, -1):
        _sift_down(members, start, count)
    for end in range(count - 1, 0, -1):
        members[0], members[end] = members[end], members[0]
        _sift_down(members, 0, end)


@njit(nogil=True)
def _sift_down(members, at, end):
    value = members[at]
    while 2 * at + 1 < end:
        child = 2 * at + 1
        if child + 1 < end and members[child + 1] > members[child]:
            child += 1
        if members[child] <= value:
            break
        members[at] = members[child]
        at = child
    members[at] = value


@njit(nogil=True)
def _add_set(members, count, sets, filled, spare, ends):
    """Put `count` members behind the first `filled` of `sets`, ascending and each once; how many are filled now."""
    _sort(members, count, spare, ends)
    for place in range(count):
        if place == 0 or members[place] != members[place - 1]:
            sets[filled] = members[place]
            filled += 1
    return filled


@njit(nogil=True)
def _make_bag(members, count, spare, ends):
    """Make the `count` members distinct, each repeated one by its number, and sort them."""
    _sort(members, count, spare, ends)
    occurrence, before = _U64(0), _U64(0)
    for place in range(count):
        member = members[place]
        occurrence = occurrence + _U64(1) if place > 0 and member == before else _U64(0)
        before = member
        members[place] = member + occurrence * _OCCURRENCE
    _sort(members, count, spare, ends)


@to_keep(
    types.void(
        *ABOUT_TEXT, LONGS, _OUT, _OUT, _OUT, _COUNTS, _COUNTS, _OUT, _COUNTS, _OUT, _COUNTS,
    )
)  # fmt: skip
def read(
    data, offsets, own, folded, own_codes, more, exact, by_character, factors,
    words, characters, spare, ends, state, sets, set_ends, bags, bag_ends,
):  # fmt: skip
    """From text ``state[0]`` on; stops at one that wants ``state[1]`` places in `words`, ``state[2]`` in `sets`."""
    while state[0] < len(offsets) - 1:
        text = state[0]
        codes = own_codes if own[text] else folded
        word_count, character_count, _, _ = walk(
            data, offsets[text], offsets[text + 1], codes, more, exact, by_character, words, characters
        )
        state[1] = max(word_count, character_count)
        state[2] = max(set_ends[text], bag_ends[text]) + state[1]
        if state[1] > len(words) or state[2] > len(sets):
            return
        state[0] += 1
        bag = bags[bag_ends[text] :]
        for place in range(word_count):
            bag[place] = words[place]
        _make_bag(bag, word_count, spare, ends)
        bag_ends[text + 1] = bag_ends[text] + word_count
        shingles = characters if by_character else words
        windows = _hash_shingles(shingles, character_count if by_character else word_count, factors)
        set_ends[text + 1] = _add_set(shingles, windows, sets, set_ends[text], spare, ends)
