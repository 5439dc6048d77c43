"""One list out of those of several retrievers: by reciprocal ranks, or each retriever in its turn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.stages.mine.candidates import Candidates

WAYS = ("union", "rrf", "round-robin")


@dataclass(frozen=True)
class Fusion:
    """How the lists of several retrievers become one.

    "union" keeps every list: what any retriever found is a candidate, at its best rank. The others make one
    list of `keep` candidates a query (None: as many as each retriever finds), whose order is the rank:

    - "rrf" orders by the sum over the lists of weight / (rrf_k + rank), reciprocal rank fusion (Cormack,
      Clarke and Buettcher 2009, SIGIR, who set 60). Equal sums stand in the order of the best rank, then of the
      retrievers that gave it. `weights` are those of the retrievers in their order, all 1 by default.
    - "round-robin" has the retrievers take turns in their order, each with the first of its list that
      none has taken yet; one with an empty list is passed over. The origin is the retriever whose turn it was.

    `ranks` keeps those from the first to the second rank of the fused list, both included.
    """

    way: str = "union"
    keep: int | None = None
    rrf_k: float = 60
    weights: tuple[float, ...] | None = None
    ranks: tuple[int, int] | None = None

    @property
    def fuses(self) -> bool:
        """Whether one list comes out."""
        return self.way != "union"

    def check(self, depth: int, retrievers: int, ranks: tuple[int, int] | None = None) -> None:
        """Raise a PairmineError where it does not fit so many `retrievers` that find `depth` candidates each.

        `ranks` is the band that is asked for.
        """
        if self.way not in WAYS:
            raise PairmineError(f"--fuse {self.way}: choose {', '.join(WAYS)}")
        if self.fuses and retrievers < 2:
            raise PairmineError(f"--fuse {self.way} is for several --retriever, and there is {retrievers}")
        if self.keep is not None:
            self._check_keep(self.keep, depth, retrievers)
        if self.way == "rrf" and not 0 <= self.rrf_k < math.inf:
            raise PairmineError(f"--rrf-k {self.rrf_k:g}: 0 or more")
        if self.weights is not None:
            self._check_weights(self.weights, retrievers)
        kept = self.cut(depth)
        if self.fuses and ranks is not None and ranks[1] > kept:
            low, high = ranks
            raise PairmineError(f"--ranks {low}:{high} wants --keep {high} or more, and it is {kept}")

    def _check_keep(self, keep: int, depth: int, retrievers: int) -> None:
        if not self.fuses:
            raise PairmineError("--keep cuts a fused list, and --fuse union makes none; choose rrf or round-robin")
        if keep < 1:
            raise PairmineError(f"--keep {keep}: at least 1")
        if keep > depth * retrievers:
            raise PairmineError(
                f"--keep {keep}: {retrievers} retrievers find {depth * retrievers} at most; raise --depth, "
                f"which is {depth}"
            )

    def _check_weights(self, weights: tuple[float, ...], retrievers: int) -> None:
        if self.way != "rrf":
            raise PairmineError(f"--fuse-weights is for --fuse rrf, and it is {self.way}; leave one of them out")
        if len(weights) != retrievers:
            raise PairmineError(f"--fuse-weights: {len(weights)} numbers for {retrievers} --retriever; give one each")
        if bad := [weight for weight in weights if not 0 < weight < math.inf]:
            raise PairmineError(f"--fuse-weights {bad[0]:g}: above 0; leave out a --retriever that is not to count")

    def cut(self, depth: int) -> int:
        """The last rank of a list, where each retriever finds `depth` candidates."""
        return depth if self.keep is None else self.keep

    def fused(self, union: Candidates, depth: int, first: int, last: np.ndarray) -> Candidates:
        """The fused list of every query of a block; a union stays what it is.

        `first` is the number of the block's first query; ranks go on after `last`, (queries of the block,).
        """
        if not self.fuses:
            return union
        if not len(union):
            return replace(union, rrf=np.empty(0, np.float32) if self.way == "rrf" else None)
        cut = self.cut(depth)
        listed = self._by_rrf(union) if self.way == "rrf" else _in_turns(union, cut)
        place = _places(listed.query)
        low, high = self.ranks or (1, cut)
        kept = np.flatnonzero((place >= low) & (place <= high))
        listed = listed.take(kept)
        return replace(listed, rank=(place[kept] + last[listed.query - first]).astype(np.int32))

    def _by_rrf(self, union: Candidates) -> Candidates:
        """`union` in the order of its reciprocal ranks."""
        weights = np.asarray(self.weights if self.weights is not None else np.ones(len(union.ranks)), np.float64)
        shares = np.where(union.ranks > 0, weights[:, None] / (self.rrf_k + np.maximum(union.ranks, 1)), 0)
        # Added from the smallest up, as the same shares in another order may differ in the last bit, and then
        # put in the order of what is written: equal sums are equal.
        score = np.sort(shares, axis=0).sum(axis=0).astype(np.float32)
        # The sort is stable, and the union stands in the order of the best rank and the retriever that gave it.
        return replace(union, rrf=score).take(np.lexsort((-score, union.query)))


UNION = Fusion()


def _places(query: np.ndarray) -> np.ndarray:
    """The place of each row among those of its query, which stand together, from 1."""
    new = np.ones(len(query), bool)
    new[1:] = query[1:] != query[:-1]
    starts = np.flatnonzero(new)
    return np.arange(len(query)) - np.repeat(starts, np.diff(np.append(starts, len(query)))) + 1


def _in_turns(union: Candidates, keep: int) -> Candidates:
    """The first `keep` of each query that its retrievers take in turns, all queries at once."""
    queries, of_row = np.unique(union.query, return_inverse=True)
    lists = [_List.of(of_row, ranks, len(queries)) for ranks in union.ranks]
    is_taken = np.zeros(len(union), bool)
    count = np.zeros(len(queries), np.int64)
    chosen: list[np.ndarray] = []
    sources: list[np.ndarray] = []
    asking = np.arange(len(queries))
    while len(asking):
        before = len(chosen)
        for number, one in enumerate(lists):
            wanting = asking[count[asking] < keep]
            takers, rows = one.next_of(wanting, is_taken)
            is_taken[rows] = True
            count[takers] += 1
            if len(rows):
                chosen.append(rows)
                sources.append(np.full(len(rows), number))
        taken = np.concatenate(chosen[before:]) if len(chosen) > before else np.empty(0, np.int64)
        asking = distinct(of_row[taken])
        asking = asking[count[asking] < keep]
    rows = np.concatenate(chosen)
    # Rows of one query were appended in the order of its turns.
    order = np.argsort(union.query[rows], kind="stable")
    return replace(union.take(rows[order]), source=np.concatenate(sources)[order])


@dataclass
class _List:
    """One retriever's list of every query: rows of the union, best first, those of `query` from `at` to `end`."""

    rows: np.ndarray
    at: np.ndarray
    end: np.ndarray

    @classmethod
    def of(cls, query: np.ndarray, ranks: np.ndarray, count: int) -> _List:
        found = np.flatnonzero(ranks > 0)
        rows = found[np.lexsort((ranks[found], query[found]))]
        ends = np.cumsum(np.bincount(query[rows], minlength=count))
        return cls(rows, np.append(0, ends[:-1]), ends)

    def next_of(self, queries: np.ndarray, is_taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first row of each of `queries` that is not taken yet, beside the query; none where all are."""
        seeking = queries
        while len(seeking := seeking[self.at[seeking] < self.end[seeking]]):
            seeking = seeking[is_taken[self.rows[self.at[seeking]]]]
            self.at[seeking] += 1
        takers = queries[self.at[queries] < self.end[queries]]
        return takers, self.rows[self.at[takers]]
