"""What pairmine wrote, taken as shards without a copy: the parts of a folder, stretches of a Parquet file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from pairmine.engines.shards import InProcess, Piece, Pool
from pairmine.errors import PairmineError
from pairmine.files.blocks import query_starts
from pairmine.files.locations import Shard
from pairmine.files.raw import groups_of, within
from pairmine.files.row_range import ENDING, reference
from pairmine.files.sharded import WorkFolder, read_mark
from pairmine.files.source import PairSource, Source

_FEW, _FEW_ROWS = 32, 1_000_000
"""How many parts, and rows in them, are looked at here, without a cluster."""


@dataclass(frozen=True)
class Part:
    """What a part has: its rows and columns, and hashes of what may stand in one part alone, (n,) uint64."""

    rows: int
    columns: pa.Schema
    ids: np.ndarray


def own_parts(
    source: object,
    folder: WorkFolder,
    place: str,
    *,
    rows: int,
    apart: bool,
    advance: Callable[[int], None],
    pool: Callable[[], Pool] | None,
) -> list[Piece] | None:
    """The parts of a folder with a mark, or ranges of about `rows` rows of a Parquet file that pairmine wrote.

    Nothing is copied: of a range, a small file in the work folder's `place` says which rows it is. None for any other
    input, and where the usual reader has more to say: where files were added, changed or removed since, columns are
    renamed or differ, an id comes in two parts or a query goes on in the next.
    """
    if not isinstance(source, Source) or source.path == "-" or source.overrides:
        return None
    found = _marked(source) or _ranges(source, rows, apart)
    if found is None:
        return None
    shards, counts = found
    make = _Looking(folder, _column(source, apart))
    workers = InProcess() if pool is None or (len(shards) <= _FEW and sum(counts) <= _FEW_ROWS) else pool()
    seen: dict[int, Part] = {}
    for at, part in workers.map(make, shards):
        if part is None or part.rows != counts[at]:
            return None
        seen[at] = part
    if not _fit([seen[at] for at in range(len(shards))]):
        return None
    firsts = np.cumsum([0, *counts]).tolist()
    source.rows = firsts[-1]
    advance(source.rows)
    each = list(zip(shards, counts, firsts[:-1], strict=True))
    # A corpus without rows is an error, a part of one without rows is none.
    held = [part for part in each if part[1]] or each[:1]
    return [
        Piece(at, _path(folder, f"{place}/{at:05}{ENDING}", shard), count, first)
        for at, (shard, count, first) in enumerate(held)
    ]


def _marked(source: Source) -> tuple[list[Shard], list[int]] | None:
    """The parts of a folder with a mark, and how many rows it says that they have."""
    if (mark := read_mark(source.path)) is None:
        return None
    shards = list(source.shards)
    names = [shard.name.rpartition("/")[2] for shard in shards]
    if names != mark["files"] or len(names) != len(mark["rows"]):
        return None
    source.look_at_first()
    source.take_entries(mark["lineage"])
    return shards, mark["rows"]


def _ranges(source: Source, rows: int, apart: bool) -> tuple[list[Shard], list[int]] | None:
    """Ranges of a Parquet file of ours, whole queries in each, and how many rows they have."""
    if len(source.shards) != 1 or source.shards[0].kind != "parquet":
        return None
    source.look_at_first()
    (shard,) = source.shards
    if not source.is_ours or shard.rows is not None:
        return None
    import pyarrow.parquet as pq

    with shard.open() as handle:
        file = pq.ParquetFile(handle)
        count = file.metadata.num_rows
        if count <= rows:
            return None
        column = "query_id" if isinstance(source, PairSource) and not apart else None
        if column is not None and column not in file.schema_arrow.names:
            return None
        bounds = [0]
        while bounds[-1] < count:
            bounds.append(_next_start(file, column, min(bounds[-1] + rows, count)))
    ranges = list(pairwise(bounds))
    return [replace(shard, rows=each) for each in ranges], [stop - first for first, stop in ranges]


def _next_start(file: Any, column: str | None, at: int) -> int:
    """The first row from `at` on where a new value of `column` begins; `at` itself without one."""
    count = int(file.metadata.num_rows)
    if column is None or at >= count:
        return min(at, count)
    before = None
    for values, first in _values(file, column, (at - 1, count)):
        starts = query_starts(values)[0] + first
        found = starts[(starts > first) | (before is not None and before != values[0].as_py())]
        if len(found):
            return int(found[0])
        before = values[-1].as_py()
    return count


def _values(file: Any, column: str, rows: tuple[int, int]) -> Iterator[tuple[pa.ChunkedArray, int]]:
    """A column's values in `rows`, a row group at a time, and the number of the first."""
    groups, first, _ = groups_of(file.metadata, rows)
    for group in groups:
        table = file.read_row_group(group, columns=[column])
        size = table.num_rows
        table, at = within(table, first, rows)
        first += size
        if table.num_rows:
            yield table[column], at


def _path(folder: WorkFolder, name: str, shard: Shard) -> str:
    if shard.rows is None:
        return shard.name
    folder.write(name, reference(shard, *shard.rows))
    return f"{folder.path}/{name}"


def _column(source: Source, apart: bool) -> str | None:
    """The column whose values may stand in one part alone, of queries side by side; None for none."""
    if isinstance(source, PairSource):
        return None if apart else "query_id"
    return source.names.get("id", "id") if source.role.unique else None


def _fit(parts: list[Part]) -> bool:
    ids = np.sort(np.concatenate([part.ids for part in parts]))
    return not (ids[1:] == ids[:-1]).any() and all(part.columns.equals(parts[0].columns) for part in parts)


@dataclass(frozen=True)
class _Looking:
    """Makes what looks at a part, on a worker; it reads no column but `column`."""

    folder: WorkFolder
    column: str | None

    def __call__(self) -> Callable[[Shard], Part | None]:
        self.folder.check_seen()
        return self._look

    def _look(self, shard: Shard) -> Part | None:
        import pyarrow.parquet as pq

        try:
            with shard.open() as handle:
                file = pq.ParquetFile(handle)
                columns = file.schema_arrow.remove_metadata()
                if self.column is not None and self.column not in columns.names:
                    return None
                rows = shard.rows or (0, file.metadata.num_rows)
                return Part(rows[1] - rows[0], columns, self._ids(file, rows))
        except (PairmineError, pa.ArrowException, OSError):
            return None

    def _ids(self, file: Any, rows: tuple[int, int]) -> np.ndarray:
        from pairmine.stages.dedup.sketching import hashed

        if self.column is None:
            return np.empty(0, np.uint64)
        found = [values for values, _ in _values(file, self.column, rows)]
        if not found:
            return np.empty(0, np.uint64)
        values = pa.chunked_array([chunk for each in found for chunk in each.chunks])
        if self.column == "query_id":
            return hashed(pa.array(query_starts(values)[1], pa.large_string()))
        return hashed(values.cast(pa.large_string()))
