"""Rows as they stand in a file, with the place of each one for error messages.

Nothing is renamed or converted here; `columns` and `source` do that.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.locations import Shard

BATCH_ROWS = 16_384
BATCH_BYTES = 32 << 20
MAX_LINE_BYTES = 1 << 30
_BLOCK = 4 << 20


@dataclass(frozen=True)
class Raw:
    """Some rows of one file. `where(i)` names row i's place, `found(i)` the columns that it has."""

    table: pa.Table
    name: str
    where: Callable[[int], str]
    found: Callable[[int], Sequence[str]]


def read_raw(shard: Shard) -> Iterator[Raw]:
    """The rows of `shard` in batches, in file order.

    Raises PairmineError with file, place and remedy for bytes that are not what the ending says.
    """
    reader = {"jsonl": _jsonl, "csv": _csv, "tsv": _csv, "parquet": _parquet, "arrow": _arrow}[shard.kind]
    try:
        with shard.open() as stream:
            yield from reader(shard, stream)
    except PairmineError:
        raise
    except (OSError, EOFError) as error:
        text = str(error)
        if shard.compression and any(word in text.lower() for word in ("truncat", "inflate", "zstd", "header", "frame")):
            raise PairmineError(
                f"{shard.name}: the {shard.compression} file is truncated or damaged; fetch or write it again"
            ) from None
        raise


# --- JSON lines ---------------------------------------------------------------------------------


def _lines(shard: Shard, stream: pa.NativeFile) -> Iterator[tuple[int, bytes]]:
    """Each line with its number from 1, without its line end; a byte order mark is left out."""
    number = 0
    rest = b""
    while block := stream.read(_BLOCK):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if len(rest) > MAX_LINE_BYTES:
            raise PairmineError(f"{shard.name}:{number + len(lines) + 1}: a line of over 1 GiB; is this a {shard.kind} file?")
        for line in lines:
            number += 1
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    if rest:
        number += 1
        yield number, rest.removeprefix(b"\xef\xbb\xbf") if number == 1 else rest


def _jsonl(shard: Shard, stream: pa.NativeFile) -> Iterator[Raw]:
    rows: list[dict[str, Any]] = []
    places: list[int] = []
    size = 0
    for number, line in _lines(shard, stream):
        if not line.strip():
            continue
        if not rows and number == 1 and line.lstrip()[:1] == b"[":
            yield from _json_array(shard, line + b"\n" + stream.read())
            return
        rows.append(_json_object(shard, number, line))
        places.append(number)
        size += len(line)
        if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield _of_objects(shard, rows, places)
            rows, places, size = [], [], 0
    if rows:
        yield _of_objects(shard, rows, places)


def _json_object(shard: Shard, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as bad:
            raise _not_utf8(shard, number, bad) from None
        what = str(error).partition(": line ")[0]
        raise PairmineError(f"{shard.name}:{number}: not valid JSON ({what}); mend or remove the line") from None
    if not isinstance(row, dict):
        raise PairmineError(
            f"{shard.name}:{number}: a JSON object belongs on each line, found {_json_kind(row)}; "
            'write rows as {"id": ..., "text": ...}'
        )
    return row


def _json_array(shard: Shard, content: bytes) -> Iterator[Raw]:
    try:
        rows = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise PairmineError(f"{shard.name}: not valid JSON ({error})") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise PairmineError(f"{shard.name}: a JSON array of objects belongs here; or write one object to a line")
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        yield _of_objects(shard, batch, list(range(start + 1, start + len(batch) + 1)), unit=" element ")


def _of_objects(shard: Shard, rows: list[dict[str, Any]], places: list[int], unit: str = ":") -> Raw:
    first = rows[0].keys()
    if all(row.keys() == first for row in rows):
        columns = {name: [row[name] for row in rows] for name in first}
    else:
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row.get(name) for row in rows] for name in names}
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            raise _mixed(shard, name, values, places, unit) from None
    return Raw(
        pa.table(arrays),
        shard.name,
        lambda row: f"{shard.name}{unit}{places[row]}",
        lambda row: list(rows[row]),
    )


