"""Clusters of unit vectors: spherical k-means by FAISS, and the nearest centroids of any vector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairmine.backends.encoders import FakeEncoder
from pairmine.backends.retrievers import NOT_FOUND, DenseRetriever
from pairmine.backends.specs import Spec
from pairmine.errors import PairmineError

_ROUNDS = 20
SAMPLED = 256


@dataclass(frozen=True)
class Clusters:
    """The k centroids of a set of vectors, (k, dim) float32, unit length; clusters are numbered from 0."""

    centroids: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, count: int, *, seed: int) -> Clusters:
        """`count` clusters of `vectors`, (n, dim) float32 of unit length, by k-means on the sphere.

        Of more than 256 vectors a cluster, a seeded sample of that many is looked at, in 20 rounds
        (FAISS's own way), from a start by k-means++. One thread does it, so that the centroids do not depend on the
        number of threads. Raises PairmineError where there are fewer vectors than clusters.
        """
        import faiss

        if count < 1 or len(vectors) < count:
            raise PairmineError(f"{len(vectors):,} texts cannot make {count:,} clusters; ask for fewer")
        vectors = np.ascontiguousarray(vectors, np.float32)
        if count == 1:
            return cls(_unit(vectors.mean(axis=0, keepdims=True)))
        means = faiss.Kmeans(
            vectors.shape[1],
            count,
            niter=_ROUNDS,
            spherical=True,
            seed=seed % (1 << 31),
            min_points_per_centroid=1,
            max_points_per_centroid=SAMPLED,
            **_start(faiss),
        )
        with _one_thread():
            means.train(vectors)
        return cls(_unit(np.asarray(means.centroids, np.float32)))

    def __len__(self) -> int:
        return len(self.centroids)

    def nearest(self, vectors: np.ndarray, k: int) -> np.ndarray:
        """The `k` clusters whose centroids are nearest to each vector, (n, k) int64, nearest first; -1 past the last.

        Exact, whatever the number of threads and the vectors beside it (`DenseRetriever`).
        """
        if not len(vectors):
            return np.empty((0, k), np.int64)
        search = DenseRetriever(Spec("fake", ""), FakeEncoder())
        search.take_vectors(self.centroids, len(self.centroids))
        search.take_query_vectors(np.ascontiguousarray(vectors, np.float32))
        found = search.search(np.arange(len(vectors)), min(k, len(self.centroids)))[0]
        room = k - found.shape[1]
        return np.pad(found, ((0, 0), (0, room)), constant_values=NOT_FOUND) if room else found


def _start(faiss: Any) -> dict[str, Any]:
    """Centroids drawn at random leave clusters unfound that anyone sees; those of k-means++ start far apart.

    A FAISS that does not know it yet draws them at random.
    """
    method = getattr(faiss, "ClusteringInitMethod_KMEANS_PLUS_PLUS", None)
    return {} if method is None else {"init_method": method}


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit


@contextmanager
def _one_thread() -> Iterator[None]:
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
