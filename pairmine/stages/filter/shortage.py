"""What becomes of queries that the rules left with too few negatives, and random documents to fill them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import identity
from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.schema import NEGATIVE, cast_table
from pairmine.stages.filter.luck import draws, seeds_of
from pairmine.stages.filter.rows import NO_CODE, Rows, among, join, repeats

ORIGIN = "fill:random"
KEY_COLUMN = "text_key"
UNKNOWN = -1
_TICKETS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Shortage:
    """What becomes of short queries: rejected candidates come back up to step `steps` (0: none do), then
    the query is kept short, dropped or filled (`last`)."""

    last: str
    steps: int = 0


MOST_STEPS = 100
SHORTAGES = ("keep", "drop", "fill", "relax", "relax+drop", "relax+fill")


def parse_shortage(text: str, steps: int) -> Shortage:
    """One of `SHORTAGES`; `steps` count where it relaxes."""
    if text not in SHORTAGES:
        raise PairmineError(f'shortage is "{text}"; it is one of: {", ".join(SHORTAGES)}')
    relaxes, _, last = text.partition("+")
    if relaxes != "relax":
        return Shortage(text)
    if not 1 <= steps <= MOST_STEPS:
        raise PairmineError(f"relax steps is {steps}; it must be 1 to {MOST_STEPS}")
    return Shortage(last or "keep", steps)


@dataclass(frozen=True)
class Fills:
    """Which filler each short query gets: `query` nondecreasing, `filler` the row of the filler table."""

    query: np.ndarray
    filler: np.ndarray


NO_FILLS = Fills(np.zeros(0, np.int64), np.zeros(0, np.int64))


class Fillers:
    """The documents that may fill a shortage, one table for every call of a run.

    Columns: `doc_id`, `document` (left out where pair sets go without text) and, to save each call
    from normalising what it draws, `text_key`, the documents' `identity.text_keys`.
    """

    def __init__(self, table: pa.Table | None, pairs: pa.Schema) -> None:
        if table is None:
            raise PairmineError(
                "filling a shortage takes documents to draw from; pass a corpus, or choose drop or keep"
            )
        for name in ("doc_id", "document"):
            if name in pairs.names and name not in table.column_names:
                raise PairmineError(
                    f'the documents to fill from have no "{name}" (found: {", ".join(table.column_names)})'
                )
        if nulls := table["doc_id"].null_count:
            raise PairmineError(f'the documents to fill from: "doc_id" is null in {nulls} of {table.num_rows} rows')
        self.table = table
        self._keys = np.zeros(table.num_rows, np.uint64)
        self._read = np.full(table.num_rows, KEY_COLUMN in table.column_names)
        if KEY_COLUMN in table.column_names:
            self._keys = pc.fill_null(table[KEY_COLUMN], 0).to_numpy().astype(np.uint64)

    @property
    def has_text(self) -> bool:
        return "document" in self.table.column_names

    def take(self, name: str, at: np.ndarray) -> pa.ChunkedArray:
        """Values of column `name` at the rows `at`.

        Chunk by chunk, because Arrow joins all chunks of a column of strings to take from it.
        """
        column = self.table[name]
        wanted, back = np.unique(at, return_inverse=True)
        ends = np.cumsum([len(chunk) for chunk in column.chunks])
        parts, start = [], 0
        for chunk, end in zip(column.chunks, ends, strict=True):
            here = wanted[(wanted >= start) & (wanted < end)] - start
            parts.append(_plain(chunk.take(pa.array(here))))
            start = int(end)
        return pa.chunked_array(parts).take(pa.array(back))

    def keys(self, at: np.ndarray) -> np.ndarray:
        """`identity.text_keys` of the rows `at`, each read once."""
        unread = distinct(at[~self._read[at]])
        if len(unread):
            self._keys[unread] = identity.text_keys(self.take("document", unread))
            self._read[unread] = True
        keys: np.ndarray = self._keys[at]
        return keys


def _plain(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def fill(rows: Rows, missing: np.ndarray, fillers: Fillers, *, negatives: int, seed: int) -> Fills:
    """Draw `missing[query]` fillers for each query, fewer where no more may serve.

    None of them is, by id or text, the query, a row that the query came with (a candidate that the
    rules rejected may answer the query), a positive's source, blank, or drawn twice.
    """
    short = np.flatnonzero(missing > 0)
    if not fillers.table.num_rows or not len(short):
        return NO_FILLS
    taken = _Taken(rows, short, fillers)
    step = max(1, _TICKETS_AT_ONCE // (4 * _width(negatives)))
    parts = []
    for start in range(0, len(short), step):
        block = short[start : start + step]
        seeds = seeds_of(seed, rows.query_ids.take(pa.array(block)).to_pylist())
        parts.append(_draw(block, missing[block], seeds, taken, negatives))
    query, filler = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Fills(query, filler)


class _Taken:
    """What each short query already has, asked about fillers by their row."""

    def __init__(self, rows: Rows, short: np.ndarray, fillers: Fillers) -> None:
        is_short = np.zeros(len(rows.query_ids), bool)
        is_short[short] = True
        at = np.flatnonzero(is_short[rows.query])
        sources = is_short[rows.query[rows.source_rows]]
        self._docs = distinct(np.r_[rows.joined(rows.doc[at], at), rows.joined(rows.source, rows.source_rows)[sources]])
        self._texts = distinct(np.r_[rows.joined(rows.text[at], at), rows.joined(rows.query_text[at], at)])
        self._rows = rows
        self.fillers = fillers

    def may_serve(self, query: np.ndarray, filler: np.ndarray) -> np.ndarray:
        """Whether each (query, filler) may be used, (n,) bool; later repeats within a query may not."""
        drawn, which = np.unique(filler, return_inverse=True)
        ids = self.fillers.take("doc_id", drawn)
        own = pc.dictionary_encode(ids.combine_chunks()).indices.to_numpy().astype(np.int64)
        known = pc.index_in(ids.cast(self._rows.doc_ids.type), value_set=self._rows.doc_ids)
        doc = known.fill_null(UNKNOWN).to_numpy().astype(np.int64)
        free = ~_has(self._docs, query, doc[which])
        if self.fillers.has_text:
            keys = self.fillers.keys(drawn)
            place = np.minimum(np.searchsorted(self._rows.keys, keys), len(self._rows.keys) - 1)
            text = np.where(self._rows.keys[place] == keys, place, UNKNOWN)
            free &= (text != NO_CODE)[which] & ~_has(self._texts, query, text[which])
            _keep_first(free, query, np.unique(keys, return_inverse=True)[1][which])
        _keep_first(free, query, own[which])
        return free


def _keep_first(free: np.ndarray, query: np.ndarray, codes: np.ndarray) -> None:
    at = np.flatnonzero(free)
    free[at] = ~repeats(join(query[at], codes[at]))


def _has(taken: np.ndarray, query: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return among(join(query, np.maximum(codes, 0)), taken) & (codes != UNKNOWN)


def _draw(
    queries: np.ndarray, missing: np.ndarray, seeds: np.ndarray, taken: _Taken, negatives: int
) -> tuple[np.ndarray, np.ndarray]:
    """Some tickets for every query at once; a query whose tickets are too few is searched on its own.

    How many depends on the options alone: what a query draws must not hang on its company.
    """
    size, width = taken.fillers.table.num_rows, _width(negatives)
    if size <= 4 * width:
        tickets = _shuffled(seeds, size)
    else:
        tickets = (draws(seeds[:, None], np.arange(width, dtype=np.uint64)) % np.uint64(size)).astype(np.int64)
    free = taken.may_serve(np.repeat(queries, tickets.shape[1]), tickets.ravel()).reshape(tickets.shape)
    chosen = free & (free.cumsum(axis=1) <= missing[:, None])
    found = [tickets[row][chosen[row]] for row in range(len(queries))]
    if size > 4 * width:
        for row in np.flatnonzero(chosen.sum(axis=1) < missing):
            every = _shuffled(seeds[row : row + 1], size)[0]
            found[row] = every[taken.may_serve(np.full(size, queries[row]), every)][: missing[row]]
    return np.repeat(queries, [len(part) for part in found]), np.concatenate(found)


def _width(negatives: int) -> int:
    return 2 * negatives + 8


def _shuffled(seeds: np.ndarray, size: int) -> np.ndarray:
    """The fillers in each query's own random order, (len(seeds), size) int64."""
    return np.argsort(draws(seeds[:, None], np.arange(size, dtype=np.uint64)), axis=1, kind="stable")


def filled_rows(heads: pa.Table, fillers: Fillers, at: np.ndarray, schema: pa.Schema) -> pa.Table:
    """The fillers `at` as label 0 rows of the queries of `heads`, a row each; null in every other column."""
    columns = {name: heads[name] for name in ("query_id", "query") if name in schema.names}
    columns["doc_id"] = fillers.take("doc_id", at)
    if fillers.has_text and "document" in schema.names:
        columns["document"] = fillers.take("document", at)
    columns["label"] = pa.repeat(pa.scalar(NEGATIVE, pa.int8()), len(at))
    columns["origin"] = pa.repeat(pa.scalar(ORIGIN), len(at))
    return cast_table(pa.table(columns), schema)
