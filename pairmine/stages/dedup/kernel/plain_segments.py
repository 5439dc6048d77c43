"""Texts cut into words by numpy, an array operation for many texts at once.

A text's segments are its words and the code points between them; a blank is none, but is remembered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from pairmine.stages.dedup.kernel.hashes import BLANK_LETTER, LETTER_PLACE, mixed, powers
from pairmine.stages.dedup.kernel.slices import Slice
from pairmine.stages.dedup.kernel.tables import (
    BACK_SHIFT,
    CLASS_BITS,
    KIND_BITS,
    KIND_SHIFT,
    LENGTH_SHIFT,
    LETTER_BITS,
    MAY_FOLLOW,
    MAY_LEAD,
    UNEVEN,
    letters,
)
from pairmine.tokens import Kind

# Arrays of about 20 bytes for each byte of text stay within a processor's cache at this size.
_WINDOW = 1 << 17
_CUT_WITHIN = 1 << 12


@dataclass(frozen=True)
class Segments:
    """The segments of n texts, one text after the other: those of text i are ``offsets[i]`` to ``offsets[i + 1]``.

    `values` uint64: of a word its sum before mixing, of another code point that plus one. `characters` uint64 are
    the mixed code points of the normalised texts, those of text i from ``character_offsets[i]`` on; None if not asked.
    `open` counts the letters of a word that the last text ends in, `continues` says that the first starts with one.
    """

    values: np.ndarray
    is_word: np.ndarray
    after_blank: np.ndarray
    offsets: np.ndarray
    characters: np.ndarray | None
    character_offsets: np.ndarray
    open: int
    continues: bool


def segments_of(texts: Slice, by_character: bool) -> Iterator[tuple[int, Segments]]:
    """The segments of a window of texts at a time, with the number of its first text in the slice."""
    start = 0
    while start < len(texts):
        most = texts.offsets[start] + _WINDOW
        stop = max(start + 1, int(np.searchsorted(texts.offsets, most, "right")) - 1)
        low, high = texts.offsets[start], texts.offsets[stop]
        if high - low > _WINDOW:
            yield start, _segments_of_long(texts.data[low:high], bool(texts.own[start]), by_character)
        else:
            offsets = texts.offsets[start : stop + 1] - low
            yield start, _segments(texts.data[low:high], offsets, texts.own[start:stop], by_character)
        start = stop


def _segments(
    data: np.ndarray, offsets: np.ndarray, own: np.ndarray, by_character: bool, *, goes_on: bool = False
) -> Segments:
    """The segments of some texts; `goes_on` where something of the text stands before this piece of it."""
    codes, offsets = _codes(data, offsets, own)
    kinds = (codes >> KIND_SHIFT & KIND_BITS).astype(np.uint8)
    is_blank = kinds == Kind.BLANK
    begins = np.zeros(len(codes) + 1, bool)
    begins[offsets[:-1]] = True
    in_word = _in_word(kinds, begins[:-1])
    at = np.flatnonzero(_starts(is_blank, in_word, begins[:-1]))
    own_offsets = np.searchsorted(at, offsets)
    after_blank = is_blank[at - 1]
    after_blank[own_offsets[:-1][own_offsets[:-1] < len(at)]] = goes_on and at[:1] > 0
    values = (codes & LETTER_BITS).astype(np.uint64) + np.uint64(1)
    characters, character_offsets = (
        _characters(values, is_blank, at[after_blank], offsets) if by_character else (None, offsets)
    )
    values[is_blank] = 0
    return Segments(
        values=_sums(values, at),
        is_word=in_word[at] | (kinds[at] == Kind.ALONE),
        after_blank=after_blank,
        offsets=own_offsets,
        characters=characters,
        character_offsets=character_offsets,
        open=len(codes) - int(at[-1]) if len(at) and in_word[-1] else 0,
        continues=bool(len(at) and kinds[0] == Kind.LETTER),
    )


def _starts(is_blank: np.ndarray, in_word: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Whether each code point is the first one of a segment."""
    goes_on = in_word & ~begins
    goes_on[1:] &= in_word[:-1]
    starts: np.ndarray = ~is_blank & ~goes_on
    return starts


