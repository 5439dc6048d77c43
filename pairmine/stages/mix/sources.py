"""Several pair sets as one: whose query is whose, and ids that mean one thing only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.stages.export.rows import query_runs
from pairmine.stages.mix.interned import check_room
from pairmine.stages.mix.standins import texts_or_keys


@dataclass(frozen=True)
class Source:
    """One of the pair sets that are mixed, and what the column `source` calls it."""

    name: str
    pairs: pa.Table


@dataclass(frozen=True)
class Pool:
    """The rows of all sources, those of each after those of the one before.

    `starts` is the first row of each query, (queries + 1,) with the end; `source` the number of its source,
    (queries,); `ids` the id that it has there.
    """

    pairs: pa.Table
    starts: np.ndarray
    source: np.ndarray
    ids: list[str]

    @classmethod
    def of(cls, sources: Sequence[Source], notes: Counter[str]) -> Pool:
        """Pool `sources`, each with its rows of a query together.

        A query id that an earlier source has gets the name of its source in front, as in `nli/17`; so does a
        document id that has another text there. A column `source` that a pair set brings becomes `other_source`.
        Raises PairmineError for what is no pair set.
        """
        tables, starts, ids = list[pa.Table](), list[np.ndarray](), list[str]()
        seen_queries, texts, rows = set[str](), dict[str, int](), 0
        for source in sources:
            pairs = canonical(source)
            firsts = _firsts(source.name, pairs)
            own = pairs["query_id"].take(pa.array(firsts)).to_pylist()
            ids += own
            taken = seen_queries.intersection(own)
            seen_queries.update(own)
            if taken:
                pairs = _renamed(pairs, "query_id", taken, source.name)
                notes["query ids that an earlier source has, renamed"] += len(taken)
            if len(sources) > 1 and (clashes := _clashes(pairs, texts)):
                for column in ("doc_id", "source_id"):
                    pairs = _renamed(pairs, column, clashes, source.name)
                notes["document ids that have another text in an earlier source, renamed"] += len(clashes)
            starts.append(firsts + rows)
            tables.append(pairs)
            rows += pairs.num_rows
        number = np.repeat(np.arange(len(sources)), [len(each) for each in starts])
        return cls(_unified(schema.concat_pairs(tables)), np.concatenate([*starts, [rows]]), number, ids)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> np.ndarray:
        """How many rows each query has, (queries,)."""
        return np.diff(self.starts)

    def of_rows(self, kept: np.ndarray) -> tuple[Pool, np.ndarray]:
        """The rows of `kept` (rows,) bool alone, and the queries that have any of them, (queries,) int64."""
        if kept.all():
            return self, np.arange(len(self))
        before = np.concatenate([[0], np.cumsum(kept)])
        starts = before[self.starts]
        queries = np.flatnonzero(np.diff(starts))
        ids = [self.ids[query] for query in queries.tolist()]
        pairs = self.pairs.filter(pa.array(kept))
        return Pool(pairs, np.append(starts[queries], len(pairs)), self.source[queries], ids), queries

    def rows_of(self, queries: np.ndarray) -> np.ndarray:
        """The rows of the given queries, one query after the other."""
        counts = self.rows[queries]
        before = np.cumsum(counts) - counts
        return np.arange(int(counts.sum())) + np.repeat(self.starts[queries] - before, counts)


def _unified(pairs: pa.Table) -> pa.Table:
    """`pairs` with one dictionary in each column of texts."""
    try:
        return pairs.unify_dictionaries().combine_chunks()
    except pa.lib.ArrowCapacityError:
        for name in pairs.column_names:
            if pa.types.is_dictionary(pairs[name].type):
                check_room(name, sum(chunk.dictionary.nbytes for chunk in pairs[name].chunks))
        raise


def canonical(source: Source) -> pa.Table:
    """The pairs of `source` with its name in the column `source`; one that they bring becomes `other_source`."""
    schema.check_pairs(source.pairs, where=source.name)
    names = pa.repeat(pa.scalar(source.name), source.pairs.num_rows).dictionary_encode()
    return schema.as_pairs(freed(source.pairs, "source")).append_column("source", names)


def freed(pairs: pa.Table, name: str) -> pa.Table:
    """`pairs` with another name for a column called `name`, so that there is room for ours."""
    if name not in pairs.column_names:
        return pairs
    free = schema.free_name(name, {name}, [each for each in pairs.column_names if each != name])
    return pairs.rename_columns([free if each == name else each for each in pairs.column_names])


def _firsts(name: str, pairs: pa.Table) -> np.ndarray:
    try:
        runs = query_runs(pairs["query_id"])
    except PairmineError as error:
        raise PairmineError(f"{name}: {error}") from None
    return np.flatnonzero(np.diff(runs, prepend=-1)) if len(runs) else np.empty(0, np.int64)


def _renamed(pairs: pa.Table, column: str, ids: set[str], name: str) -> pa.Table:
    if column not in pairs.column_names:
        return pairs
    values = pairs[column]
    clash = pc.is_in(values, value_set=pa.array(sorted(ids), pa.string()))
    renamed = pc.if_else(clash, pc.binary_join_element_wise(name, values, "/"), values)
    return pairs.set_column(pairs.column_names.index(column), column, renamed)


def _clashes(pairs: pa.Table, texts: dict[str, int]) -> set[str]:
    """The document ids of `pairs` that have another text in `texts`; takes in those that are new."""
    if "document" not in pairs.column_names or not pairs.num_rows:
        return set()
    present = pa.table({"doc_id": pairs["doc_id"], "document": texts_or_keys(pairs, "document")})
    present = present.filter(pc.is_valid(present["document"]))
    if not present.num_rows:
        return set()
    codes = present["doc_id"].combine_chunks().dictionary_encode()
    first = np.unique(codes.indices.to_numpy(), return_index=True)[1]
    found = present.take(pa.array(first))
    clashes = set()
    for name, text in zip(found["doc_id"].to_pylist(), found["document"].to_pylist(), strict=True):
        # Python salts its hashes per process; these never leave it.
        if texts.setdefault(name, hash(text)) != hash(text):
            clashes.add(name)
    return clashes
