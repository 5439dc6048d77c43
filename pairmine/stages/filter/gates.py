"""Gates: scores that decide or overrule labels before any candidate is looked at.

In the order in which they act: `swap`, `gate`, `curate`, `monotone`. Each reads one column, compares as
float32, and looks at the rows that the ones before it left. Row order stays as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.filter.columns import numeric_column, read_numbers, require, value_range
from pairmine.stages.filter.rows import UNDECIDED, extreme
from pairmine.stages.filter.verdicts import Verdicts

BROKEN = ("drop", "cut")


@dataclass(frozen=True)
class Band:
    """Two thresholds on one column: up to `low` two texts may pass as unlike, from `high` on as alike."""

    column: str
    low: float
    high: float


@dataclass(frozen=True)
class Monotone:
    """A ladder's scores may rise by `tolerance` from their lowest so far; a chain that rises more is dropped or cut."""

    column: str
    tolerance: float = 0.0
    broken: str = "drop"


@dataclass(frozen=True)
class Gates:
    """What decides labels before candidates are looked at; None switches one off."""

    swap_by: str | None = None
    gate: Band | None = None
    curate: Band | None = None
    monotone: Monotone | None = None

    def __bool__(self) -> bool:
        return any(gate is not None for gate in (self.swap_by, self.gate, self.curate, self.monotone))

    @property
    def needs_labels(self) -> bool:
        """Whether one of them compares positives and negatives."""
        return self.swap_by is not None or self.curate is not None


def parse_band(what: str, text: str, *, may_cross: bool = False) -> Band:
    """``COLUMN:LOW:HIGH``, as score_st:0.75:0.80; LOW is no higher than HIGH unless they `may_cross`."""
    column, *numbers = text.split(":")
    if not column or len(numbers) != 2:
        raise PairmineError(f"{what} {text}: write it as COLUMN:LOW:HIGH, as in score_st:0.75:0.80")
    low, high = (_number(what, text, number) for number in numbers)
    if low > high and not may_cross:
        raise PairmineError(f"{what} {text}: {low:g} is above {high:g}; the lower threshold comes first")
    return Band(column, low, high)


def parse_monotone(what: str, text: str) -> Monotone:
    """``COLUMN[:TOLERANCE[:drop|cut]]``, as score_st:0.02:cut."""
    column, *rest = text.split(":")
    if not column or len(rest) > 2:
        raise PairmineError(f"{what} {text}: write it as COLUMN[:TOLERANCE[:drop|cut]], as in score_st:0.02:cut")
    tolerance = _number(what, text, rest[0]) if rest else 0.0
    broken = rest[1] if len(rest) > 1 else "drop"
    if tolerance < 0:
        raise PairmineError(f"{what} {text}: a tolerance is 0 or more")
    if broken not in BROKEN:
        raise PairmineError(f'{what} {text}: "{broken}" is not one of: {", ".join(BROKEN)}')
    return Monotone(column, tolerance, broken)


