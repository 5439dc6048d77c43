"""When two texts count as the same one.

"The positive is never its own negative" has its home here: mining, filtering, dedup, batching
and checking all ask this module which texts are copies of each other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NO_TEXT = np.uint64(0)


def normalise(text: str) -> str:
    """`text` in Unicode form NFKC, case folded, each run of white space one blank.

    >>> normalise(" The \\ufb01rst\\nLAW ")
    'the first law'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


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
