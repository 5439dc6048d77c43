"""A pair set as numbers: which rows share a query, a document, a text.

Strings are compared once here; everything after it works on integer codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import identity
from pairmine.errors import PairmineError
from pairmine.schema import POSITIVE

UNDECIDED = -1
REJECTED = -2
"""The label code of a row that a gate or a text rule rejected: no positive, no candidate, and no filler either."""

NO_CODE = 0
"""The text code of a null or blank text, which is a copy of nothing."""

_TEXTS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Rows:
    """The rows of a pair set, codes (n,) int64 unless said otherwise.

    `query` counts up from 0 in row order, `query_ids` says which it is; `doc` indexes `doc_ids`.
    `text` and `query_text` index `keys`, the sorted `identity.text_key` values, and are equal for
    copies. `label` is int8, `UNDECIDED` for null, `REJECTED` for rows that are out. `source_rows` are
    the positives with a `source_id`, `source` indexes `doc_ids` too.
    """

    query: np.ndarray
    doc: np.ndarray
    text: np.ndarray
    query_text: np.ndarray
    label: np.ndarray
    source_rows: np.ndarray
    source: np.ndarray
    query_ids: pa.Array
    doc_ids: pa.Array
    keys: np.ndarray

    @property
    def answered(self) -> np.ndarray:
        """Which queries have a positive, (queries,) bool."""
        return np.bincount(self.query[self.label == POSITIVE], minlength=len(self.query_ids)) > 0

    def joined(self, codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """`codes` of `rows` made unequal between queries, (len(rows),) int64."""
        return join(self.query[rows], codes)


def join(query: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """One int64 for each (query, code), ordered by query first."""
    joined: np.ndarray = (query << 32) | codes
    return joined


def read_queries(pairs: pa.Table) -> tuple[np.ndarray, pa.Array]:
    """The code of each row's query, from 0 in row order, and the query_id of each code.

    Raises a PairmineError when a query's rows are apart.
    """
    query, query_ids = _coded(pairs["query_id"])
    _check_contiguous(query, query_ids)
    return query, query_ids


def read_labels(pairs: pa.Table) -> np.ndarray:
    """The label of each row, (n,) int8, `UNDECIDED` for null."""
    labels: np.ndarray = pc.fill_null(pairs["label"], UNDECIDED).to_numpy()
    return labels


def read_rows(pairs: pa.Table, alive: np.ndarray | None = None, *, texts: bool = True) -> Rows:
    """The codes of `pairs`, a non-empty pair set; raises a PairmineError when a query's rows are apart.

    Rows that are not `alive` (a mask) any more are `REJECTED`. Reading `texts` is what takes time; without
    them all count as blank.
    """
    query, query_ids = read_queries(pairs)
    label = read_labels(pairs)
    if alive is not None:
        label = np.where(alive, label, REJECTED).astype(np.int8)
    source_rows, source_ids = _sources(pairs, label)
    codes, doc_ids = _coded(pa.chunked_array([*pairs["doc_id"].chunks, *source_ids.chunks], pa.string()))
    doc, source = codes[: pairs.num_rows], codes[pairs.num_rows :]
    (text, query_text), keys = _text_codes(pairs if texts else pairs.select([]), ("document", "query"))
    return Rows(query, doc, text, query_text, label, source_rows, source, query_ids, doc_ids, keys)


def _coded(ids: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """The code of each id, in order of first appearance, and the ids by code."""
    chunks = ids.dictionary_encode().chunks
    if not chunks:
        return np.zeros(0, np.int64), pa.array([], ids.type)
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in chunks]).astype(np.int64)
    return codes, chunks[-1].dictionary


def _check_contiguous(query: np.ndarray, query_ids: pa.Array) -> None:
    backwards = np.flatnonzero(query[1:] < query[:-1])
    if len(backwards):
        again = query_ids[int(query[backwards[0] + 1])].as_py()
        raise PairmineError(
            f"query {again!r} comes up again after other queries; rows of one query must follow each other, "
            "so sort by query_id"
        )


def _sources(pairs: pa.Table, label: np.ndarray) -> tuple[np.ndarray, pa.ChunkedArray]:
    """The positives that were cut from a document, and the ids of those documents."""
    if "source_id" not in pairs.column_names:
        return np.zeros(0, np.int64), pa.chunked_array([], pa.string())
    cut = (label == POSITIVE) & pairs["source_id"].is_valid().to_numpy()
    return np.flatnonzero(cut), pairs["source_id"].filter(pa.array(cut))


def _text_codes(pairs: pa.Table, names: tuple[str, ...]) -> tuple[list[np.ndarray], np.ndarray]:
    """Codes of the named text columns over one sorted list of keys; all 0 where a column is missing."""
    columns = [_Texts(pairs[name]) if name in pairs.column_names else None for name in names]
    found = [column.keys for column in columns if column]
    keys = distinct(np.concatenate([np.array([identity.NO_TEXT], np.uint64), *found]))
    return [column.codes(keys) if column else np.zeros(pairs.num_rows, np.int64) for column in columns], keys


class _Texts:
    """The text keys of one column; each dictionary value that a row uses is normalised once.

    A slice of a large table brings its whole dictionary along, and the chunks of one table often
    share one, so unused values are left out and a dictionary met again is not read again.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._parts: list[tuple[int, np.ndarray]] = []
        self._used: list[np.ndarray] = []
        self._dictionaries: list[pa.Array] = []
        seen: dict[tuple[int, ...], int] = {}
        for chunk in column.chunks:
            which = seen.setdefault(_address(chunk.dictionary), len(self._dictionaries))
            size = len(chunk.dictionary)
            if which == len(self._dictionaries):
                self._dictionaries.append(chunk.dictionary)
                self._used.append(np.zeros(size + 1, bool))
            indices = chunk.indices.fill_null(size).to_numpy()
            self._used[which][indices] = True
            self._parts.append((which, indices))
        self._keys = [self._read(which) for which in range(len(self._dictionaries))]

    def _read(self, which: int) -> np.ndarray:
        values = np.flatnonzero(self._used[which][:-1])
        keys = np.full(len(self._used[which]), identity.NO_TEXT, np.uint64)
        for start in range(0, len(values), _TEXTS_AT_ONCE):
            part = values[start : start + _TEXTS_AT_ONCE]
            keys[part] = identity.text_keys(self._dictionaries[which].take(pa.array(part)))
        return keys

    @property
    def keys(self) -> np.ndarray:
        return np.concatenate([*self._keys, np.empty(0, np.uint64)])

    def codes(self, keys: np.ndarray) -> np.ndarray:
        of_value = [np.searchsorted(keys, part) for part in self._keys]
        return np.concatenate([of_value[which][indices] for which, indices in self._parts])


