"""The candidates of a block of queries: the lists of all retrievers as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.backends.retrievers import NOT_FOUND, Hits, Retriever
from pairmine.stages.mine.texts import Documents, Queries


@dataclass(frozen=True)
class Candidates:
    """The candidates of a block, each (query, document) once, in the order of their rows.

    `query` and `place` name them, `source` is the retriever that ranked them best (the first of
    several), `ranks` their rank in each retriever's list, (retrievers, n), 0 where they are not in it; a list
    goes on where the one of an earlier run ended.
    """

    query: np.ndarray
    place: np.ndarray
    source: np.ndarray
    ranks: np.ndarray

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
            return cls(query, place, np.zeros(len(query), np.int64), rank[None])
        return cls._merged(lists, width)

    @classmethod
    def _merged(cls, lists: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], width: int) -> Candidates:
        key = np.concatenate([query * width + place for query, place, _ in lists])
        rank = np.concatenate([ranks for _, _, ranks in lists])
        source = np.repeat(np.arange(len(lists)), [len(query) for query, _, _ in lists])
        order = np.lexsort((source, rank, key))
        unique, first, inverse = np.unique(key[order], return_index=True, return_inverse=True)
        ranks = np.zeros((len(lists), len(unique)), np.int32)
        ranks[source[order], inverse] = rank[order]
        best_rank, best_source = rank[order][first], source[order][first]
        rows = np.lexsort((best_source, best_rank, unique // width))
        return cls((unique // width)[rows], (unique % width)[rows], best_source[rows], ranks[:, rows])

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
        rank = self.ranks[self.source, np.arange(len(self.source))]
        columns = {
            "query_id": queries.ids.take(pa.array(self.query)),
            "query": _texts_at(queries.column, self.query),
            "doc_id": documents.ids.take(pa.array(self.place)),
            "document": _texts_at(documents.column, self.place),
            "label": pa.nulls(len(self.query), pa.int8()),
            "origin": origins.take(pa.array(self.source)),
            "rank": pa.array(rank, pa.int32()),
        }
        for name, ranks in zip(rank_names(retrievers), self.ranks, strict=False):
            columns[name] = pa.array(ranks, pa.int32(), mask=ranks == 0)
        return pa.table(columns)


def _texts_at(texts: pa.ChunkedArray, rows: np.ndarray) -> pa.DictionaryArray:
    """The texts at `rows`, each of them once."""
    is_used = np.zeros(len(texts), bool)
    is_used[rows] = True
    used = np.flatnonzero(is_used)
    code_of = np.empty(len(texts), np.int32)
    code_of[used] = np.arange(len(used), dtype=np.int32)
    found = texts.take(pa.array(used)).cast(pa.string()).combine_chunks()
    return pa.DictionaryArray.from_arrays(pa.array(code_of[rows]), found)


def rank_names(retrievers: Sequence[Retriever]) -> list[str]:
    """Where several retrievers search, the rank in each one's list has a column of its own."""
    return [f"rank_{retriever.score}" for retriever in retrievers] if len(retrievers) > 1 else []


def last_ranks(given: pa.Table, rows: np.ndarray, count: int, retrievers: Sequence[Retriever]) -> np.ndarray:
    """The highest rank that earlier runs gave for each retriever and query, (retrievers, count), 0 without one.

    `rows` is the query of each given row, counted from 0. A rank is the retriever's own where the
    row's origin is `mine:NAME` or where it stands in the column `rank_<score>`.
    """
    last = np.zeros((len(retrievers), count), np.int64)
    for number, retriever in enumerate(retrievers):
        own_column = f"rank_{retriever.score}"
        if own_column in given.column_names:
            np.maximum.at(last[number], rows, _ranks(given, own_column))
        if "rank" in given.column_names:
            is_own = pc.equal(given["origin"], f"mine:{retriever.name}").to_numpy()
            np.maximum.at(last[number], rows[is_own], _ranks(given, "rank")[is_own])
    return last


def _ranks(given: pa.Table, name: str) -> np.ndarray:
    return np.asarray(pc.fill_null(schema.cast_column(given[name], pa.int64(), name), 0).to_numpy())
