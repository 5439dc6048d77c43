"""Clusters of the drawn queries of each source, by their vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmine.backends.encoders import Encoder, nothing
from pairmine.backends.models import Advance
from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.identity import seed_of
from pairmine.stages.clusters import Clusters
from pairmine.stages.mix.sources import Pool
from pairmine.stages.mix.standins import texts_or_keys


@dataclass(frozen=True)
class Queries:
    """Queries of the source called `source`: their `ids` there, and their `texts`, None where one has no text."""

    source: str
    ids: list[str]
    texts: list[str | None]


VectorsOf = Callable[[Queries], np.ndarray]
"""Gives the vectors of some queries, (n, dim) float32 of unit length."""


def by_encoder(encoder: Encoder, advance: Advance = nothing) -> VectorsOf:
    """The vectors that `encoder` makes of the texts; a query without one is a PairmineError."""

    def vectors(queries: Queries) -> np.ndarray:
        return encoder.encode(texts_of(queries), "query", advance)

    return vectors


def texts_of(queries: Queries) -> list[str]:
    """The texts of `queries`; raises a PairmineError that names the first one without."""
    for name, text in zip(queries.ids, queries.texts, strict=True):
        if text is None:
            raise PairmineError(
                f'{queries.source}: query "{name}" has no text to make clusters of; give it one, or pass --vectors'
            )
    return [text for text in queries.texts if text is not None]


def clusters_of(
    pool: Pool, names: Sequence[str], query: np.ndarray, vectors_of: VectorsOf, most: int, size: int, seed: int
) -> np.ndarray:
    """The cluster of each drawn `query` (m,) among those of its source, (m,) int64 from 0.

    A source has `most` clusters at the most, and never more than it has batches of `size` queries.
    """
    found = np.zeros(len(query), np.int64)
    of_source = pool.source[query]
    for number, name in enumerate(names):
        members = np.flatnonzero(of_source == number)
        if not len(members):
            continue
        distinct, places = _distinct(pool, query[members], name)
        vectors = vectors_of(distinct)
        count = max(1, min(most, len(members) // size, len(vectors)))
        clusters = Clusters.of(vectors, count, seed=seed_of(seed, "clusters", name))
        found[members] = clusters.nearest(vectors, 1)[places, 0]
    return found


def _distinct(pool: Pool, query: np.ndarray, name: str) -> tuple[Queries, np.ndarray]:
    """One query for each text, or each query that has none, and which of them stands for each of `query`."""
    first = distinct(query)
    if "query" not in pool.pairs.column_names:
        return Queries(name, [pool.ids[each] for each in first.tolist()], [None] * len(first)), np.searchsorted(
            first, query
        )
    heads = pa.array(pool.starts[first])
    texts = pool.pairs["query"].take(heads).cast(pa.string())
    keys = texts_or_keys(pool.pairs, "query").take(heads).cast(pa.string()).combine_chunks()
    codes = keys.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    codes = np.where(codes < 0, len(codes) + np.arange(len(codes)), codes)
    _, chosen, of_first = np.unique(codes, return_index=True, return_inverse=True)
    ids = [pool.ids[each] for each in first[chosen].tolist()]
    return Queries(name, ids, texts.take(pa.array(chosen)).to_pylist()), of_first[np.searchsorted(first, query)]