def _address(dictionary: pa.Array) -> tuple[int, ...]:
    """Equal for arrays that are the same memory; arrays that are alive at once."""
    buffers = [buffer.address if buffer else 0 for buffer in dictionary.buffers()]
    return (*buffers, dictionary.offset, len(dictionary))


def distinct(values: np.ndarray) -> np.ndarray:
    """The values without repeats, sorted: `np.unique`, whose hash table took 20 times as long on joined codes."""
    ordered = np.sort(values)
    return ordered[np.r_[True, ordered[1:] != ordered[:-1]]] if len(ordered) else ordered


def within(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """For each of `values` whether it is among `known`, (n,) bool."""
    return among(values, np.sort(known))


def among(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """`within` where what is known is sorted already."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    found: np.ndarray = ordered[place] == values
    return found


def repeats(keys: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
    """For each key whether it repeats an earlier one, (n,) bool; those marked `first` count as earlier."""
    ordered = np.sort(keys)
    again = np.zeros(len(keys), bool)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        rows = np.flatnonzero(among(keys, twice))
        later = np.zeros(len(rows), bool) if first is None else ~first[rows]
        rows = rows[np.lexsort((later, keys[rows]))]
        again[rows[1:]] = keys[rows[1:]] == keys[rows[:-1]]
    return again


def extreme(reduce: np.ufunc, query: np.ndarray, values: np.ndarray, rows: np.ndarray, queries: int) -> np.ndarray:
    """`reduce` (np.minimum, np.maximum) of `values` over those of `rows` (a mask) that belong to each query.

    (queries,) float64, NaN for a query without such a row or with a NaN among them.
    """
    found = np.full(queries, np.nan)
    at = np.flatnonzero(rows)
    if len(at):
        own = query[at]
        starts = np.flatnonzero(np.r_[True, own[1:] != own[:-1]])
        found[own[starts]] = reduce.reduceat(values[at].astype(np.float64), starts)
    return found


def places(sorted_query: np.ndarray) -> np.ndarray:
    """The place of each row within its query, from 0, where rows of a query follow each other."""
    if not len(sorted_query):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.r_[True, sorted_query[1:] != sorted_query[:-1]])
    return np.arange(len(sorted_query)) - np.repeat(starts, np.diff(np.r_[starts, len(sorted_query)]))
