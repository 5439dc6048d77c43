"""Layouts that some trainers want and no other part of pairmine reads: JSON values of many rows, bare lines, shards."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import orjson
import pyarrow as pa

from pairmine.files import lineage
from pairmine.files.writers import TEXT_ROWS, Delimited, Lines, Outlet, Writer, short_floats

ARRAY = ("[\n", "\n]\n")
"""What stands before and after the rows of a JSON array."""

SHARD_ROWS = 100_000

Add = Callable[[str], Outlet]
"""Opens one more file of a folder, by its name."""


def bare_tsv(outlet: Outlet, columns: pa.Schema) -> Delimited:
    """Tab-separated lines without a header."""
    return Delimited(pa.PythonFile(outlet, "w"), "tsv", columns, headed=False)


class JsonRows(Lines):
    """One JSON value: `head`, a row to a line with commas between, `tail`."""

    def __init__(self, outlet: Outlet, head: str, tail: str) -> None:
        super().__init__(pa.PythonFile(outlet, "w"))
        self._tail = tail.encode()
        self._before = b""
        self._stream.write(head.encode())

    def _encoded(self, table: pa.Table) -> bytes:
        rows = b",\n".join(orjson.dumps(row, default=str) for row in table.to_pylist())
        before, self._before = (self._before, b",\n") if rows else (b"", self._before)
        return before + rows

    def close(self, entries: list[lineage.Entry]) -> None:
        self._stream.write(self._tail)
        super().close(entries)


class JsonArrays(Lines):
    """A line for each row: an array of its values."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__(pa.PythonFile(outlet, "w"))

    def _encoded(self, table: pa.Table) -> bytes:
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


class Shards:
    """Compressed JSON lines, `SHARD_ROWS` to a file, with the `counts.json` and `offsets.json.gz` of contrastors.

    Both call a shard by the last three parts of its path, and an offset counts the bytes before compression.
    """

    def __init__(self, add: Add, name: str, place: str) -> None:
        self._add = add
        self._name = name
        self._place = place
        self._counts: dict[str, int] = {}
        self._offsets = _zipped(add("offsets.json.gz"))
        self._offsets.write(b"{")
        self._shard: gzip.GzipFile | None = None
        self._rows = self._bytes = 0

    def write(self, table: pa.Table) -> None:
        """Append rows, and begin a shard where one is full."""
        for start in range(0, table.num_rows, TEXT_ROWS):
            rows = short_floats(table.slice(start, TEXT_ROWS)).to_pylist()
            lines = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows]
            while lines:
                if self._shard is None or self._rows == SHARD_ROWS:
                    self._begin()
                room = SHARD_ROWS - self._rows
                self._put(lines[:room])
                lines = lines[room:]

    def _put(self, lines: list[bytes]) -> None:
        assert self._shard is not None
        self._shard.write(b"".join(lines))
        ends = list(accumulate(map(len, lines), initial=self._bytes))
        numbers = range(self._rows, self._rows + len(lines))
        spans = [b'"%d":[%d,%d]' % (row, *span) for row, span in zip(numbers, pairwise(ends), strict=True)]
        comma = b"," if self._rows else b""
        self._offsets.write(comma + b",".join(spans))
        self._rows, self._bytes = self._rows + len(lines), ends[-1]

    def _begin(self) -> None:
        self._end()
        name = self._name.format(number=f"{len(self._counts):05d}")
        comma = b"," if self._counts else b""
        self._shard = _zipped(self._add(name))
        self._key = f"{self._place}/{name}"
        self._counts[self._key] = self._rows = self._bytes = 0
        self._offsets.write(comma + orjson.dumps(self._key) + b":{")

    def _end(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._counts[self._key] = self._rows
            self._offsets.write(b"}")

    def close(self, entries: list[lineage.Entry]) -> None:
        """Finish the last shard, and write the counts."""
        self._end()
        self._offsets.write(b"}\n")
        self._offsets.close()
        counts = {"total_count": sum(self._counts.values()), "count_per_file": self._counts}
        self._add("counts.json").write(orjson.dumps(counts, option=orjson.OPT_APPEND_NEWLINE))

    def abort(self) -> None:
        """What was written goes with its folder."""


def _zipped(outlet: Outlet) -> gzip.GzipFile:
    """A gzip stream without a time or a name in it, so that the same rows are the same bytes.

    Level 1: at 6 compression alone took three quarters of an export.
    """
    raw: Any = io.BufferedWriter(outlet, 1 << 20)
    return _Closing(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=1)


class _Closing(gzip.GzipFile):
    """A gzip stream that flushes what it was given when it is closed."""

    def close(self) -> None:
        raw: Any = self.fileobj
        super().close()
        if raw is not None:
            raw.flush()


def of_layout(layout: str | tuple[str, str], outlet: Outlet, columns: pa.Schema) -> Writer:
    """The writer of a layout for one file: what stands around the rows of a JSON value, "arrays" or "bare tsv"."""
    if isinstance(layout, tuple):
        return JsonRows(outlet, *layout)
    return JsonArrays(outlet) if layout == "arrays" else bare_tsv(outlet, columns)
