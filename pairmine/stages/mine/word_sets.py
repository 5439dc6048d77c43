"""The word shingles of many texts at once: what `dedup` compares, read by the array instead of by the word."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.identity import seed_of
from pairmine.stages.dedup.kernel.shingles import Ragged, Texts
from pairmine.tokens import tokens

_BYTES_AT_ONCE = 1 << 20
_WORDS = np.frombuffer(
    bytes(code >= 0x80 or chr(code).isalnum() or code == ord("_") for code in range(256)), np.bool_
)  # of canonical UTF-8, where everything beyond ASCII is part of a word


class Shingled:
    """The words of n texts as hashes, and the shingles of `ngram` words that they make, one text after the other.

    `words` and `shingles` hold every occurrence in the order of the text; a text of fewer words than `ngram`, but
    not of none, is one shingle. Words are those of `pairmine.tokens`, so two texts share here what they share in
    `dedup.shingles.read_texts`; the hashes are others, made for whole arrays: 64 bits, equal by chance
    once in 2^64 pairs.
    """

    def __init__(self, texts: pa.Array, ngram: int) -> None:
        canonical = _canonical(texts.cast(pa.large_string()))
        self.words = _words_of(canonical)
        self.shingles = _shingles_of(self.words, ngram)

    def sets(self) -> Texts:
        """The sets of shingles and the bags of words that `dedup` compares."""
        return Texts(as_sets(self.shingles), _bags(self.words))


def as_sets(rows: Ragged) -> Ragged:
    """Each row of values ascending, each value once."""
    owners = owners_of(rows)
    return without_repeats(rows.values[np.lexsort((rows.values, owners))], owners, len(rows))


def without_repeats(values: np.ndarray, owners: np.ndarray, count: int) -> Ragged:
    """The rows of so many owners, given in a row each with equal values side by side, each value once."""
    first = np.ones(len(values), bool)
    first[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
    return Ragged(values[first], _offsets(np.bincount(owners[first], minlength=count)))


def owners_of(rows: Ragged) -> np.ndarray:
    """The row of each value, (values,) int64."""
    return np.repeat(np.arange(len(rows)), rows.sizes)


def _bags(rows: Ragged) -> Ragged:
    """Ascending, the k-th occurrence of a value in its row made distinct from its first, as in `dedup.shingles`."""
    owners = owners_of(rows)
    values = rows.values[np.lexsort((rows.values, owners))]
    first = np.ones(len(values), bool)
    first[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
    at = np.flatnonzero(first)
    occurrence = np.arange(len(values)) - np.repeat(at, np.diff(np.append(at, len(values))))
    values = values + occurrence.astype(np.uint64) * _factor("occurrence")
    return Ragged(values[np.lexsort((values, owners))], rows.offsets)


def _canonical(texts: pa.Array) -> pa.Array:
    """Texts whose words are the runs of letters, digits, `_` and whatever is not ASCII, in any case.

    ASCII texts are that already, save for their case, which the hashes do not see.
    """
    plain = pc.fill_null(pc.string_is_ascii(texts), True)
    others = texts.filter(pc.invert(plain))
    if not len(others):
        return texts
    rewritten = pa.array([" ".join(tokens(text)) for text in others.to_pylist()], pa.large_string())
    return pc.replace_with_mask(texts, pc.invert(plain), rewritten)


def _words_of(texts: pa.Array) -> Ragged:
    if texts.null_count:
        texts = pc.fill_null(texts, "")
    data, offsets = _bytes_of(texts)
    is_word = _WORDS[data]
    breaks = offsets[:-1][offsets[:-1] < len(data)]
    begins, ends = is_word.copy(), is_word.copy()
    begins[1:] &= ~is_word[:-1]
    begins[breaks] = is_word[breaks]
    ends[:-1] &= ~is_word[1:]
    behind = breaks[breaks > 0] - 1
    ends[behind] = is_word[behind]
    starts, stops = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    hashes = np.empty(len(starts), np.uint64)
    first = 0
    while first < len(starts):
        last = max(int(np.searchsorted(stops, starts[first] + _BYTES_AT_ONCE, "right")), first + 1)
        origin = starts[first]
        piece = data[origin : stops[last - 1]]
        hashes[first:last] = _hashes(piece, starts[first:last] - origin, stops[first:last] - origin)
        first = last
    return Ragged(hashes, np.searchsorted(starts, offsets))


def _bytes_of(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The UTF-8 bytes of all texts, (bytes,) uint8, and where each begins, (n + 1,) int64."""
    if not len(texts):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, where, content = texts.buffers()
    offsets = np.frombuffer(where, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(content, np.uint8) if content is not None else np.empty(0, np.uint8)
    return data[offsets[0] : offsets[-1]], offsets - offsets[0]


def _hashes(data: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """A hash of the bytes from each start to each stop: a polynomial in an odd number, modulo 2^64, then mixed.

    One running sum serves all words; dividing by the power at its start makes a word's hash that of its place 0.
    """
    powers, inverses = _powers(1 << max(len(data) - 1, _BYTES_AT_ONCE - 1).bit_length())
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(_byte_values()[data] * powers[: len(data)], out=sums[1:])
    return _mixed((sums[stops] - sums[starts]) * inverses[starts])


def _mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's last step: every bit of the value has a say in every bit of the result."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed


@cache
def _byte_values() -> np.ndarray:
    """(256,) uint64: a number for each byte, the same for both cases of a letter."""
    lower = [ord(chr(code).lower()) if code < 0x80 else code for code in range(256)]
    return np.array([seed_of(0, "word byte", str(code)) for code in lower], np.uint64)


@cache
def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` powers of an odd number and of its inverse modulo 2^64."""
    base = seed_of(0, "word place") | 1
    return _powers_of(base, count), _powers_of(pow(base, -1, 1 << 64), count)


def _powers_of(base: int, count: int) -> np.ndarray:
    powers = np.ones(count, np.uint64)
    done = 1
    while done < count:
        step = min(done, count - done)
        powers[done : done + step] = powers[:step] * np.uint64(pow(base, done, 1 << 64))
        done += step
    return powers


def _factor(name: str) -> np.uint64:
    return np.uint64(seed_of(0, name) | 1)


def _shingles_of(words: Ragged, ngram: int) -> Ragged:
    sizes = words.sizes
    windows = np.where(sizes >= ngram, sizes - ngram + 1, np.minimum(sizes, 1))
    offsets = _offsets(windows)
    # The first word of each shingle, and how many words of its text are left from there.
    first = np.arange(offsets[-1]) + np.repeat(words.offsets[:-1] - offsets[:-1], windows)
    whole = np.repeat(sizes >= ngram, windows)
    values = np.zeros(len(first), np.uint64)
    for place in range(ngram):
        factor = _factor(f"shingle {place}")
        if whole.all():
            values += words.values[first + place] * factor
            continue
        reaches = whole | (place < np.repeat(sizes, windows))
        values[reaches] += words.values[first[reaches] + place] * factor
    return Ragged(values, offsets)


def _offsets(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
