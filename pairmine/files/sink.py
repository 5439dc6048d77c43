"""Outputs: written beside their target, synced, renamed at the end; the same rows give the same bytes."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from glob import escape
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files import lineage
from pairmine.files.locations import FORMATS, filesystem_of, format_of, is_remote

STDOUT = "-"
GROUP_ROWS = 131_072
GROUP_BYTES = 96 << 20
STREAM_ROWS = 16_384
_LONG_TEXTS = {"query", "document", "text", "title", "anchor", "positive", "negative"}


class Writer(Protocol):
    """One output format."""

    def write(self, table: pa.Table) -> None:
        """Append rows; all tables of one output have the same schema."""

    def close(self, entries: list[lineage.Entry]) -> None:
        """Finish the file, with the lineage where the format can hold it."""


class Sink:
    """One output. `write` as often as needed, then `commit`; leaving without it removes what was written."""

    def __init__(self, target: str, kind: str | None = None) -> None:
        self.target = target
        self.rows = 0
        self._kind, self._compression = _kind_of(target, kind)
        self._writer: Writer | None = None
        self._partial: Partial | None = None
        self._columns: pa.Schema | None = None
        if target != STDOUT:
            self._partial = Partial(target)

    def write(self, table: pa.Table) -> None:
        """Append `table`; the first one settles the columns."""
        plain = table.replace_schema_metadata(None)
        if self._writer is None:
            self._columns = plain.schema
            self._writer = self._open(plain.schema)
        elif plain.schema != self._columns:
            plain = plain.select(self._columns.names).cast(self._columns)
        self.rows += plain.num_rows
        with self._said_plainly():
            self._writer.write(plain)

    def commit(self, entries: list[lineage.Entry]) -> None:
        """Finish the output and put it in its place."""
        if self._writer is None:
            raise AssertionError("nothing was written, not even an empty table")
        with self._said_plainly():
            self._writer.close(entries)
            if self._partial is not None:
                self._partial.commit()

    def abort(self) -> None:
        """Remove what was written so far."""
        if self._partial is not None:
            self._partial.remove()

    def _open(self, columns: pa.Schema) -> Writer:
        raw = sys.stdout.buffer if self._partial is None else self._partial.handle
        if self._kind == "parquet":
            return _Parquet(raw, columns)
        if self._kind == "arrow":
            return _ArrowStream(raw, columns) if self._partial is None else _ArrowFile(raw, columns)
        stream: Any = pa.PythonFile(raw, "w")
        if self._compression:
            stream = pa.CompressedOutputStream(stream, self._compression)
        return _Jsonl(stream) if self._kind == "jsonl" else _Delimited(stream, self._kind, columns)

    def _said_plainly(self) -> _Plainly:
        return _Plainly("standard output" if self.target == STDOUT else self.target)


class _Plainly:
    """Turns the operating system's refusal to write into one line."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError) and error.errno:
            what = os.strerror(error.errno).lower()
            raise PairmineError(
                f"{self._name}: {what}; nothing was put there, mend that and run the same command again",
                exit_code=GAVE_UP,
            ) from None


class Partial:
    """A file that is written beside its target under a name of its own and renamed when whole.

    A lock is held on it while it is written, so that what a killed run left behind is told
    from what another run is writing, and removed.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._remote = is_remote(target)
        self._path: Path | None = None
        path = Path(target)
        folder = Path(tempfile.gettempdir()) if self._remote else path.parent
        name = path.name or "output"
        if not self._remote and path.is_dir():
            raise PairmineError(f"{target}: is a folder; name a file in it")
        if not folder.is_dir():
            raise PairmineError(f"{target}: no folder {folder}; make it first")
        _sweep(folder, name)
        self._path = folder / f".{name}.{os.getpid()}.partial"
        try:
            self.handle: IO[bytes] = self._path.open("wb")
        except OSError as error:
            raise PairmineError(f"{target}: {(error.strerror or str(error)).lower()}") from None
        fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def commit(self) -> None:
        """Sync the bytes and rename the file to its target."""
        assert self._path is not None
        self.handle.flush()
        os.fsync(self.handle.fileno())
        if self._remote:
            filesystem, inner = filesystem_of(self._target)
            filesystem.put(str(self._path), inner)
            self.remove()
            return
        self._path.replace(self._target)
        self.handle.close()
        folder = os.open(Path(self._target).parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._path = None

    def remove(self) -> None:
        """Drop the unfinished file; nothing happens after `commit`."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self.handle.close()
            self._path = None


def _sweep(folder: Path, name: str) -> None:
    for left in folder.glob(f".{escape(name)}.*.partial"):
        try:
            with left.open("rb") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink(missing_ok=True)
        except OSError:
            continue


