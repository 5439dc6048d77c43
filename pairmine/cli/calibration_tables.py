"""What `pairmine calibrate` found, as tables of 80 columns for people."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence

from pairmine.schema import SCORE_PREFIX
from pairmine.stages.calibrate import (
    FEWEST,
    LEVELS,
    NONE_PICKED,
    PARTS,
    Answer,
    Calibration,
    Curve,
    Point,
    choices,
    counted,
    end_of,
)

Row = list[str]

_OUTPUT = "filtered.parquet"
_WIDTH = 80
_RELATIVE = (
    "they tell which part of the false negatives that are picked without a rule (naive) a threshold leaves, and not "
    "how many there are: --label, --judge and --qrels tell that, and --naive-rate takes it"
)
_SHOWN = 2
"""The choice, counted from 1, whose command is shown where no target is named."""


def tables(found: Calibration) -> list[str]:
    """A table for each rule, under what all of them have in common."""
    picking = found.picking
    how = "the best" if picking.pick == "top" else f"drawn from the best {picking.pool}"
    what = (
        f"{counted(found.queries, 'query', 'queries')}, {found.candidates:,} candidates; "
        f"{counted(picking.negatives, 'negative', 'negatives')} a query, {how}"
    )
    lines = [*_wrapped(what), *_basis(found)]
    alike: dict[bool, list[Row]] = {}
    for curve in found.curves or (None,):
        alike.setdefault(_is_of_positives(curve), []).extend(_rows(curve, found))
    for curve in found.curves or (None,):
        widths = _widths(alike[_is_of_positives(curve)])
        lines += ["", *([curve.rule.title] if curve else []), *(_joined(row, widths) for row in _rows(curve, found))]
    return lines


def _rows(curve: Curve | None, found: Calibration) -> list[Row]:
    """The table of a rule, the naive point first; of that point alone without one."""
    points, of_positives = curve.points if curve else (), _is_of_positives(curve)
    return [_heads(found, of_positives), *(_cells(point, found, of_positives) for point in (found.naive, *points))]


def _is_of_positives(curve: Curve | None) -> bool:
    return curve is not None and curve.rule.of_positives


def summary(found: Calibration, pairs: str) -> list[str]:
    """The hardest picks at some levels of false negatives, and the command that gets one of them."""
    if found.evidence is None:
        return []
    if not found.curves:
        return _onwards(found, pairs)
    levels = choices(found)
    if not any(choice.point for choice in levels):
        return ["", *_wrapped(_too_little(found))]
    rows = [
        [_percent(choice.limit), *(_named(choice.curve, choice.point, found) if choice.point else ["none reaches it"])]
        for choice in levels
    ]
    lines = ["", "which threshold? the hardest picks that leave few queries short"]
    lines += _listed([["at most", *_named_heads(found)], *rows], left=1)
    shown = next(choice for choice in (levels[_SHOWN - 1], *levels) if choice.point)
    assert shown.point is not None
    what = "of naive's false negatives" if found.is_relative else "false negatives"
    return [*lines, "", f"at most {_percent(shown.limit)} {what}:", _command(pairs, shown.point)]


def _onwards(found: Calibration, pairs: str) -> list[str]:
    """What to do with the share that is false without a rule."""
    if found.is_relative or found.naive.false is None:
        return []
    words = ["pairmine", "calibrate", pairs, "--naive-rate", f"{found.naive.false.rate:.3g}"]
    return ["", "what each threshold leaves of them:", f"  {shlex.join(words)}"]


def _too_little(found: Calibration) -> str:
    naive, *known = [share.rows if (share := found.estimate(point)) else 0 for point in found.points]
    most = max(known, default=0)
    if most >= FEWEST:
        least, of = (max(PARTS), " of naive's") if found.is_relative else (max(LEVELS), "")
        return f"which threshold? none leaves {_percent(least)}{of} false negatives or less"
    if NONE_PICKED in found.remarks or (naive >= FEWEST and not most):
        return "which threshold? nothing here tells"
    return (
        f"which threshold? too little is known: estimates are from {most} rows at most, and {FEWEST} are wanted. Judge "
        "or label more (--sample 300) or fewer thresholds (--rule), or only what is picked without a rule (--rule "
        "none), for --naive-rate"
    )


def answers(reached: Answer, found: Calibration, pairs: str) -> list[str]:
    """What reaches the target, rule by rule, and the command that gets the best of it."""
    by = "upper end of the interval" if reached.confident else "estimate"
    rows = [_named(curve, point, found) if point else _missed(curve, found) for curve, point in reached.points]
    lines = ["", f"at most {reached.target * 100:g}% false negatives, by the {by}: the loosest thresholds"]
    lines += _listed([_named_heads(found), *rows], left=0)
    if reached.best is None:
        return [*lines, "", _unreached(reached, found)]
    return [*lines, "", "the hardest picks that leave few queries short:", _command(pairs, reached.best)]


def _command(pairs: str, point: Point) -> str:
    output = _OUTPUT if pairs != _OUTPUT else f"re{_OUTPUT}"
    return f"  {shlex.join(['pairmine', 'filter', pairs, *point.flags, '-o', output])}"


def _basis(found: Calibration) -> list[str]:
    if found.evidence is None:
        return ["nothing to estimate false negatives from"]
    said = f"estimated from {found.evidence}"
    if found.is_relative:
        said += f"; {_RELATIVE}"
    return [*_wrapped(said), "95% intervals after Korn and Graubard, with queries as clusters"]


def _heads(found: Calibration, of_positives: bool = False) -> Row:
    kept = ["positives", "queries"] if of_positives else ["pass", "negatives"]
    heads = ["threshold", *kept, "short", *_measures(found)]
    if _is_sampled(found):
        heads.append("known")
    if found.evidence:
        heads.append("left of naive" if found.is_relative else "false negatives")
    return heads


def _cells(point: Point, found: Calibration, of_positives: bool) -> Row:
    """A line of a table: of a rule for positives with how many of them, and of their queries, it leaves."""
    kept = [f"{point.passed / max(found.candidates, 1) * 100:.3g}%", f"{point.negatives:.2f}"]
    if of_positives:
        kept = [f"{point.positives:,}", f"{point.queries - point.lost:,}"]
    cells = [_threshold(point), *kept, f"{point.short:,}", *_measured(point, found)]
    if _is_sampled(found):
        cells.append("-" if point.false is None else f"{point.false.rows:,}")
    return [*cells, *_estimate(point, found)]


def _named_heads(found: Calibration) -> Row:
    return ["rule", *(head for head in _heads(found) if head not in ("pass", "negatives", "known"))]


def _named(curve: Curve | None, point: Point, found: Calibration) -> Row:
    """A point outside the table of its rule."""
    shown = [_threshold(point), f"{point.short:,}", *_measured(point, found), *_estimate(point, found)]
    return [_rule(curve) if curve else "-", *shown]


def _missed(curve: Curve, found: Calibration) -> Row:
    known = any(found.estimate(point) for point in curve.points)
    return [_rule(curve), "not reached" if known else "no estimate"]


def _rule(curve: Curve) -> str:
    return curve.rule.title.replace(f" on {SCORE_PREFIX}", "@").replace(", the ", ", ").removesuffix(" positive")


def _measures(found: Calibration) -> Row:
    hardness = [] if found.hardness is None else [found.hardness.removeprefix(SCORE_PREFIX)]
    return hardness + ([] if found.naive.rank is None else ["rank"])


def _measured(point: Point, found: Calibration) -> Row:
    """How hard the picks are, in the columns of `_measures`."""
    cells = []
    if found.hardness is not None:
        cells.append("-" if point.hardness is None else f"{point.hardness:.3f}")
    if found.naive.rank is not None:
        cells.append("-" if point.rank is None else f"{point.rank:.1f}")
    return cells


def _estimate(point: Point, found: Calibration) -> Row:
    if found.evidence is None:
        return []
    share = found.estimate(point)
    if share is None:
        return ["-"]
    digits = 0 if found.is_relative else 1
    if share.low == share.high:
        return [_percent(share.rate, digits)]
    return [f"{_percent(share.rate, digits)} ({share.low * 100:.{digits}f}-{share.high * 100:.{digits}f})"]


def _is_sampled(found: Calibration) -> bool:
    """Whether less is known than all picks, so that it matters how many are."""
    told = [point for point in found.points if point.false]
    return not found.is_relative and any(point.false.rows != point.picked for point in told if point.false)


def _threshold(point: Point) -> str:
    return "no rule" if point.value is None else f"{point.value:g}"


def _percent(share: float, digits: int | None = None) -> str:
    return f"{share * 100:g}%" if digits is None else f"{share * 100:.{digits}f}%"


def _unreached(reached: Answer, found: Calibration) -> str:
    ends = [
        (end, curve.rule.title, _threshold(point))
        for curve in found.curves
        for point in curve.points
        if (end := end_of(found, point, reached.confident)) is not None
    ]
    if not ends:
        return (
            f"no threshold has an estimate from {FEWEST} known rows; a larger --sample or more --qrels would give some"
        )
    lowest, rule, value = min(ends)
    return (
        f"no threshold reaches it; the lowest is {_percent(lowest, 1)}, by {rule} at {value}. "
        "A cross-encoder's scores ('pairmine score --scorer ce:MODEL'), deeper mining or a larger sample may"
    )


def _listed(rows: Sequence[Row], left: int) -> list[str]:
    widths = _widths(rows)
    return [_joined(row, widths, left) for row in rows]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _widths(rows: Sequence[Row]) -> list[int]:
    return [max(len(row[at]) for row in rows if at < len(row)) for at in range(max(map(len, rows)))]


def _joined(row: Row, widths: Sequence[int], left: int | None = None) -> str:
    """Cells at the right of their columns, that of the column `left` at its left."""
    sides = [">"] * len(row)
    if left is not None:
        sides[left] = "<"
    cells = [f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=False)]
    return f"  {'  '.join(cells)}".rstrip()
