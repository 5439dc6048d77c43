"""First fit: each draw goes into the first batch of its group that has room and where it meets no conflict."""

from __future__ import annotations

import numpy as np

from pairmine.stages.mix.conflicts import Conflicts

_LOOK_AHEAD = 64
"""Batches that are tried for a draw, twice, before it opens one of its own: ours."""


def first_fit(order: np.ndarray, group: np.ndarray, conflicts: Conflicts, size: int) -> np.ndarray:
    """The batch of each of m draws, (m,) int64 from 0, `size` draws at most and all of one group in each.

    The draws are placed in `order`, a permutation of them, in which those of one `group` (m,) follow each other. Where
    nothing conflicts, each group is cut into batches as it comes.
    """
    batch = np.empty(len(order), np.int64)
    starts = np.flatnonzero(np.append(True, np.diff(group[order]) != 0)[: len(order)])
    used = 0
    for draws in np.split(order, starts[1:]):
        places = _place(draws, conflicts, size) if conflicts.any else np.arange(len(draws)) // size
        batch[draws] = places + used
        used += int(places.max(initial=-1)) + 1
    return batch


def _place(draws: np.ndarray, conflicts: Conflicts, size: int) -> np.ndarray:
    filled = _Batches(size)
    return np.fromiter((filled.put(asks, holds) for asks, holds in conflicts.lists(draws)), np.int64, len(draws))


class _Batches:
    """The batches of one group while they are filled; the marks of a full one are forgotten."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._room: list[int] = []
        self._asked: list[set[int]] = []
        self._held: list[set[int]] = []
        self._next = [0]
        self._after: dict[int, int] = {}

    def put(self, asks: list[int], holds: list[int]) -> int:
        """Place a draw and return the number of its batch.

        The first batches with room are tried, then those behind the last one that was asked the same: where thousands
        of draws conflict with each other, all of the first ones have such a draw already.
        """
        batch = self._fitting(0, asks, holds)
        if batch is None:
            batch = self._fitting(max((self._after.get(mark, 0) for mark in asks), default=0), asks, holds)
        if batch is None:
            batch = len(self._room)
        if batch == len(self._room):
            self._open()
        self._add(batch, asks, holds)
        return batch

    def _fitting(self, start: int, asks: list[int], holds: list[int]) -> int | None:
        batch = self._with_room(start)
        for _ in range(_LOOK_AHEAD):
            if batch == len(self._room):
                return batch
            if self._asked[batch].isdisjoint(holds) and self._held[batch].isdisjoint(asks):
                return batch
            batch = self._with_room(batch + 1)
        return None

    def _with_room(self, batch: int) -> int:
        """The first batch from `batch` on that has room; the one that is not open yet always has."""
        links = self._next
        found = batch
        while links[found] != found:
            found = links[found]
        while links[batch] != found:
            links[batch], batch = found, links[batch]
        return found

    def _open(self) -> None:
        self._room.append(self._size)
        self._asked.append(set())
        self._held.append(set())
        self._next.append(len(self._room))

    def _add(self, batch: int, asks: list[int], holds: list[int]) -> None:
        self._room[batch] -= 1
        if not self._room[batch]:
            self._asked[batch] = self._held[batch] = set()
            self._next[batch] = batch + 1
        else:
            self._asked[batch].update(asks)
            self._held[batch].update(holds)
        self._after.update(dict.fromkeys(asks, batch + 1))
