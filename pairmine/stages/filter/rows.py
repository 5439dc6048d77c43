"""A pair set as numbers: which rows share a query, a document, a text.

Strings are compared once here; everything after it works on integer codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import identity
from pairmine.distinct import distinct
from pairmine.errors import PairmineError
from pairmine.schema import NEGATIVE, POSITIVE

UNDECIDED = -1
REJECTED = -2
"""The label code of a row that a gate or a text rule rejected: no positive, no candidate, and no filler either."""

NO_CODE = 0
"""The text code of a null or blank text, which is a copy of nothing."""

_TEXTS_AT_ONCE = 16_384


@dataclass(frozen=True)
class Rows:
    """The rows of a pair set, codes (n,) int64 unless said otherwise.

    `query` counts up from 0 in row order, `query_ids` says which it is; `doc` indexes `doc_ids`.
    `text` and `query_text` are equal for copies in one query, `NO_CODE` for blank; where `keys` are filled, the
    sorted `identity.text_key` values, they index these. `label` is int8, `UNDECIDED` for null, `REJECTED` for rows
    that are out. `source_rows` are the positives with a `source_id`, `source` indexes `doc_ids` too. `held` (bool)
    are the negatives that somebody decided before and that are candidates again.
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
    held: np.ndarray

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


def read_rows(pairs: pa.Table, alive: np.ndarray | None = None, *, texts: bool = True, keyed: bool = False) -> Rows:
    """The codes of `pairs`; raises a PairmineError when a query's rows are apart.

    Rows that are not `alive` (a mask) any more are `REJECTED`. Without `texts` all count as blank. Only where `keyed`
    is `keys` filled and are codes equal for copies in different queries, at twice the time.
    """
    query, query_ids = read_queries(pairs)
    label = read_labels(pairs)
    if alive is not None:
        label = np.where(alive, label, REJECTED).astype(np.int8)
    source_rows, source_ids = _sources(pairs, label)
    codes, doc_ids = _coded(pa.chunked_array([*pairs["doc_id"].chunks, *source_ids.chunks], pa.string()))
    doc, source = codes[: pairs.num_rows], codes[pairs.num_rows :]
    documents, queries = (
        _Texts(pairs[name]) if texts and name in pairs.column_names else None for name in ("document", "query")
    )
    text, query_text, keys = (_keyed if keyed else _copies)(documents, queries, query)
    held = np.zeros(len(query), bool)
    return Rows(query, doc, text, query_text, label, source_rows, source, query_ids, doc_ids, keys, held)


def hold_again(rows: Rows, pairs: pa.Table, origins: Sequence[str]) -> Rows:
    """`rows` with the negatives of `origins` (patterns) undecided: rules may reject them, picks leave them out."""
    if not origins:
        return rows
    held = (rows.label == NEGATIVE) & of_origins(pairs, origins)
    return replace(rows, label=np.where(held, UNDECIDED, rows.label).astype(np.int8), held=held)


def of_origins(pairs: pa.Table, patterns: Sequence[str]) -> np.ndarray:
    """Which rows have an origin that one of `patterns` fits, as generate:*, (n,) bool."""
    if not patterns or not pairs.num_rows:
        return np.zeros(pairs.num_rows, bool)
    codes, origins = _coded(pairs["origin"].cast(pa.string()))
    fits = [any(fnmatchcase(origin, pattern) for pattern in patterns) for origin in origins.to_pylist()]
    return np.array(fits, bool)[codes]


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


Look = Callable[[pa.Array, np.ndarray], np.ndarray]
"""A number for each of some texts of an array, given by their places."""

