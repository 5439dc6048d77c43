"""A seeded slice of what a recipe made."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pairmine.identity import seed_of


def sample_queries(pairs: pa.Table, size: int, *, seed: int) -> pa.Table:
    """All rows of `size` queries of `pairs`, in their order; of fewer queries, all.

    The queries are those whose seeded hash is smallest, so that more of them are a superset.
    """
    codes = pairs["query_id"].combine_chunks().dictionary_encode()
    ids = codes.dictionary.to_pylist()
    if len(ids) <= size:
        return pairs
    hashes = np.fromiter((seed_of(seed, "sample", name) for name in ids), np.uint64, len(ids))
    chosen = np.zeros(len(ids), bool)
    chosen[np.argsort(hashes, kind="stable")[:size]] = True
    return pairs.filter(pa.array(chosen[codes.indices.to_numpy()]))
