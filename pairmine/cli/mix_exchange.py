"""Rows on their way from the shards where they lie to the parts where a plan wants them, by way of files.

Every shard writes one file with its rows for each part side by side, and every part reads its rows out of these files:
each row is read, written and read once more, whatever the number of shards and parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run
    from pairmine.engines.shards import Piece
    from pairmine.files.sharded import WorkFolder
    from pairmine.outcome import Outcome

_PARTS = b"parts"
_ADDED = b"added"


@dataclass(frozen=True)
class Asked:
    """Rows that are wanted: the `plan` has for each its place in all shards (`ROW`) and the values that are new.

    Where it has a column `reason`, they are rejected ones. `added` of them were put there by the plan.
    """

    plan: pa.Table
    added: int = 0


class Exchange:
    """The files of one exchange in the work folder of `engine`. Shards and parts are numbered from 0."""

    def __init__(self, engine: RayEngine, run: Run, pieces: Sequence[Piece]) -> None:
        self._engine, self._run, self._pieces = engine, run, pieces

    def parts(self, asked: Sequence[Asked], rows: int) -> list[Piece]:
        """Write the plan of each part, `rows` rows and what is left of a query, and what each shard sends where."""
        import numpy as np

        from pairmine.engines.shards import Piece
        from pairmine.stages.mix.standins import ROW

        parts: list[Piece] = []
        wanted: list[np.ndarray] = []
        for each in asked:
            added = each.added
            for first, stop in pairwise(_cuts(each.plan, rows)):
                plan = each.plan.slice(first, stop - first)
                here = min(added, len(plan))
                added -= here
                path = self._engine.folder.place(f"exchange/plan-{len(parts):05}.arrow")
                write_batches(path, [plan.combine_chunks()], {_ADDED: str(here).encode()})
                wanted.append(np.unique(plan[ROW].to_numpy()))
                parts.append(Piece(len(parts), path, len(plan), first))
        self._tell_shards(wanted)
        return parts

    def _tell_shards(self, wanted: Sequence[np.ndarray]) -> None:
        """For each shard its rows and the parts that want them, both (n,), by part."""
        import numpy as np
        import pyarrow as pa

        rows = np.concatenate([np.empty(0, np.int64), *wanted])
        part = np.repeat(np.arange(len(wanted)), [len(each) for each in wanted])
        firsts = np.array([piece.first for piece in self._pieces])
        shard = np.searchsorted(firsts, rows, side="right") - 1
        order = np.argsort(shard, kind="stable")
        cuts = np.searchsorted(shard[order], np.arange(len(self._pieces) + 1))
        for piece, start, stop in zip(self._pieces, cuts[:-1], cuts[1:], strict=True):
            own = order[start:stop]
            table = pa.table({"row": rows[own] - piece.first, "part": part[own]})
            write_batches(self._engine.folder.place(f"exchange/wanted-{piece.number:05}.arrow"), [table])

    def scatter(self, read: Callable[[Piece], pa.Table]) -> None:
        """Have every shard write its rows, as `read` (which is pickled) gives them, for the parts that want them."""
        make = _Scattering(self._engine.folder, read)
        for _ in self._engine.fold(self._run, self._pieces, make, what="rows sent to their places", step="scatter"):
            pass

    def gathering(self, schema: pa.Schema, rejected: pa.Schema) -> Gathering:
        """The work on a part: rows of the `schema` that are kept or `rejected` ones, in the order of its plan."""
        paths = [_scattered(self._engine.folder, piece) for piece in self._pieces]
        return Gathering(paths, schema, rejected)


@dataclass(frozen=True)
class _Scattering:
    folder: WorkFolder
    read: Callable[[Piece], pa.Table]

    def __call__(self) -> Callable[[Piece], int]:
        import numpy as np

        def scatter(piece: Piece) -> int:
            wanted = open_batches(f"{self.folder.path}/exchange/wanted-{piece.number:05}.arrow").read_all()
            part = wanted["part"].to_numpy()
            rows = _plain(self.read(piece)).take(wanted["row"]).combine_chunks()
            starts = np.flatnonzero(np.diff(part, prepend=-1))
            stops = np.append(starts[1:], len(part)) if len(starts) else starts
            tables = [rows.slice(start, stop - start) for start, stop in zip(starts, stops, strict=True)]
            note = {_PARTS: json.dumps(part[starts].tolist()).encode()}
            write_batches(_scattered(self.folder, piece), tables or [rows], note)
            return len(rows)

        return scatter


@dataclass(frozen=True)
class Gathering:
    """Puts the rows of a part together, out of the files at `paths`."""

    paths: Sequence[str]
    schema: pa.Schema
    rejected: pa.Schema

    def open(self) -> Gathering:
        """Nothing is to be set up."""
        return self

    def outcomes(self, piece: Piece) -> Iterator[Outcome]:
        """The rows of a part as the plan wants them."""
        import numpy as np
        import pyarrow as pa

        from pairmine.outcome import Outcome
        from pairmine.schema import cast_table
        from pairmine.stages.mix.sources import freed
        from pairmine.stages.mix.standins import ROW

        reader = open_batches(piece.path)
        plan, added = reader.read_all(), int(reader.schema.metadata[_ADDED])
        found = self._rows(piece.number, plan.schema)
        have = found[ROW].to_numpy()
        order = np.argsort(have)
        at = order[np.searchsorted(have[order], plan[ROW].to_numpy())] if len(plan) else order
        rows = found.take(pa.array(at))
        if "split" in plan.column_names:
            rows = freed(rows, "split")
        for name in plan.column_names:
            rows = _with(rows, name, plan[name])
        none = {True: self.schema.empty_table(), False: self.rejected.empty_table()}
        if "reason" in plan.column_names:
            yield Outcome(none[True], cast_table(rows, self.rejected), rows_in=len(rows) - added, added=added)
        else:
            yield Outcome(cast_table(rows, self.schema), none[False], rows_in=len(rows) - added, added=added)

    def _rows(self, part: int, plan: pa.Schema) -> pa.Table:
        """The rows that the shards wrote for a part."""
        import pyarrow as pa

        tables = []
        for path in self.paths:
            reader = open_batches(path)
            numbers = json.loads(reader.schema.metadata[_PARTS])
            if part in numbers:
                tables.append(pa.Table.from_batches([reader.get_batch(numbers.index(part))]))
        return pa.concat_tables(tables) if tables else plan.empty_table()

    def facts(self) -> dict[str, Any]:
        """Nothing: no model is at work."""
        return {}

    def sums(self) -> dict[str, int]:
        """Nothing beyond the counts."""
        return {}


def _cuts(plan: pa.Table, rows: int) -> list[int]:
    """Where to cut a plan into parts of whole queries, its start and its end included."""
    import numpy as np

    from pairmine.files.blocks import query_starts

    if not len(plan):
        return [0, 0]
    ends = np.append(query_starts(plan["query_id"])[0][1:], len(plan))
    cuts = [0]
    while cuts[-1] < len(plan):
        cuts.append(int(ends[np.searchsorted(ends, min(cuts[-1] + rows, len(plan)))]))
    return cuts


def _scattered(folder: WorkFolder, piece: Piece) -> str:
    return f"{folder.path}/exchange/rows-{piece.number:05}.arrow"


def _plain(pairs: pa.Table) -> pa.Table:
    """`pairs` without dictionaries: a file has one for all its rows, and a part wants but few of them."""
    import pyarrow as pa

    for at, field in enumerate(pairs.schema):
        if pa.types.is_dictionary(field.type):
            plain = pairs[field.name].cast(field.type.value_type)
            pairs = pairs.set_column(at, field.with_type(field.type.value_type), plain)
    return pairs


def _with(rows: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    if name not in rows.column_names:
        return rows.append_column(name, values)
    return rows.set_column(rows.column_names.index(name), name, values)


def write_batches(path: str, tables: Sequence[pa.Table], note: Mapping[bytes, bytes] | None = None) -> None:
    """Write each of `tables` as one batch of an Arrow file, compressed."""
    import pyarrow as pa

    from pairmine.files.partial import Partial, in_use, said_plainly

    schema = tables[0].schema.with_metadata(note)
    with in_use():
        partial = Partial(path)
    try:
        with said_plainly(path):
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            with pa.ipc.new_file(pa.PythonFile(partial.handle, "w"), schema, options=options) as writer:
                for table in tables:
                    writer.write_table(table.combine_chunks().replace_schema_metadata(note))
            partial.sync()
            partial.commit()
    except BaseException:
        partial.remove()
        raise


def open_batches(path: str) -> Any:
    """What reads such a file, batch by batch."""
    import pyarrow as pa

    from pairmine.files.locations import filesystem_of, is_remote

    if is_remote(path):
        filesystem, inner = filesystem_of(path)
        return pa.ipc.open_file(pa.PythonFile(filesystem.open(inner, "rb"), "r"))
    return pa.ipc.open_file(pa.memory_map(path))
