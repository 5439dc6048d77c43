"""Rows of a trainer's file as they stand, faults and all: what is broken is noted, and the rest is read."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import orjson
import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.files.columns import listed
from pairmine.files.forms.group import Row
from pairmine.files.forms.notes import Notes
from pairmine.files.forms.values import kind
from pairmine.files.locations import Shard
from pairmine.files.raw import REST, held_blocks, line_blocks, read_raw, unreadable

_MARK = b"\xef\xbb\xbf"
_ROWS = 16_384
_FIRST_ROWS = 256

BROKEN: Row = {}
"""Stands for a line that is no row, which was noted."""


@dataclass(frozen=True)
class Batch:
    """Some rows of a file, the number of each one's line, row or element, and what that is called."""

    rows: list[Row]
    numbers: Sequence[int]
    unit: str
    file: str = ""

    def place(self, at: int) -> str:
        """Where row `at` stands, with its file's name where there are several."""
        return f"{self.file}{self.unit} {self.numbers[at]}"


def read_rows(
    shard: Shard, notes: Notes, *, file: str = "", fields: Sequence[str] = (), inside: str = ""
) -> Iterator[Batch]:
    """The rows of `shard` in batches; `fields` names the columns of one without a header, or of JSON arrays.

    "..." at their end stands for whatever follows.
    `inside` names the field of a file that is one JSON object which holds the rows.
    A batch has a row for each line with something on it; of a line that is no row it is `BROKEN`. Raises
    PairmineError where the file as a whole cannot be read.
    """
    if misnamed := shard.misnamed():
        raise PairmineError(f"{shard.name}: {misnamed}")
    before = f"{file}: " if file else ""
    if shard.kind in ("parquet", "arrow"):
        yield from _binary(shard, before)
        return
    try:
        with shard.open() as stream:
            lines = _lines(shard, stream, notes, before)
            if shard.kind == "jsonl":
                yield from _jsonl(shard, lines, notes, before, fields, inside)
            else:
                yield from _delimited(shard, lines, notes, before, fields)
    except (OSError, EOFError) as error:
        raise unreadable(shard, error) from error


def unit_of(shard: Shard) -> str:
    """What a row of `shard` is called."""
    return "row" if shard.kind in ("parquet", "arrow") else "line"


def _binary(shard: Shard, before: str) -> Iterator[Batch]:
    done = 0
    for raw in read_raw(shard):
        start = 0
        while start < raw.table.num_rows:
            # Few at first: a look at the head of a file should not unpack a whole row group.
            piece = raw.table.slice(start, _ROWS if done else _FIRST_ROWS)
            try:
                rows = piece.to_pylist()
            except (UnicodeDecodeError, pa.ArrowException, OverflowError) as error:
                raise PairmineError(
                    f"{shard.name}: holds values that cannot be read ({error}); write it again"
                ) from None
            yield Batch(rows, range(done + 1, done + len(rows) + 1), "row", before)
            done, start = done + len(rows), start + len(rows)


# --- Lines --------------------------------------------------------------------------------------

Lines = Iterator[tuple[int, list[bytes]]]


def _lines(shard: Shard, stream: pa.NativeFile, notes: Notes, before: str) -> Lines:
    """Blocks of lines, after the number of the first one; a byte order mark and carriage returns are noted.

    In CSV a text in quotes may hold line ends of its own, so that only the header tells how the file's lines end.
    """
    for number, lines in line_blocks(shard, stream):
        if number == 1:
            _note_mark(shard, notes, before)
        if shard.kind == "csv":
            if number == 1 and lines[0].endswith(b"\r"):
                notes.add("line-ends", f"{before}line 1")
        elif any(line.endswith(b"\r") for line in lines):
            for at, line in enumerate(lines):
                if line.endswith(b"\r"):
                    notes.add("line-ends", f"{before}line {number + at}")
            lines = [line.removesuffix(b"\r") for line in lines]
        yield number, lines


def _note_mark(shard: Shard, notes: Notes, before: str) -> None:
    with shard.open() as again:
        if bytes(again.read(len(_MARK))) == _MARK:
            notes.add("byte-order-mark", f"{before}line 1")


def decoded(line: bytes, place: str, notes: Notes) -> str:
    """`line` as text; bytes that are no UTF-8 become U+FFFD, and are noted."""
    try:
        return line.decode()
    except UnicodeDecodeError as bad:
        notes.add("not-utf8", place, f"byte 0x{line[bad.start]:02x}, number {bad.start + 1} of the line")
        return line.decode(errors="replace")


# --- JSON ---------------------------------------------------------------------------------------


def _jsonl(
    shard: Shard, lines: Lines, notes: Notes, before: str, fields: Sequence[str], inside: str
) -> Iterator[Batch]:
    started = False
    for number, block in lines:
        opening = next((line.lstrip() for line in block if line.strip()), b"")
        if opening and not started:
            started = True
            if inside or (not fields and opening.startswith(b"[")):
                every = held_blocks(shard, chain([(number, block)], lines))
                yield from _whole(shard, list(every), notes, before, inside)
                return
        yield from _objects(number, block, notes, before, fields)


def _objects(first: int, block: list[bytes], notes: Notes, before: str, fields: Sequence[str]) -> Iterator[Batch]:
    try:
        values: list[Any] = list(map(orjson.loads, block))
        numbers: Sequence[int] = range(first, first + len(block))
    except orjson.JSONDecodeError:
        numbers = [first + at for at, line in enumerate(block) if line.strip()]
        values = [_value(block[number - first], f"{before}line {number}", notes) for number in numbers]
    if not values:
        return
    rows = values
    if fields or set(map(type, values)) != {dict}:
        places = (f"{before}line {number}" for number in numbers)
        rows = [_row(value, place, notes, fields) for value, place in zip(values, places, strict=True)]
    yield Batch(rows, numbers, "line", before)


