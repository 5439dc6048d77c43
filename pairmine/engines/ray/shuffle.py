"""A shuffle by Ray Data's `groupby`: what items give goes to the groups that it is for, and each is worked on whole.

A row is a parcel and not a key, of which there are millions: Ray sorts some rows per item and group.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from pairmine.engines.ray.worker import Made, packed_error, raise_error
from pairmine.engines.shards import Shared

_MOST_PARTITIONS = 1024
_ERROR = -1
"""The group of what went wrong."""
_PARCELS = pa.schema(
    [("group", pa.int64()), ("item", pa.int64()), ("number", pa.int64()), ("parcel", pa.large_binary())]
)
_ANSWERS = pa.schema([("group", pa.int64()), ("answer", pa.large_binary())])


def shuffled(
    data: Any, split: Shared[bytes], items: Sequence[Any], join: Shared[bytes], *, groups: int, cpus: float
) -> Iterator[tuple[int, Any]]:
    """See `shards.Pool.shuffle`; `data` is `ray.data`, `split` and `join` are pickled.

    Tasks do the work, no actors: those of one stage would hold the cores that the next one waits for.
    """
    mine, its = Made(split), Made(join)
    rows = [{"item": at, "given": pickle.dumps(item, 5)} for at, item in enumerate(items)]
    parcels = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _splitting(mine), batch_size=1, batch_format="pyarrow", num_cpus=cpus
    )
    found = parcels.groupby("group", num_partitions=max(min(groups, _MOST_PARTITIONS), 1)).map_groups(
        _joining(its), batch_format="pyarrow", num_cpus=cpus
    )
    for batch in found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for group, answer in zip(batch["group"].to_pylist(), batch["answer"].to_pylist(), strict=True):
            if group == _ERROR:
                raise_error(answer)
            yield group, pickle.loads(answer)


def _splitting(split: Made) -> Callable[[pa.Table], pa.Table]:
    def parcels_of(batch: pa.Table) -> pa.Table:
        item = batch["item"][0].as_py()
        try:
            given = pickle.loads(batch["given"][0].as_py())
            found = [(group, pickle.dumps(parcel, 5)) for group, parcel in split.made()(given)]
        except Exception as error:
            found = [(_ERROR, packed_error(error))]
        groups, answers = [group for group, _ in found], [each for _, each in found]
        columns = [groups, [item] * len(found), list(range(len(found))), answers]
        return pa.table([pa.array(each, kind) for each, kind in zip(columns, _PARCELS.types, strict=True)], _PARCELS)

    return parcels_of


def _joining(join: Made) -> Callable[[pa.Table], pa.Table]:
    def answer_of(rows: pa.Table) -> pa.Table:
        rows = rows.sort_by([("item", "ascending"), ("number", "ascending")])
        group = rows["group"][0].as_py()
        try:
            if group == _ERROR:
                answer = rows["parcel"][0].as_py()
            else:
                parcels = (pickle.loads(each.as_buffer()) for each in rows["parcel"])
                answer = pickle.dumps(join.made()((group, parcels)), 5)
        except Exception as error:
            group, answer = _ERROR, packed_error(error)
        return pa.table([pa.array([group], pa.int64()), pa.array([answer], pa.large_binary())], _ANSWERS)

    return answer_of
