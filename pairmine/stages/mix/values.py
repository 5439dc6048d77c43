"""What a column that the user brought says of each query: its group, its time."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.distinct import distinct
from pairmine.errors import PairmineError

_ISO = re.compile(r"[12]\d{3}(-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?)?)?)?")


def rows_with_value(pairs: pa.Table, name: str, query: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """The rows that say which values of a column a query has: its positives that have one, else all that have one.

    A negative that came from another group says nothing of its query. Raises PairmineError for a column that is not
    there, or that holds lists and the like.
    """
    column = _plain(pairs, name)
    known = pc.is_valid(column).to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.type):
        known &= ~pc.is_nan(column).fill_null(True).to_numpy(zero_copy_only=False)
    by_positives = np.zeros(int(query[-1]) + 1 if len(query) else 0, bool)
    by_positives[query[known & positive]] = True
    return np.flatnonzero(known & (positive | ~by_positives[query]))


def codes_of(pairs: pa.Table, name: str, rows: np.ndarray) -> np.ndarray:
    """A number for the value of each of the `rows`, equal for equal ones, (len(rows),) int64."""
    codes: np.ndarray = _encoded(pairs, name, rows).indices.to_numpy().astype(np.int64)
    return codes


def latest(pairs: pa.Table, name: str, query: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """The place of each query's latest value among all values of a column, ascending, (queries,) int64.

    Raises PairmineError where a query has none, and for values that have no order in time.
    """
    rows = rows_with_value(pairs, name, query, positive)
    queries = int(query[-1]) + 1 if len(query) else 0
    if missing := queries - len(distinct(query[rows])):
        raise PairmineError(
            f'"{name}" is null in all rows of {missing:,} of {queries:,} queries; give them a time or leave them out'
        )
    encoded = _encoded(pairs, name, rows)
    _check_times(name, encoded.dictionary)
    rank = np.empty(len(encoded.dictionary), np.int64)
    rank[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(rank))
    found = np.full(queries, -1)
    np.maximum.at(found, query[rows], rank[encoded.indices.to_numpy()])
    return found


def _plain(pairs: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in pairs.column_names:
        raise PairmineError(
            f'--split-by: the pair set has no "{name}" (found: {", ".join(pairs.column_names)}); name another column'
        )
    column = pairs[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type):
        raise PairmineError(f'--split-by: "{name}" holds {column.type}; name a column of texts, numbers or dates')
    return column


def _encoded(pairs: pa.Table, name: str, rows: np.ndarray) -> pa.DictionaryArray:
    return _plain(pairs, name).take(pa.array(rows)).combine_chunks().dictionary_encode()


def _check_times(name: str, values: pa.Array) -> None:
    """Raise a PairmineError for texts whose order is not that of time, as 3/11/2024."""
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return
    other = next((text for text in values.to_pylist() if not _ISO.fullmatch(text)), None)
    if other is not None:
        raise PairmineError(
            f'--split-by time:{name}: "{other}" is text that does not sort by time; write 2024-11-03, '
            "2024-11-03T17:30:00 or a number"
        )
