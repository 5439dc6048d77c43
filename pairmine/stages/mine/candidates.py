"""The candidates of a block of queries: the lists of all retrievers as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.retrievers import NOT_FOUND, Hits, Retriever
from pairmine.stages.mine.texts import Documents, Queries, Texts

RRF = schema.score_field("rrf", "rrf")


@dataclass(frozen=True)
class Candidates:
    """The candidates of a block, each (query, document) once, in the order of their rows.

    `query` and `place` name them, `source` is the retriever that ranked them best (the first of
    several) or, once `fused`, put them there, `rank` their rank, `ranks` that in each retriever's list,
    (retrievers, n), 0 where they are not in it; a list goes on where the one of an earlier run ended.
    `rrf` is their score where they were fused by one, (n,) float32.
    """

    query: np.ndarray
    place: np.ndarray
    source: np.ndarray
    rank: np.ndarray
    ranks: np.ndarray
    rrf: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.query)

    @classmethod
    def of(cls, hits: Sequence[Hits], numbers: np.ndarray, width: int, earlier: np.ndarray) -> Candidates:
        """Merge the lists of all retrievers; `width` is above every place.

        `earlier` is the last rank of earlier runs for each retriever and query, (retrievers, queries).
        """
        lists = []
        for (places, _), last in zip(hits, earlier, strict=True):
            rows, columns = np.nonzero(places != NOT_FOUND)
            lists.append((numbers[rows], places[rows, columns], (last[rows] + columns + 1).astype(np.int32)))
        if len(lists) == 1:
            query, place, rank = lists[0]
            return cls(query, place, np.zeros(len(query), np.int64), rank, rank[None])
        return cls._merged(lists, width)

    @classmethod
    def _merged(cls, lists: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], width: int) -> Candidates:
        unique, at = np.unique(
            np.concatenate([query * width + place for query, place, _ in lists]), return_inverse=True
        )
        ranks = np.zeros((len(lists), len(unique)), np.int32)
        ends = np.cumsum([len(query) for query, _, _ in lists])
        for number, (end, (_, _, rank)) in enumerate(zip(ends, lists, strict=True)):
            ranks[number, at[end - len(rank) : end]] = rank
        query, place = unique // width, unique % width
        source, rank = best_of(ranks)
        # A retriever has one document at a rank, so these keys are all different.
        rows = np.lexsort((source, rank, query))
        return cls(query[rows], place[rows], source[rows], rank[rows], ranks[:, rows])

    def take(self, rows: np.ndarray) -> Candidates:
        """Those at `rows`, in that order."""
        rrf = None if self.rrf is None else self.rrf[rows]
        return Candidates(
            self.query[rows], self.place[rows], self.source[rows], self.rank[rows], self.ranks[:, rows], rrf
        )

    def scores(self, number: int, retriever: Retriever, hits: Hits, first: int, earlier: np.ndarray) -> np.ndarray:
        """One retriever's score of every candidate: from its list where it is there, else computed.

        `first` is the number of the block's first query, `earlier` as in `of`.
        """
        ranks = self.ranks[number]
        listed = ranks > 0
        rows = self.query - first
        scores = hits[1][rows, np.where(listed, ranks - earlier[number, rows] - 1, 0)]
        if not listed.all():
            scores[~listed] = retriever.pair_scores(self.query[~listed], self.place[~listed])
        return scores

    def table(self, queries: Queries, documents: Documents, retrievers: Sequence[Retriever]) -> pa.Table:
        """The candidates as rows of a pair set, without scores."""
        origins = pa.array([f"mine:{retriever.name}" for retriever in retrievers], pa.string())
        columns = {
            "query_id": queries.ids.take(pa.array(self.query)),
            "query": _texts_at(queries.texts, self.query),
            "doc_id": documents.ids.take(pa.array(self.place)),
            "document": _texts_at(documents.texts, self.place),
            "label": pa.nulls(len(self.query), pa.int8()),
            "origin": origins.take(pa.array(self.source)),
            "rank": pa.array(self.rank, pa.int32()),
        }
        for name, ranks in zip(rank_names(retrievers), self.ranks, strict=False):
            columns[name] = pa.array(ranks, pa.int32(), mask=ranks == 0)
        found = pa.table(columns)
        return found if self.rrf is None else found.append_column(RRF, pa.array(self.rrf, pa.float32()))


def best_of(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The retriever that ranked each candidate best, the first of several, and its rank there.

    `ranks` are (retrievers, n), 0 where a candidate is not in the list, and n of each come back.
    """
    known = np.where(ranks > 0, ranks, np.iinfo(ranks.dtype).max)
    source = known.argmin(axis=0) if len(known) else np.empty(0, np.int64)
    return source, known[source, np.arange(known.shape[1])]


def _texts_at(texts: Texts, rows: np.ndarray) -> pa.DictionaryArray:
    """The texts at `rows`, each of them once."""
    used, codes = np.unique(rows, return_inverse=True)
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), texts.take(used).cast(pa.string()))


def rank_names(retrievers: Sequence[Retriever]) -> list[str]:
    """Where several retrievers search, the rank in each one's list has a column of its own."""
    return [f"rank_{retriever.score}" for retriever in retrievers] if len(retrievers) > 1 else []


def last_ranks(given: pa.Table, rows: np.ndarray, count: int, retrievers: Sequence[Retriever]) -> np.ndarray:
    """The highest rank that earlier runs gave for each retriever and query, (retrievers, count), 0 without one.

    `rows` is the query of each given row, counted from 0. A rank is the retriever's own where it stands
    in the column `rank_<score>`; else, where the row's origin is `mine:NAME`, the one in `rank`. A row that
    has the former may have been fused, and its `rank` is another list's.
    """
    last = np.zeros((len(retrievers), count), np.int64)
    for number, retriever in enumerate(retrievers):
        own = np.zeros(given.num_rows, np.int64)
        if f"rank_{retriever.score}" in given.column_names:
            own = _ranks(given, f"rank_{retriever.score}")
            np.maximum.at(last[number], rows, own)
        if "rank" in given.column_names:
            alone = (own == 0) & _mined_by(given, [retriever])
            np.maximum.at(last[number], rows[alone], _ranks(given, "rank")[alone])
    return last


def last_fused_rank(given: pa.Table, rows: np.ndarray, count: int, retrievers: Sequence[Retriever]) -> np.ndarray:
    """The highest rank of each query's candidates of earlier runs of any of `retrievers`, (count,), 0 without one."""
    last = np.zeros(count, np.int64)
    if "rank" in given.column_names:
        mined = _mined_by(given, retrievers)
        np.maximum.at(last, rows[mined], _ranks(given, "rank")[mined])
    return last


def _mined_by(given: pa.Table, retrievers: Sequence[Retriever]) -> np.ndarray:
    """Which rows one of `retrievers` put there, (n,) bool."""
    origins = pa.array([f"mine:{retriever.name}" for retriever in retrievers], pa.string())
    return np.asarray(pc.is_in(given["origin"], value_set=origins).to_numpy(zero_copy_only=False))


def _ranks(given: pa.Table, name: str) -> np.ndarray:
    return np.asarray(pc.fill_null(schema.cast_column(given[name], pa.int64(), name), 0).to_numpy())
