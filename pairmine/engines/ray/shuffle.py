"""A shuffle by Ray Data's `groupby`: what items give goes to the groups that it is for, and each is worked on whole.

A row is a parcel and not a key, of which there are millions: Ray sorts some rows per item and group. They come from
the driver, for parcels are places in files (`engines.spool`).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from pairmine.engines.ray.worker import Made, packed_error, raise_error
from pairmine.engines.shards import Shared

_ERROR = -1
"""The group of what went wrong."""
_PARCELS = pa.schema(
    [("group", pa.int64()), ("item", pa.int64()), ("number", pa.int64()), ("parcel", pa.large_binary())]
)
_ANSWERS = pa.schema([("group", pa.int64()), ("answer", pa.large_binary())])


def shuffled(
    data: Any,
    parcels: Iterable[tuple[int, Sequence[tuple[int, Any]]]],
    join: Shared[bytes],
    *,
    partitions: int,
    cpus: float,
) -> Iterator[tuple[int, Any]]:
    """See `shards.Pool.shuffle`; `data` is `ray.data`, `parcels` are those of each item, and `join` is pickled.

    There are as many blocks of groups as `partitions`, and of parcels before.

    Tasks do the work, no actors: those of one stage would hold the cores that the next one waits for. What makes the
    parcels is a stage of its own for the same reason: Ray Data keeps cores free for stages that wait for it.
    """
    its = Made(join)
    tables = [_rows(item, given) for item, given in parcels if given]
    if not tables:
        return
    table = pa.concat_tables(tables)
    size = -(-table.num_rows // min(table.num_rows, partitions))
    blocks = [table.slice(start, size) for start in range(0, table.num_rows, size)]
    found = data.from_arrow(blocks).groupby("group").map_groups(_joining(its), batch_format="pyarrow", num_cpus=cpus)
    for batch in found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for group, answer in zip(batch["group"].to_pylist(), batch["answer"].to_pylist(), strict=True):
            if group == _ERROR:
                raise_error(answer)
            yield group, pickle.loads(answer)


def _rows(item: int, given: Sequence[tuple[int, Any]]) -> pa.Table:
    """A row for each parcel of an item: some 60 bytes, where the objects would take 250."""
    columns = {
        "group": [group for group, _ in given],
        "item": [item] * len(given),
        "number": range(len(given)),
        "parcel": [pickle.dumps(parcel, 5) for _, parcel in given],
    }
    return pa.table(columns, _PARCELS)


def _joining(join: Made) -> Callable[[pa.Table], pa.Table]:
    def answer_of(rows: pa.Table) -> pa.Table:
        rows = rows.sort_by([("item", "ascending"), ("number", "ascending")])
        group = rows["group"][0].as_py()
        try:
            parcels = (pickle.loads(each.as_buffer()) for each in rows["parcel"])
            answer = pickle.dumps(join.made()((group, parcels)), 5)
        except Exception as error:
            group, answer = _ERROR, packed_error(error)
        return pa.table([pa.array([group], pa.int64()), pa.array([answer], pa.large_binary())], _ANSWERS)

    return answer_of
