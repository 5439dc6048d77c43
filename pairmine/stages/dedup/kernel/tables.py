"""What each code point becomes in a normalised text, as arrays: `identity.normalise` without a Python object per text.

NFKC and case folding go code point by code point, save where a mark composes with the letter before it or changes
places with another mark. Unicode's quick check finds those places (Unicode Standard Annex 15, section 9); their texts
go through `identity.normalise` one by one, all others through these tables.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import chain
from threading import Lock

import numpy as np

from pairmine.tokens import kind_of

CODES = 0x110000

# An entry of `Letters.folded` and `own`: 21 bits of code point (or the place in `more`), 3 of kind, then the length.
LETTER_BITS = 0x1FFFFF
KIND_SHIFT = 21
KIND_BITS = 7
LENGTH_SHIFT = 24

# An entry of `Letters.order`: the combining class at the front and at the back, then three flags.
BACK_SHIFT = 8
CLASS_BITS = 0xFF
MAY_FOLLOW = 1 << 16
MAY_LEAD = 1 << 17
UNEVEN = 1 << 18

_MOST_MORE = 1 << 16


class Letters:
    """Tables over all code points, each filled when a text needs it.

    `folded` (0x110000,) uint32: what the code point is after NFKC and case folding, with its kind (`tokens.Kind`); of
    several code points, how many and where they stand in `more`. `own`: the code point as it is, for texts that are
    normalised already. `order`: what it does beside its neighbours. An entry 0 in `folded` is not filled yet.
    """

    def __init__(self) -> None:
        self.folded = np.zeros(CODES, np.uint32)
        self.own = np.zeros(CODES, np.uint32)
        self.order = np.zeros(CODES, np.uint32)
        self.more = np.zeros(_MOST_MORE, np.uint32)
        self._more_filled = 0
        self._lock = Lock()
        for code in range(128):
            self._fill_letter(code)

    def fill(self, codes: np.ndarray) -> None:
        """Fill the entries of these code points, each of them once, whoever asks."""
        with self._lock:
            for code in codes[self.folded[codes] == 0].tolist():
                self._fill_letter(code)

    def _fill_letter(self, code: int) -> None:
        letter = chr(code)
        normal = unicodedata.normalize("NFKC", letter)
        self.own[code] = _entry(letter)
        self.order[code] = _order(normal) if code >= 128 else MAY_LEAD
        folded = [_entry(each) for each in normal.casefold()]
        if len(folded) == 1:
            self.folded[code] = folded[0]
            return
        end = self._more_filled + len(folded)
        self.more[self._more_filled : end] = folded
        self.folded[code] = self._more_filled | len(folded) << LENGTH_SHIFT
        self._more_filled = end


def letters() -> Letters:
    """The tables of this process; threads that ask at once get the same."""
    with _one_at_a_time:
        return _letters()


_one_at_a_time = Lock()


@cache
def _letters() -> Letters:
    return Letters()


def _entry(letter: str) -> int:
    return ord(letter) | kind_of(letter) << KIND_SHIFT | 1 << LENGTH_SHIFT


def _order(normal: str) -> int:
    """The entry of a code point whose NFKC is `normal`."""
    leads, follows = _composing()
    front, back = unicodedata.combining(normal[0]), unicodedata.combining(normal[-1])
    found = front | back << BACK_SHIFT
    may_follow = normal[0] in follows
    if may_follow:
        found |= MAY_FOLLOW
    if len(normal) > 1 and (front or may_follow):
        found |= UNEVEN
    # What comes next may compose with a letter before the mark at the end, even if one code point holds both.
    last = unicodedata.normalize("NFD", normal)[-1]
    if unicodedata.combining(last) or last in leads or normal[-1] in leads:
        found |= MAY_LEAD
    return found


@cache
def _composing() -> tuple[frozenset[str], frozenset[str]]:
    """The first and the second code points of all pairs that NFC makes one; of Hangul all that may be."""
    # No ideograph and no code point for private use composes: the two long ranges that are left out below.
    # An L or LV syllable takes a vowel or a final consonant: all syllables count as leading, to be safe.
    leads = {chr(code) for code in (*range(0x1100, 0x1113), *range(0xAC00, 0xD7A4))}
    follows = {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    for code in chain(range(0xC0, 0x3400), range(0xA000, 0xAC00), range(0xF900, 0x20000)):
        parts = unicodedata.decomposition(chr(code))
        if " " in parts and not parts.startswith("<") and unicodedata.normalize("NFC", chr(code)) == chr(code):
            first, second = parts.split()
            leads.add(chr(int(first, 16)))
            follows.add(chr(int(second, 16)))
    return frozenset(leads), frozenset(follows)
