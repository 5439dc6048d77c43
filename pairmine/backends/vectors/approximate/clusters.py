"""Spherical k-means on a sample: the same centroids on every machine and with any number of threads."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from pairmine.backends.vectors.approximate.integers import nearest_of, whole_numbers
from pairmine.backends.vectors.approximate.workers import in_threads
from pairmine.backends.vectors.matrix import Vectors

_PER_LIST = 40
_ROUNDS = 6
_BLOCK = 4096


def centroids(
    vectors: Vectors, searchable: int, lists: int, *, seed: int, longest: float, threads: int, quick: bool
) -> Any:
    """`lists` centres of a sample of the first `searchable` vectors, a bfloat16 tensor of whole numbers."""
    generator = np.random.default_rng(seed)
    size = min(searchable, lists * _PER_LIST)
    drawn = vectors.take(np.sort(generator.choice(searchable, size, replace=False)))
    points = whole_numbers(drawn, longest)
    centres = whole_numbers(drawn[np.sort(generator.choice(size, lists, replace=False))])
    values = points.float().numpy()
    pieces = [points[start : start + _BLOCK] for start in range(0, size, _BLOCK)]
    for _ in range(_ROUNDS):
        nearest = in_threads(partial(nearest_of, centres=centres, quick=quick), pieces, threads)
        centres = whole_numbers(_means(values, np.concatenate(nearest), lists, generator))
    return centres


def _means(values: np.ndarray, nearest: np.ndarray, lists: int, generator: np.random.Generator) -> np.ndarray:
    """The sum of each list's points, (lists, dim) float32; an empty list gets a point drawn anew."""
    from scipy.sparse import csr_matrix

    ones = np.ones(len(values), np.float32)
    members = csr_matrix((ones, (nearest, np.arange(len(values)))), shape=(lists, len(values)))
    means: np.ndarray = np.asarray(members @ values, np.float32)
    empty = np.flatnonzero(np.bincount(nearest, minlength=lists) == 0)
    means[empty] = values[generator.integers(0, len(values), len(empty))]
    return means


def assign(vectors: Vectors, searchable: int, centres: Any, *, longest: float, threads: int, quick: bool) -> np.ndarray:
    """The nearest centre of each of the first `searchable` vectors, (searchable,) int64; the first of equal ones."""

    def piece(start: int) -> np.ndarray:
        block = vectors.block(start, min(start + _BLOCK, searchable))
        return nearest_of(whole_numbers(block, longest), centres, quick=quick)

    return np.concatenate(in_threads(piece, range(0, searchable, _BLOCK), threads))
