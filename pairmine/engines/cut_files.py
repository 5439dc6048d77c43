"""The files of a folder cut into shards by the workers, each file by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pairmine.engines.shards import Piece, Pool
from pairmine.errors import PairmineError
from pairmine.files.blocks import query_starts
from pairmine.files.locations import Shard
from pairmine.files.sharded import WorkFolder
from pairmine.files.source import PairSource, Role, Source


@dataclass(frozen=True)
class Cut:
    """What a file came to: its parts with their rows, and what must fit the other files.

    `ids` are hashes of its documents' ids, or of its queries' where rows of one stand together, (n,) uint64.
    """

    parts: Sequence[tuple[str, int]]
    names: Mapping[str, str]
    columns: pa.Schema
    ids: np.ndarray
    repeats: int
    sha256: str


def cut_files(
    pool: Pool,
    source: Source,
    folder: WorkFolder,
    place: str,
    *,
    rows: int,
    apart: bool,
    advance: Callable[[int], None],
) -> list[Piece] | None:
    """The shards of a folder of files, cut at once by all workers; None where they do not stand for themselves.

    That is where an id comes twice, a query goes on in the next file, columns differ or a file has a fault: read
    one after the other they give what there is to give, or to say.
    """
    shards = source.shards
    make = _Cutting(type(source), source.role, dict(source.overrides), folder, place, rows, apart)
    cuts: dict[int, Cut] = {}
    rows_cut = 0
    for at, cut in pool.map(make, [(at, shard) for at, shard in enumerate(shards)]):
        if cut is None:
            advance(-rows_cut)
            return None
        cuts[at] = cut
        count = sum(count for _, count in cut.parts)
        advance(count)
        rows_cut += count
    found = [cuts[at] for at in range(len(shards))]
    if not _fit(found):
        advance(-rows_cut)
        return None
    parts = [part for cut in found for part in cut.parts]
    firsts = np.cumsum([0, *(count for _, count in parts)]).tolist()
    source.take_as_read(firsts[-1], 0, [cut.sha256 for cut in found])
    return [
        Piece(at, path, count, first) for at, ((path, count), first) in enumerate(zip(parts, firsts[:-1], strict=True))
    ]


def _fit(cuts: Sequence[Cut]) -> bool:
    first = cuts[0]
    ids = np.sort(np.concatenate([cut.ids for cut in cuts]))
    is_once = not (ids[1:] == ids[:-1]).any()
    alike = all(cut.names == first.names and cut.columns.equals(first.columns) for cut in cuts)
    return is_once and alike and not any(cut.repeats for cut in cuts)


@dataclass(frozen=True)
class _Cutting:
    """Makes what cuts a file, on a worker."""

    kind: type[Source]
    role: Role
    overrides: Mapping[str, str]
    folder: WorkFolder
    place: str
    rows: int
    apart: bool

    def __call__(self) -> Callable[[tuple[int, Shard]], Cut | None]:
        self.folder.check_seen()
        return self._cut

    def _cut(self, item: tuple[int, Shard]) -> Cut | None:
        from pairmine.engines.cut import grouped, write_shard

        number, shard = item
        source = self.kind.of_shards([shard], self.role, self.overrides)
        parts: list[tuple[str, int]] = []
        ids: list[np.ndarray] = []
        columns: list[pa.Schema] = []
        try:
            for at, tables in enumerate(grouped(source, self.rows, self.apart)):
                path = self.folder.place(f"{self.place}/part-{number:05}-{at:05}.parquet")
                parts.append((path, write_shard(path, tables)))
                ids += [_ids(table, self.apart) for table in tables]
                columns += [table.schema.remove_metadata() for table in tables]
        except PairmineError:
            return None
        if not parts or any(not each.equals(columns[0]) for each in columns):
            return None
        return Cut(parts, source.names, columns[0], np.concatenate(ids), source.repeats, shard.sha256())


def _ids(table: pa.Table, apart: bool) -> np.ndarray:
    """Hashes of what may stand in one place alone."""
    from pairmine.stages.dedup.sketching import hashed

    if "query_id" in table.column_names and not apart:
        return hashed(pa.array(query_starts(table["query_id"])[1], pa.large_string()))
    if "id" in table.column_names:
        return hashed(table["id"])
    return np.empty(0, np.uint64)


def is_folder_of_files(source: Any) -> bool:
    """Whether `source` is several files on their own, with nothing that ties their rows together."""
    reads_files = type(source) in (Source, PairSource) or getattr(source, "reads_files", False)
    return reads_files and len(source.shards) > 1 and source.path != "-"
