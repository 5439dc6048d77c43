"""The graph and the compressed lists of FAISS, built so that they are the same every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pairmine.backends.models import Advance
from pairmine.backends.vectors.approximate.clusters import assign, centroids
from pairmine.backends.vectors.approximate.integers import most_similar, whole_numbers
from pairmine.backends.vectors.matrix import Vectors

LINKS = 32
_BUILD_EFFORT = 64
_ADDED_AT_ONCE = 16_384
_SEARCHED_AT_ONCE = 4096
_TRAINED_ON = 12_000
_TRAINING_ROUNDS = 10


class Hnsw:
    """A graph of neighbours over bfloat16 vectors; `effort` is efSearch, the length of the list kept while walking.

    One thread builds it: with several, the links depend on which comes first.
    """

    first_effort = 64
    widenings: tuple[float, ...] = (1.25,)

    def __init__(self, vectors: Vectors, searchable: int, *, threads: int, advance: Advance) -> None:
        import faiss

        self._threads = threads
        kind: Any = faiss.ScalarQuantizer.QT_bf16
        self._index: Any = faiss.IndexHNSWSQ(vectors.dim, kind, LINKS, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = _BUILD_EFFORT
        self.largest_effort = searchable
        with threads_of_faiss(1):
            self._index.train(np.ascontiguousarray(vectors.block(0, 1)))
            for start in range(0, searchable, _ADDED_AT_ONCE):
                end = min(start + _ADDED_AT_ONCE, searchable)
                self._index.add(np.ascontiguousarray(vectors.block(start, end)))
                advance(end - start)

    def settings(self, effort: int) -> dict[str, Any]:
        """What the facts say of it."""
        return {"links": LINKS, "ef": effort}

    def candidates(self, queries: np.ndarray, wide: int, effort: int, advance: Advance) -> np.ndarray:
        """About the `wide` nearest, (n, wide) int64, -1 where the walk found fewer."""
        import faiss

        found = np.empty((len(queries), wide), np.int64)
        parameters = faiss.SearchParametersHNSW(efSearch=max(effort, wide))  # type: ignore[attr-defined]
        with threads_of_faiss(self._threads):
            for start in range(0, len(queries), _SEARCHED_AT_ONCE):
                piece = np.ascontiguousarray(queries[start : start + _SEARCHED_AT_ONCE])
                found[start : start + len(piece)] = self._index.search(piece, wide, params=parameters)[1]
                advance(len(piece))
        return found


class Pq:
    """Inverted lists of vectors compressed to a quarter byte a dimension; `effort` is the number of lists probed.

    Lists are chosen by products of whole numbers, since those of FAISS change with the number of queries.
    """

    first_effort = 8
    widenings: tuple[float, ...] = (4.0, 8.0, 16.0)

    def __init__(
        self, vectors: Vectors, searchable: int, *, lists: int, seed: int, threads: int, quick: bool, advance: Advance
    ) -> None:
        import faiss

        self._threads = threads
        self._longest = longest(vectors, searchable)
        means: dict[str, Any] = {"longest": self._longest, "threads": threads, "quick": quick}
        self._centres = centroids(vectors, searchable, lists, seed=seed, **means)
        nearest = assign(vectors, searchable, self._centres, **means)
        self.largest_effort = self.lists = lists
        self._pieces = pieces_of(vectors.dim)
        centres = self._centres.float().numpy()
        centres = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1)
        self._quantizer = faiss.IndexFlatIP(vectors.dim)
        self._quantizer.add(np.ascontiguousarray(centres, np.float32))
        self._index: Any = faiss.IndexIVFPQ(
            self._quantizer, vectors.dim, lists, self._pieces, 8, faiss.METRIC_INNER_PRODUCT
        )
        self._index.pq.cp.seed = 1234 + seed
        self._index.pq.cp.niter = _TRAINING_ROUNDS
        self._index.pq.cp.min_points_per_centroid = 1
        generator = np.random.default_rng(seed)
        sample = np.sort(generator.choice(searchable, min(searchable, _TRAINED_ON), replace=False))
        with threads_of_faiss(1):
            self._index.train(np.ascontiguousarray(vectors.take(sample)))
        with threads_of_faiss(threads):
            for start in range(0, searchable, _ADDED_AT_ONCE):
                self._add(vectors, start, nearest[start : start + _ADDED_AT_ONCE])
                advance(min(_ADDED_AT_ONCE, searchable - start))

    def _add(self, vectors: Vectors, start: int, nearest: np.ndarray) -> None:
        import faiss

        block = np.ascontiguousarray(vectors.block(start, start + len(nearest)))
        keys = np.ascontiguousarray(nearest, np.int64)
        self._index.add_core(len(block), faiss.swig_ptr(block), None, faiss.swig_ptr(keys), None)

    def settings(self, effort: int) -> dict[str, Any]:
        """What the facts say of it."""
        return {"lists": self.lists, "probed": effort, "bytes_per_document": self._pieces}

    def candidates(self, queries: np.ndarray, wide: int, effort: int, advance: Advance) -> np.ndarray:
        """About the `wide` nearest, (n, wide) int64, -1 where the probed lists hold fewer."""
        found = np.empty((len(queries), wide), np.int64)
        self._index.nprobe = effort
        with threads_of_faiss(self._threads):
            for start in range(0, len(queries), _SEARCHED_AT_ONCE):
                piece = np.ascontiguousarray(queries[start : start + _SEARCHED_AT_ONCE])
                lists, scores = most_similar(whole_numbers(piece), self._centres, effort)
                units = scores / np.float32(4000 * 4000) * np.linalg.norm(piece, axis=1, keepdims=True)
                places = self._index.search_preassigned(piece, wide, lists, units.astype(np.float32))[1]
                found[start : start + len(piece)] = places
                advance(len(piece))
        return found


def pieces_of(dim: int) -> int:
    """Into how many pieces of one byte each a vector is cut: the largest divisor of `dim` up to a quarter of it."""
    return next(pieces for pieces in range(max(dim // 4, 1), 0, -1) if dim % pieces == 0)


def longest(vectors: Vectors, searchable: int) -> float:
    """The length of the longest of the first `searchable` vectors."""
    found = 0.0
    for start in range(0, searchable, _ADDED_AT_ONCE):
        block = vectors.block(start, min(start + _ADDED_AT_ONCE, searchable))
        found = max(found, float(np.einsum("ij,ij->i", block, block).max(initial=0.0)))
    return float(np.sqrt(found))


@contextmanager
def threads_of_faiss(threads: int) -> Iterator[None]:
    """Let FAISS use this many threads, for a while."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
