"""Generations of several shards: what is to be known of one to rule on those behind it.

A shard tells the sketches of its generations and the queries that they write. Shard after shard, `Ruling` says which
generations are copies and which queries stand already: as if all had been written in one stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.distinct import distinct
from pairmine.errors import GAVE_UP, PairmineError
from pairmine.llm.recipes.rendering import Emitted, RowProblem
from pairmine.llm.tasks import Plan, Task
from pairmine.stages.generate.repeats import Repeats, Sketches, Sketching
from pairmine.stages.generate.rows import compared, copies_query, query_key

_KEYS = pa.list_(pa.uint32())
_SETS = pa.list_(pa.list_(pa.uint32()))
_QUERIES = pa.list_(pa.uint64())
_AT_ONCE = 2048


class Telling:
    """Tells what units of a shard wrote; `duplicates` as in `write_pairs`."""

    def __init__(self, plan: Plan, duplicates: float | None) -> None:
        self._plan = plan
        self._sketching = None if duplicates is None else Sketching(duplicates)

    def of(self, units: Sequence[Task]) -> pa.Table:
        """A row for each unit: `keys` of the bands and `sets` of 3-grams of its texts, keys of its `queries`."""
        keys: list[np.ndarray] = [np.empty(0, np.uint32)] * len(units)
        sets: list[list[np.ndarray]] = [[] for _ in units]
        if self._sketching is not None:
            sketches = self._sketching.of([compared(unit, self._plan.recipe) for unit in units])
            for text, owner in enumerate(sketches.owner.tolist()):
                keys[owner] = np.append(keys[owner], sketches.keys[text])
                sets[owner].append(sketches.sets[text])
        queries = [self._queries(unit) for unit in units]
        columns = {"keys": pa.array(keys, _KEYS), "sets": pa.array(sets, _SETS), "queries": pa.array(queries, _QUERIES)}
        return pa.table(columns)

    def _queries(self, unit: Task) -> list[int]:
        """The queries that a unit has rows for, if it is no copy."""
        try:
            rows = self._plan.renderer.emit(unit.item, unit.values)
        except RowProblem:
            return []
        written = [row for row in rows if isinstance(row, Emitted) and not copies_query(row)]
        return [key for row in written if (key := query_key(unit, row)) is not None]


class Ruling:
    """Rules on the units of one shard after the other; `duplicates` as in `write_pairs`.

    Of each text some 300 bytes are kept, and 4 for each of its words, if copies are told at all; of each query 8.
    """

    def __init__(self, duplicates: float | None) -> None:
        self._repeats = None if duplicates is None else Repeats(duplicates)
        self._written = Keys()
        self._of_shard: list[np.ndarray] = []

    def of(self, told: pa.Table) -> Iterator[pa.Table]:
        """For the units of a shard, as `Telling` has them, whether each is a copy and which of its queries stood
        before the shard."""
        fresh: list[np.ndarray] = []
        for start in range(0, told.num_rows, _AT_ONCE):
            units = told.slice(start, _AT_ONCE)
            copies = np.zeros(units.num_rows, bool)
            if self._repeats is not None:
                copies = self._repeats.among_sketches(_sketches(units))
            queries, offsets = _flat(units["queries"])
            is_old = self._written.among(queries)
            fresh.append(queries[np.repeat(~copies, np.diff(offsets)) & ~is_old])
            old_before = np.concatenate([[0], np.cumsum(is_old)])
            written = pa.ListArray.from_arrays(old_before[offsets].astype(np.int32), queries[is_old])
            yield pa.table({"copies": copies, "written": written})
        self._written.add(distinct(np.concatenate([np.empty(0, np.uint64), *fresh])))


def _sketches(units: pa.Table) -> Sketches:
    counts = pc.list_value_length(units["sets"]).to_numpy()
    sets = pc.list_flatten(units["sets"])
    values, offsets = _flat(sets)
    keys, _ = _flat(units["keys"])
    texts = len(offsets) - 1
    owner = np.repeat(np.arange(units.num_rows), counts)
    return Sketches(owner, units.num_rows, keys.reshape(texts, -1) if texts else keys, np.split(values, offsets[1:-1]))


def _flat(lists: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The values of lists one after the other, and where each list begins and the last one ends."""
    counts = pc.list_value_length(lists).to_numpy()
    return pc.list_flatten(lists).to_numpy(), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


class Keys:
    """A set of 64-bit keys, 8 bytes each, in a few sorted arrays that are merged as they grow."""

    def __init__(self) -> None:
        self._levels: list[np.ndarray] = []

    def add(self, keys: np.ndarray) -> None:
        """Put `keys` in, sorted uint64."""
        while self._levels and len(self._levels[-1]) <= 2 * len(keys):
            keys = np.sort(np.concatenate([self._levels.pop(), keys]))
        self._levels.append(keys)

    def among(self, keys: np.ndarray) -> np.ndarray:
        """Whether each of `keys` is in it, (n,) bool."""
        found = np.zeros(len(keys), bool)
        for level in self._levels:
            if len(level):
                found |= level[np.minimum(np.searchsorted(level, keys), len(level) - 1)] == keys
        return found


class Verdict:
    """What was ruled on the units of a shard: `copies` (units,) bool, and the keys of queries `written` before it."""

    def __init__(self, ruled: pa.Table) -> None:
        self._copies = ruled["copies"].to_numpy()
        self.written = frozenset(pc.list_flatten(ruled["written"]).to_pylist())
        self._told = 0

    def among(self, groups: Sequence[Sequence[str]]) -> np.ndarray:
        """See `rows.Copies`: what was ruled on the next units."""
        found: np.ndarray = self._copies[self._told : self._told + len(groups)]
        self._told += len(groups)
        if len(found) < len(groups):
            self.check_all_told()
        return found

    def check_all_told(self) -> None:
        """Raise PairmineError where other units were ruled on than there are now."""
        if self._told != len(self._copies):
            raise PairmineError(
                "the replies about a shard have changed since it was asked about; run the same command again",
                exit_code=GAVE_UP,
            )
