"""The output formats: Parquet, Arrow IPC as a file and as a stream, JSON lines, CSV and TSV."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.groups import Groups, holds_text, one_chunk
from pairmine.schema import prune
from pairmine.visible import visible_lines

GROUP_ROWS = 131_072
GROUP_BYTES = 24 << 20
SHARED_GROUP_BYTES = 128 << 20
STREAM_ROWS = 16_384
TEXT_ROWS = 2_048
TEXT_CELLS = TEXT_ROWS * 256
GROUP_CELLS = GROUP_ROWS * 128
STREAM_BYTES = 16 << 20
_LONG_TEXTS = {"query", "document", "text", "title", "anchor", "positive", "negative"}


class Writer(Protocol):
    """One output format."""

    def write(self, table: pa.Table) -> None:
        """Append rows; all tables of one output have the same schema."""

    def close(self, entries: list[lineage.Entry]) -> None:
        """Finish the file, with the lineage where the format can hold it."""

    def abort(self) -> None:
        """Stop; nothing is written after this."""


class Outlet(io.RawIOBase):
    """A file as the writers see it: it stays open when they close it, and once `is_deaf` nothing reaches it.

    Writers that are dropped half-way still write their ends, whenever the interpreter collects them. On a terminal
    what it would obey is written out.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._is_terminal = raw.isatty()
        self.is_deaf = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.is_deaf:
            return len(data)
        if self._is_terminal:
            self._raw.write(visible_lines(bytes(data).decode("utf-8", "replace")).encode())
            return len(data)
        return self._raw.write(data)

    def flush(self) -> None:
        if not self.is_deaf:
            self._raw.flush()

    def close(self) -> None:
        """Leave the file open."""


def open_writer(kind: str, compression: str | None, raw: Outlet, columns: pa.Schema, *, pipe: bool) -> Writer:
    """A writer of format `kind` into `raw`; `pipe` takes Arrow as a stream that can be read while it grows."""
    if kind == "parquet":
        return _Parquet(raw, columns)
    if kind == "arrow":
        return _ArrowStream(raw, columns) if pipe else _ArrowFile(raw, columns)
    stream: Any = pa.PythonFile(raw, "w")
    if compression:
        stream = pa.CompressedOutputStream(stream, compression)
    return Jsonl(stream) if kind == "jsonl" else Delimited(stream, kind, columns)


class _Parquet:
    """Parquet; a row group is encoded in a thread of its own while the next one is read."""

    def __init__(self, raw: Outlet, columns: pa.Schema) -> None:
        try:
            self._writer = pq.ParquetWriter(
                raw,
                columns,
                compression="zstd",
                use_dictionary=[field.name for field in columns if _repeats(field)],
                dictionary_pagesize_limit=64 << 20,
                write_statistics=[name for name in columns.names if name not in _LONG_TEXTS],
            )
        except pa.ArrowNotImplementedError as error:
            raise PairmineError(f"parquet cannot hold these columns ({error}); write .jsonl") from None
        shares = any(pa.types.is_dictionary(field.type) for field in columns)
        self._groups = Groups(_rows(GROUP_ROWS, columns), SHARED_GROUP_BYTES if shares else GROUP_BYTES)
        self._empty = columns.empty_table()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._under_way: Future[None] | None = None

    def write(self, table: pa.Table) -> None:
        for group in self._groups.add(table):
            self._put(group)

    def _put(self, group: pa.Table) -> None:
        self._wait()
        self._under_way = self._thread.submit(self._encode, group)

    def _encode(self, group: pa.Table) -> None:
        self._writer.write_table(one_chunk(group), row_group_size=max(len(group), 1))

    def _wait(self) -> None:
        if self._under_way is not None:
            self._under_way.result()
            # Without this the allocator keeps 100 MB more of what it once held.
            pa.default_memory_pool().release_unused()

    def close(self, entries: list[lineage.Entry]) -> None:
        for group in self._groups.rest():
            self._put(group)
        if self._under_way is None:
            self._put(self._empty)
        self._wait()
        self._thread.shutdown()
        self._writer.add_key_value_metadata(lineage.encode(entries))
        self._writer.close()

    def abort(self) -> None:
        self._thread.shutdown(cancel_futures=True)


