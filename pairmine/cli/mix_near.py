"""Near copies among the texts of a mixture, looked for on shards as `pairmine dedup` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from pairmine.cli.ray_run import RayEngine
    from pairmine.cli.run import Run
    from pairmine.engines.shards import Piece
    from pairmine.files.sharded import WorkFolder
    from pairmine.stages.dedup.matches import Near
    from pairmine.stages.mix.standins import NearCopies

Put = dict[str, tuple[str, "np.ndarray"]]
"""For each side of a shard's pairs the file of its distinct texts, and their keys."""

_SIDES = ("document", "query")
"""In the order in which one process compares them."""


def put_texts(folder: WorkFolder, piece: Piece, columns: dict[str, pa.ChunkedArray]) -> Put:
    """Write the distinct texts of a shard, side by side, as a corpus each."""
    import pyarrow as pa

    from pairmine.files.sharded import open_part
    from pairmine.stages.mix.standins import distinct_texts

    put: Put = {}
    for side, column in columns.items():
        keys, texts = distinct_texts(column)
        path = folder.place(f"texts/{side}-{piece.number:05}.parquet")
        ids = pa.array([f"{side} {piece.number} {at}" for at in range(len(keys))], pa.string())
        sink = open_part(path)
        sink.write(pa.table({"id": ids, "text": texts}))
        sink.commit([])
        put[side] = path, keys
    return put


def near_copies(engine: RayEngine, run: Run, put: Sequence[Put], near: Near) -> NearCopies:
    """Which texts of all shards are near copies; this process holds 8 bytes for each distinct text of each shard."""
    import numpy as np

    from pairmine.cli.dedup_shards import ShardedDedup
    from pairmine.cli.dedup_tasks import Rules
    from pairmine.engines.shards import Piece
    from pairmine.stages.mix.standins import NearCopies

    pieces: list[Piece] = []
    keys = [np.empty(0, np.uint64)]
    first = 0
    for path, own in [each[side] for side in _SIDES for each in put if side in each]:
        if len(own):
            pieces.append(Piece(len(pieces), path, len(own), first))
            keys.append(own)
            first += len(own)
    if not pieces:
        return NearCopies(keys[0], keys[0])
    rules = Rules(
        near=replace(near, workers=1),
        exact="normalised",
        keep="first",
        group="chain",
        action="drop",
        group_ids=False,
        ids_only=False,
        against=None,
        against_only=False,
    )
    found = ShardedDedup(engine, run, pieces, rules).find(lambda: None)
    of_row = np.concatenate(keys)
    return NearCopies.of(of_row[found.places], of_row[found.places[found.choice.kept]])
