"""A seeded slice of what a recipe made."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest

import pyarrow as pa
import pyarrow.compute as pc

from pairmine.identity import seed_of


def sample_queries(pairs: pa.Table, size: int, *, seed: int) -> pa.Table:
    """All rows of `size` queries of `pairs`, in their order; of fewer queries, all.

    The queries are those whose seeded hash is smallest, so that more of them are a superset.
    """
    return pairs.filter(pc.is_in(pairs["query_id"], pa.array(first_queries(pairs, size, seed=seed), pa.string())))


def first_queries(pairs: pa.Table, size: int, *, seed: int) -> list[str]:
    """The queries that `sample_queries` takes, by their hash."""
    return smallest(pc.unique(pairs["query_id"]).to_pylist(), size, seed=seed)


def smallest(ids: Iterable[str], size: int, *, seed: int) -> list[str]:
    """Of different query ids the `size` ones whose seeded hash is smallest, in its order."""
    return nsmallest(size, ids, key=lambda name: int(seed_of(seed, "sample", name)))
