"""Which rows the page holds: whole queries, drawn by lot, whatever the chunks they came in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.schema import POSITIVE, concat_pairs

MOST_OF_QUERY = 60
"""Rows of one query that are shown at most, our choice; its positives first."""
NO_REASON = "no reason"
_NEVER = np.uint64(2**64 - 1)


def lot(seed: int, *names: str) -> int:
    """A number below 2**64 that hangs on the seed and the names alone; the lowest are drawn."""
    key = seed.to_bytes(8, "little", signed=True)
    body = "\0".join(names).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(body, digest_size=8, key=key).digest(), "little")


def lots(seed: int, ids: pa.ChunkedArray) -> np.ndarray:
    """The lot of each row's query, (n,) uint64."""
    encoded = ids.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    of_id = np.fromiter(
        (lot(seed, each) for each in encoded.dictionary.to_pylist()), np.uint64, len(encoded.dictionary)
    )
    return of_id[encoded.indices.to_numpy()]


class QuerySample:
    """A seeded sample of whole queries, `rows` rows at most: `add` chunks of whole queries, then `table`.

    Queries in `wanted` come first, the others by lot. Of a query at most `most` rows are held: its positives,
    then others by lot. A first query with more than `rows` rows is held all the same.
    """

    def __init__(self, rows: int, seed: int, *, most: int | None = MOST_OF_QUERY, wanted: Collection[str] = ()) -> None:
        self.rows_of: dict[str, int] = {}
        self._rows = rows
        self._seed = seed
        self._most = most
        self._wanted = pa.array(sorted(wanted), pa.string())
        self._held: list[pa.Table] = []
        self._size = 0
        self._limit = _NEVER

    def add(self, pairs: pa.Table) -> None:
        """Take what may be drawn of a chunk of whole queries."""
        if not pairs.num_rows or not self._rows:
            return
        order = self._order(pairs)
        taken = pairs.filter(pa.array(order <= self._limit))
        if not taken.num_rows:
            return
        self._held.append(self._cut(taken))
        self._size += self._held[-1].num_rows
        if self._size > 2 * self._rows:
            self._settle()

    def table(self) -> pa.Table | None:
        """The rows drawn, queries in the order of their lots, rows as they stood in the file; None without any."""
        self._settle()
        if not self._held:
            return None
        held = self._held[0]
        return held.take(pa.array(np.argsort(self._order(held), kind="stable")))

    def _order(self, pairs: pa.Table) -> np.ndarray:
        """Where each row's query stands in line, (n,) uint64; wanted ones before all others."""
        order = lots(self._seed, pairs["query_id"]) >> np.uint64(1)
        if len(self._wanted):
            is_wanted = pc.is_in(pairs["query_id"], value_set=self._wanted).to_numpy()
            order[~is_wanted] += np.uint64(1 << 63)
        else:
            order += np.uint64(1 << 63)
        return order

    def _cut(self, pairs: pa.Table) -> pa.Table:
        """`pairs` without what is too much of a query; `rows_of` keeps how many those queries had."""
        counts = pc.value_counts(pairs["query_id"].combine_chunks())
        long = {
            each["values"]: each["counts"] for each in counts.to_pylist() if self._most and each["counts"] > self._most
        }
        self.rows_of |= long
        if not long:
            return pairs
        ids, docs = pairs["query_id"].to_pylist(), pairs["doc_id"].to_pylist()
        labels = pairs["label"].to_pylist() if "label" in pairs.column_names else [None] * len(ids)
        of_query: dict[str, list[tuple[bool, int, int]]] = {}
        for row, (query, doc, label) in enumerate(zip(ids, docs, labels, strict=True)):
            if query in long:
                of_query.setdefault(query, []).append((label != POSITIVE, lot(self._seed, query, doc), row))
        dropped = [row for found in of_query.values() for _, _, row in sorted(found)[self._most :]]
        keep = np.ones(len(ids), bool)
        keep[dropped] = False
        return pairs.filter(pa.array(keep))

    def _settle(self) -> None:
        """Let go of the queries that cannot be drawn any more."""
        if not self._held:
            return
        held = concat_pairs(self._held)
        order = self._order(held)
        found, counts = np.unique(order, return_counts=True)
        fits = max(int(np.searchsorted(np.cumsum(counts), self._rows, side="right")), 1)
        if fits < len(found):
            # A query before the first that is too much may still come and fit; nothing from there on can.
            self._limit = found[fits] - np.uint64(1)
            held = held.filter(pa.array(order <= self._limit))
        self._held, self._size = [held.unify_dictionaries()], held.num_rows


class ReasonSample:
    """For every reason of rejected rows the queries with the lowest lots that have such a row."""

    def __init__(self, most: int, seed: int) -> None:
        self._most = most
        self._seed = seed
        self._drawn: dict[str, dict[str, int]] = {}

    def add(self, rejected: pa.Table) -> None:
        """Draw of a chunk of rejected rows."""
        pairs = rejected.select(["reason", "query_id"]).group_by(["reason", "query_id"], use_threads=False)
        for row in pairs.aggregate([]).to_pylist():
            drawn = self._drawn.setdefault(row["reason"] or NO_REASON, {})
            drawn[row["query_id"]] = lot(self._seed, row["query_id"])
            if len(drawn) > 2 * self._most:
                self._drawn[row["reason"] or NO_REASON] = self._lowest(drawn)

    def _lowest(self, drawn: dict[str, int]) -> dict[str, int]:
        return dict(sorted(drawn.items(), key=lambda item: (item[1], item[0]))[: self._most])

    def queries(self) -> set[str]:
        """The ids of the queries drawn."""
        return {query for drawn in self._drawn.values() for query in self._lowest(drawn)}


def of_queries(tables: Iterable[pa.Table], wanted: Collection[str], *, seed: int, most: int) -> pa.Table | None:
    """Rejected rows of the queries `wanted`, at most `most` of each query: those of rare reasons come first."""
    ids = pa.array(sorted(wanted), pa.string())
    found = [table.filter(pc.is_in(table["query_id"], value_set=ids)) for table in tables]
    found = [table for table in found if table.num_rows]
    if not found:
        return None
    rows = concat_pairs(found)
    reasons = [reason or NO_REASON for reason in rows["reason"].to_pylist()]
    queries, docs = rows["query_id"].to_pylist(), rows["doc_id"].to_pylist()
    many, turns = Counter(reasons), Counter[tuple[str, str]]()
    lines: dict[str, list[tuple[int, int, int]]] = {}
    for row in sorted(range(len(reasons)), key=lambda row: (lot(seed, queries[row], docs[row]), row)):
        key = queries[row], reasons[row]
        lines.setdefault(queries[row], []).append((turns[key], many[reasons[row]], row))
        turns[key] += 1
    # Within a query the reasons take turns, the rarest first; each gives its rows by lot.
    fair = (sorted(line, key=lambda each: each[:2])[:most] for line in lines.values())
    return rows.take(pa.array(sorted(row for line in fair for *_, row in line)))
