"""The plain path: sketches and sets by numpy, array by array. `native` makes the same, faster."""

from __future__ import annotations

import numpy as np

from pairmine.stages.dedup.kernel.hashes import OCCURRENCE, SEGMENT_PLACE, mixed
from pairmine.stages.dedup.kernel.minhash import band_keys
from pairmine.stages.dedup.kernel.plain_segments import Segments, segments_of, uneven
from pairmine.stages.dedup.kernel.shingles import Ragged, Texts, joined
from pairmine.stages.dedup.kernel.slices import Plan, Sketches, Slice

__all__ = ["keys_of_bytes", "members_of", "read", "sketch", "uneven", "words_of"]


def sketch(texts: Slice, plan: Plan, out: Sketches) -> None:
    """See `slices.Engine`."""
    for first, segments in segments_of(texts, plan.by_character):
        count = len(segments.offsets) - 1
        here = slice(texts.place + first, texts.place + first + count)
        words = words_of(segments)
        if plan.exact == "bytes":
            offsets = texts.offsets[first : first + count + 1]
            keys = _keys_of_bytes(texts.data[offsets[0] : offsets[-1]], offsets - offsets[0])
            out.exact[here] = np.where(np.diff(segments.offsets) > 0, keys, np.uint64(0))
        else:
            out.exact[here] = _keys_of_segments(segments, words, plan.exact)
        out.words[here] = words.sizes
        if plan.bands:
            shingles = _shingles(members_of(segments, words), plan.shingle)
            out.shingles[here] = shingles.sizes
            out.keys[:, here] = band_keys(shingles, plan.bands)


def read(texts: Slice, plan: Plan) -> Texts:
    """See `slices.Engine`."""
    shingles, words = [], []
    for _, segments in segments_of(texts, plan.by_character):
        row = words_of(segments)
        shingles.append(_sets(_shingles(members_of(segments, row), plan.shingle)))
        words.append(_bags(row))
    return Texts(joined(shingles), joined(words))


def words_of(segments: Segments) -> Ragged:
    """The words of each text in their order."""
    before = np.concatenate(([0], np.cumsum(segments.is_word)))
    return Ragged(mixed(segments.values[segments.is_word]), before[segments.offsets])


def members_of(segments: Segments, words: Ragged) -> Ragged:
    """What shingles are made of: words, or code points."""
    return words if segments.characters is None else Ragged(segments.characters, segments.character_offsets)


def _shingles(rows: Ragged, factors: np.ndarray) -> Ragged:
    """The shingles of each row in their order; a shorter row is one shingle, an empty one none."""
    ngram = len(factors)
    windows = np.where(rows.sizes >= ngram, rows.sizes - ngram + 1, np.minimum(rows.sizes, 1))
    offsets = np.concatenate(([0], np.cumsum(windows)))
    # The first word of each shingle.
    start = np.arange(offsets[-1]) + np.repeat(rows.offsets[:-1] - offsets[:-1], windows)
    widths = np.repeat(np.minimum(rows.sizes, ngram), windows)
    values = np.zeros(len(start), np.uint64)
    for place, factor in enumerate(factors[: widths.max(initial=0)]):
        reaching = slice(None) if widths.min(initial=ngram) > place else widths > place
        values[reaching] += rows.values[start[reaching] + place] * factor
    return Ragged(mixed(values), offsets)


# Sets


def _sets(rows: Ragged) -> Ragged:
    """Each row ascending, each value once."""
    values, owners, first = _ordered(rows)
    return Ragged(values[first], np.concatenate(([0], np.cumsum(np.bincount(owners[first], minlength=len(rows))))))


def _bags(rows: Ragged) -> Ragged:
    """Ascending, the k-th occurrence of a value made distinct from its first by k times an odd number."""
    values, owners, first = _ordered(rows)
    at = np.flatnonzero(first)
    occurrence = np.arange(len(values)) - np.repeat(at, np.diff(np.append(at, len(values))))
    values = values + occurrence.astype(np.uint64) * OCCURRENCE
    return Ragged(values[np.lexsort((values, owners))], rows.offsets)


def _ordered(rows: Ragged) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values ascending in each row, their rows, and which are the first of their kind there."""
    owners = np.repeat(np.arange(len(rows)), rows.sizes)
    values = rows.values[np.lexsort((rows.values, owners))]
    first = np.ones(len(values), bool)
    first[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
    return values, owners, first


# Exact keys


def _keys_of_segments(segments: Segments, words: Ragged, exact: str) -> np.ndarray:
    """The key of each text: of its words, or of all its segments and blanks; 0 where there is none of them."""
    if exact == "words":
        values, offsets = words.values, words.offsets
        places = np.arange(len(values))
    else:
        values, offsets = segments.values.copy(), segments.offsets
        values[segments.is_word] = words.values
        places = np.arange(len(values)) + np.cumsum(segments.after_blank)
    starts = offsets[:-1]
    base = np.append(places, 0)[starts]
    places = places - np.repeat(base, np.diff(offsets))
    return _keys(mixed(values + places.astype(np.uint64) * SEGMENT_PLACE), offsets)


def keys_of_bytes(texts: Slice) -> np.ndarray:
    """The exact keys of the bytes of `texts`, (n,) uint64; 0 for an empty one, but not for one of blanks."""
    return _keys_of_bytes(texts.data, texts.offsets)


def _keys_of_bytes(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The key of each text's bytes, eight at a time; the last ones are filled up with zeros."""
    sizes = np.diff(offsets)
    steps = (sizes + 7) // 8
    ends = np.concatenate(([0], np.cumsum(steps)))
    place = np.arange(ends[-1]) - np.repeat(ends[:-1], steps)
    start = np.repeat(offsets[:-1], steps) + 8 * place
    padded = np.concatenate([data, np.zeros(8, np.uint8)])
    every = np.ndarray(len(data) + 1, "<u8", padded, strides=(1,))
    spare = np.maximum(8 - (np.repeat(offsets[1:], steps) - start), 0).astype(np.uint64) * np.uint64(8)
    values = every[start] << spare >> spare
    # The size goes in, since a text may end in zeros.
    values = mixed(values + place.astype(np.uint64) * SEGMENT_PLACE)
    return _keys(values, ends, sizes.astype(np.uint64))


def _keys(values: np.ndarray, offsets: np.ndarray, also: np.ndarray | None = None) -> np.ndarray:
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(values, dtype=np.uint64)))
    total = sums[offsets[1:]] - sums[offsets[:-1]]
    keys = np.maximum(mixed(total if also is None else total + also), np.uint64(1))
    return np.where(np.diff(offsets) > 0, keys, np.uint64(0))
