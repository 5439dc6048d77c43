"""Row groups that depend on the rows alone, so that the same rows give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Groups:
    """Regroups a stream of tables so that group boundaries depend on the rows alone.

    A group ends after `rows` rows or before the row that would bring its texts (counted in full
    for every row, whether a dictionary holds them or not) over `size` bytes.
    """

    def __init__(self, rows: int, size: int) -> None:
        self._most_rows = rows
        self._most_bytes = size
        self._pending: list[pa.Table] = []
        self._rows = 0
        self._bytes = 0

    def add(self, table: pa.Table) -> Iterator[pa.Table]:
        """Take in rows; the groups that are full now, for `one_chunk` to put together."""
        sizes = text_bytes(table)
        start = 0
        while start < table.num_rows:
            ends = np.cumsum(sizes[start:]) + self._bytes
            take = int(np.searchsorted(ends, self._most_bytes, side="right"))
            take = min(take, self._most_rows - self._rows, table.num_rows - start)
            if take == 0 and not self._rows:
                take = 1
            if take:
                self._pending.append(table.slice(start, take))
                self._rows += take
                self._bytes = int(ends[take - 1])
            start += take
            if start < table.num_rows or self._rows == self._most_rows:
                yield from self.rest()

    def rest(self) -> Iterator[pa.Table]:
        """What is left, as a last group."""
        if self._pending:
            group = pa.concat_tables(self._pending)
            self._pending, self._rows, self._bytes = [], 0, 0
            yield group


def one_chunk(table: pa.Table) -> pa.Table:
    """`table` in one chunk, its dictionaries holding each text that is used once, in the order of first use."""
    columns = [_compact(column) if pa.types.is_dictionary(column.type) else column for column in table.columns]
    return pa.table(columns, schema=table.schema).combine_chunks()


def text_bytes(table: pa.Table) -> np.ndarray:
    """The bytes of all texts in each row, those in lists and structs included, (n,) int64."""
    total = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        if holds_text(column.type):
            total += np.concatenate([_lengths(chunk) for chunk in column.chunks] or [np.empty(0, np.int64)])
    return total


def _lengths(chunk: pa.Array) -> np.ndarray:
    if pa.types.is_list(chunk.type) or pa.types.is_large_list(chunk.type):
        inside = np.concatenate([[0], np.cumsum(_lengths(chunk.flatten()))])
        counts = pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False)
        return np.diff(inside[np.concatenate([[0], np.cumsum(counts)])])
    if pa.types.is_struct(chunk.type):
        fields = [field for field in chunk.flatten() if holds_text(field.type)]
        return sum(map(_lengths, fields), np.zeros(len(chunk), np.int64))
    if pa.types.is_dictionary(chunk.type):
        lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
    else:
        lengths = pc.binary_length(chunk)
    return pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False).astype(np.int64)


def holds_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts, perhaps in a dictionary, in lists or in structs."""
    if pa.types.is_struct(kind):
        return any(holds_text(field.type) for field in kind)
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return holds_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _compact(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with one dictionary; of each chunk only the texts that its rows use are read, and once."""
    if not len(column):
        return pa.chunked_array([pa.array([], column.type)])
    parts = [_first_uses(chunk) for chunk in column.chunks]
    texts = pa.chunked_array([values for values, _ in parts]).dictionary_encode().chunks
    dictionary = texts[0].dictionary if texts else parts[0][0]
    # A dictionary may hold a null as well; Arrow leaves out chunks without values.
    none = np.full(1, -1, np.int32)
    codes = np.concatenate([*(chunk.indices.fill_null(-1).to_numpy() for chunk in texts), none])
    found, start = [], 0
    for values, place in parts:
        stop = start + len(values)
        found.append(np.concatenate([codes[start:stop], none])[place])
        start = stop
    indices = np.concatenate(found)
    coded = pa.array(indices, pa.int32(), mask=indices < 0)
    return pa.chunked_array([pa.DictionaryArray.from_arrays(coded, dictionary)])


def _first_uses(chunk: pa.DictionaryArray) -> tuple[pa.Array, np.ndarray]:
    """The values that a chunk uses, in the order of first use, and which of them each row has, -1 for null."""
    size, rows = len(chunk.dictionary), np.arange(len(chunk))
    codes = chunk.indices.fill_null(size).to_numpy()
    first = np.empty(size + 1, np.int64)
    first[codes[::-1]] = rows[::-1]
    used = codes[(first[codes] == rows) & (codes < size)]
    place = np.full(size + 1, -1, np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    return chunk.dictionary.take(pa.array(used)), place[codes]
