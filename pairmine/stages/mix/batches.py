"""Which query stands in which batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEFT_OVER = -1


@dataclass(frozen=True)
class Batches:
    """A plan for m drawn queries: `batch` is each one's batch from 0, -1 where it is left over; `order` lists those
    that are not, batch by batch."""

    batch: np.ndarray
    order: np.ndarray


def plan(group: np.ndarray, keys: np.ndarray, size: int, *, full: bool) -> Batches:
    """Batches of `size` queries of one group each, in an order drawn by `keys`.

    `group`, (m,) int64, is the source or cluster of each drawn query; `keys`, (m,) uint64, are its draws, all
    different but for chance. The queries of a group are cut into batches in the order of their keys. The last
    batch of a group may be short; with `full` its queries are left over. A batch takes its place by the key of
    its first query, mixed anew, so that groups alternate by chance.
    """
    batch = np.full(len(group), LEFT_OVER, np.int64)
    if not len(group):
        return Batches(batch, np.empty(0, np.int64))
    order = np.lexsort((keys, group))
    sorted_group = group[order]
    starts = np.flatnonzero(np.append(True, sorted_group[1:] != sorted_group[:-1]))
    within = np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))
    first_of_batch = np.flatnonzero(within % size == 0)
    lengths = np.diff(np.append(first_of_batch, len(group)))
    place = np.repeat(np.arange(len(first_of_batch)), lengths)
    kept = lengths == size if full else np.ones(len(lengths), bool)
    drawn = mixed(keys[order[first_of_batch]])
    number = np.full(len(lengths), LEFT_OVER, np.int64)
    ranking = np.flatnonzero(kept)[np.argsort(drawn[kept], kind="stable")]
    number[ranking] = np.arange(len(ranking))
    batch[order] = number[place]
    in_order = order[np.argsort(batch[order], kind="stable")]
    return Batches(batch, in_order[batch[in_order] != LEFT_OVER])


def mixed(keys: np.ndarray, salt: int = 0) -> np.ndarray:
    """Other random 64-bit keys made from random ones, (n,) uint64 (the finaliser of SplitMix64)."""
    with np.errstate(over="ignore"):
        mixed = keys + np.uint64(0x9E3779B97F4A7C15) * np.uint64(salt + 1)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: np.ndarray = mixed ^ (mixed >> np.uint64(31))
    return found
