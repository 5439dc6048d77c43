"""A pair set without its texts, for planning: which of them are equal, and how long they are, is all a plan asks.

The rows keep their places, ids and labels, and in place of each text stands a short one that is equal for copies. So
the functions that plan a mixture or a split plan it from stand-ins as they would from the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.schema import as_pairs, cast_column, prune
from pairmine.stages.dedup.copies import exact_firsts
from pairmine.stages.dedup.kernel import exact_keys

ROW = "row of the whole"
"""The column that says which row of all pair sets together a row is, from 0."""

SIDES = ("query", "document")


@dataclass(frozen=True)
class Needs:
    """What a plan asks of rows beside the ids of their queries.

    `documents` are their documents' ids, `copies` which texts are copies of each other but for case, blanks and
    Unicode form, `exact` the sides of which it wants to know texts that are the same byte by byte, `lengths` their
    bytes, and `columns` are taken along.
    """

    documents: bool = True
    copies: bool = True
    exact: Sequence[str] = ()
    lengths: bool = False
    columns: Sequence[str] = ()


def stand_in(pairs: pa.Table, needs: Needs, first: int | None = None) -> pa.Table:
    """`pairs` with what `needs` names and no texts; their rows are numbered from `first` in `ROW`."""
    pairs = as_pairs(pairs)
    wanted = ["query_id", "doc_id", "label", "origin", "source_id", "batch", *needs.columns]
    names = [name for name in dict.fromkeys(wanted) if name in pairs.column_names]
    columns = {name: pairs[name] for name in names}
    columns["origin"] = _blank(pairs.num_rows)
    if not needs.documents:
        columns["doc_id"] = _blank(pairs.num_rows)
        columns.pop("source_id", None)
    for name in SIDES:
        if name in pairs.column_names:
            texts = _distinct(pairs[name])
            columns[name] = _of_values(texts, _codes(texts) if needs.copies else np.zeros(len(texts.dictionary)))
            if name in needs.exact:
                columns[exact_name(name)] = _exact(texts)
            if needs.lengths:
                columns[bytes_name(name)] = _lengths(texts)
    if first is not None:
        columns[ROW] = pa.array(np.arange(first, first + pairs.num_rows))
    return as_pairs(pa.table(columns))


@dataclass(frozen=True)
class NearCopies:
    """Which keys stand for near copies: `keys` (n,) uint64 ascending, and the key of the `first` one of each group."""

    keys: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray, first: np.ndarray) -> NearCopies:
        """The same out of `keys` in any order, some perhaps twice or their own first ones."""
        distinct, at = np.unique(keys, return_index=True)
        apart = distinct != first[at]
        return cls(distinct[apart], first[at][apart])

    def groups(self, texts: pa.ChunkedArray) -> np.ndarray:
        """For each of the stand-ins `texts` the first one of its near copies, (n,) int64; a blank one is its own."""
        keys = np.fromiter((int(text or "0", 16) for text in texts.to_pylist()), np.uint64, len(texts))
        if len(self.keys):
            at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            keys = np.where(self.keys[at] == keys, self.first[at], keys)
        return exact_firsts(keys)


def distinct_texts(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """The keys of the texts of a column, (n,) uint64, and a text for each, in order of appearance; blank ones not."""
    texts = _distinct(column)
    keys = _codes(texts)
    first = np.sort(np.unique(keys, return_index=True)[1])
    first = first[keys[first] != 0]
    return keys[first], texts.dictionary.take(pa.array(first))


def exact_name(side: str) -> str:
    """The column of keys that are equal for texts of that side which are the same byte by byte."""
    return f"key of the {side}"


def bytes_name(side: str) -> str:
    """The column of how many bytes of UTF-8 the texts of that side have."""
    return f"bytes of the {side}"


def texts_or_keys(pairs: pa.Table, side: str) -> pa.ChunkedArray:
    """What is equal for the same texts of that side: their keys where these stand in for them, else they themselves."""
    return pairs[exact_name(side)] if exact_name(side) in pairs.column_names else pairs[side]


def _distinct(column: pa.ChunkedArray) -> pa.DictionaryArray:
    texts = prune(column).unify_dictionaries().combine_chunks()
    return texts if isinstance(texts, pa.DictionaryArray) else texts.chunk(0)


def _codes(texts: pa.DictionaryArray) -> np.ndarray:
    """A key for each value of a dictionary, (values,) uint64, equal for copies; 0 for blank ones."""
    return exact_keys(_values(texts), "normalised")


def _of_values(texts: pa.DictionaryArray, keys: np.ndarray) -> pa.ChunkedArray:
    """The keys as short texts, blank for 0, in place of those of the dictionary; null where there is none."""
    short = pa.array([f"{key:x}" if key else "" for key in keys.tolist()], pa.string())
    plain = short.take(texts.indices)
    return cast_column(pa.chunked_array([plain]), texts.type, "text")


def _exact(texts: pa.DictionaryArray) -> pa.Array:
    """A key for each text, equal for the same bytes; null where there is none."""
    return pa.array(exact_keys(_values(texts), "bytes")).take(texts.indices)


def _values(texts: pa.DictionaryArray) -> pa.ChunkedArray:
    return pa.chunked_array([texts.dictionary.cast(pa.large_string()).fill_null("")])


def _lengths(texts: pa.DictionaryArray) -> pa.Array:
    of_value = pc.fill_null(pc.binary_length(texts.dictionary), 0).cast(pa.int32())
    return pc.fill_null(of_value.take(texts.indices), 0)


def _blank(rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(""), rows)