def _kind_of(target: str, kind: str | None) -> tuple[str, str | None]:
    known = set(FORMATS.values())
    if kind is not None and kind not in known:
        raise PairmineError(f"--format {kind}: no such format; known: {', '.join(sorted(known))}")
    if target == STDOUT:
        chosen = kind or ("jsonl" if sys.stdout.isatty() else "arrow")
        return chosen, None
    found = format_of(target)
    if found is None and kind is None:
        raise PairmineError(
            f"{target}: the ending says no format; known: {', '.join(sorted(FORMATS))}, "
            "with .gz or .zst for the text ones; or pass --format"
        )
    compression = found[1] if found else None
    if kind is not None and found is not None and found[0] != kind:
        raise PairmineError(f"{target}: --format {kind} and the ending disagree; change one of them")
    return (found[0] if found else str(kind)), compression


# --- formats ------------------------------------------------------------------------------------


class _Parquet:
    def __init__(self, raw: IO[bytes], columns: pa.Schema) -> None:
        encoded = [f.name for f in columns if _is_texty(f.type)]
        self._writer = pq.ParquetWriter(
            raw,
            columns,
            compression="zstd",
            use_dictionary=encoded,
            dictionary_pagesize_limit=64 << 20,
            write_statistics=[f.name for f in columns if f.name not in _LONG_TEXTS],
        )
        self._groups = Groups(GROUP_ROWS, GROUP_BYTES)
        self._empty = columns.empty_table()
        self._wrote = False

    def write(self, table: pa.Table) -> None:
        for group in self._groups.add(table):
            self._put(group)

    def _put(self, group: pa.Table) -> None:
        self._wrote = True
        self._writer.write_table(compact(group), row_group_size=group.num_rows)

    def close(self, entries: list[lineage.Entry]) -> None:
        for group in self._groups.rest():
            self._put(group)
        if not self._wrote:
            self._writer.write_table(self._empty)
        self._writer.add_key_value_metadata(lineage.encode(entries))
        self._writer.close()


class _ArrowFile:
    """An Arrow IPC file; the lineage, known only at the end, travels with an empty last batch."""

    def __init__(self, raw: IO[bytes], columns: pa.Schema) -> None:
        self._columns = columns.with_metadata(lineage.encode([]))
        options = pa.ipc.IpcWriteOptions(unify_dictionaries=True)
        self._pieces: list[pa.Table] = []
        self._raw, self._options = raw, options

    def write(self, table: pa.Table) -> None:
        self._pieces.append(table)

    def close(self, entries: list[lineage.Entry]) -> None:
        whole = compact(pa.concat_tables(self._pieces)).replace_schema_metadata(self._columns.metadata)
        with pa.ipc.new_file(self._raw, whole.schema, options=self._options) as writer:
            writer.write_table(whole, max_chunksize=GROUP_ROWS)
            writer.write_batch(_trailer(whole), custom_metadata=lineage.encode(entries))


class _ArrowStream:
    """An Arrow IPC stream, as pipes carry it; a dictionary is replaced whenever its texts change."""

    def __init__(self, raw: IO[bytes], columns: pa.Schema) -> None:
        self._raw = raw
        self._columns = columns.with_metadata(lineage.encode([]))
        self._writer = pa.ipc.new_stream(raw, self._columns)
        self._groups = Groups(STREAM_ROWS, GROUP_BYTES)
        self._last: pa.Table = self._columns.empty_table()

    def write(self, table: pa.Table) -> None:
        for group in self._groups.add(table):
            self._put(group)

    def _put(self, group: pa.Table) -> None:
        self._last = compact(group).replace_schema_metadata(self._columns.metadata)
        for batch in self._last.combine_chunks().to_batches():
            self._writer.write_batch(batch)

    def close(self, entries: list[lineage.Entry]) -> None:
        for group in self._groups.rest():
            self._put(group)
        self._writer.write_batch(_trailer(self._last), custom_metadata=lineage.encode(entries))
        self._writer.close()
        self._raw.flush()


def _trailer(table: pa.Table) -> pa.RecordBatch:
    """An empty batch that shares the dictionaries of `table`, so that none has to be written for it."""
    batches = table.combine_chunks().to_batches()
    if batches:
        return batches[-1].slice(0, 0)
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in table.schema], schema=table.schema)


