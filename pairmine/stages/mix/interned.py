"""Tables put together so that each text is in memory once, however many tables have it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.stages.dedup.kernel import exact_keys

_MOST_BYTES = 2**31 - 1
"""What an Arrow array of strings can hold."""


def joined(tables: Iterable[pa.Table]) -> pa.Table:
    """The rows of all `tables` as one pair set; of "query" and "document" all chunks have one dictionary.

    A reader gives every stretch of rows a dictionary of its own; over a million queries with mined negatives these
    hold each document some five times, and to unify them at the end takes all of that at once.

    Raises PairmineError where the distinct texts of a column are too many for one dictionary.
    """
    texts = {name: _Texts(name) for name in ("query", "document")}
    taken: list[pa.Table] = []
    for table in tables:
        taken.append(_coded(table, texts))
    whole = schema.concat_pairs(taken)
    for column in whole.column_names:
        if pa.types.is_string(whole[column].type):
            check_room(column, sum(map(_bytes, whole[column].chunks)))
    whole = whole.combine_chunks()
    taken.clear()
    # Without this the allocator keeps what the stretches of rows took.
    pa.default_memory_pool().release_unused()
    for name in sorted(set(texts).intersection(whole.column_names)):
        place = whole.column_names.index(name)
        whole = whole.set_column(place, whole.schema.field(name), texts[name].column(whole[name]))
    pa.default_memory_pool().release_unused()
    return whole


def check_room(column: str, size: int) -> None:
    """Raise a PairmineError where the texts of a column have more bytes than it can hold."""
    if size > _MOST_BYTES:
        raise PairmineError(
            f'the texts of "{column}" take more than 2 GB, the most that mix holds in one column; '
            "mix a part of the rows at a time, or cut long texts first; --split needs none with --split-copies ids"
        )


def _bytes(texts: pa.Array) -> int:
    return pc.sum(pc.binary_length(texts)).as_py() or 0


def _coded(table: pa.Table, texts: dict[str, _Texts]) -> pa.Table:
    """`table` with the numbers of its texts in place of these, as dictionaries without values."""
    table = schema.as_pairs(table)
    for name, known in texts.items():
        if name in table.column_names:
            chunks = [known.coded(chunk) for chunk in schema.prune(table[name]).chunks]
            table = table.set_column(
                table.column_names.index(name), table.schema.field(name), pa.chunked_array(chunks, schema.TEXT)
            )
    return table


class _Texts:
    """Distinct texts in order of appearance, found by their hashes and then compared."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._size = 0
        self._chunks: list[pa.StringArray] = []
        self._starts: list[int] = []
        self._count = 0
        self._keys = np.empty(0, np.uint64)
        self._codes = np.empty(0, np.int64)

    def coded(self, texts: pa.DictionaryArray) -> pa.DictionaryArray:
        """`texts` with their numbers here as indices; the dictionary stays behind."""
        codes = np.append(self._codes_of(texts.dictionary), -1)
        places = texts.indices.fill_null(len(texts.dictionary)).to_numpy(zero_copy_only=False)
        found = codes[places].astype(np.int32)
        indices = pa.array(found, pa.int32(), mask=found < 0)
        return pa.DictionaryArray.from_arrays(indices, pa.array([], pa.string()), safe=False)

    def column(self, coded: pa.ChunkedArray) -> pa.ChunkedArray:
        """Numbers from `coded` as texts, in one chunk."""
        values = pa.concat_arrays(self._chunks) if self._chunks else pa.array([], pa.string())
        self._chunks = [values]
        if not coded.num_chunks:
            return pa.chunked_array([], schema.TEXT)
        indices = pa.chunked_array([chunk.indices for chunk in coded.chunks], pa.int32()).combine_chunks()
        return pa.chunked_array([pa.DictionaryArray.from_arrays(indices, values)])

    def _codes_of(self, values: pa.StringArray) -> np.ndarray:
        """The number of each of distinct `values`, (n,) int64, -1 for null; new ones are kept."""
        keys = exact_keys(pa.chunked_array([values.cast(pa.large_string())]), "bytes")
        at = np.minimum(np.searchsorted(self._keys, keys), max(len(self._keys) - 1, 0))
        codes = self._codes[at].copy() if len(self._keys) else np.full(len(keys), -1)
        if len(self._keys):
            codes[self._keys[at] != keys] = -1
        seen = np.flatnonzero(codes >= 0)
        seen = seen[np.argsort(codes[seen])]
        same = pc.equal(values.take(pa.array(seen)), self._stored(codes[seen]))
        codes[seen[~same.to_numpy(zero_copy_only=False)]] = -1
        new = np.flatnonzero((codes < 0) & values.is_valid().to_numpy(zero_copy_only=False))
        codes[new] = self._count + np.arange(len(new))
        self._keep(values.take(pa.array(new)), keys[new])
        return codes

    def _stored(self, codes: np.ndarray) -> pa.Array:
        """The texts of ascending `codes`. `ChunkedArray.take` would copy all texts first."""
        cuts = np.searchsorted(codes, self._starts)
        parts = zip(self._chunks, self._starts, cuts, np.append(cuts[1:], len(codes)), strict=False)
        found = [chunk.take(pa.array(codes[low:high] - start)) for chunk, start, low, high in parts if low < high]
        return pa.concat_arrays(found) if found else pa.array([], pa.string())

    def _keep(self, values: pa.StringArray, keys: np.ndarray) -> None:
        if not len(values):
            return
        self._size += _bytes(values)
        check_room(self._name, self._size)
        self._chunks.append(values)
        self._starts.append(self._count)
        codes = self._count + np.arange(len(values))
        self._count += len(values)
        order = np.argsort(keys, kind="stable")
        places = np.searchsorted(self._keys, keys[order])
        self._keys = np.insert(self._keys, places, keys[order])
        self._codes = np.insert(self._codes, places, codes[order])