TextCodes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of each row the code of its document and of its query, and the keys that these index."""


def _keyed(documents: _Texts | None, queries: _Texts | None, query: np.ndarray) -> TextCodes:
    """Codes over one sorted list of the keys of all texts; all 0 where a column is missing."""
    of_values = [column.keys() if column else [] for column in (documents, queries)]
    keys = _ordered_keys([part for parts in of_values for part in parts])
    codes = [
        column.of_rows([np.searchsorted(keys, part) for part in parts]) if column else np.zeros(len(query), np.int64)
        for column, parts in zip((documents, queries), of_values, strict=True)
    ]
    return codes[0], codes[1], keys


def _copies(documents: _Texts | None, queries: _Texts | None, query: np.ndarray) -> TextCodes:
    """Codes that are equal for copies within a query: only texts that look alike there are read for their keys.

    Any other text has a code of its own, and its query's is `NO_CODE`.
    """
    blank = np.zeros(len(query), np.int64)
    if documents is None:
        return blank, blank, np.zeros(0, np.uint64)
    alike = own = np.ones(len(query), bool)
    for look in (identity.text_ends, _prints):
        numbers = documents.of_rows(documents.numbers(look, alike)).astype(np.int64)
        asked = queries.of_rows(queries.numbers(look, own)) if queries else blank
        own = own & (numbers == asked)
        at = np.flatnonzero(alike)
        alike = own | (alike & (numbers == 0))
        alike[at] |= repeated(join(query[at], numbers[at]))
    document_keys = documents.of_rows(documents.keys(alike))
    query_keys = queries.of_rows(queries.keys(own)) if queries else np.zeros(len(query), np.uint64)
    keys = _ordered_keys([document_keys[alike], query_keys[own]])
    text = np.where(alike, np.searchsorted(keys, document_keys), len(keys) + np.arange(len(query)))
    query_text = np.where(own, np.searchsorted(keys, query_keys), NO_CODE)
    return text, query_text, np.zeros(0, np.uint64)


def _prints(texts: pa.Array, at: np.ndarray) -> np.ndarray:
    return identity.text_prints(texts.take(pa.array(at)))


def _keys(texts: pa.Array, at: np.ndarray) -> np.ndarray:
    return identity.text_keys(texts.take(pa.array(at)))


def _ordered_keys(parts: list[np.ndarray]) -> np.ndarray:
    return distinct(np.concatenate([np.array([identity.NO_TEXT], np.uint64), *parts]))


class _Texts:
    """The texts of one column; each dictionary value that a row uses is looked at once.

    A slice of a large table brings its whole dictionary along, and the chunks of one table often
    share one, so unused values are left out and a dictionary met again is not read again.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._parts: list[tuple[int, np.ndarray]] = []
        self._dictionaries: list[pa.Array] = []
        seen: dict[tuple[int, ...], int] = {}
        for chunk in column.chunks:
            which = seen.setdefault(_address(chunk.dictionary), len(self._dictionaries))
            if which == len(self._dictionaries):
                self._dictionaries.append(chunk.dictionary)
            self._parts.append((which, chunk.indices.fill_null(len(chunk.dictionary)).to_numpy()))

    def numbers(self, look: Look, rows: np.ndarray) -> list[np.ndarray]:
        """What `look` says of the values of each dictionary, uint32; 0 for those that no row uses and at the end."""
        return self._of_values(look, np.uint32, self._used(rows))

    def keys(self, rows: np.ndarray | None = None) -> list[np.ndarray]:
        """`identity.text_keys` of the values of each dictionary, `NO_TEXT` for those that none of `rows` uses."""
        return self._of_values(_keys, np.uint64, self._used(rows))

    def of_rows(self, of_values: list[np.ndarray]) -> np.ndarray:
        """What the values of each row have, (n,)."""
        found = [of_values[which][indices] for which, indices in self._parts]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def _used(self, rows: np.ndarray | None) -> list[np.ndarray]:
        used = [np.zeros(len(dictionary) + 1, bool) for dictionary in self._dictionaries]
        start = 0
        for which, indices in self._parts:
            stop = start + len(indices)
            used[which][indices if rows is None else indices[rows[start:stop]]] = True
            start = stop
        return used

    def _of_values(self, look: Look, kind: Any, used: list[np.ndarray]) -> list[np.ndarray]:
        found = [np.zeros(len(mask), kind) for mask in used]
        for dictionary, mask, numbers in zip(self._dictionaries, used, found, strict=True):
            values = np.flatnonzero(mask[:-1])
            for start in range(0, len(values), _TEXTS_AT_ONCE):
                part = values[start : start + _TEXTS_AT_ONCE]
                numbers[part] = look(dictionary, part)
        return found


def _address(dictionary: pa.Array) -> tuple[int, ...]:
    """Equal for arrays that are the same memory; arrays that are alive at once."""
    buffers = [buffer.address if buffer else 0 for buffer in dictionary.buffers()]
    return (*buffers, dictionary.offset, len(dictionary))


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


def repeated(keys: np.ndarray) -> np.ndarray:
    """For each key whether another one equals it, (n,) bool."""
    ordered = np.sort(keys)
    return among(keys, ordered[1:][ordered[1:] == ordered[:-1]])


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


def descending(scores: np.ndarray) -> np.ndarray:
    """uint32 that sort as `scores` (float32, finite) do from the highest down."""
    bits = (scores + np.float32(0)).view(np.uint32)
    negative = bits >> np.uint32(31) == 1
    falling: np.ndarray = np.where(negative, bits, ~(bits | np.uint32(1 << 31)))
    return falling


def places(sorted_query: np.ndarray) -> np.ndarray:
    """The place of each row within its query, from 0, where rows of a query follow each other."""
    if not len(sorted_query):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.r_[True, sorted_query[1:] != sorted_query[:-1]])
    return np.arange(len(sorted_query)) - np.repeat(starts, np.diff(np.r_[starts, len(sorted_query)]))
