"""The kept rows as they leave: labels decided, weights and remarks of the rules in place."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.schema import NEGATIVE, POSITIVE, as_pairs
from pairmine.stages.filter.assemble import FILL
from pairmine.stages.filter.deciding import Decided

DECISION = "decision"


def finish(
    kept: pa.Table, came: np.ndarray, decided: Decided, *, decides: bool, remarks: bool, weighs: bool
) -> pa.Table:
    """`kept` with what the rules decided of its rows; `came` says which row each was, `FILL` for none.

    Where it `decides`, what is undecided yet becomes a negative. With `remarks` there is a column `decision`, with
    `weighs` a column `weight`; both keep what was there, a remark where this run has none.
    """
    kept = _labelled(kept, came, decided, decides=decides)
    if remarks:
        said = decided.remarks.of(came)
        if DECISION in kept.column_names:
            said = pc.coalesce(said, kept[DECISION].cast(pa.string()))
        kept = _with_column(kept, DECISION, said)
    if weighs:
        factor = np.where(came == FILL, 1.0, decided.factor[came]) if len(decided.factor) else np.ones(len(came))
        if "weight" in kept.column_names:
            factor = factor * pc.fill_null(pc.cast(kept["weight"], pa.float64()), 1.0).to_numpy()
        kept = _with_column(kept, "weight", pa.array(factor, pa.float32()))
    return as_pairs(kept) if remarks or weighs else kept


def _labelled(kept: pa.Table, came: np.ndarray, decided: Decided, *, decides: bool) -> pa.Table:
    label = kept["label"]
    if decided.relabelled.any():
        relabelled = pa.array((came != FILL) & decided.relabelled[came])
        label = pc.if_else(relabelled, pa.scalar(POSITIVE, pa.int8()), label)
    if decides:
        label = pc.fill_null(label, pa.scalar(NEGATIVE, pa.int8()))
    return _with_column(kept, "label", label)


def _with_column(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    place = table.schema.get_field_index(name)
    if place < 0:
        return table.append_column(name, values)
    return table.set_column(place, table.schema.field(place).with_type(values.type), values)
