"""Which rows leave and why, the columns that tell of it, and the sources that lose much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.schema import POSITIVE
from pairmine.stages.dedup.choice import Choice, named
from pairmine.stages.dedup.units import codes_of, is_pair_set

NO_POSITIVE = "no positive left"
AGAINST = "against"
SOURCES = ("source", "origin")
_MUCH, _FEW = 0.5, 10
"""A source of more than so many rows that loses more than this share of them is worth a warning (ours)."""

_TOLD = {"reason": pa.string(), "duplicate_of": pa.string(), "similarity": pa.float64(), "similar_to": pa.string()}


def told_columns(*, against: bool) -> dict[str, pa.DataType]:
    """The columns that tell of a row why it leaves; `against` where there are test sets."""
    return _TOLD | ({AGAINST: pa.string()} if against else {})


class Verdicts:
    """The rows that leave, each with what is told of it; the first verdict on a row counts.

    The columns are `reason`, `duplicate_of`, `similarity`, `similar_to` and, with `against`, the test set.
    """

    def __init__(self, rows: int, *, against: bool = False) -> None:
        self.leaves = np.zeros(rows, bool)
        self._columns = told_columns(against=against)
        self._rows = [np.empty(0, np.int64)]
        self._told = [pa.schema(self._columns).empty_table()]

    def reject(self, rows: np.ndarray, told: Mapping[str, pa.Array]) -> None:
        """Let the ascending `rows` leave, save for those that leave already; `told` has columns beside them."""
        new = ~self.leaves[rows]
        nothing = pa.nulls(len(rows))
        columns = {name: told.get(name, nothing).cast(kind) for name, kind in self._columns.items()}
        self._rows.append(rows[new])
        self._told.append(pa.table(columns).filter(pa.array(new)))
        self.leaves[rows] = True

    def rejected(self, table: pa.Table) -> pa.Table:
        """The rows of `table` that leave, with what is told of them."""
        return self._beside(table.filter(pa.array(self.leaves)), pa.array(np.flatnonzero(self.leaves)))

    def marked(self, table: pa.Table) -> pa.Table:
        """All rows of `table`, with what is told of those that would leave, null for the others."""
        return self._beside(table, pa.array(np.arange(len(self.leaves)), mask=~self.leaves))

    def _beside(self, rows: pa.Table, at: pa.Array) -> pa.Table:
        places = pa.array(np.concatenate(self._rows))
        told = pa.concat_tables(self._told).take(pc.index_in(at, value_set=places))
        rows = rows.drop_columns([name for name in self._columns if name in rows.column_names])
        for name, column in zip(told.column_names, told.columns, strict=True):
            rows = rows.append_column(name, column)
        return rows


def reject_copies(verdicts: Verdicts, choice: Choice, of_row: np.ndarray, rows: np.ndarray) -> None:
    """Let each of `rows` leave whose item leaves; `of_row` is the item of each of these rows."""
    leaving = choice.leaves[of_row]
    verdicts.reject(rows[leaving], told_of(choice, of_row[leaving]))


def told_of(choice: Choice, items: np.ndarray, reason: str | None = None) -> dict[str, pa.Array]:
    """What is told of each of `items`: the kept one of its group, the similarity, whom that is with, and why."""
    nowhere = np.zeros(len(items), bool)
    why = choice.reasons(items) if reason is None else [reason] * len(items)
    return {
        "reason": pa.array(why, pa.string()),
        "duplicate_of": named(choice.ids, choice.kept[items], nowhere),
        "similarity": pa.array(choice.similarity[items]),
        "similar_to": named(choice.ids, choice.similar_to[items], nowhere),
    }


def reject_stranded(verdicts: Verdicts, table: pa.Table) -> None:
    """Let the remaining rows of queries leave whose positives all leave."""
    if not is_pair_set(table) or "label" not in table.column_names:
        return
    queries, ids = codes_of(table["query_id"])
    positive = pc.fill_null(pc.equal(table["label"], POSITIVE), False).to_numpy()
    had = np.bincount(queries[positive], minlength=len(ids)) > 0
    has = np.bincount(queries[positive & ~verdicts.leaves], minlength=len(ids)) > 0
    rows = np.flatnonzero((had & ~has)[queries] & ~verdicts.leaves)
    verdicts.reject(rows, {"reason": pa.repeat(NO_POSITIVE, len(rows))})


@dataclass(frozen=True)
class Loss:
    """How many rows of one source leave: those with `value` in `column`."""

    column: str
    value: str
    rows: int
    left: int

    @property
    def is_much(self) -> bool:
        return self.rows >= _FEW and self.left > _MUCH * self.rows


def losses(table: pa.Table, leaves: np.ndarray) -> list[Loss]:
    """What each source loses, by the first of `SOURCES` that is a column of text; a source is first met first."""
    name = next((name for name in SOURCES if name in table.column_names and _is_text(table[name].type)), None)
    if name is None:
        return []
    codes, values = codes_of(pc.fill_null(table[name].cast(pa.string()), ""))
    rows = np.bincount(codes, minlength=len(values)).tolist()
    left = np.bincount(codes[leaves], minlength=len(values)).tolist()
    return [Loss(name, value, *counts) for value, *counts in zip(values.to_pylist(), rows, left, strict=True)]


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