class _Jsonl:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, table: pa.Table) -> None:
        for start in range(0, table.num_rows, STREAM_ROWS):
            rows = short_floats(table.slice(start, STREAM_ROWS)).to_pylist()
            option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
            self._stream.write(b"".join(orjson.dumps(row, option=option, default=str) for row in rows))

    def close(self, entries: list[lineage.Entry]) -> None:
        self._stream.flush()
        self._stream.close()


class _Delimited:
    def __init__(self, stream: Any, kind: str, columns: pa.Schema) -> None:
        import csv
        import io

        nested = [f.name for f in columns if pa.types.is_nested(f.type)]
        if nested:
            raise PairmineError(f"{kind} cannot hold lists: column {', '.join(nested)}; write .parquet or .jsonl")
        self._stream = stream
        self._buffer = io.StringIO()
        self._tabs = kind == "tsv"
        self._rows = csv.writer(self._buffer, delimiter="\t" if self._tabs else ",", lineterminator="\n")
        self._put([columns.names])

    def write(self, table: pa.Table) -> None:
        for start in range(0, table.num_rows, STREAM_ROWS):
            batch = short_floats(table.slice(start, STREAM_ROWS))
            columns = [column.to_pylist() for column in batch.columns]
            self._put(zip(*columns, strict=True))

    def _put(self, rows: Any) -> None:
        if self._tabs:
            self._buffer.write("".join("\t".join(_one_line(cell) for cell in row) + "\n" for row in rows))
        else:
            self._rows.writerows(rows)
        self._stream.write(self._buffer.getvalue().encode("utf-8"))
        self._buffer.seek(0)
        self._buffer.truncate()

    def close(self, entries: list[lineage.Entry]) -> None:
        self._stream.flush()
        self._stream.close()


def _one_line(cell: Any) -> str:
    """A cell of an unquoted TSV file, where a tab or a line end inside a text becomes a blank."""
    if cell is None:
        return ""
    return " ".join(str(cell).splitlines()).replace("\t", " ") if isinstance(cell, str) else str(cell)


def short_floats(table: pa.Table) -> pa.Table:
    """`table` with float32 columns as the shortest float64 that reads the same: 0.9 and not 0.8999999761581421."""
    for at, field in enumerate(table.schema):
        if field.type == pa.float32():
            table = table.set_column(at, field.name, table.column(at).cast(pa.string()).cast(pa.float64()))
    return table


# --- row groups ---------------------------------------------------------------------------------


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
        """Take in rows; the groups that are full now."""
        while table.num_rows:
            ends = np.cumsum(text_bytes(table)) + self._bytes
            take = int(np.searchsorted(ends, self._most_bytes, side="right"))
            take = min(take, self._most_rows - self._rows, table.num_rows)
            if take == 0 and not self._rows:
                take = 1
            if take:
                self._pending.append(table.slice(0, take))
                self._rows += take
                self._bytes = int(ends[take - 1])
            table = table.slice(take)
            if table.num_rows or self._rows == self._most_rows:
                yield from self.rest()

    def rest(self) -> Iterator[pa.Table]:
        """What is left, as a last group."""
        if self._pending:
            group = pa.concat_tables(self._pending)
            self._pending, self._rows, self._bytes = [], 0, 0
            yield group


def text_bytes(table: pa.Table) -> np.ndarray:
    """The bytes of all texts in each row, (n,) int64."""
    total = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        if _is_texty(column.type):
            total += _lengths(column)
    return total


def _lengths(column: pa.ChunkedArray) -> np.ndarray:
    parts = []
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
        else:
            lengths = pc.binary_length(chunk)
        parts.append(pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False))
    return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)


def _is_texty(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def compact(table: pa.Table) -> pa.Table:
    """`table` whose dictionaries hold each text that is used once, in the order of first use."""
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(at, field, _compact(table.column(at)))
    return table


def _compact(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not len(column):
        return pa.chunked_array([pa.array([], column.type)])
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0)
    texts = whole.dictionary.dictionary_encode()
    codes = texts.indices.take(whole.indices)
    valid = codes.is_valid().to_numpy(zero_copy_only=False)
    plain = codes.fill_null(0).to_numpy()
    used, first = np.unique(plain[valid], return_index=True)
    order = used[np.argsort(first)]
    place = np.zeros(len(texts.dictionary) + 1, np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    indices = pa.array(place[plain], pa.int32(), mask=~valid)
    return pa.chunked_array([pa.DictionaryArray.from_arrays(indices, texts.dictionary.take(pa.array(order)))])




def write_atomically(target: str, text: str) -> None:
    """`text` as the file `target`, or on standard output for "-"."""
    if target == STDOUT:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    partial = Partial(target)
    try:
        partial.handle.write(text.encode())
        partial.commit()
    except BaseException:
        partial.remove()
        raise