def _mixed(shard: Shard, name: str, values: list[Any], places: list[int], unit: str) -> PairmineError:
    """The error for a column of several types: names the first value that departs from the first one's type."""
    at = next(i for i, value in enumerate(values) if value is not None)
    kind = _json_kind(values[at])
    for i, value in enumerate(values):
        if value is not None and _json_kind(value) != kind:
            return PairmineError(
                f'{shard.name}{unit}{places[i]}: "{name}" is {_json_kind(value)}, '
                f"but {kind} at {shard.name}{unit}{places[at]}; write all of them as one type"
            )
    return PairmineError(f'{shard.name}{unit}{places[at]}: "{name}" holds values that do not share one type')


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    kinds = ((str, "a string"), (list, "a list"), (dict, "an object"), (int, "a number"), (float, "a number"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _not_utf8(shard: Shard, number: int, bad: UnicodeDecodeError) -> PairmineError:
    return PairmineError(
        f"{shard.name}:{number}: not UTF-8 (byte 0x{bad.object[bad.start]:02x} at position {bad.start + 1} of the line); "
        f"convert it first, for example: iconv -f latin1 -t utf-8"
    )


# --- CSV and TSV --------------------------------------------------------------------------------


def _csv(shard: Shard, stream: pa.NativeFile) -> Iterator[Raw]:
    """CSV with the usual quotes; TSV without any, as collections write it. All values are text."""
    csv.field_size_limit(sys.maxsize)
    quoted = shard.kind == "csv"
    reader = csv.reader(
        _decoded(shard, stream, keep_ends=quoted),
        delimiter="," if quoted else "\t",
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=quoted,
    )
    header: list[str] | None = None
    rows: list[list[str]] = []
    places: list[int] = []
    size = 0
    line = 1
    try:
        for cells in reader:
            start, line = line, reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = _header(shard, cells)
                continue
            if len(cells) != len(header):
                raise PairmineError(
                    f"{shard.name}:{start}: {len(cells)} fields where the header has {len(header)} "
                    f"({', '.join(header)}); mend the line" + (" or its quotes" if quoted else "")
                )
            rows.append(cells)
            places.append(start)
            size += sum(map(len, cells))
            if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield _of_cells(shard, header, rows, places)
                rows, places, size = [], [], 0
    except csv.Error as error:
        raise PairmineError(f"{shard.name}:{line}: not valid CSV ({error}); is a quote left open?") from None
    if rows and header:
        yield _of_cells(shard, header, rows, places)


def _decoded(shard: Shard, stream: pa.NativeFile, *, keep_ends: bool) -> Iterator[str]:
    for number, line in _lines(shard, stream):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as bad:
            raise _not_utf8(shard, number, bad) from None
        yield text + "\n" if keep_ends else text.removesuffix("\r")


def _header(shard: Shard, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated or not all(names):
        what = f'"{repeated.pop()}" twice' if repeated else "a column without a name"
        raise PairmineError(f"{shard.name}:1: the header has {what}; the first line must name every column")
    return names


def _of_cells(shard: Shard, header: list[str], rows: list[list[str]], places: list[int]) -> Raw:
    columns = list(zip(*rows, strict=True))
    arrays = {
        name: pa.array(column, pa.string())
        for name, column in zip(header, columns, strict=True)
    }
    return Raw(pa.table(arrays), shard.name, lambda row: f"{shard.name}:{places[row]}", lambda _: header)


# --- Parquet and Arrow --------------------------------------------------------------------------

DICTIONARY_COLUMNS = ("query", "document")


def _parquet(shard: Shard, stream: pa.NativeFile) -> Iterator[Raw]:
    import pyarrow.parquet as pq

    try:
        names = pq.ParquetFile(stream).schema_arrow.names
        stream.seek(0)
        encoded = [name for name in DICTIONARY_COLUMNS if name in names]
        file = pq.ParquetFile(stream, read_dictionary=encoded)
        first = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            yield _of_table(pa.Table.from_batches([batch]), shard.name, first)
            first += batch.num_rows
        if first == 0:
            yield _of_table(file.schema_arrow.empty_table(), shard.name, 0)
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(shard.name, "Parquet", error) from None


def _arrow(shard: Shard, stream: pa.NativeFile) -> Iterator[Raw]:
    is_file = stream.read(6) == b"ARROW1"
    stream.seek(0)
    yield from _ipc_file(shard.name, stream) if is_file else read_ipc_stream(shard.name, stream)


def _ipc_file(name: str, stream: pa.NativeFile) -> Iterator[Raw]:
    try:
        reader = pa.ipc.open_file(stream)
        batches = (reader.get_batch_with_custom_metadata(i) for i in range(reader.num_record_batches))
        yield from _of_batches(name, reader.schema, batches)
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(name, "Arrow", error) from None


def read_ipc_stream(name: str, stream: Any) -> Iterator[Raw]:
    """The rows of an Arrow IPC stream, which may be a pipe; one of ours must come with its last batch.

    That batch is empty and carries the lineage, so a stream that was cut off is told from a whole one.
    """
    try:
        reader = pa.ipc.open_stream(stream)
        yield from _of_batches(name, reader.schema, _stream_batches(reader))
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(name, "Arrow", error) from None


def _stream_batches(reader: Any) -> Iterator[tuple[pa.RecordBatch, Any]]:
    while True:
        try:
            yield reader.read_next_batch_with_custom_metadata()
        except StopIteration:
            return


def _of_batches(name: str, schema: pa.Schema, batches: Iterator[tuple[pa.RecordBatch, Any]]) -> Iterator[Raw]:
    ours = lineage.KEY in (schema.metadata or {})
    plain = schema.remove_metadata()
    first, trailer = 0, None
    for batch, custom in batches:
        found = {bytes(key): bytes(value) for key, value in custom.items()} if custom is not None else {}
        trailer = found if lineage.KEY in found else None
        if batch.num_rows:
            yield _of_table(pa.table(batch.columns, schema=plain), name, first)
            first += batch.num_rows
    if ours and trailer is None:
        raise PairmineError(f"{name}: the stream breaks off; did the command that wrote it fail?")
    yield _of_table(plain.with_metadata(trailer).empty_table(), name, first)


def _of_table(table: pa.Table, name: str, first: int) -> Raw:
    """A binary format's rows: places are row numbers from 1, continuing after `first` earlier rows."""
    return Raw(table, name, lambda row: f"{name}: row {first + row + 1}", lambda _: table.column_names)


def _damaged(name: str, kind: str, error: Exception) -> PairmineError:
    what = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return PairmineError(f"{name}: not a whole {kind} file ({what}); it may be truncated, write or fetch it again")
