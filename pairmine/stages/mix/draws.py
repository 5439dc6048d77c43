"""Which queries are drawn, how often, and with which of their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pairmine.identity import seed_of
from pairmine.stages.mix.shares import apportion
from pairmine.stages.mix.sources import Pool

UNITS = ("queries", "pairs")
ALL = -1


@dataclass(frozen=True)
class Weighing:
    """How much of each source: its share is ``weight * held ** alpha``, see `shares.apportion`.

    `unit` says what is counted and what `size` counts, queries or pairs; `weights` are 1 where none is given.
    """

    alpha: float = 0.5
    size: int | None = None
    unit: str = "queries"
    weights: Mapping[str, float] = field(default_factory=dict)
    repeat: bool = False


@dataclass(frozen=True)
class Drawn:
    """The m draws: each one's `query` by number, how often that was drawn before (`again`), and its random key.

    A draw has all rows of its query, or of the positive rows the one numbered `positive` alone.
    """

    query: np.ndarray
    again: np.ndarray
    keys: np.ndarray
    positive: np.ndarray

    def rows(self, pool: Pool, some: np.ndarray, place: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The rows of `some` of the draws, one draw after the other, and how many each has.

        `place` (rows,) is the number of each positive row of the pool among those of its query, -1 for others.
        """
        query, wanted = self.query[some], self.positive[some]
        if place is None:
            return pool.rows_of(query), pool.rows[query]
        # A query with thousands of positives has as many draws: none of them looks at the positives of the others.
        positives, others = np.flatnonzero(place >= 0), np.flatnonzero(place < 0)
        of_positives, of_others = (np.searchsorted(rows, pool.starts) for rows in (positives, others))
        alone = np.flatnonzero((wanted != ALL) & (wanted < np.diff(of_positives)[query]))
        with_all = np.where(wanted == ALL, np.diff(of_positives)[query], 0)
        draws = [alone, *(np.repeat(np.arange(len(some)), counts) for counts in (with_all, np.diff(of_others)[query]))]
        rows = [
            positives[of_positives[query[alone]] + wanted[alone]],
            positives[_stretches(of_positives[query], with_all)],
            others[_stretches(of_others[query], np.diff(of_others)[query])],
        ]
        of_draw, found = np.concatenate(draws), np.concatenate(rows)
        order = np.argsort(of_draw * (len(place) + 1) + found, kind="stable")
        return found[order], np.bincount(of_draw, minlength=len(some))

    def one_positive_each(self, pool: Pool, place: np.ndarray) -> Drawn:
        """The same with a draw of its own for every positive; `again` then counts these."""
        counts = np.ones(len(pool), np.int64)
        of_row = np.repeat(np.arange(len(pool)), pool.rows)
        np.maximum.at(counts, of_row, place + 1)
        times = counts[self.query]
        before = np.cumsum(times) - times
        positive = np.arange(int(times.sum())) - np.repeat(before, times)
        again = np.repeat(self.again * times, times) + positive
        keys = np.repeat(self.keys, times)
        keys = np.where(positive > 0, mixed(keys ^ positive.astype(np.uint64)), keys)
        return Drawn(np.repeat(self.query, times), again, keys, positive)


def _stretches(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The whole numbers from each of `starts` on, as many as `counts` says, one stretch after the other."""
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(starts - before, counts)


def places_of_positives(pool: Pool, positive: np.ndarray) -> np.ndarray:
    """The number of each `positive` row (rows,) bool among those of its query, from 0, and -1 for other rows; int32."""
    before = np.cumsum(positive, dtype=np.int32) - positive
    of_query = np.repeat(before[pool.starts[:-1]], pool.rows) if len(pool) else before
    return np.where(positive, before - of_query, np.int32(-1))


def draw(pool: Pool, names: Sequence[str], weighing: Weighing, seed: int) -> Drawn:
    """Queries drawn from the sources called `names`, each by its name, its id and the seed alone."""
    keys = _keys(pool, names, seed)
    units = pool.rows if weighing.unit == "pairs" else np.ones(len(pool), np.int64)
    held = np.bincount(pool.source, weights=units, minlength=len(names)).astype(np.int64)
    weights = np.array([weighing.weights.get(name, 1.0) for name in names])
    counts = apportion(held, alpha=weighing.alpha, weights=weights, size=weighing.size, repeat=weighing.repeat)
    query, again, drawn = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for number in range(len(names)):
        own, left, turn = np.flatnonzero(pool.source == number), int(counts[number]), 0
        while left and len(own):
            of_turn = mixed(keys[own], turn) if turn else keys[own]
            ordered = np.argsort(of_turn, kind="stable")
            # The longest run of queries that does not take more than is wanted.
            fits = ordered[np.cumsum(units[own[ordered]]) <= left]
            query.append(own[fits])
            again.append(np.full(len(fits), turn))
            # Another key than the one that it was drawn by: those drawn have small ones, and would all come first.
            drawn.append(mixed(of_turn[fits], turn + 1))
            left -= int(units[own[fits]].sum())
            turn += 1
            if len(fits) < len(own):
                break
    whole = np.concatenate(query)
    return Drawn(whole, np.concatenate(again), np.concatenate(drawn), np.full(len(whole), ALL))


def _keys(pool: Pool, names: Sequence[str], seed: int) -> np.ndarray:
    """A random key for each query, (queries,) uint64."""
    pairs = zip([names[number] for number in pool.source.tolist()], pool.ids, strict=True)
    return np.fromiter((seed_of(seed, "mix", name, query) for name, query in pairs), np.uint64, len(pool))


def mixed(keys: np.ndarray, salt: int = 0) -> np.ndarray:
    """Other random 64-bit keys made from random ones, (n,) uint64 (the finaliser of SplitMix64)."""
    with np.errstate(over="ignore"):
        mixed = keys + np.uint64(0x9E3779B97F4A7C15) * np.uint64(salt + 1)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: np.ndarray = mixed ^ (mixed >> np.uint64(31))
    return found
