"""The numbers that gates and weights read, and what to do where there are none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.schema import FEEDBACK, SCORE_PREFIX, pair_score_names, scale_of, score_names

_RANGES = {"cosine": (-1.0, 1.0), "probability": (0.0, 1.0), "similarity": (0.0, 1.0), "difference": (-2.0, 2.0)}
_SLACK = 1e-3
"""What float32 and bfloat16 models leave a cosine above 1."""


def numeric_column(schema: pa.Schema, name: str, what: str) -> str:
    """The column that `name` means: itself, or ``score_<name>``; it must hold numbers.

    Raises a PairmineError, which says `what` asked for it, with the command that makes such a column.
    """
    for column in (name, SCORE_PREFIX + name):
        if column in schema.names:
            kind = schema.field(column).type
            if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
                raise PairmineError(f"{what}: column {column} holds {kind}, no numbers; {_choices(schema)}")
            return column
    raise PairmineError(f"{what}: no column {name}; {_choices(schema)}, or {_maker(name)}")


def cosine_column(schema: pa.Schema, what: str) -> str:
    """The column of cosines: score_dense, else score_st, where no other scale is declared, else the only one."""
    for name in ("score_dense", "score_st"):
        if name in schema.names and scale_of(schema.field(name)) in ("cosine", None):
            return name
    cosines = [name for name in pair_score_names(schema) if scale_of(schema.field(name)) == "cosine"]
    if len(cosines) == 1:
        return cosines[0]
    if cosines:
        raise PairmineError(f"{what}: several columns hold cosines; name one of them with by=: {', '.join(cosines)}")
    raise PairmineError(
        f"{what} needs cosines of a frozen encoder, and no score column says that it holds them "
        f"(found: {', '.join(score_names(schema)) or 'none'}); run 'pairmine score --scorer st:MODEL' first"
    )


def check_scale(schema: pa.Schema, name: str, scales: Sequence[str], what: str) -> None:
    """Raise a PairmineError where column `name` declares a scale that is none of `scales`."""
    scale = scale_of(schema.field(name))
    if scale is not None and scale not in scales:
        raise PairmineError(
            f"{what}: {name} holds a {scale}, and this takes a {' or a '.join(scales)}; "
            "name another column, or run 'pairmine score --scorer st:MODEL' for cosines"
        )


def value_range(schema: pa.Schema, name: str) -> tuple[float, float]:
    """The lowest and the highest value that column `name` may hold; infinite where nobody says."""
    if name == "grade":
        return 0.0, 1.0
    return _RANGES.get(scale_of(schema.field(name)) or "", (-np.inf, np.inf))


def read_numbers(pairs: pa.Table, name: str) -> np.ndarray:
    """Column `name` as (n,) float32, NaN for null."""
    numbers: np.ndarray = pc.cast(pairs[name], pa.float32(), safe=False).to_numpy()
    return numbers


def require(numbers: np.ndarray, rows: np.ndarray, name: str, what: str, which: str = "rows") -> None:
    """Raise a PairmineError where any of `rows` (a mask) has no number."""
    missing = int((rows & ~np.isfinite(numbers)).sum())
    if missing:
        raise PairmineError(f"{what}: {missing} of {int(rows.sum())} {which} have no {name}; {remedy(name)}")


def require_range(pairs: pa.Table, numbers: np.ndarray, name: str, low: float, high: float, what: str) -> None:
    """Raise a PairmineError where a number of column `name` lies outside `low` to `high`."""
    outside = np.flatnonzero((numbers < low - _SLACK) | (numbers > high + _SLACK))
    if len(outside):
        at = int(outside[0])
        raise PairmineError(
            f'{what}: {name} is {numbers[at]:g} in row {at + 1} (query "{pairs["query_id"][at]}"), outside '
            f"{low:g} to {high:g}; name a column on that scale, or divide by its highest value first"
        )


def remedy(name: str, *, decides: bool = False) -> str:
    """The command that fills column `name`; where it `decides`, another may."""
    if decides:
        return f"{remedy(name)}, or decide by another column (--by)"
    if name == FEEDBACK:
        return "run 'pairmine mine' with a dense retriever, or 'pairmine score --feedback st:MODEL'"
    if name.startswith(SCORE_PREFIX):
        return "run 'pairmine score' first"
    if name == "grade":
        return "use a recipe that grades its pairs ('pairmine recipes'), or read grades from a column of your own"
    if name == "document_vector":
        return "run 'pairmine score --vectors st:MODEL --side document' first"
    if name == "cluster":
        return "run 'pairmine mine --clusters' first"
    return "run 'pairmine mine' first" if name == "rank" else "fill that column first"


def _maker(name: str) -> str:
    known = name in ("grade", "cluster", "rank") or name.startswith(SCORE_PREFIX)
    return remedy(name if known else SCORE_PREFIX + name)


def _choices(schema: pa.Schema) -> str:
    numbers = [name for name in ("grade", "rank") if name in schema.names]
    return f"columns to choose from: {', '.join([*score_names(schema), *numbers]) or 'none'}"
