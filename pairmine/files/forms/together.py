"""Brings the pairs of each query together, in bounded memory, whatever the order of the training rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa

from pairmine import schema
from pairmine.files.blocks import last_query_start
from pairmine.files.forms.tables import NUMBER
from pairmine.files.locations import told_of_tempdir

BUCKET_ROWS = 131_072
"""Training rows that are sorted at once where those of a query stand apart."""
_WHAT = "the rows while they are brought together"


class Order:
    """Where each training row goes: `keys` (n,) int64 is equal for rows of one query.

    `first` (n,) int64 is the first row of each row's query, and `is_apart` says that other queries stand between
    some rows of one.
    """

    def __init__(self, keys: np.ndarray) -> None:
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        self.first: np.ndarray = first[inverse]
        starts = np.flatnonzero(np.diff(keys, prepend=~keys[:1]))
        self.is_apart = len(starts) > len(first)

    def buckets(self) -> np.ndarray:
        """A number for each row, (n,) int64, the same for rows of a query and about `BUCKET_ROWS` rows to each."""
        _, inverse, sizes = np.unique(self.first, return_inverse=True, return_counts=True)
        before = np.cumsum(sizes) - sizes
        return (before // BUCKET_ROWS)[inverse]


def whole_queries(tables: Iterable[pa.Table], order: Order, rows: int) -> Iterator[pa.Table]:
    """`tables` again in tables of about `rows` rows, all rows of a query together at the place of its first one."""
    if order.is_apart:
        tables = _sorted(tables, order)
    pending: list[pa.Table] = []
    count = 0
    for table in tables:
        pending.append(table)
        count += table.num_rows
        if count < rows:
            continue
        joined = pa.concat_tables(pending)
        cut = last_query_start(joined["query_id"])
        if cut:
            yield joined.slice(0, cut)
            joined = joined.slice(cut)
        pending, count = [joined], joined.num_rows
    if pending:
        yield pa.concat_tables(pending)


def _sorted(tables: Iterable[pa.Table], order: Order) -> Iterator[pa.Table]:
    """The rows by the first row of their query, then as they stand; buckets of them lie in files meanwhile."""
    bucket = order.buckets()
    with told_of_tempdir(_WHAT):
        made = tempfile.TemporaryDirectory(prefix="pairmine-")
    with made as folder:
        writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        try:
            for table in tables:
                plain = table.cast(_plain(table.schema))
                own = bucket[plain[NUMBER].to_numpy()]
                with told_of_tempdir(_WHAT):
                    for number in np.unique(own).tolist():
                        if number not in writers:
                            writers[number] = pa.ipc.new_stream(f"{folder}/{number}", plain.schema)
                        writers[number].write_table(plain.filter(pa.array(own == number)))
            with told_of_tempdir(_WHAT):
                for writer in writers.values():
                    writer.close()
        except BaseException:
            for writer in writers.values():
                with suppress(OSError):
                    writer.close()
            raise
        for number in sorted(writers):
            yield _in_order(Path(folder) / str(number), order)


def _plain(columns: pa.Schema) -> pa.Schema:
    """`columns` with texts in place of dictionaries, of which a stream has one for each batch."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in columns
    ]
    return pa.schema(fields)


def _in_order(path: Path, order: Order) -> pa.Table:
    with pa.ipc.open_stream(str(path)) as reader:
        table = reader.read_all()
    number = table[NUMBER].to_numpy()
    place = np.lexsort((np.arange(len(number)), number, order.first[number]))
    return schema.as_pairs(table.take(pa.array(place)))


def without_repeats(table: pa.Table) -> pa.Table:
    """`table`, whole queries, without pairs that an earlier training row of the query has with the same label.

    Layouts that cross positives with negatives write each pair many times; what comes twice in one training row stays.
    """
    number = table[NUMBER].to_numpy()
    if not len(number):
        return table
    keys = np.zeros(len(number), np.int64)
    for name in ("query_id", "doc_id"):
        codes = pa.concat_arrays(table[name].chunks).dictionary_encode().indices.to_numpy().astype(np.int64)
        keys = np.unique(keys * (int(codes.max()) + 1) + codes, return_inverse=True)[1]
    keys = keys * 3 + table["label"].fill_null(2).to_numpy()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    kept = number == number[first][inverse]
    return table if kept.all() else table.filter(pa.array(kept))
