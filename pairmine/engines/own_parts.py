"""The parts of a folder that a run on shards wrote, taken as shards where each stands for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pairmine.engines.shards import InProcess, Piece, Pool
from pairmine.errors import PairmineError
from pairmine.files.locations import Shard
from pairmine.files.sharded import WorkFolder, read_mark
from pairmine.files.source import PairSource, Source

_FEW = 32
"""How many parts are looked at here, without a cluster."""


@dataclass(frozen=True)
class Part:
    """What a part has: its rows and columns, and hashes of what may stand in one part alone, (n,) uint64."""

    rows: int
    columns: pa.Schema
    ids: np.ndarray


def own_parts(
    source: object,
    folder: WorkFolder,
    *,
    apart: bool,
    advance: Callable[[int], None],
    pool: Callable[[], Pool] | None,
) -> list[Piece] | None:
    """The parts of a folder with a mark; None for any other input, and where the usual reader has more to say.

    That is where files were added, changed or removed since, columns are renamed or differ, an id comes in two parts
    or a query goes on in the next.
    """
    if not isinstance(source, Source) or source.path == "-" or (mark := read_mark(source.path)) is None:
        return None
    shards = list(source.shards)
    names = [shard.name.rpartition("/")[2] for shard in shards]
    if names != mark["files"] or len(names) != len(mark["rows"]) or source.overrides:
        return None
    source.look_at_first()
    make = _Looking(folder, _column(source, apart))
    workers = InProcess() if pool is None or len(shards) <= _FEW else pool()
    found: dict[int, Part] = {}
    for at, part in workers.map(make, shards):
        if part is None or part.rows != mark["rows"][at]:
            return None
        found[at] = part
    parts = [found[at] for at in range(len(shards))]
    if not _fit(parts):
        return None
    firsts = np.cumsum([0, *mark["rows"]]).tolist()
    source.rows = firsts[-1]
    source.take_entries(mark["lineage"])
    advance(source.rows)
    each = list(zip(shards, mark["rows"], firsts[:-1], strict=True))
    # A corpus without rows is an error, a part of one without rows is none.
    held = [part for part in each if part[1]] or each[:1]
    return [Piece(at, shard.name, rows, first) for at, (shard, rows, first) in enumerate(held)]


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
                return Part(file.metadata.num_rows, columns, self._ids(file))
        except (PairmineError, pa.ArrowException, OSError):
            return None

    def _ids(self, file: object) -> np.ndarray:
        from pairmine.files.blocks import query_starts
        from pairmine.stages.dedup.sketching import hashed

        if self.column is None:
            return np.empty(0, np.uint64)
        values = file.read(columns=[self.column])[self.column]  # type: ignore[attr-defined]
        if self.column == "query_id":
            return hashed(pa.array(query_starts(values)[1], pa.large_string()))
        return hashed(values.cast(pa.large_string()))
