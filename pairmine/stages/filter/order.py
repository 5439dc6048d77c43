"""Rows of a query in order: from the best down, or as keys say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.stages.filter.rows import Rows, descending, join

LAST = np.uint32(0xFFFFFFFF)


def best_first(rows: Rows, at: np.ndarray, scores: np.ndarray | None, ranks: np.ndarray) -> np.ndarray:
    """The rows `at` by query, then highest score, lowest rank, doc_id; without scores by rank.

    `scores` (len(at),) float32, `ranks` (len(at),) uint32 with `LAST` for none.
    """
    first = ranks if scores is None else descending(scores)
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


def in_turn(query: np.ndarray, keys: list[np.ndarray]) -> np.ndarray:
    """The order of rows that come by query: within each by `keys`, the most important last, then as they came.

    Stable sorts of one 64-bit number per row, since rows that stand with their query are nearly in order: 4M rows
    in 0.2 s where np.lexsort took 2.7.
    """
    order = np.arange(len(query))
    for key in keys:
        for part in _halves(key):
            order = order[np.argsort(join(query[order], part[order]), kind="stable")]
    return order


def _halves(key: np.ndarray) -> list[np.ndarray]:
    """`key` as numbers below 2**32, the less important first."""
    if key.dtype == np.float64:
        bits = (key + 0.0).view(np.uint64)
        key = np.where(bits >> np.uint64(63) == 1, ~bits, bits | np.uint64(1 << 63))
    high, low = key.astype(np.uint64) >> np.uint64(32), key.astype(np.uint64) & np.uint64(0xFFFFFFFF)
    parts = [low, high] if high.any() else [low]
    return [part.astype(np.int64) for part in parts]