def _number(what: str, text: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PairmineError(f'{what} {text}: "{number}" is no number')
    return value


def pass_gates(
    pairs: pa.Table, query: np.ndarray, label: np.ndarray, gates: Gates, verdicts: Verdicts
) -> tuple[np.ndarray, dict[str, int]]:
    """The labels (n,) int8 after the gates, and counts of what they changed; rejections go to `verdicts`.

    `query` counts up from 0 in row order, `label` is `UNDECIDED` for null.
    """
    notes: dict[str, int] = {}
    if gates.swap_by is not None:
        label, swapped = _swap(pairs, query, label, gates.swap_by, verdicts)
        notes["pairs swapped for their scores"] = swapped
    if gates.gate is not None:
        label = _gate(pairs, label, gates.gate, verdicts, notes)
    if gates.curate is not None:
        _curate(pairs, query, label, gates.curate, verdicts)
    if gates.monotone is not None:
        _monotone(pairs, query, gates.monotone, verdicts)
    return label, {what: count for what, count in notes.items() if count}


def _swap(
    pairs: pa.Table, query: np.ndarray, label: np.ndarray, name: str, verdicts: Verdicts
) -> tuple[np.ndarray, int]:
    """Give the positive labels of each query to its highest-scored decided rows, as many as there were.

    For a triplet that swaps the two where the negative scores above the positive (MultiCSR); of equals
    the one that was positive stays so.
    """
    name = numeric_column(pairs.schema, name, "swap")
    scores = read_numbers(pairs, name)
    decided = verdicts.alive & (label != UNDECIDED)
    require(scores, decided, name, "swap", "labelled rows")
    at = np.flatnonzero(decided)
    order = at[np.lexsort((-label[at], -scores[at], query[at]))]
    many = np.bincount(query[at], label[at] == POSITIVE, minlength=_count(query))
    starts = np.searchsorted(query[order], query[order])
    dealt = label.copy()
    dealt[order] = np.where(np.arange(len(order)) - starts < many[query[order]], POSITIVE, NEGATIVE)
    return dealt, int(((label == POSITIVE) & (dealt == NEGATIVE)).sum())


def _gate(pairs: pa.Table, label: np.ndarray, band: Band, verdicts: Verdicts, notes: dict[str, int]) -> np.ndarray:
    """Below `low` a row is a negative, from `high` on a positive, whatever it was meant to be; between, it leaves."""
    name = _column(pairs, band, "gate")
    scores = read_numbers(pairs, name)
    require(scores, verdicts.alive, name, "gate")
    above, below = scores >= np.float32(band.high), scores < np.float32(band.low)
    verdicts.reject(~above & ~below, f"between the gates {band.low:g} and {band.high:g} of {name}")
    gated = np.where(above, POSITIVE, NEGATIVE).astype(np.int8)
    alive = verdicts.alive
    notes["meant as positives, made negatives by the gate"] = int((alive & below & (label == POSITIVE)).sum())
    notes["meant as negatives, made positives by the gate"] = int((alive & above & (label == NEGATIVE)).sum())
    return np.where(alive, gated, label).astype(np.int8)


def _curate(pairs: pa.Table, query: np.ndarray, label: np.ndarray, band: Band, verdicts: Verdicts) -> None:
    """Positives below `high` leave, negatives above `low`, and negatives not below all positives of their query."""
    name = _column(pairs, band, "curate")
    scores = read_numbers(pairs, name)
    require(scores, verdicts.alive & (label != UNDECIDED), name, "curate", "labelled rows")
    positive, negative = label == POSITIVE, label == NEGATIVE
    verdicts.reject(positive & (scores < np.float32(band.high)), f"positive with {name} below {band.high:g}")
    verdicts.reject(negative & (scores > np.float32(band.low)), f"negative with {name} above {band.low:g}")
    lowest = extreme(np.minimum, query, scores, positive & verdicts.alive, _count(query))
    verdicts.reject(negative & (scores >= lowest[query]), f"{name} not below that of a positive")


def _monotone(pairs: pa.Table, query: np.ndarray, rule: Monotone, verdicts: Verdicts) -> None:
    """Scores must not rise down a query's chain, which `rank` orders, without ranks falling `grade`, else the rows."""
    name = numeric_column(pairs.schema, rule.column, "monotone")
    scores = read_numbers(pairs, name)
    require(scores, verdicts.alive, name, "monotone")
    at = np.flatnonzero(verdicts.alive)
    if not len(at):
        return
    order = at[np.lexsort((_steps(pairs)[at], query[at]))]
    chain, steps = query[order], scores[order].astype(np.float64)
    # Each chain lies below the one before, so that one running minimum serves all of them.
    shift = chain * (steps.max() - steps.min() + 1)
    lowest = np.minimum.accumulate(steps - shift) + shift
    first = np.r_[True, chain[1:] != chain[:-1]]
    rises = ~first & (steps > np.r_[steps[0], lowest[:-1]] + rule.tolerance + 1e-6)
    if rule.broken == "drop":
        broken = np.bincount(chain, rises, minlength=_count(query)) > 0
        verdicts.reject(broken[query], f"{name} rises along its chain")
        return
    starts = np.flatnonzero(first)
    risen = np.cumsum(rises)
    before = (risen - rises)[starts][np.cumsum(first) - 1]
    verdicts.reject(order[risen > before], f"from the first rise of {name} on")


def _steps(pairs: pa.Table) -> np.ndarray:
    """What a chain is ordered by, lowest first; rows without it come last."""
    for name, sign in (("rank", 1), ("grade", -1)):
        if name in pairs.column_names and pairs[name].null_count < pairs.num_rows:
            return sign * pc.cast(pairs[name], pa.float64()).to_numpy()
    return np.zeros(pairs.num_rows)


def _column(pairs: pa.Table, band: Band, what: str) -> str:
    name = numeric_column(pairs.schema, band.column, what)
    low, high = value_range(pairs.schema, name)
    for value in (band.low, band.high):
        if not low <= value <= high:
            raise PairmineError(
                f"{what}: {value:g} is outside what {name} holds, {low:g} to {high:g}; "
                "thresholds are on the column's own scale (3 of 5 is 0.6)"
            )
    return name


def _count(query: np.ndarray) -> int:
    return int(query[-1]) + 1 if len(query) else 0


def relabelled(pairs: pa.Table, label: np.ndarray) -> pa.Table:
    """`pairs` with the labels (n,) int8, `UNDECIDED` as null."""
    place = pairs.schema.get_field_index("label")
    column = pa.array(label, pa.int8(), mask=label == UNDECIDED)
    return pairs.set_column(place, pairs.schema.field(place), column)
