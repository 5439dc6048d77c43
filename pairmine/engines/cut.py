"""An input as shards of canonical Parquet: those that a run on shards wrote, or new ones."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from pairmine.engines.cut_files import cut_files, is_folder_of_files
from pairmine.engines.own_parts import own_parts
from pairmine.engines.shards import Piece, Pool
from pairmine.files.blocks import query_starts
from pairmine.files.code import CodeTree
from pairmine.files.lineage import checked_entries
from pairmine.files.sharded import WorkFolder, open_part
from pairmine.files.source import PairSource, Source

_CUT = "cut.json"


def pieces_of(
    source: Source | CodeTree,
    folder: WorkFolder,
    name: str,
    *,
    rows: int,
    apart: bool = False,
    advance: Callable[[int], None] = lambda rows: None,
    pool: Callable[[], Pool] | None = None,
) -> list[Piece]:
    """The shards of `source`: the parts of a folder that says what is in it, else new ones in the work folder.

    The former are taken where they stand for themselves, as files that are cut do; see `cut_files`.

    New ones have `rows` rows or more, all of the last query with it; with `apart` a query may be in several. They are
    cut by the usual reader, so that names of columns, ids and faults are its own; once cut, they are there for a run
    that goes on. The files of a folder are cut by the workers of `pool`, unless something in one of them concerns
    another.
    """
    place = f"input/{name}"
    if isinstance(source, Source) and (text := folder.read(f"{place}/{_CUT}")) is not None:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):  # damaged: they are cut anew
            found = json.loads(text)
            cut = [Piece(**each) for each in found["pieces"]]
            entries = checked_entries(found["entries"])
            source.take_as_read(found["rows"], found["repeats"], found["digests"])
            source.take_entries(entries)
            advance(source.rows)
            return cut
    pieces = own_parts(source, folder, place, rows=rows, apart=apart, advance=advance, pool=pool)
    if pieces is None:
        pieces = _by_workers(pool, source, folder, place, rows, apart, advance)
    if pieces is None:
        pieces = _one_by_one(source, folder, place, rows, apart, advance)
    if isinstance(source, Source):
        body = {"pieces": [vars(piece) for piece in pieces], "rows": source.rows, "repeats": source.repeats}
        folder.write(f"{place}/{_CUT}", json.dumps(body | {"entries": source.entries, "digests": source.digests}))
    return pieces


def _by_workers(
    pool: Callable[[], Pool] | None,
    source: Source | CodeTree,
    folder: WorkFolder,
    place: str,
    rows: int,
    apart: bool,
    advance: Callable[[int], None],
) -> list[Piece] | None:
    if pool is None or not isinstance(source, Source) or not is_folder_of_files(source) or _is_one_chunk(source):
        return None
    source.look_at_first()
    return cut_files(pool(), source, folder, place, rows=rows, apart=apart, advance=advance)


_ONE_CHUNK_BYTES = 32 << 20


def _is_one_chunk(source: Source) -> bool:
    """Whether `source` is pairs in small files: they are read together, so that texts of a document are compared."""
    files = source.files if isinstance(source, PairSource) else None
    return files is not None and sum(map(os.path.getsize, files)) < _ONE_CHUNK_BYTES


def _one_by_one(
    source: Source | CodeTree, folder: WorkFolder, place: str, rows: int, apart: bool, advance: Callable[[int], None]
) -> list[Piece]:
    pieces: list[Piece] = []
    first = 0
    for number, tables in enumerate(grouped(source, rows, apart)):
        path = folder.place(f"{place}/part-{number:05}.parquet")
        count = write_shard(path, tables)
        advance(count)
        pieces.append(Piece(number, path, count, first))
        first += count
    return pieces


def grouped(source: Source | CodeTree, rows: int, apart: bool) -> Iterator[list[pa.Table]]:
    """The tables of each shard."""
    pending: list[pa.Table] = []
    count = 0
    tables, cut = source.tables, _by_rows
    if isinstance(source, PairSource) and not apart:
        tables, cut = partial(source.chunks, unified=False), _at_queries
    for table in tables():
        for part in cut(table, rows - count, rows):
            pending.append(part)
            count += part.num_rows
            if count >= rows:
                yield pending
                pending, count = [], 0
    if pending:
        yield pending


def _by_rows(table: pa.Table, first: int, rows: int) -> Iterator[pa.Table]:
    """Slices of `table`: one of `first` rows, then of `rows` each."""
    start, size = 0, first
    while start < table.num_rows or not table.num_rows:
        yield table.slice(start, size)
        start, size = start + size, rows
        if not table.num_rows:
            return


def _at_queries(table: pa.Table, first: int, rows: int) -> Iterator[pa.Table]:
    """As `_by_rows`, each slice up to the end of the query that it ends in."""
    if not table.num_rows:
        yield table
        return
    ends = np.append(query_starts(table["query_id"])[0][1:], table.num_rows)
    start, size = 0, first
    while start < table.num_rows:
        end = int(ends[np.searchsorted(ends, min(start + size, table.num_rows))])
        yield table.slice(start, end - start)
        start, size = end, rows


def write_shard(path: str, tables: Sequence[pa.Table]) -> int:
    """Write tables to a file of the work folder, whole or not at all; how many rows they have."""
    sink = open_part(path)
    try:
        for table in tables:
            sink.write(table)
        sink.commit([])
    except BaseException:
        sink.abort()
        raise
    return sum(table.num_rows for table in tables)
