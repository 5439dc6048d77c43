"""A pair set as it stands, faults and all, for a command that tells of them rather than stop at the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pairmine import schema
from pairmine.files import convert
from pairmine.files.columns import Mapped
from pairmine.files.raw import Raw
from pairmine.files.source import CHUNK_ROWS, PairSource, Say, open_pairs
from pairmine.stages.check.chunk import BAD_LABEL, whole_stretches


def open_unchecked(path: str, say: Say, *, split: str | None = None) -> PairSource:
    """As `open_pairs`; its `tables` keep labels other than 1 and 0 in a column `BAD_LABEL`, and null in `label`."""
    source = open_pairs(path, say, split=split, replay=True)
    if type(source) is PairSource:
        return _Unchecked(path, replace(source.role, to_table=_to_table), {}, say, opened=source)
    return source


class _Unchecked(PairSource):
    """Rows of a query may stand apart, and an id may have several texts."""

    reads_files = True

    def chunks(self, rows: int = CHUNK_ROWS, *, unified: bool = True) -> Iterator[pa.Table]:
        """Tables of some `rows` rows that end where a query does."""
        return whole_stretches(self.tables(), rows)


def _to_table(raw: Raw, mapped: Mapped) -> pa.Table:
    if convert.is_wide(raw, mapped):
        return convert.wide_pairs(raw, mapped)
    bad = _bad_labels(raw.table, mapped.names.get("label"))
    if bad is None:
        return convert.long_pairs(raw, mapped)
    name = mapped.names["label"]
    column = raw.table[name]
    good = pc.if_else(bad.is_null(), column, pa.scalar(None, column.type))
    table = raw.table.set_column(raw.table.column_names.index(name), name, good).append_column(BAD_LABEL, bad)
    return convert.long_pairs(replace(raw, table=table), mapped)


def _bad_labels(table: pa.Table, name: str | None) -> pa.ChunkedArray | None:
    """The labels that are none, null for the others; None where there is no column of numbers, written out or not."""
    if name is None or BAD_LABEL in table.column_names:
        return None
    kind = table.schema.field(name).type
    if pa.types.is_boolean(kind) or pa.types.is_nested(kind):
        return None
    try:
        values = table[name].cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    is_good = pc.is_in(values, value_set=pa.array([schema.NEGATIVE, schema.POSITIVE], pa.float64()))
    return pc.if_else(is_good, pa.scalar(None, pa.float64()), values)
