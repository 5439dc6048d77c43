"""Rows as they stand in a file, with the place of each one for error messages.

Nothing is renamed or converted here; `columns` and `source` do that.
"""

from __future__ import annotations

import csv
import errno
import re
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import itemgetter
from typing import Any

import orjson
import pyarrow as pa

from pairmine.errors import GAVE_UP, PairmineError
from pairmine.files import lineage
from pairmine.files.columns import listed
from pairmine.files.locations import Shard, StandardInput, cause

BATCH_ROWS = 16_384
BATCH_BYTES = 2 << 20
PARQUET_GROUP_ROWS = 131_072
PARQUET_BATCH_BYTES = 32 << 20
PARQUET_BATCH_CELLS = PARQUET_GROUP_ROWS * 128
PARQUET_BUFFER_BYTES = 4 << 20
MAX_LINE_BYTES = 256 << 20
MAX_ARRAY_BYTES = 1 << 30
MAX_COLUMNS = 20_000
MAX_CELLS = 1 << 22
"""Cells of a batch. Where each JSON object has names of its own, one of a few MB would have hundreds of millions."""
MAX_DEPTH = 60
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
        shard.check_unchanged()
        raise unreadable(shard, error) from error
    except PairmineError:
        shard.check_unchanged()
        raise
    shard.check_unchanged()


def unreadable(shard: Shard, error: BaseException) -> PairmineError:
    if isinstance(error, OSError) and error.errno in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
        line = f"{shard.name}: {cause(error)}; mend that and run the same command again"
        return PairmineError(line, exit_code=GAVE_UP)
    if shard.compression is None:
        return PairmineError(f"{shard.name}: cannot be read ({_first_line(error)})")
    return PairmineError(f"{shard.name}: the {shard.compression} file is truncated or damaged; fetch or write it again")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


# --- JSON lines ---------------------------------------------------------------------------------


def line_blocks(shard: Shard, stream: pa.NativeFile) -> Iterator[tuple[int, list[bytes]]]:
    """Whole lines without their ends, some MB at a time, after the number of the first; no byte order mark."""
    number, held = 1, 0
    rest: list[bytes] = []
    while block := stream.read(BATCH_BYTES):
        whole, newline, tail = block.rpartition(b"\n")
        if newline:
            lines = b"".join([*rest, whole]).split(b"\n")
            yield number, _without_mark(number, lines)
            number += len(lines)
            rest, held = [], 0
        rest.append(tail)
        held += len(tail)
        if held > MAX_LINE_BYTES and not (shard.kind == "jsonl" and number == 1 and _is_array(rest)):
            raise PairmineError(_too_long(shard, f":{number}: a line of over {MAX_LINE_BYTES >> 20} MB", rest))
        if held > MAX_ARRAY_BYTES:
            raise _long_array(shard)
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
                every = held_blocks(shard, chain([(number, lines)], blocks))
                yield from _json_array(shard, b"\n".join(b"\n".join(some) for _, some in every))
                return
        places: Sequence[int] = range(number, number + len(lines))
        try:
            rows = list(map(orjson.loads, lines))
        except orjson.JSONDecodeError:
            places = [place for place, line in zip(places, lines, strict=True) if line.strip()]
            rows = [_json_value(shard, place, lines[place - number]) for place in places]
        yield from _batches(shard, rows, places)


def _is_array(pieces: list[bytes]) -> bool:
    return next((text for piece in pieces if (text := piece.removeprefix(_BOM).lstrip())), b"").startswith(b"[")


def _too_long(shard: Shard, what: str, pieces: list[bytes]) -> str:
    zeros = ", with zero bytes in it" if b"\0" in pieces[0] else ""
    return f"{shard.name}{what}{zeros}; is this a {shard.kind} file? Write one row to a line"


def _long_array(shard: Shard) -> PairmineError:
    size = f"{MAX_ARRAY_BYTES >> 20:,} MB"
    return PairmineError(f"{shard.name}: a JSON array of over {size}; write one object to a line, as .jsonl")


def held_blocks(shard: Shard, blocks: Iterable[tuple[int, list[bytes]]]) -> Iterator[tuple[int, list[bytes]]]:
    """Blocks of a JSON array, which is held as a whole; raises PairmineError where it is too long for that."""
    held = 0
    for number, lines in blocks:
        held += sum(map(len, lines)) + len(lines)
        if held > MAX_ARRAY_BYTES:
            raise _long_array(shard)
        yield number, lines


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
    yield from _batches(shard, rows, range(1, len(rows) + 1), unit=" element ")


