"""What copies mean in a pair set: a copy of a positive is a positive, and rows may move to the copy that stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.dedup.choice import Choice, named
from pairmine.stages.dedup.copies import first_of_each
from pairmine.stages.dedup.units import Units, codes_of, id_column, is_pair_set

PREVIOUS_LABEL, DECISION = "previous_label", "decision"
MERGED = "merged"
_REMARK = "relabelled by spread-labels"


def check_labels(pairs: pa.Table, by: str, *, spreads: bool, merges: bool, action: str) -> None:
    """Raise a PairmineError for what these rows or options cannot do."""
    flag = "--spread-labels" if spreads else "--merge"
    if not is_pair_set(pairs):
        raise PairmineError(f'{flag} is for pair sets, and this is a corpus (no "query_id"); leave it out')
    if spreads and "label" not in pairs.column_names:
        raise PairmineError(f'{flag}: no "label" (found: {", ".join(pairs.column_names)}); there is nothing to spread')
    if merges and by == "pair":
        raise PairmineError(
            "--merge has no effect with --by pair, where the pair that stays says it all; "
            "pass --by document or query, or --spread-labels to keep positives"
        )
    if merges and action != "drop":
        raise PairmineError(f"--merge has no effect with --action {action}, which moves no rows; leave one of them out")


def spread_labels(pairs: pa.Table, queries: np.ndarray, documents: np.ndarray) -> tuple[pa.Table, Mapping[str, int]]:
    """Make a positive of each row whose document copies a positive of its query, and count what they were before.

    `queries` and `documents` (rows,) int64 are equal where two rows have the same query, or copies of one document.
    Such rows keep their old label in `previous_label`, and `decision` says what happened, as after `filter`.
    """
    positive = _is(pairs, POSITIVE)
    meeting = first_of_each(queries * (documents.max(initial=0) + 1) + documents)
    has_positive = np.zeros(len(meeting), bool)
    has_positive[meeting[positive]] = True
    changed = has_positive[meeting] & ~positive
    was_negative = int((changed & _is(pairs, NEGATIVE)).sum())
    counts = {
        "copies of a positive made positive, were negative": was_negative,
        "copies of a positive made positive, were undecided": int(changed.sum()) - was_negative,
    }
    return _relabelled(pairs, pa.array(changed)), counts


def _relabelled(pairs: pa.Table, changed: pa.Array) -> pa.Table:
    labels = pairs["label"]
    pairs = _with_column(pairs, "label", pc.if_else(changed, pa.scalar(POSITIVE, labels.type), labels))
    earlier = _column_or_nulls(pairs, PREVIOUS_LABEL, labels.type)
    pairs = _with_column(pairs, PREVIOUS_LABEL, pc.if_else(changed, labels, earlier))
    said = _column_or_nulls(pairs, DECISION, pa.string())
    return _with_column(pairs, DECISION, pc.if_else(changed, pa.scalar(_REMARK), said))


@dataclass(frozen=True)
class Merged:
    """What moving rows to the copy that stays makes of a pair set.

    `pairs` are the rows that remain, in their new place, and `rows` (remaining,) int64 says which each was.
    `met` (ascending) are the rows that found their place taken.
    """

    pairs: pa.Table
    rows: np.ndarray
    met: np.ndarray
    moved: int


def merge(pairs: pa.Table, units: Units, choice: Choice) -> Merged:
    """Give each row of a copy the id and the text of the one that stays, the rows of one query together.

    Where several rows then have one query and one document, a positive stays, else the first. Rows that moved keep
    their old id in `previous_doc_id`, or `previous_query_id`.
    """
    items = choice.kept[units.of_row]
    moves = items != units.of_row
    query, document = _codes(pairs, units.side, items)
    meeting = first_of_each(query * (document.max(initial=0) + 1) + document)
    order = np.lexsort((~_is(pairs, POSITIVE), meeting))
    is_first = np.diff(meeting[order], prepend=-1) > 0
    stays = np.zeros(len(items), bool)
    stays[order[is_first]] = True
    rows = np.flatnonzero(stays)
    rows = rows[np.argsort(first_of_each(query)[rows], kind="stable")]
    remaining = _moved(pairs.take(pa.array(rows)), pairs, units, items[rows], moves[rows])
    return Merged(remaining, rows, np.flatnonzero(~stays), int(moves[rows].sum()))


def _is(pairs: pa.Table, label: int) -> np.ndarray:
    """Which rows have that label, (rows,) bool; none where there are no labels."""
    if "label" not in pairs.column_names:
        return np.zeros(pairs.num_rows, bool)
    found: np.ndarray = pc.fill_null(pc.equal(pairs["label"], label), False).to_numpy()
    return found


def _codes(pairs: pa.Table, side: str, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number for each row's query and one for its document, one of which are the `items` of `side`."""
    other = codes_of(pairs["doc_id" if side == "query" else "query_id"])[0]
    return (items, other) if side == "query" else (other, items)


def _moved(rows: pa.Table, pairs: pa.Table, units: Units, items: np.ndarray, moves: np.ndarray) -> pa.Table:
    """`rows` with the id and the text of their `items`; those that move say where they were."""
    name = id_column(pairs, units.side)
    first = np.zeros(len(units.ids), np.int64)
    first[units.of_row[::-1]] = np.arange(len(units.of_row))[::-1]
    old = pc.if_else(pa.array(moves), rows[name], pa.scalar(None, pa.string()))
    texts = pairs[units.side].take(pa.array(first[items]))
    rows = _with_column(rows, name, named(units.ids, items, np.zeros(len(items), bool)))
    rows = _with_column(rows, units.side, texts)
    kept = _column_or_nulls(rows, f"previous_{name}", pa.string())
    return _with_column(rows, f"previous_{name}", pc.coalesce(old, kept))


def _column_or_nulls(table: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """The column of that name as `kind`; nulls where there is none, or another sort of column."""
    if name in table.column_names:
        try:
            return table[name].cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    return pa.chunked_array([pa.nulls(table.num_rows, kind)])


def _with_column(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    place = table.schema.get_field_index(name)
    if place < 0:
        return table.append_column(name, values)
    return table.set_column(place, table.schema.field(place).with_type(values.type), values)
