"""MinHash signatures cut into bands: which texts are worth comparing at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.identity import seed_of
from pairmine.stages.dedup.shingles import Ragged, in_chunks, read_texts

RECALL = 0.999
CROWD = 16
"""Largest bucket whose members are all paired with each other; beyond it see `matches.join`."""

# One update holds shingles x permutations numbers, 32 MB at this size: a book must not need a gigabyte.
_SHINGLES_AN_UPDATE = 65_536


def collision_probability(similarity: float, bands: int, rows: int) -> float:
    """How likely two sets of that Jaccard similarity share at least one of `bands` bands of `rows` minima.

    1 - (1 - s^r)^b, from Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4.

    >>> round(collision_probability(0.8, 25, 5), 5)
    0.99995
    """
    return float(1.0 - (1.0 - similarity**rows) ** bands)


def banding(threshold: float, permutations: int) -> tuple[int, int]:
    """(bands, rows per band) that find a pair at `threshold` with probability 0.999 or more.

    Of all that do, the one with the longest bands: it lets the fewest unlike pairs through.
    Raises PairmineError when `permutations` do not suffice, with the number that does.
    """
    for rows in range(permutations, 0, -1):
        if collision_probability(threshold, permutations // rows, rows) >= RECALL:
            return permutations // rows, rows
    needed = math.ceil(math.log(1 - RECALL) / math.log(1 - threshold))
    raise PairmineError(
        f"{permutations} permutations cannot find {RECALL:.1%} of the pairs at threshold {threshold:g}; "
        f"pass --permutations {needed} or more, or a higher --threshold"
    )


@dataclass(frozen=True)
class Sketches:
    """Band keys of n texts, (n, bands) uint64, and whether each has a word at all, (n,) bool."""

    keys: np.ndarray
    has_words: np.ndarray


def sketch(texts: pa.ChunkedArray, *, bands: int, rows: int, ngram: int, seed: int, workers: int) -> Sketches:
    """Sketch a column without nulls; one key per band is all that is kept of a signature."""
    work = partial(_sketch_chunk, bands=bands, rows=rows, ngram=ngram, seed=seed)
    parts = list(in_chunks(work, texts, workers))
    if not parts:
        return Sketches(np.empty((0, bands), np.uint64), np.empty(0, bool))
    return Sketches(np.concatenate([p.keys for p in parts]), np.concatenate([p.has_words for p in parts]))


def _sketch_chunk(texts: list[str], *, bands: int, rows: int, ngram: int, seed: int) -> Sketches:
    sets = read_texts(texts, ngram).shingles
    return Sketches(band_keys(sets, bands=bands, rows=rows, seed=seed), sets.sizes > 0)


def band_keys(sets: Ragged, *, bands: int, rows: int, seed: int) -> np.ndarray:
    """(n, bands) uint64: equal in a band when all `rows` minima of the two signatures are equal there."""
    signature = _signatures(sets, bands * rows, seed).reshape(len(sets), bands, rows)
    factors = np.array([seed_of(0, "band", str(row)) | 1 for row in range(rows)], np.uint64)
    keys = np.zeros((len(sets), bands), np.uint64)
    for row in range(rows):
        keys += signature[:, :, row] * factors[row]
    return keys


def _signatures(sets: Ragged, permutations: int, seed: int) -> np.ndarray:
    """(n, permutations) uint64 minima by datasketch, in its unbiased scheme affine32.

    What `MinHash.bulk` does, save that a long text goes in by slices.
    """
    from datasketch import MinHash

    blank = MinHash(permutations, seed=seed_of(seed, "minhash") % 2**32, hashfunc=int, scheme="affine32")
    hashes = (sets.values >> np.uint64(32)).tolist()
    signatures = np.empty((len(sets), permutations), np.uint64)
    for text in range(len(sets)):
        minima = blank.copy()
        start, end = int(sets.offsets[text]), int(sets.offsets[text + 1])
        for first in range(start, end, _SHINGLES_AN_UPDATE):
            minima.update_batch(hashes[first : min(first + _SHINGLES_AN_UPDATE, end)])
        signatures[text] = minima.hashvalues
    return signatures


def candidates(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts that share a band: left and right of each pair once (left < right), and the crowded texts.

    A crowded text is in a bucket of more than `CROWD`; pairs of two crowded texts are left out.
    """
    count = len(keys)
    crowded = np.zeros(count, bool)
    codes = np.empty(0, np.int64)
    for band in range(keys.shape[1]):
        order = np.argsort(keys[:, band], kind="stable")
        starts = np.flatnonzero(np.diff(keys[order, band], prepend=~keys[order[:1], band]))
        sizes = np.diff(starts, append=count)
        crowded[order[np.repeat(sizes > CROWD, sizes)]] = True
        found = [_pairs(order, starts[sizes == size], size) for size in range(2, CROWD + 1)]
        codes = np.union1d(codes, np.concatenate([left * count + right for left, right in found]))
    left, right = codes // max(count, 1), codes % max(count, 1)
    wanted = ~(crowded[left] & crowded[right])
    return left[wanted], right[wanted], np.flatnonzero(crowded)


def _pairs(order: np.ndarray, starts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    members = order[starts[:, None] + np.arange(size)]
    left, right = np.triu_indices(size, 1)
    return members[:, left].ravel(), members[:, right].ravel()
