"""When two texts count as the same one.

"The positive is never its own negative" has its home here: mining, filtering, dedup, batching
and checking all ask this module which texts are copies of each other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from hashlib import blake2b
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NO_TEXT = np.uint64(0)


def normalise(text: str) -> str:
    """`text` in Unicode form NFKC, case folded, each run of white space one blank.

    >>> normalise(" The \\ufb01rst\\nLAW ")
    'the first law'
    """
    if len(text) > _LONG and not text.isascii():
        # The half-width forms of two accents are letters to Python, and no longer those in the form that is made here.
        text = _MARKS.sub(_in_order, text.replace("\uff9e", "\u3099").replace("\uff9f", "\u309a"))
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


_LONG = 2_000
"""Letters from which on a text is looked through for very many accents on one letter."""
_MARKS = re.compile(r"[^\w\s\x00-\x7f][^\w\s\x00-\x7f]{63,}")
"""Accents and other signs that are no letters, one after the other; written as one set they are found more slowly."""


def _in_order(found: re.Match[str]) -> str:
    """Accents in the order that Unicode prescribes: `unicodedata` takes a minute to sort 100,000 of them itself."""
    parts = "".join(unicodedata.normalize("NFKD", each) for each in found.group())
    stretches = groupby(parts, key=lambda each: unicodedata.combining(each) > 0)
    return "".join(
        "".join(sorted(some, key=unicodedata.combining) if are_marks else some) for are_marks, some in stretches
    )


def text_key(text: str | None) -> int:
    """A 64-bit key that is equal for copies of one text; 0 for null and blank texts."""
    normal = normalise(text) if text else ""
    if not normal:
        return int(NO_TEXT)
    digest = blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def text_keys(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """`text_key` of each text, (n,) uint64; each value of a dictionary-encoded column once."""
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    keys = [_keys_of_chunk(chunk) for chunk in chunks]
    return np.concatenate(keys) if keys else np.empty(0, np.uint64)


def _keys_of_chunk(chunk: pa.Array) -> np.ndarray:
    if not pa.types.is_dictionary(chunk.type):
        return _keys(chunk.to_pylist())
    of_value = np.append(_keys(chunk.dictionary.to_pylist()), NO_TEXT)
    codes = chunk.indices.fill_null(len(chunk.dictionary)).to_numpy(zero_copy_only=False)
    found: np.ndarray = of_value[codes]
    return found


def _keys(texts: Iterable[str | None]) -> np.ndarray:
    return np.fromiter((text_key(text) for text in texts), np.uint64)


def text_prints(texts: pa.Array) -> np.ndarray:
    """A number for each text that is equal for copies and seldom so for others, (n,) uint32; 0 for null and blank.

    A sum over the letters in any order, many times as fast as `text_keys`: texts whose prints differ are no copies,
    and the few others are looked at again.
    """
    texts = pc.fill_null(texts.cast(pa.large_string()), "")
    plain = pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    prints = np.zeros(len(texts), np.uint32)
    rest = np.flatnonzero(~plain)
    others = [normalise(text) for text in texts.take(pa.array(rest)).to_pylist()]
    prints[rest] = _letter_sums(pa.array(others, pa.large_string()))
    prints[plain] = _letter_sums(texts.filter(pa.array(plain)))
    return prints


def _letter_sums(texts: pa.LargeStringArray) -> np.ndarray:
    """The sum of a fixed random number for each byte of each text, (n,) uint32; capitals as small, white space as 0."""
    sums = np.zeros(len(texts), np.uint32)
    ends = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    start = 0
    while start < len(texts):
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + _BYTES_AT_ONCE, side="right")) - 1)
        sums[start:stop] = _sums_between(data[ends[start] : ends[stop]], ends[start : stop + 1] - ends[start])
        start = stop
    return sums


def _sums_between(data: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The sums of the numbers of the bytes between each two `ends`: two bytes at a time, then an odd one at an end."""
    pairs = data[: len(data) // 2 * 2].view(np.uint16)
    running = np.concatenate([np.zeros(1, np.uint32), np.cumsum(_PAIRS[pairs], dtype=np.uint32)])
    before = running[ends // 2]
    odd = ends % 2 == 1
    before[odd] += _LETTERS[data[ends[odd] - 1]]
    return np.diff(before)


def _letters() -> np.ndarray:
    numbers = np.random.Generator(np.random.PCG64(0)).integers(1, 1 << 32, 256, dtype=np.uint32)
    for code in range(128):
        letter = chr(code)
        numbers[code] = 0 if letter.isspace() else numbers[ord(letter.lower())]
    return numbers


_LETTERS = _letters()
_PAIRS = np.add.outer(_LETTERS, _LETTERS).ravel()
_BYTES_AT_ONCE = 1 << 20


def text_ends(texts: pa.Array, at: np.ndarray) -> np.ndarray:
    """A number for each of the texts `at` that is equal for copies, (len(at),) uint32; 0 for null and blank.

    Made of eight letters of the first word and eight of the last, so that a long text costs no more than a short
    one. Of texts with the same ends `text_prints` tells more apart.
    """
    texts = pc.fill_null(texts.cast(pa.large_string()), "")
    numbers, doubtful = _end_numbers(texts, at)
    others = [normalise(text) for text in texts.take(pa.array(at[doubtful])).to_pylist()]
    numbers[doubtful] = _end_numbers(pa.array(others, pa.large_string()), np.arange(len(others)))[0]
    return numbers


def _end_numbers(texts: pa.LargeStringArray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the texts `at`, and which of them want to be normalised first (a mask).

    Those have blanks at an end that were too many to be looked through, or bytes beyond ASCII there. Other letters
    are theirs after normalising too, in small: what is composed with a letter follows it.
    """
    edges = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    if len(data) <= _WORD:
        data = np.concatenate([data, np.zeros(_WORD, np.uint8)])
    starts, stops = _trimmed(data, edges[at], edges[at + 1])
    size = stops - starts
    words = np.ndarray(len(data) - _WORD + 1, "<u8", data, strides=(1,))
    lowest, highest = np.minimum(starts, len(words) - 1), np.maximum(stops - _WORD, 0)
    first = _cut(words[lowest] >> _bits(starts - lowest), size)
    last = _cut(words[highest].byteswap() >> _bits(highest + _WORD - stops), size)
    follows = data[np.minimum(starts + _WORD, len(data) - 1)] * (size > _WORD)
    beyond = (first | last | follows) & _HIGH_BITS > 0
    first, last = _first_word(first), _first_word(last)
    numbers = (first * _FACTORS[0] ^ (last * _FACTORS[1]) >> np.uint64(7)) * _FACTORS[2] >> np.uint64(32)
    return numbers.astype(np.uint32), (size > 0) & (beyond | (first == 0) | (last == 0))


def _trimmed(data: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The stretches from `starts` to `stops` without the blanks at their ends; `_MOST_BLANKS` at each are taken off."""
    for _ in range(_MOST_BLANKS):
        blank = _IS_BLANK[data[np.minimum(starts, len(data) - 1)]] & (starts < stops)
        if not blank.any():
            break
        starts = starts + blank
    for _ in range(_MOST_BLANKS):
        blank = _IS_BLANK[data[stops - 1]] & (starts < stops)
        if not blank.any():
            break
        stops = stops - blank
    return starts, stops


def _cut(words: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The lowest `size` bytes of each of `words` (uint64)."""
    spare = _bits(np.maximum(_WORD - size, 0))
    kept: np.ndarray = words << spare >> spare
    return kept


def _first_word(words: np.ndarray) -> np.ndarray:
    """The bytes of each of `words` (uint64) below the first blank, from the lowest on, capitals as small."""
    letters = np.frombuffer(words.astype("<u8").tobytes().translate(_SMALL), "<u8")
    zeros = (letters - _LOW_BITS) & ~letters & _HIGH_BITS
    lowest = zeros & (~zeros + np.uint64(1))
    found: np.ndarray = letters & ((lowest >> np.uint64(7)) - np.uint64(1))
    return found


def _bits(octets: np.ndarray) -> np.ndarray:
    return octets.astype(np.uint64) * np.uint64(8)


_WORD = 8
_MOST_BLANKS = 16
_LOW_BITS, _HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_SMALL = bytes(0 if code < 128 and chr(code).isspace() else code for code in range(256)).lower()
_IS_BLANK = np.frombuffer(_SMALL, np.uint8) == 0
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)


def content_id(text: str) -> str:
    """The id of a text that came without one: 20 hexadecimal digits of its BLAKE2b digest."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def seed_of(seed: int, *parts: str) -> int:
    """A 64-bit seed for one row's draws, out of the run's `--seed` and what identifies the row.

    Draws made from it do not depend on the order, the batch or the worker that a row falls to.
    """
    digest = blake2b(digest_size=8, key=seed.to_bytes(8, "little", signed=True))
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return int.from_bytes(digest.digest(), "little")
