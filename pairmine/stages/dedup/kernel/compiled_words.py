"""The walk over the bytes of a text that finds its words, for numba; `plain_segments` does the same by numpy."""

from __future__ import annotations

import numpy as np
from numba import njit, types

from pairmine.stages.dedup.kernel import hashes, tables
from pairmine.stages.dedup.kernel.machine_code import to_keep
from pairmine.stages.dedup.kernel.slices import EXACT
from pairmine.tokens import Kind

_U64, _U32 = np.uint64, np.uint32
_LETTER, _MARK, _ALONE, _BLANK = (int(kind) for kind in (Kind.LETTER, Kind.MARK, Kind.ALONE, Kind.BLANK))
_NORMALISED, BYTES, WORDS = (EXACT.index(name) for name in ("normalised", "bytes", "words"))

_LETTER_PLACE, _SEGMENT_PLACE = _U64(hashes.LETTER_PLACE), hashes.SEGMENT_PLACE
_BLANK_LETTER = hashes.BLANK_LETTER
_MIX = tuple((_U64(shift), _U64(factor)) for shift, factor in hashes.MIX)

_LETTER_BITS, _KIND_BITS, _CLASS_BITS = (_U32(v) for v in (tables.LETTER_BITS, tables.KIND_BITS, tables.CLASS_BITS))
_KIND_SHIFT, _LENGTH_SHIFT, _BACK_SHIFT = (_U32(v) for v in (tables.KIND_SHIFT, tables.LENGTH_SHIFT, tables.BACK_SHIFT))
_END = _U32(_BLANK << tables.KIND_SHIFT | 1 << tables.LENGTH_SHIFT)
_MAY_FOLLOW, _MAY_LEAD, _UNEVEN = (_U32(v) for v in (tables.MAY_FOLLOW, tables.MAY_LEAD, tables.UNEVEN))

BYTE_ARRAY, NUMBERS, LONGS, U32S, FLAGS = (
    types.Array(kind, 1, "C", readonly=True)
    for kind in (types.uint8, types.int64, types.uint64, types.uint32, types.boolean)
)

ABOUT_TEXT = (BYTE_ARRAY, NUMBERS, FLAGS, U32S, U32S, U32S, types.int64, types.boolean)
"""The types of what tells about texts: `Slice.data`, `offsets` and `own`, three tables of `Letters`, how to cut."""


@njit(nogil=True)
def mixed(value):
    value = (value ^ (value >> _MIX[0][0])) * _MIX[0][1]
    value = (value ^ (value >> _MIX[1][0])) * _MIX[1][1]
    return value ^ (value >> _MIX[2][0])


@njit(nogil=True)
def _point(data, at):
    """The code point of several bytes that begins there, and how many bytes."""
    first = _U32(data[at])
    if first < 0xE0:
        return (first & _U32(0x1F)) << _U32(6) | _U32(data[at + 1] & 0x3F), 2
    if first < 0xF0:
        point = (first & _U32(0x0F)) << _U32(6) | _U32(data[at + 1] & 0x3F)
        return point << _U32(6) | _U32(data[at + 2] & 0x3F), 3
    point = (first & _U32(0x07)) << _U32(6) | _U32(data[at + 1] & 0x3F)
    point = point << _U32(6) | _U32(data[at + 2] & 0x3F)
    return point << _U32(6) | _U32(data[at + 3] & 0x3F), 4


@to_keep(types.void(BYTE_ARRAY, NUMBERS, U32S, U32S, types.boolean[::1], types.boolean[::1]))
def mark_uneven(data, offsets, folded, order, uneven, wanted):
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        seen = np.uint8(0)
        for place in range(at, end):
            seen |= data[place]
        before = _U32(0)
        while seen >= 128 and at < end:
            if data[at] < 128:
                before = _MAY_LEAD
                at += 1
                continue
            point, width = _point(data, at)
            at += width
            if folded[point] == 0:
                wanted[point] = True
            here = order[point]
            front, back = here & _CLASS_BITS, before >> _BACK_SHIFT & _CLASS_BITS
            composes = here & _MAY_FOLLOW != 0 and before & _MAY_LEAD != 0
            if here & _UNEVEN != 0 or (front > 0 and back > front) or composes:
                uneven[text] = True
            before = here


@njit(nogil=True)
def _put(values, place, value):
    if place < len(values):
        values[place] = value


@njit(nogil=True)
def walk(data, start, end, codes, more, exact, by_character, words, characters):
    """Cut one text: the counts of its words and characters, whether it has a segment, and its exact sum.

    `words` and `characters` are filled as far as they reach; where the counts are larger, the caller asks again.
    """
    word_count, character_count, place = 0, 0, _U64(0)
    total, value, power = _U64(0), _U64(0), _U64(1)
    in_word, after_blank, has_any = False, False, False
    at, pending, next_more = start, 0, 0
    while at <= end:
        # The next code point; a blank behind the last one ends its word.
        if pending > 0:
            code = more[next_more]
            next_more += 1
            pending -= 1
        elif at == end:
            code = _END
            at += 1
        elif data[at] < 128:
            code = codes[data[at]]
            at += 1
        else:
            point, width = _point(data, at)
            at += width
            code = codes[point]
            if code >> _LENGTH_SHIFT > 1:
                next_more, pending = np.int64(code & _LETTER_BITS) + 1, np.int64(code >> _LENGTH_SHIFT) - 1
                code = more[next_more - 1]
        kind = code >> _KIND_SHIFT & _KIND_BITS
        letter = _U64(code & _LETTER_BITS) + _U64(1)
        if kind != _BLANK:
            if after_blank:
                after_blank = False
                place += _U64(1)
                if by_character:
                    _put(characters, character_count, mixed(_BLANK_LETTER))
                    character_count += 1
            has_any = True
            if by_character:
                _put(characters, character_count, mixed(letter))
                character_count += 1
            if kind == _LETTER or (kind == _MARK and in_word):
                value += letter * power
                power *= _LETTER_PLACE
                in_word = True
                continue
        if in_word:
            word = mixed(value)
            _put(words, word_count, word)
            total += mixed(word + (_U64(word_count) if exact == WORDS else place) * _SEGMENT_PLACE)
            word_count += 1
            place += _U64(1)
            value, power, in_word = _U64(0), _U64(1), False
        if kind == _BLANK:
            after_blank = has_any
        elif kind == _ALONE:
            word = mixed(letter)
            _put(words, word_count, word)
            total += mixed(word + (_U64(word_count) if exact == WORDS else place) * _SEGMENT_PLACE)
            word_count += 1
            place += _U64(1)
        else:
            if exact == _NORMALISED:
                total += mixed(letter + place * _SEGMENT_PLACE)
            place += _U64(1)
    return word_count, character_count, has_any, total