def _characters(
    values: np.ndarray, is_blank: np.ndarray, after_blank: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The mixed code points of the normalised texts and their offsets: one blank before each of `after_blank`."""
    kept = ~is_blank
    kept[after_blank - 1] = True
    mixed_values = mixed(np.where(is_blank, BLANK_LETTER, values)[kept])
    return mixed_values, np.concatenate(([0], np.cumsum(kept)))[offsets]


def _in_word(kinds: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Whether each code point is a letter, or a mark behind one; a word that stands alone has neither."""
    in_word = kinds == Kind.LETTER
    is_mark = (kinds == Kind.MARK) & ~begins
    if is_mark.any():
        base = np.maximum.accumulate(np.where(is_mark, 0, np.arange(len(kinds))))
        in_word |= is_mark & (kinds[base] == Kind.LETTER)
    return in_word


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """From each start to the next, the sum of the values times the powers of `LETTER_PLACE`, from the power 0."""
    if not len(starts):
        return np.empty(0, np.uint64)
    places, inverses = _places(1 << max(len(values) - 1, _WINDOW).bit_length())
    values *= places[: len(values)]
    sums: np.ndarray = np.add.reduceat(values, starts) * inverses[starts]
    return sums


@cache
def _places(count: int) -> tuple[np.ndarray, np.ndarray]:
    return powers(LETTER_PLACE, count), powers(pow(LETTER_PLACE, -1, 1 << 64), count)


# From bytes to code points


def _codes(data: np.ndarray, offsets: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entries of `Letters` for every code point of the normalised texts, (code points,) uint32, and their offsets."""
    tables = letters()
    if not len(data) or data.max() < 0x80:
        return tables.folded[data], offsets
    leads = np.flatnonzero(data & 0xC0 != 0x80)
    points = _points(data, leads)
    offsets = np.searchsorted(leads, offsets)
    codes = tables.folded[points]
    if own.any():
        codes = np.where(np.repeat(own, np.diff(offsets)), tables.own[points], codes)
    lengths = codes >> LENGTH_SHIFT
    if lengths.max() == 1:
        return codes, offsets
    ends = np.cumsum(lengths, dtype=np.int64)
    longer = np.repeat(lengths > 1, lengths)
    within = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    codes = np.repeat(codes, lengths)
    codes[longer] = tables.more[(codes[longer] & LETTER_BITS) + within[longer]]
    return codes, np.concatenate(([0], ends))[offsets]


def _points(data: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """The code points whose first bytes are at `leads`, (n,) uint32."""
    first = data[leads]
    points = first.astype(np.uint32)
    for low, high, bits, more in ((0xC0, 0xDF, 0x1F, 1), (0xE0, 0xEF, 0x0F, 2), (0xF0, 0xFF, 0x07, 3)):
        chosen = np.flatnonzero((first >= low) & (first <= high))
        at, value = leads[chosen], points[chosen] & bits
        for step in range(1, more + 1):
            value = value << 6 | data[at + step] & 0x3F
        points[chosen] = value
    return points


def uneven(texts: Slice) -> np.ndarray:
    """See `slices.Engine`."""
    found = np.zeros(len(texts), bool)
    for low in range(0, len(texts.data), _WINDOW):
        # The code point before the window, and the rest of its last one, belong to what is looked at.
        start = max(low - 4, 0)
        at = _uneven_places(texts.data[start : low + _WINDOW + 3]) + start
        found[np.searchsorted(texts.offsets, at, "right") - 1] = True
    return found


def _uneven_places(data: np.ndarray) -> np.ndarray:
    leads = np.flatnonzero(data >= 0xC0)
    first = data[leads]
    widths = 2 + (first >= 0xE0).astype(np.int64) + (first >= 0xF0)
    whole = leads + widths <= len(data)
    leads, widths = leads[whole], widths[whole]
    if not len(leads):
        return leads
    points = _points(data, leads)
    tables = letters()
    tables.fill(np.unique(points[tables.folded[points] == 0]))
    order = tables.order[points]
    before = np.full(len(leads), MAY_LEAD, np.uint32)
    touches = np.flatnonzero(leads[:-1] + widths[:-1] == leads[1:]) + 1
    before[touches] = order[touches - 1]
    front, back = order & CLASS_BITS, before >> BACK_SHIFT & CLASS_BITS
    composes = (order & MAY_FOLLOW != 0) & (before & MAY_LEAD != 0)
    return leads[(order & UNEVEN != 0) | ((front > 0) & (back > front)) | composes]


# A text longer than a window


def _segments_of_long(data: np.ndarray, own: bool, by_character: bool) -> Segments:
    """The segments of one text, read in pieces, so that its memory is that of its words."""
    pieces: list[Segments] = []
    goes_on = False
    for low, high in pairwise([0, *_cuts(data, own), len(data)]):
        pieces.append(
            _segments(data[low:high], np.array([0, high - low]), np.array([own]), by_character, goes_on=goes_on)
        )
        goes_on = goes_on or len(pieces[-1].values) > 0
    return _joined(pieces)


def _cuts(data: np.ndarray, own: bool) -> Iterator[int]:
    """Places about a window apart where a text may be cut."""
    cut, target = 0, _WINDOW
    while target < len(data):
        low = max(target - _CUT_WITHIN, cut)
        found = _last_cut(data, low, target, own) or _last_cut(data, cut, target, own)
        if found:
            yield found
            cut = found
        target += _WINDOW


def _last_cut(data: np.ndarray, low: int, high: int, own: bool) -> int | None:
    """The last place before a blank, or between two others of which the second is no mark."""
    leads = np.flatnonzero(data[low:high] & 0xC0 != 0x80)[:-1] + low
    codes = (letters().own if own else letters().folded)[_points(data, leads)]
    kinds = codes >> KIND_SHIFT & KIND_BITS
    is_one = codes >> LENGTH_SHIFT == 1
    before, after = kinds[:-1], kinds[1:]
    fits = (after == Kind.BLANK) | ((before != Kind.BLANK) & (after != Kind.MARK))
    places = np.flatnonzero(fits & is_one[:-1] & is_one[1:])
    return int(leads[places[-1] + 1]) if len(places) else None


def _joined(pieces: list[Segments]) -> Segments:
    """One text out of its pieces: a word that was cut becomes one again."""
    kept: list[tuple[Segments, int]] = []
    open_letters = 0
    for piece in pieces:
        goes_on = open_letters > 0 and piece.continues
        if goes_on:
            kept[-1][0].values[-1:] += piece.values[:1] * np.uint64(pow(LETTER_PLACE, open_letters, 1 << 64))
        if goes_on and len(piece.values) == 1:
            open_letters = open_letters + piece.open if piece.open else 0
        else:
            kept.append((piece, int(goes_on)))
            open_letters = piece.open
    values = np.concatenate([piece.values[skip:] for piece, skip in kept])
    characters = [piece.characters for piece in pieces if piece.characters is not None]
    return Segments(
        values=values,
        is_word=np.concatenate([piece.is_word[skip:] for piece, skip in kept]),
        after_blank=np.concatenate([piece.after_blank[skip:] for piece, skip in kept]),
        offsets=np.array([0, len(values)]),
        characters=np.concatenate(characters) if characters else None,
        character_offsets=np.array([0, sum(map(len, characters))]),
        open=open_letters,
        continues=pieces[0].continues,
    )
