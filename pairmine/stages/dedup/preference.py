"""Which of several copies stays: the first, the longest, or the best by a column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.stages.dedup.units import Units

KEEP = ("first", "longest")
BEST = "best:"


def check_keep(keep: str, columns: pa.Schema) -> None:
    """Raise a PairmineError unless `keep` is ``first``, ``longest`` or ``best:COLUMN`` with a column of numbers."""
    if keep in KEEP:
        return
    name = keep.removeprefix(BEST)
    if not keep.startswith(BEST) or not name:
        raise PairmineError(f'--keep is "{keep}"; pass one of {", ".join(KEEP)}, {BEST}COLUMN')
    ordered = ", ".join(field.name for field in columns if _has_order(field.type)) or "none"
    if name not in columns.names:
        raise PairmineError(f'--keep {keep}: no column "{name}" (with numbers or dates: {ordered})')
    kind = columns.field(name).type
    if not _has_order(kind):
        what = "text, as all of a CSV file is" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else kind
        raise PairmineError(f'--keep {keep}: "{name}" holds {what}; name a column of numbers or dates ({ordered})')


def _has_order(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_temporal, pa.types.is_boolean)
    return any(test(kind) for test in tests) and not pa.types.is_interval(kind)


def unit_ranks(table: pa.Table, units: Units, keep: str) -> np.ndarray:
    """The place of each of `units` in the order of preference, (n,) int64 from 0; of equals the first comes first.

    A column's value for a text is the best of its rows. Rows without one come last.
    """
    if keep == "first":
        return np.arange(len(units.ids))
    if keep == "longest":
        return places_of(-units.lengths())
    worst = np.full(len(units.ids), table.num_rows + 1)
    np.minimum.at(worst, units.of_row, column_ranks(table[keep.removeprefix(BEST)]))
    return places_of(worst)


def row_ranks(table: pa.Table, sides: Sequence[Units], keep: str) -> np.ndarray:
    """As `unit_ranks`, for the rows of a pair set; the longest is the one with the longest texts together."""
    if keep == "first":
        return np.arange(table.num_rows)
    if keep == "longest":
        return places_of(-sum(units.lengths()[units.of_row] for units in sides))
    return places_of(column_ranks(table[keep.removeprefix(BEST)]))


def column_ranks(column: pa.ChunkedArray) -> np.ndarray:
    """The rank of each value, the highest 1, equals alike, (n,) int64; nulls and what is not a number come last."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if not len(column):
        return np.empty(0, np.int64)
    ranks = pc.rank(column.combine_chunks(), sort_keys="descending", tiebreaker="min")
    return ranks.to_numpy().astype(np.int64)


def places_of(keys: np.ndarray) -> np.ndarray:
    """The place of each item when all are in ascending order of `keys`, equals in the order they came; (n,) int64."""
    places = np.empty(len(keys), np.int64)
    places[np.argsort(keys, kind="stable")] = np.arange(len(keys))
    return places


def choose(groups: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """For each item, the member of its group that comes first by `ranks`, (n,) int64."""
    best = np.full(groups.max(initial=-1) + 1, len(groups))
    np.minimum.at(best, groups, ranks)
    item_at = np.empty(len(groups), np.int64)
    item_at[ranks] = np.arange(len(groups))
    chosen: np.ndarray = item_at[best[groups]]
    return chosen
