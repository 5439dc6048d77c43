"""Rows as they stand in a file, with the place of each one for error messages.

Nothing is renamed or converted here; `columns` and `source` do that.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import orjson
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.columns import listed
from pairmine.files.locations import Shard, StandardInput

BATCH_ROWS = 16_384
BATCH_BYTES = 2 << 20
PARQUET_GROUP_ROWS = 131_072
PARQUET_BATCH_BYTES = 32 << 20
PARQUET_BUFFER_BYTES = 4 << 20
MAX_LINE_BYTES = 1 << 30
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Raw:
    """Some rows of one file. `where(i)` names row i's place, `found(i)` the columns that it has.

    `is_ours` says that the file was written by pairmine, whose lineage comes with its last rows.
    """

    table: pa.Table
    name: str
    where: Callable[[int], str]
    found: Callable[[int], Sequence[str]]
    is_ours: bool = False


def read_raw(shard: Shard) -> Iterator[Raw]:
    """The rows of `shard` in batches, in file order.

    Raises PairmineError with file, place and remedy for bytes that are not what the ending says.
    """
    reader = _READERS[shard.kind]
    if misnamed := shard.misnamed():
        raise PairmineError(f"{shard.name}: {misnamed}")
    try:
        with shard.open() as stream:
            yield from reader(shard, stream)
    except (OSError, EOFError) as error:
        raise unreadable(shard, error) from error


def unreadable(shard: Shard, error: BaseException) -> PairmineError:
    if shard.compression is None:
        return PairmineError(f"{shard.name}: cannot be read ({_first_line(error)})")
    return PairmineError(f"{shard.name}: the {shard.compression} file is truncated or damaged; fetch or write it again")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


# --- JSON lines ---------------------------------------------------------------------------------


def line_blocks(shard: Shard, stream: pa.NativeFile) -> Iterator[tuple[int, list[bytes]]]:
    """Whole lines without their ends, some MB at a time, after the number of the first; no byte order mark."""
    number = 1
    rest: list[bytes] = []
    while block := stream.read(BATCH_BYTES):
        whole, newline, tail = block.rpartition(b"\n")
        if newline:
            lines = b"".join([*rest, whole]).split(b"\n")
            yield number, _without_mark(number, lines)
            number += len(lines)
            rest = []
        rest.append(tail)
        if sum(map(len, rest)) > MAX_LINE_BYTES:
            raise PairmineError(f"{shard.name}:{number}: a line of over 1 GiB; is this a {shard.kind} file?")
    if last := b"".join(rest):
        yield number, _without_mark(number, [last])


def _without_mark(number: int, lines: list[bytes]) -> list[bytes]:
    return [lines[0].removeprefix(_BOM), *lines[1:]] if number == 1 else lines


def _jsonl(shard: Shard, stream: pa.NativeFile) -> Iterator[Raw]:
    blocks = line_blocks(shard, stream)
    started = False
    for number, lines in blocks:
        if not started and (opening := next((line.lstrip() for line in lines if line.strip()), b"")):
            started = True
            if opening.startswith(b"["):
                rest = (b"\n".join(lines) for _, lines in blocks)
                yield from _json_array(shard, b"\n".join([*lines, *rest]))
                return
        places: Sequence[int] = range(number, number + len(lines))
        try:
            rows = list(map(orjson.loads, lines))
        except orjson.JSONDecodeError:
            places = [place for place, line in zip(places, lines, strict=True) if line.strip()]
            rows = [_json_value(shard, place, lines[place - number]) for place in places]
        for start in range(0, len(rows), BATCH_ROWS):
            end = start + BATCH_ROWS
            yield _of_objects(shard, rows[start:end], places[start:end])


def _json_value(shard: Shard, number: int, line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as bad:
            raise _not_utf8(shard, number, bad) from None
        what = str(error).partition(": line ")[0]
        hint = "; a CSV or TSV table wants a file name, or --columns" if shard.name == StandardInput.name else ""
        raise PairmineError(
            f"{shard.name}:{number}: not valid JSON ({what}); one object to a line, mend or remove the line{hint}"
        ) from None


def _json_array(shard: Shard, content: bytes) -> Iterator[Raw]:
    try:
        rows = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise PairmineError(f"{shard.name}: not valid JSON ({error}); mend it, or write one object to a line") from None
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        yield _of_objects(shard, batch, range(start + 1, start + len(batch) + 1), unit=" element ")


def _of_objects(shard: Shard, rows: list[dict[str, Any]], places: Sequence[int], unit: str = ":") -> Raw:
    if set(map(type, rows)) != {dict}:
        raise _no_object(shard, rows, places, unit)
    columns = _columns_of(rows)
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = _array(values)
        except (pa.ArrowException, OverflowError):
            raise _mixed(shard, name, values, places, unit) from None
    return Raw(
        pa.table(arrays),
        shard.name,
        lambda row: f"{shard.name}{unit}{places[row]}",
        lambda row: list(rows[row]),
    )


def _columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names: Iterable[str] = rows[0]
    if set(map(len, rows)) == {len(rows[0])}:
        try:
            return {name: list(map(itemgetter(name), rows)) for name in names}
        except KeyError:
            pass
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _array(values: list[Any]) -> pa.Array:
    """`values` as Arrow guesses them; objects without any key, which Parquet cannot hold, are nulls."""
    array = pa.array(values, pa.string()) if isinstance(values[0], str) else pa.array(values)
    return pa.nulls(len(array)) if pa.types.is_struct(array.type) and not array.type.num_fields else array


def _no_object(shard: Shard, rows: list[Any], places: Sequence[int], unit: str) -> PairmineError:
    at = next(i for i, row in enumerate(rows) if not isinstance(row, dict))
    return PairmineError(
        f"{shard.name}{unit}{places[at]}: a JSON object belongs here, found {_json_kind(rows[at])}; "
        'write rows as {"id": ..., "text": ...}, one to a line'
    )


def _mixed(shard: Shard, name: str, values: list[Any], places: Sequence[int], unit: str) -> PairmineError:
    """The error for a column of several types: names the first value that departs from the first one's type."""
    at = next(i for i, value in enumerate(values) if value is not None)
    kind = _json_kind(values[at])
    for i, value in enumerate(values):
        if value is not None and _json_kind(value) != kind:
            return PairmineError(
                f'{shard.name}{unit}{places[i]}: "{name}" is {_json_kind(value)}, '
                f"but {kind} at {shard.name}{unit}{places[at]}; write all of them as one type"
            )
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return PairmineError(
                f'{shard.name}{unit}{places[i]}: "{name}" is {value}, which 64 bits do not hold; write it as text'
            )
    return PairmineError(
        f'{shard.name}{unit}{places[at]}: "{name}" holds lists or objects whose values differ in type from row to row; '
        "write all of them alike"
    )


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    kinds = ((str, "a string"), (list, "a list"), (dict, "an object"), (int, "a number"), (float, "a number"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _not_utf8(shard: Shard, number: int, bad: UnicodeDecodeError) -> PairmineError:
    return PairmineError(
        f"{shard.name}:{number}: not UTF-8 (byte 0x{bad.object[bad.start]:02x}, number {bad.start + 1} of the line); "
        "convert it first, for example: iconv -f latin1 -t utf-8"
    )


# --- CSV and TSV --------------------------------------------------------------------------------


def _csv(shard: Shard, stream: pa.NativeFile) -> Iterator[Raw]:
    """CSV with the usual quotes; TSV without any, as collections write it. All values are text."""
    quoted = shard.kind == "csv"
    rows = (_quoted_rows if quoted else _tabbed_rows)(shard, _decoded(shard, stream))
    first = next(rows, None)
    if first is None:
        return
    header = _header(shard, *first)

    def whole(place: int, cells: list[str]) -> list[str]:
        if len(cells) != len(header):
            raise PairmineError(
                f"{shard.name}:{place}: {_count(len(cells), 'field')} where the header has {len(header)} "
                f"({listed(header)}); mend the line" + (" or its quotes" if quoted else "")
            )
        return cells

    yield from _of_rows(shard, header, ((place, whole(place, cells)) for place, cells in rows))


def _of_rows(shard: Shard, names: Sequence[str], rows: Iterable[tuple[int, Sequence[str]]]) -> Iterator[Raw]:
    """Rows of as many cells as there are `names`, in batches; one batch without rows where there are none."""
    found: list[Sequence[str]] = []
    places: list[int] = []
    size = 0
    for place, cells in rows:
        found.append(cells)
        places.append(place)
        size += sum(map(len, cells))
        if len(found) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield _of_cells(shard, names, found, places)
            found, places, size = [], [], 0
    yield _of_cells(shard, names, found, places)


# --- Text without a header ----------------------------------------------------------------------

SKIPPED, REST = "_", "..."
"""In the place of a field's name: one that is left out, and, at the end, all that may follow."""


def _fields(shard: Shard, stream: pa.NativeFile) -> Iterator[Raw]:
    """A table without a header, its columns named by the user: tabs part fields where the first line has one.

    Without a tab there it is CSV with the usual quotes; a single name takes each line as it stands.
    """
    names = list(shard.fields)
    open_ended = names[-1] == REST
    wanted = names[:-1] if open_ended else names
    kept = [at for at, name in enumerate(wanted) if name != SKIPPED]

    def chosen(place: int, cells: list[str]) -> list[str]:
        if len(cells) < len(wanted) or (len(cells) > len(wanted) and not open_ended):
            remedy = f"; end it with ,{REST} to leave the rest out" if len(cells) > len(wanted) else ""
            raise PairmineError(
                f"{shard.name}:{place}: {_count(len(cells), 'field')} where --columns names {len(wanted)} "
                f"({', '.join(wanted)}){remedy or '; mend the line, or the names'}"
            )
        return [cells[at] for at in kept]

    rows = _parted(shard, _decoded(shard, stream), is_single=names == wanted and len(wanted) == 1)
    yield from _of_rows(shard, [wanted[at] for at in kept], ((place, chosen(place, cells)) for place, cells in rows))


def _parted(shard: Shard, lines: Iterator[tuple[int, str]], *, is_single: bool) -> Iterator[tuple[int, list[str]]]:
    if is_single:
        yield from ((number, [text]) for number, line in lines if (text := line.removesuffix("\r")))
        return
    first = next((each for each in lines if each[1].strip()), None)
    if first is not None:
        rows = _tabbed_rows if "\t" in first[1] else _quoted_rows
        yield from rows(shard, chain([first], lines))


def _lines(shard: Shard, stream: pa.NativeFile) -> Iterator[Raw]:
    """One text to a line; blank lines are none."""
    lines = ((number, [line.removesuffix("\r")]) for number, line in _decoded(shard, stream) if line.strip())
    yield from _of_rows(shard, ["text"], lines)


def read_lines(shard: Shard) -> Iterator[str]:
    """Each line of a text without its end, blank ones too."""
    try:
        with shard.open() as stream:
            yield from (line.removesuffix("\r") for _, line in _decoded(shard, stream))
    except (OSError, EOFError) as error:
        raise unreadable(shard, error) from error


def check_fields(fields: Sequence[str]) -> None:
    """Raises PairmineError for names that cannot be those of a table's columns."""
    line = f"--columns {','.join(fields)}"
    named = [name for name in (fields[:-1] if fields[-1] == REST else fields) if name != SKIPPED]
    if not named:
        raise PairmineError(f"{line}: names no column; {SKIPPED} stands for a field that is left out")
    if not all(name.strip() for name in named):
        raise PairmineError(f"{line}: has an empty name; write {SKIPPED} for a field that is left out")
    if REST in named:
        raise PairmineError(f"{line}: {REST} has its place at the end alone")
    if repeated := next((name for name in named if named.count(name) > 1), None):
        raise PairmineError(f'{line}: "{repeated}" comes twice; give every column a name of its own')


# --- Cells --------------------------------------------------------------------------------------


def _quoted_rows(shard: Shard, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file, each with the number of its first line; blank lines are left out."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader((line + "\n" for _, line in lines), strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise PairmineError(f"{shard.name}:{line}: not valid CSV ({error}); is a quote left open?") from None


def _tabbed_rows(shard: Shard, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines:
        if text := line.removesuffix("\r"):
            yield number, text.split("\t")


def _decoded(shard: Shard, stream: pa.NativeFile) -> Iterator[tuple[int, str]]:
    for first, lines in line_blocks(shard, stream):
        for number, line in enumerate(lines, first):
            try:
                yield number, line.decode("utf-8")
            except UnicodeDecodeError as bad:
                raise _not_utf8(shard, number, bad) from None


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _header(shard: Shard, place: int, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(names) == 1 and (separator := _separator_in(names[0])):
        raise PairmineError(
            f"{shard.name}:{place}: the header is one column, {names[0]!r}, and seems to be separated by {separator}; "
            f"write it with {'tabs' if shard.kind == 'tsv' else 'commas'}, or name the file by what it holds"
        )
    repeated = {name for name in names if names.count(name) > 1}
    if repeated or not all(names):
        what = f'"{listed([min(repeated)])}" twice' if repeated else "a column without a name"
        raise PairmineError(
            f"{shard.name}:{place}: the header has {what}; the first line must name every column, "
            "or be left out for --columns"
        )
    return names


def _separator_in(cell: str) -> str | None:
    """What stands between words of a header that was taken for one column, in words; None for a name."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), (",", "commas")):
        parts = cell.split(separator)
        if len(parts) > 1 and all(re.fullmatch(r"[\w-]+", part.strip()) for part in parts):
            return name
    return None


def _of_cells(shard: Shard, header: Sequence[str], rows: Sequence[Sequence[str]], places: Sequence[int]) -> Raw:
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    arrays = {name: pa.array(column, pa.string()) for name, column in zip(header, columns, strict=True)}
    return Raw(pa.table(arrays), shard.name, lambda row: f"{shard.name}:{places[row]}", lambda _: header)


# --- Parquet and Arrow --------------------------------------------------------------------------

DICTIONARY_COLUMNS = ("query", "document")


def _parquet(shard: Shard, stream: pa.NativeFile) -> Iterator[Raw]:
    import pyarrow.parquet as pq

    try:
        names = pq.ParquetFile(stream).schema_arrow.names
        stream.seek(0)
        shared = [name for name in DICTIONARY_COLUMNS if name in names]
        # Arrow builds a dictionary anew for each batch, so those of pair sets hold a whole row group of ours.
        # With its own buffering Arrow would hold all of the file that was read so far.
        file = pq.ParquetFile(stream, read_dictionary=shared, pre_buffer=False, buffer_size=PARQUET_BUFFER_BYTES)
        first = 0
        most = PARQUET_GROUP_ROWS if shared else BATCH_ROWS
        for batch in file.iter_batches(batch_size=_rows_at_once(file.metadata, most)):
            yield _of_table(pa.Table.from_batches([batch]), shard.name, first)
            first += batch.num_rows
        if first == 0:
            empty = file.schema_arrow.empty_table().replace_schema_metadata(file.metadata.metadata)
            yield _of_table(empty, shard.name, 0)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(shard.name, "Parquet", error) from None


def _rows_at_once(metadata: Any, most: int) -> int:
    """`most`, or fewer where rows are long, as those of whole books are."""
    size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    return min(most, max(1, PARQUET_BATCH_BYTES * metadata.num_rows // max(size, 1)))


def _arrow(shard: Shard, stream: pa.NativeFile) -> Iterator[Raw]:
    is_file = stream.read(6) == b"ARROW1"
    stream.seek(0)
    yield from _ipc_file(shard.name, stream) if is_file else read_ipc_stream(shard.name, stream)


def _ipc_file(name: str, stream: pa.NativeFile) -> Iterator[Raw]:
    try:
        reader = pa.ipc.open_file(stream)
        batches = (reader.get_batch_with_custom_metadata(i) for i in range(reader.num_record_batches))
        yield from _of_batches(name, reader.schema, batches)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(name, "Arrow", error) from None


def read_ipc_stream(name: str, stream: Any) -> Iterator[Raw]:
    """The rows of an Arrow IPC stream, which may be a pipe; one of ours must come with its last batch.

    That batch is empty and carries the lineage, so a stream that was cut off is told from a whole one.
    """
    try:
        reader = pa.ipc.open_stream(stream)
        yield from _of_batches(name, reader.schema, _stream_batches(reader))
    except (pa.ArrowException, OSError) as error:
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
            yield _of_table(pa.table(batch.columns, schema=plain), name, first, ours)
            first += batch.num_rows
    if ours and trailer is None:
        raise PairmineError(f"{name}: the stream breaks off; did the command that wrote it fail?")
    yield _of_table(plain.with_metadata(trailer).empty_table(), name, first, ours)


def _of_table(table: pa.Table, name: str, first: int, is_ours: bool = False) -> Raw:
    """A binary format's rows: places are row numbers from 1, continuing after `first` earlier rows."""
    names = table.column_names
    if twice := {column for column in names if names.count(column) > 1}:
        raise PairmineError(f'{name}: two columns are named "{min(twice)}"; rename one of them')
    return Raw(table, name, lambda row: f"{name}: row {first + row + 1}", lambda _: names, is_ours=is_ours)


def _damaged(name: str, kind: str, error: Exception) -> PairmineError:
    return PairmineError(
        f"{name}: not a whole {kind} file ({_first_line(error)}); it may be truncated, write or fetch it again"
    )


_READERS = {
    "jsonl": _jsonl,
    "csv": _csv,
    "tsv": _csv,
    "lines": _lines,
    "fields": _fields,
    "parquet": _parquet,
    "arrow": _arrow,
}
