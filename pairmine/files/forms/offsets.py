"""What counts.json and offsets.json.gz say of the shards of contrastors, which finds its rows by them."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from pairmine.files.forms.notes import Notes
from pairmine.files.locations import find_shards
from pairmine.files.raw import MAX_ARRAY_BYTES

COUNTS = "counts.json"
OFFSETS = "offsets.json.gz"


def compare_counts(folder: Path, rows: Mapping[Path, int], notes: Notes) -> None:
    """Note the shards with another number of `rows` than is told, or another place."""
    if not (folder / COUNTS).is_file():
        return
    try:
        counts: Any = orjson.loads((folder / COUNTS).read_bytes())["count_per_file"]
        told = {str(name): int(count) for name, count in counts.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError):
        notes.add("invalid-json", COUNTS, "no count_per_file in it")
        return
    by_name = {name.rpartition("/")[2]: (name, count) for name, count in told.items()}
    for shard, count in rows.items():
        name, said = by_name.get(shard.name, ("", 0))
        if said != count:
            notes.add("counts-differ", shard.name, f"{said} in {COUNTS}, and {count} rows")
        elif name != "/".join(shard.resolve().parts[-3:]):
            notes.add("folder-moved", shard.name, f'{COUNTS} names it "{name}"')
    for fault in ("counts-differ", "folder-moved"):
        notes.among(fault, len(rows), "files")


def compare_offsets(folder: Path, rows: Mapping[Path, int], notes: Notes) -> None:
    """Note the shards with a line at another place than is told, with the first such line."""
    if not (folder / OFFSETS).is_file():
        return
    try:
        with gzip.open(folder / OFFSETS) as packed:
            content = packed.read(MAX_ARRAY_BYTES + 1)
        if len(content) > MAX_ARRAY_BYTES:
            raise ValueError("longer than any that is written")
        told: Any = orjson.loads(content)
        by_name = {str(name).rpartition("/")[2]: list(places.values()) for name, places in told.items()}
    except (ValueError, AttributeError, OSError, EOFError, zlib.error):
        notes.add("invalid-json", OFFSETS, "no places of lines in it")
        return
    for shard in rows:
        with find_shards(str(shard))[0].open() as stream:
            at = _first_difference(stream, by_name.get(shard.name, []))
        if at is not None:
            notes.add("offsets-differ", f"{shard.name}: line {at + 1}")
    notes.among("offsets-differ", len(rows), "files")


def _first_difference(stream: pa.NativeFile, places: Sequence[Any]) -> int | None:
    """The first line, from 0, that is not where `places` ([start, end] in bytes of each line) has it."""
    start = 0
    for at, line in enumerate(io.BufferedReader(stream)):
        if at >= len(places) or places[at] != [start, start + len(line)]:
            return at
        start += len(line)
    return None
