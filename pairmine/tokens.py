"""Words as word-counting methods see them: BM25 and MinHash."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from enum import IntEnum
from functools import cache

from pairmine.identity import normalise

# Han, kana, bopomofo; Thai and Lao; Myanmar; Khmer: scripts that put no blank between words.
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3021, 0x302F),
    (0x3031, 0x3035),
    (0x3040, 0x312F),
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)


def tokens(text: str) -> list[str]:
    r"""The words of `text`: runs of letters, digits, marks and `_`, after NFKC and case folding.

    A code point of a script without blanks between words (Chinese, Japanese, Thai, Lao, Khmer,
    Burmese) is a word of its own, since a whole sentence would be one "word" otherwise.

    >>> tokens("Don't PANIC, 東京!")
    ['don', 't', 'panic', '東', '京']
    """
    normal = normalise(text)
    return (_ASCII_WORD if normal.isascii() else _word_pattern()).findall(normal)


class Kind(IntEnum):
    """What a code point of a normalised text is to `tokens`.

    A word is a letter and the letters and marks that follow it, or a code point that stands `ALONE`; a mark after
    anything else is no word.
    """

    OTHER = 0
    LETTER = 1
    MARK = 2
    ALONE = 3
    BLANK = 4


def kind_of(letter: str) -> Kind:
    """The kind of one code point: what the regular expression of `tokens` says of it, for those that read arrays."""
    code = ord(letter)
    before = bisect_right(_UNSPACED, (code, 0x110000)) - 1
    if before >= 0 and code <= _UNSPACED[before][1]:
        return Kind.ALONE if code >= 0x20000 or unicodedata.category(letter)[0] in "LMN" else Kind.OTHER
    if letter.isalnum() or letter == "_":
        return Kind.LETTER
    if letter.isspace():
        return Kind.BLANK
    return Kind.MARK if unicodedata.category(letter)[0] == "M" else Kind.OTHER


_ASCII_WORD = re.compile(r"\w+", re.ASCII)


@cache
def _word_pattern() -> re.Pattern[str]:
    """Marks belong to their word: Python's `\\w` leaves them out and cuts Hindi or Arabic words at each vowel sign."""
    scanned = [*range(0x20000), *range(0xE0100, 0xE01F0)]
    unspaced = {code for low, high in _UNSPACED for code in range(low, min(high + 1, 0x20000))}
    marks = [code for code in scanned if unicodedata.category(chr(code))[0] == "M"]
    spaced_marks = _ranges(code for code in marks if code not in unspaced)
    alone = _ranges(code for code in sorted(unspaced) if unicodedata.category(chr(code))[0] in "LMN")
    all_unspaced = "".join(f"{chr(low)}-{chr(high)}" for low, high in _UNSPACED)
    letter = rf"[^\W{all_unspaced}]"
    return re.compile(rf"[{alone}{chr(0x20000)}-{chr(0x3FFFF)}]|{letter}(?:{letter}|[{spaced_marks}])*")


def _ranges(codes: Iterable[int]) -> str:
    """The inside of a regular expression's `[...]` that matches the ascending `codes`."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(low)}-{chr(high)}" for low, high in ranges)
