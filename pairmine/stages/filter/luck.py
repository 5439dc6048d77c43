"""Luck that hangs on the seed, the query and the document alone, in whatever company they come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pairmine import identity
from pairmine.stages.filter.rows import Rows

_WORD = 2**64 - 1
_LONGEST = 256
"""Bytes of an id that are worth a round each for all ids; longer ones are digested one by one."""


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


def lots(rows: Rows, at: np.ndarray, seed: int) -> np.ndarray:
    """The lot of each of the rows `at`, (len(at),) uint64, by seed, query_id and doc_id."""
    queries, which_query = _distinct(rows.query[at], len(rows.query_ids))
    docs, which_doc = _distinct(rows.doc[at], len(rows.doc_ids))
    of_query = hashes(rows.query_ids.take(pa.array(queries)), seed)
    of_doc = hashes(rows.doc_ids.take(pa.array(docs)), 0)
    return draws(of_query[which_query], of_doc[which_doc])


def hashes(ids: pa.Array, seed: int) -> np.ndarray:
    """A hash of each id (a string array without nulls) and of `seed`, (n,) uint64.

    The ids' bytes go through `mix` in words of eight, all ids at once: a digest for each took 1.3 us, which was
    most of the time of a pick. No protection against ids that were made to collide.
    """
    _, offsets, data = ids.buffers()
    ends = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1].astype(np.int64)
    starts, sizes = ends[:-1], np.diff(ends)
    octets = np.concatenate([np.frombuffer(data or b"", np.uint8)[: ends[-1]], np.zeros(8, np.uint8)])
    words = np.ndarray(len(octets) - 7, "<u8", octets, strides=(1,))
    found = mix(mix(sizes.astype(np.uint64)) ^ np.uint64(seed & _WORD))
    at = np.flatnonzero((sizes > 0) & (sizes <= _LONGEST))
    for done in range(0, int(sizes[at].max(initial=0)), 8):
        at = at[sizes[at] > done]
        spare = (8 * np.maximum(done + 8 - sizes[at], 0)).astype(np.uint64)
        found[at] = mix(found[at] ^ (words[starts[at] + done] << spare))
    for one in np.flatnonzero(sizes > _LONGEST):
        found[one] = identity.seed_of(seed, ids[int(one)].as_py())
    return found


def _distinct(codes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """`np.unique(codes, return_inverse=True)` of codes below `size`, without the sorting."""
    used = np.zeros(size, bool)
    used[codes] = True
    place = np.cumsum(used) - 1
    return np.flatnonzero(used), place[codes]


def exponential(lots: np.ndarray) -> np.ndarray:
    """The logarithm of a draw from the exponential distribution for each lot, (n,) float64.

    The smallest of ``exponential(lots) - log(odds)`` is each row with a probability by its odds, and the
    next smallest that among the rows left: weighted sampling without replacement (Efraimidis and Spirakis,
    "Weighted random sampling with a reservoir", Inf. Process. Lett. 97, 2006), in logarithms, so that no
    odds are too small.
    """
    with np.errstate(divide="ignore"):
        drawn: np.ndarray = np.log(-np.log((lots.astype(np.float64) + 1) / 2.0**64))
    return drawn