def _batches(shard: Shard, rows: list[Any], places: Sequence[int], unit: str = ":") -> Iterator[Raw]:
    """The objects as tables of so many rows that their cells are not too many."""
    start = 0
    while start < len(rows):
        end = start + BATCH_ROWS
        batch = rows[start:end]
        if set(map(type, batch)) != {dict}:
            raise _no_object(shard, batch, places[start:end], unit)
        names = _names_of(batch)
        while len(batch) > 1 and len(batch) * len(names) > MAX_CELLS:
            batch = batch[: len(batch) // 2]
            names = _names_of(batch)
        end = start + len(batch)
        if len(names) > MAX_COLUMNS:
            raise PairmineError(f"{shard.name}{unit}{places[start]}: {too_many_columns(len(names))}")
        yield _of_objects(shard, batch, names, places[start:end], unit)
        start = end


def too_many_columns(count: int) -> str:
    """What is wrong with a table of so many columns, and the remedy."""
    return (
        f"{count:,} columns, more than {MAX_COLUMNS:,}; are their names values? "
        "Put those into one column, or leave out what is not needed"
    )


def _names_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The names in all of `rows`, in the order in which they come."""
    return list(dict.fromkeys(chain.from_iterable(rows)))


def _of_objects(
    shard: Shard, rows: list[dict[str, Any]], names: Sequence[str], places: Sequence[int], unit: str
) -> Raw:
    arrays = {}
    for name, values in zip(names, _columns_of(rows, names), strict=True):
        try:
            arrays[name] = _array(values)
        except (pa.ArrowException, OverflowError):
            raise _mixed(shard, name, values, places, unit) from None
        if depth_of(arrays[name].type) > MAX_DEPTH:
            at = next(at for at, value in enumerate(values) if _is_deep(value))
            raise PairmineError(f'{shard.name}{unit}{places[at]}: "{name}" is nested {_TOO_DEEP}')
    return Raw(
        pa.table(arrays),
        shard.name,
        lambda row: f"{shard.name}{unit}{places[row]}",
        lambda row: list(rows[row]),
    )


def _columns_of(rows: list[dict[str, Any]], names: Sequence[str]) -> Iterator[list[Any]]:
    """The values of each of `names`, one after the other."""
    if set(map(len, rows)) == {len(names)}:
        return (list(map(itemgetter(name), rows)) for name in names)
    return ([row.get(name) for row in rows] for name in names)


_TOO_DEEP = f"more than {MAX_DEPTH} lists or objects deep; write it as text, or leave it out"


def depth_of(kind: pa.DataType) -> int:
    """How many lists and objects stand in each other at most, 0 for a plain value."""
    deepest, waiting = 0, [(kind, 0)]
    while waiting:
        kind, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting += [(kind.field(at).type, depth + 1) for at in range(kind.num_fields)]
    return deepest


def _is_deep(value: Any) -> bool:
    """Whether a value's lists and objects stand in each other too deep."""
    waiting = [(value, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return True
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(each, depth + 1) for each in inside]
    return False


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
    if kind == "a number" and (large := [i for i, value in enumerate(values) if _is_beyond_fractions(value)]):
        return PairmineError(
            f'{shard.name}{unit}{places[large[0]]}: "{name}" is {values[large[0]]}, which loses digits beside numbers '
            "with a fraction; write them as text"
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


def _is_beyond_fractions(value: Any) -> bool:
    return isinstance(value, int) and int(float(value)) != value


def _not_utf8(shard: Shard, number: int, bad: UnicodeDecodeError) -> PairmineError:
    written = "utf-16" if number == 1 and bad.object.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin1"
    return PairmineError(
        f"{shard.name}:{number}: not UTF-8 (byte 0x{bad.object[bad.start]:02x}, number {bad.start + 1} of the line); "
        f"convert it first, for example: iconv -f {written} -t utf-8"
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
        remedy = "close the quote that is left open, or mend the line"
        raise PairmineError(f"{shard.name}:{line}: not valid CSV ({error}); {remedy}") from None


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


def _repeated(names: Sequence[str]) -> list[str]:
    """The names that come more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _header(shard: Shard, place: int, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(names) == 1 and (separator := _separator_in(names[0])):
        raise PairmineError(
            f"{shard.name}:{place}: the header is one column, {names[0]!r}, and seems to be separated by {separator}; "
            f"write it with {'tabs' if shard.kind == 'tsv' else 'commas'}, or name the file by what it holds"
        )
    if len(names) > MAX_COLUMNS:
        raise PairmineError(f"{shard.name}:{place}: {too_many_columns(len(names))}")
    if (repeated := _repeated(names)) or not all(names):
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
        columns = pq.ParquetFile(stream).schema_arrow
        stream.seek(0)
        # Arrow takes no list or object by its name.
        flat = {field.name for field in columns if not pa.types.is_nested(field.type)}
        shared = [name for name in DICTIONARY_COLUMNS if name in flat]
        # Arrow builds a dictionary anew for each batch, so those of pair sets hold a whole row group of ours.
        # With its own buffering Arrow would hold all of the file that was read so far.
        file = pq.ParquetFile(stream, read_dictionary=shared, pre_buffer=False, buffer_size=PARQUET_BUFFER_BYTES)
        groups, first, stop = groups_of(file.metadata, shard.rows)
        most = PARQUET_GROUP_ROWS if shared else BATCH_ROWS
        is_empty = True
        for batch in file.iter_batches(batch_size=_rows_at_once(file.metadata, most), row_groups=groups):
            table, at = within(pa.Table.from_batches([batch]), first, shard.rows)
            first += batch.num_rows
            if table.num_rows:
                is_empty = False
                yield _of_table(table, shard.name, at)
            if first >= stop:
                break
        if is_empty:
            empty = file.schema_arrow.empty_table().replace_schema_metadata(file.metadata.metadata)
            yield _of_table(empty, shard.name, 0)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(shard.name, "Parquet", error) from None


def groups_of(metadata: Any, rows: tuple[int, int] | None) -> tuple[list[int], int, int]:
    """The row groups that hold `rows`, all without them; the number of the first row in these, and of the end."""
    if rows is None:
        return list(range(metadata.num_row_groups)), 0, metadata.num_rows
    ends = list(accumulate(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)))
    first, last = bisect_right(ends, rows[0]), bisect_left(ends, rows[1])
    return list(range(first, min(last + 1, len(ends)))), ends[first - 1] if first else 0, rows[1]


def within(table: pa.Table, at: int, rows: tuple[int, int] | None) -> tuple[pa.Table, int]:
    """What of `table`, whose first row is number `at`, lies in `rows`, and the number of its first row."""
    if rows is None:
        return table, at
    skipped = max(rows[0] - at, 0)
    return table.slice(skipped, max(min(rows[1] - at, table.num_rows) - skipped, 0)), at + skipped


def _rows_at_once(metadata: Any, most: int) -> int:
    """`most`, or fewer where rows are long, as those of whole books are, or have very many columns."""
    size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    by_columns = PARQUET_BATCH_CELLS // max(metadata.num_columns, 1)
    return min(most, max(1, min(by_columns, PARQUET_BATCH_BYTES * metadata.num_rows // max(size, 1))))


_TOO_LARGE = "a batch of it wants more memory than there is; it may be damaged, write it again, or in smaller batches"


def _arrow(shard: Shard, stream: pa.NativeFile) -> Iterator[Raw]:
    is_file = stream.read(6) == b"ARROW1"
    stream.seek(0)
    yield from _ipc_file(shard.name, stream) if is_file else read_ipc_stream(shard.name, stream)


def _ipc_file(name: str, stream: pa.NativeFile) -> Iterator[Raw]:
    try:
        reader = pa.ipc.open_file(stream)
        batches = (reader.get_batch_with_custom_metadata(i) for i in range(reader.num_record_batches))
        yield from _of_batches(name, reader.schema, batches)
    except MemoryError:
        raise PairmineError(f"{name}: {_TOO_LARGE}") from None
    except (pa.ArrowException, OSError) as error:
        raise _damaged(name, "Arrow", error) from None


def read_ipc_stream(name: str, stream: Any) -> Iterator[Raw]:
    """The rows of an Arrow IPC stream, which may be a pipe; one of ours must come with its last batch.

    That batch is empty and carries the lineage, so a stream that was cut off is told from a whole one.
    """
    try:
        reader = pa.ipc.open_stream(stream)
        yield from _of_batches(name, reader.schema, _stream_batches(reader))
    except MemoryError:
        raise PairmineError(f"{name}: {_TOO_LARGE}") from None
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
    lineage.decode(schema.metadata, name)  # a newer format is refused before its rows are taken for something
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
    if twice := _repeated(names):
        raise PairmineError(f'{name}: two columns are named "{min(twice)}"; rename one of them')
    if len(names) > MAX_COLUMNS:
        raise PairmineError(f"{name}: {too_many_columns(len(names))}")
    if deep := next((field.name for field in table.schema if depth_of(field.type) > MAX_DEPTH), None):
        raise PairmineError(f'{name}: "{deep}" is nested {_TOO_DEEP}')
    _check_values(table, name)
    return Raw(table, name, lambda row: f"{name}: row {first + row + 1}", lambda _: names, is_ours=is_ours)


def _check_values(table: pa.Table, name: str) -> None:
    """Refuse what Arrow hands on as it stands in the file: it would read beyond the end of a damaged column."""
    for column, values in zip(table.column_names, table.columns, strict=True):
        try:
            values.validate(full=True)
        except pa.ArrowInvalid as error:
            what = f"values that are not whole ({_first_line(error)}); it may be damaged, write or fetch it again"
            if "UTF8" in str(error):
                what = "bytes that are no UTF-8; write its texts again"
            raise PairmineError(f'{name}: "{column}" holds {what}') from None


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
