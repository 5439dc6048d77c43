"""Which survivors become the negatives: the best ones, or a seeded sample of the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import identity
from pairmine.stages.filter.rows import Rows, join, places

LAST = np.uint32(0xFFFFFFFF)


def mix(values: np.ndarray) -> np.ndarray:
    """`values` uint64 scrambled, a bijection: the output function of SplitMix64.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scrambled: np.ndarray = mixed ^ (mixed >> np.uint64(31))
    return scrambled


def draws(seeds: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """One uint64 per (seed, counter), the same wherever and in whatever company it is drawn."""
    return mix(seeds ^ mix(counters))


def seeds_of(seed: int, ids: Sequence[str]) -> np.ndarray:
    """`identity.seed_of` of each id, (n,) uint64."""
    return np.fromiter((identity.seed_of(seed, one) for one in ids), np.uint64, len(ids))


def best_first(rows: Rows, at: np.ndarray, scores: np.ndarray | None, ranks: np.ndarray) -> np.ndarray:
    """The rows `at` by query, then highest score, lowest rank, doc_id; without scores by rank.

    `scores` (len(at),) float32, `ranks` (len(at),) uint32 with `LAST` for none.
    """
    first = ranks if scores is None else _descending(scores)
    keys = join(rows.query[at], first.astype(np.int64))
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    equal = np.r_[False, keys[1:] == keys[:-1]]
    tied = np.flatnonzero(equal | np.r_[equal[1:], False])
    if len(tied):
        by_id = _id_order(rows, at[order[tied]])
        order[tied] = order[tied][np.lexsort((by_id, ranks[order[tied]], keys[tied]))]
    sorted_rows: np.ndarray = at[order]
    return sorted_rows


def _descending(scores: np.ndarray) -> np.ndarray:
    """uint32 that sort as `scores` (float32, finite) do from the highest down."""
    bits = (scores + np.float32(0)).view(np.uint32)
    negative = bits >> np.uint32(31) == 1
    falling: np.ndarray = np.where(negative, bits, ~(bits | np.uint32(1 << 31)))
    return falling


def _id_order(rows: Rows, at: np.ndarray) -> np.ndarray:
    """The place of each row's doc_id among theirs in code point order, (len(at),) int64."""
    codes, which = np.unique(rows.doc[at], return_inverse=True)
    order = pc.sort_indices(rows.doc_ids.take(pa.array(codes))).to_numpy()
    place = np.empty(len(codes), np.int64)
    place[order] = np.arange(len(codes))
    return place[which]


def ranks_of(pairs: pa.Table, at: np.ndarray) -> np.ndarray:
    """The `rank` of the rows `at`, (len(at),) uint32, `LAST` where a row has none."""
    if "rank" not in pairs.column_names:
        return np.full(len(at), LAST)
    ranks = pc.fill_null(pc.cast(pairs["rank"], pa.int64()), int(LAST)).to_numpy()[at]
    return np.clip(ranks, 0, int(LAST)).astype(np.uint32)


def picked(
    rows: Rows, ordered: np.ndarray, need: np.ndarray, pool: int | None, seed: int, odds: np.ndarray | None = None
) -> np.ndarray:
    """Which of `ordered` (rows from `best_first`) are picked, (n,) bool: `need[query]` of each query.

    Without `pool` they are the first ones, else a sample without replacement from the first `pool`;
    `odds` (n,), positive, make a row that many times as likely to come first (Efraimidis and Spirakis,
    "Weighted random sampling with a reservoir", Inf. Process. Lett. 97, 2006). A document's luck hangs
    on the seed, the query and its own id alone, so that a stricter margin changes no more of the
    sample than it must.
    """
    query = rows.query[ordered]
    place = places(query)
    if pool is None:
        return place < need[query]
    chosen = np.zeros(len(ordered), bool)
    pooled = np.flatnonzero((place < pool) & (need[query] > 0))
    lots = _lots(rows, ordered[pooled], seed)
    if odds is not None:
        lots = -np.log((lots.astype(np.float64) + 1) / 2.0**64) / odds[pooled]
    pooled = pooled[np.lexsort((lots, query[pooled]))]
    chosen[pooled] = places(query[pooled]) < need[query[pooled]]
    return chosen


def _lots(rows: Rows, at: np.ndarray, seed: int) -> np.ndarray:
    queries, which_query = np.unique(rows.query[at], return_inverse=True)
    docs, which_doc = np.unique(rows.doc[at], return_inverse=True)
    of_query = seeds_of(seed, rows.query_ids.take(pa.array(queries)).to_pylist())
    of_doc = seeds_of(0, rows.doc_ids.take(pa.array(docs)).to_pylist())
    return draws(of_query[which_query], of_doc[which_doc])
