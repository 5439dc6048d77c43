"""How far the reading of a file is: told while it goes on, and logged at its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pairmine.files.locations import Shard
    from pairmine.files.raw import Raw

Watch = Callable[[str, int | None], Callable[[int], None]]
"""Starts to count the rows of a file, given its name and its rows where they are known.

What it gives adds to the count; told of 0 more, the file has been read.
"""
_log = logging.getLogger(__name__)


def watched(shard: Shard, batches: Iterable[Raw], watch: Watch | None) -> Iterator[Raw]:
    """`batches` as they are; only the time that reading takes counts, not what is done between them."""
    advance = watch(shard.name, _rows_of(shard)) if watch else None
    rows, seconds = 0, 0.0
    started = time.monotonic()
    for raw in batches:
        seconds += time.monotonic() - started
        rows += raw.table.num_rows
        if advance is not None:
            advance(raw.table.num_rows)
        yield raw
        started = time.monotonic()
    seconds += time.monotonic() - started
    if advance is not None:
        advance(0)
    speed = f", {rows / seconds:,.0f} rows/s" if seconds > 0 else ""
    _log.info("%s: %s rows read as %s in %.2fs%s", shard.name, f"{rows:,}", shard.kind, seconds, speed)


def rows_ahead(shards: Iterable[Shard]) -> int | None:
    """How many rows files hold, where that can be told without reading them as tables; empty lines count as rows."""
    counts = [_lines_of(shard) if _is_plain_jsonl(shard) else _rows_of(shard) for shard in shards]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _is_plain_jsonl(shard: Shard) -> bool:
    return shard.kind == "jsonl" and shard.filesystem is None and shard.compression is None and bool(shard.path)


def _lines_of(shard: Shard) -> int | None:
    try:
        with open(shard.path, "rb") as file:
            blocks = iter(lambda: file.read(1 << 20), b"")
            return sum(block.count(b"\n") for block in blocks)
    except OSError:  # whoever reads it says what is wrong
        return None


def _rows_of(shard: Shard) -> int | None:
    """What a Parquet file on this machine says of its rows; None for every other one."""
    if shard.kind != "parquet" or shard.filesystem is not None:
        return None
    if shard.rows is not None:
        return shard.rows[1] - shard.rows[0]
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(shard.path).num_rows)
    except Exception:  # whoever reads it says what is wrong
        return None