def _value(line: bytes, place: str, notes: Notes) -> Any:
    """What a line holds, `BROKEN` where it is no JSON."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _lenient(line, place, notes, str(error).partition(": line ")[0])


def _lenient(line: bytes, place: str, notes: Notes, why: str) -> Any:
    """The same for what Python reads and JSON does not know: NaN, and halves of surrogate pairs."""
    text = decoded(line, place, notes)
    found: list[str] = []

    def constant(name: str) -> float:
        found.append(name)
        return float(name)

    try:
        value = json.loads(text, parse_constant=constant)
        orjson.dumps(value)
    except (ValueError, RecursionError, TypeError):
        notes.add("invalid-json", place, f"{why}: {text[:60]}")
        return BROKEN
    if found:
        notes.add("nan-in-json", place, f"holds {found[0]}")
    return value


def _row(value: Any, place: str, notes: Notes, fields: Sequence[str]) -> Row:
    if isinstance(value, list) and fields:
        if len(value) != len(fields):
            notes.add("uneven-fields", place, f"{len(value)} values where {len(fields)} belong")
            return BROKEN
        return dict(zip(fields, value, strict=True))
    if isinstance(value, dict) and not fields:
        return value
    wanted = "an array" if fields else "an object"
    notes.add("not-an-object", place, f"{kind(value)} where {wanted} belongs")
    return BROKEN


def _whole(
    shard: Shard, blocks: list[tuple[int, list[bytes]]], notes: Notes, before: str, inside: str
) -> Iterator[Batch]:
    """A file that is one JSON array, or an object with one inside; where it is torn, its lines are read one by one."""
    lines = [line for _, block in blocks for line in block]
    try:
        values = orjson.loads(b"\n".join(lines))
    except orjson.JSONDecodeError as error:
        yield from _torn(shard, blocks[0][0], lines, notes, before, str(error))
        return
    values = values.get(inside) if inside and isinstance(values, dict) else values
    if not isinstance(values, list):
        raise PairmineError(f'{shard.name}: no list of rows in it; write {{"{inside}": [...]}}')
    for start in range(0, len(values), _ROWS):
        some = values[start : start + _ROWS]
        batch = Batch(some, range(start + 1, start + len(some) + 1), "element", before)
        yield replace(batch, rows=[_row(value, batch.place(at), notes, ()) for at, value in enumerate(some)])


def _torn(shard: Shard, first: int, lines: list[bytes], notes: Notes, before: str, why: str) -> Iterator[Batch]:
    numbers = [first + at for at, line in enumerate(lines) if line.strip(b" \t,[]")]
    silent = Notes(muted=True)
    values = [_value(lines[number - first].strip().rstrip(b","), "", silent) for number in numbers]
    kept = [
        (number, value)
        for number, value in zip(numbers, values, strict=True)
        if value is not BROKEN and isinstance(value, dict)
    ]
    if not kept:
        raise PairmineError(f"{shard.name}: not valid JSON ({why}); mend it, or write one object to a line")
    known = {number for number, _ in kept}
    for number in (number for number in numbers if number not in known):
        notes.add("invalid-json", f"{before}line {number}", lines[number - first][:60].decode(errors="replace"))
    if len(known) == len(numbers):
        notes.add("invalid-json", f"{before}line {numbers[-1]}", why)
    yield Batch([value for _, value in kept], [number for number, _ in kept], "line", before)


# --- Fields that tabs or commas part -------------------------------------------------------------


def _delimited(shard: Shard, lines: Lines, notes: Notes, before: str, fields: Sequence[str]) -> Iterator[Batch]:
    texts = (
        (number + at, decoded(line, f"{before}line {number + at}", notes))
        for number, block in lines
        for at, line in enumerate(block)
    )
    if shard.kind == "lines":
        yield from _batches(((number, {"text": text}) for number, text in texts if text), before)
        return
    cells = _quoted(texts, notes, before) if shard.kind == "csv" else _tabbed(texts)
    names = [name.strip() for name in next(cells, (1, []))[1]] if not fields else list(fields)
    yield from _batches(
        ((number, _cells(names, row, f"{before}line {number}", notes)) for number, row in cells), before
    )


def _cells(names: Sequence[str], row: list[str], place: str, notes: Notes) -> Row:
    if names[-1:] == [REST]:
        names, row = names[:-1], row[: max(len(names) - 1, 0)]
    if len(row) != len(names):
        notes.add("uneven-fields", place, f"{len(row)} fields where {len(names)} belong ({listed(names)})")
        return BROKEN
    return dict(zip(names, row, strict=True))


def _tabbed(texts: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    return ((number, text.split("\t")) for number, text in texts if text)


def _quoted(texts: Iterator[tuple[int, str]], notes: Notes, before: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader((text + "\n" for _, text in texts), strict=False)
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            notes.add("uneven-fields", f"{before}line {line}", str(error))
            cells = []
        if cells is None:
            return
        if cells:
            yield line, cells
        line = reader.line_num + 1


def _batches(rows: Iterator[tuple[int, Row]], before: str) -> Iterator[Batch]:
    numbers: list[int] = []
    found: list[Row] = []
    for number, row in rows:
        numbers.append(number)
        found.append(row)
        if len(found) == _ROWS:
            yield Batch(found, numbers, "line", before)
            numbers, found = [], []
    if found:
        yield Batch(found, numbers, "line", before)
