"""Batches as a trainer takes them: their numbers, their order, and the part of each rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pairmine.stages.mix.draws import mixed

LEFT_OVER = -1


@dataclass(frozen=True)
class Batches:
    """A plan for m drawn queries: `batch` is each one's batch from 0, -1 where it is left over; `order` lists those
    that are not, batch by batch."""

    batch: np.ndarray
    order: np.ndarray

    @property
    def count(self) -> int:
        """How many batches there are."""
        return int(self.batch.max(initial=-1)) + 1

    def short(self, size: int) -> int:
        """How many of them hold fewer than `size` queries."""
        return int((np.bincount(self.batch[self.order]) < size).sum()) if len(self.order) else 0


def numbered(step: np.ndarray, placed: np.ndarray, keys: np.ndarray, size: int, *, ranks: int, full: bool) -> Batches:
    """Batches out of steps: `step` (m,) int64 from 0 says which queries `ranks` ranks take together, `size` each.

    `placed` is the order in which the queries came to their steps, `keys` (m,) uint64 are their random draws. Full
    steps stand before short ones, each at the place that the key of its first query, mixed anew, draws, so that
    groups alternate by chance. Step s is dealt out as the batches s * ranks, s * ranks + 1, ...: equal parts, and
    of a short step parts that differ by one query at most. A step with fewer queries than ranks is left over, and with
    `full` every short one.
    """
    batch = np.full(len(step), LEFT_OVER, np.int64)
    if not len(step):
        return Batches(batch, np.empty(0, np.int64))
    by_step = placed[np.argsort(step[placed], kind="stable")]
    lengths = np.bincount(step)
    starts = np.cumsum(lengths) - lengths
    is_short = lengths < size * ranks
    kept = ~is_short if full else lengths >= ranks
    ranking = np.lexsort((mixed(keys[by_step[starts]]), is_short))
    ranking = ranking[kept[ranking]]
    number = np.full(len(lengths), LEFT_OVER, np.int64)
    number[ranking] = np.arange(len(ranking))
    of_step = step[by_step]
    within = np.arange(len(step)) - starts[of_step]
    part = within * ranks // lengths[of_step]
    batch[by_step] = np.where(kept[of_step], number[of_step] * ranks + part, LEFT_OVER)
    in_order = by_step[np.argsort(batch[by_step], kind="stable")]
    return Batches(batch, in_order[batch[in_order] != LEFT_OVER])