def _rows(most: int, columns: pa.Schema, cells: int = GROUP_CELLS) -> int:
    """`most` rows, or fewer of a table with very many columns."""
    return max(1, min(most, cells // max(len(columns), 1)))


def _repeats(field: pa.Field) -> bool:
    """Whether a dictionary page pays: the texts of a corpus stand in it once, all others more often."""
    return holds_text(field.type) and not (pa.types.is_large_string(field.type) and field.name in _LONG_TEXTS)


class _ArrowFile:
    """An Arrow IPC file; the lineage, known only at the end, travels with an empty last batch.

    The file format knows one dictionary for a column, so a table with any is kept until the end.
    """

    def __init__(self, raw: Outlet, columns: pa.Schema) -> None:
        self._raw = raw
        self._columns = columns.with_metadata(lineage.encode([]))
        self._groups = Groups(_rows(GROUP_ROWS, columns), GROUP_BYTES)
        self._pieces: list[pa.Table] = []
        self._writer: Any = None
        if not any(pa.types.is_dictionary(field.type) for field in columns):
            self._writer = pa.ipc.new_file(raw, self._columns)

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._pieces.append(pa.table([prune(column) for column in table.columns], schema=table.schema))
            return
        for group in self._groups.add(table):
            self._put(group)

    def _put(self, group: pa.Table) -> None:
        self._writer.write_table(one_chunk(group).replace_schema_metadata(self._columns.metadata))

    def close(self, entries: list[lineage.Entry]) -> None:
        last = self._columns.empty_table()
        if self._writer is None:
            last = one_chunk(pa.concat_tables(self._pieces)).replace_schema_metadata(self._columns.metadata)
            self._writer = pa.ipc.new_file(self._raw, self._columns)
            self._writer.write_table(last, max_chunksize=_rows(GROUP_ROWS, self._columns))
        for group in self._groups.rest():
            self._put(group)
        self._writer.write_batch(_trailer(last), custom_metadata=lineage.encode(entries))
        self._writer.close()

    def abort(self) -> None:
        self._pieces = []


class _ArrowStream:
    """An Arrow IPC stream, as pipes carry it; a dictionary is replaced whenever its texts change."""

    def __init__(self, raw: Outlet, columns: pa.Schema) -> None:
        self._raw = raw
        self._columns = columns.with_metadata(lineage.encode([]))
        self._writer = pa.ipc.new_stream(raw, self._columns)
        self._groups = Groups(_rows(STREAM_ROWS, columns), STREAM_BYTES)
        self._last: pa.Table = self._columns.empty_table()

    def write(self, table: pa.Table) -> None:
        for group in self._groups.add(table):
            self._put(group)

    def _put(self, group: pa.Table) -> None:
        self._last = one_chunk(group).replace_schema_metadata(self._columns.metadata)
        for batch in self._last.to_batches():
            self._writer.write_batch(batch)
        self._raw.flush()

    def close(self, entries: list[lineage.Entry]) -> None:
        for group in self._groups.rest():
            self._put(group)
        self._writer.write_batch(_trailer(self._last), custom_metadata=lineage.encode(entries))
        self._writer.close()
        self._raw.flush()

    def abort(self) -> None:
        """A stream without its last batch tells its reader that it breaks off."""


def _trailer(table: pa.Table) -> pa.RecordBatch:
    """An empty batch that shares the dictionaries of `table`, so that none has to be written for it."""
    batches = table.to_batches()
    if batches:
        return batches[-1].slice(0, 0)
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in table.schema], schema=table.schema)


class Lines:
    """What the text formats share: rows in slices, as bytes into a stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, table: pa.Table) -> None:
        rows = _rows(TEXT_ROWS, table.schema, TEXT_CELLS)
        for start in range(0, table.num_rows, rows):
            self._stream.write(self._encoded(short_floats(table.slice(start, rows))))

    def _encoded(self, table: pa.Table) -> bytes:
        raise NotImplementedError

    def close(self, entries: list[lineage.Entry]) -> None:
        self._stream.close()

    def abort(self) -> None:
        """What stands in the stream goes with its file."""


class Jsonl(Lines):
    def _encoded(self, table: pa.Table) -> bytes:
        option = orjson.OPT_APPEND_NEWLINE
        return b"".join(orjson.dumps(row, option=option, default=str) for row in table.to_pylist())


class Delimited(Lines):
    """CSV with quotes where needed; TSV without any, where a tab or a line end in a text becomes a blank."""

    def __init__(self, stream: Any, kind: str, columns: pa.Schema, *, headed: bool = True) -> None:
        nested = [field.name for field in columns if pa.types.is_nested(field.type)]
        if nested:
            raise PairmineError(f"{kind} cannot hold lists: column {', '.join(nested)}; write .parquet or .jsonl")
        super().__init__(stream)
        self._rows = self._tabbed if kind == "tsv" else _quoted
        self.flattened = self.formulas = 0
        if headed:
            stream.write(self._rows([columns.names]))

    def _encoded(self, table: pa.Table) -> bytes:
        columns = [column.to_pylist() for column in table.columns]
        self.formulas += sum(isinstance(cell, str) and cell[:1] in _FORMULA for cells in columns for cell in cells)
        return self._rows(zip(*columns, strict=True))

    def _tabbed(self, rows: Iterable[Iterable[Any]]) -> bytes:
        return "".join("\t".join(map(self._one_line, row)) + "\n" for row in rows).encode()

    def _one_line(self, value: Any) -> str:
        text = "" if value is None else str(value)
        if not _BREAKS.search(text):
            return text
        self.flattened += 1
        return _BREAKS.sub(" ", text)


_FORMULA = frozenset("=@+-")
"""What a spreadsheet takes for the beginning of a formula, and works out when such a file is opened there."""
_BREAKS = re.compile(r"[\t\r\n]")
_NEEDS_QUOTES = re.compile(r'[",\r\n]|^\Z')


def _quoted(rows: Iterable[Iterable[Any]]) -> bytes:
    return "".join(",".join(map(_cell, row)) + "\n" for row in rows).encode()


def _cell(value: Any) -> str:
    """A CSV cell: nothing for null, a pair of quotes for an empty text; a bare \\r is quoted as well."""
    if value is None:
        return ""
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


def short_floats(table: pa.Table) -> pa.Table:
    """`table` with float32 columns as the shortest float64 that reads the same: 0.9 and not 0.8999999761581421."""
    for at, field in enumerate(table.schema):
        if field.type == pa.float32():
            table = table.set_column(at, field.name, table.column(at).cast(pa.string()).cast(pa.float64()))
    return table
