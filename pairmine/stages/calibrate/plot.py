"""The curves as a picture: false negatives against hardness, a line per rule, in SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from pairmine.stages.calibrate.curves import Calibration, Curve, Point

_WIDTH, _HEIGHT = 960, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 300, 56, 64
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7f3b08",
    "#5e3c99",
    "#666666",
    "#a6761d",
)
"""The first seven are told apart by people who see colours differently, too (Okabe and Ito 2008)."""
_DASHES = ("", "6 3", "2 3")
_TICKS = 6
_SHORT = 0.05
"""From this part of the queries short of negatives on a point is hollow."""


def plot(found: Calibration, *, target: float | None = None) -> str:
    """An SVG: hardness of the picks across, share of false negatives up, with intervals, the naive point, the target.

    Without estimates the queries short of negatives go up instead.
    """
    estimated = found.evidence is not None
    lines = [(curve, _places(curve.points, found)) for curve in found.curves]
    naive = _places([found.naive], found)
    every = [place for _, places in lines for place in places] + naive
    frame = _Frame.around(every, target if estimated else None, 1.0 if not found.is_relative else 2.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="13" role="img">',
        f"<title>{escape(_title(found))}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="28" font-size="16">{escape(_title(found))}</text>',
        *_axes(frame, f"mean {found.hardness or 'hardness'} of the picked negatives", _upward(found)),
    ]
    if estimated:
        parts += [_band(frame, places, *_style(number)) for number, (_, places) in enumerate(lines)]
    if estimated and target is not None:
        parts.append(_across(frame, target))
    parts += [_line(frame, places, *_style(number)) for number, (_, places) in enumerate(lines)]
    parts += [_naive(frame, place) for place in naive]
    parts += _legend([curve for curve, _ in lines], bool(naive), any(place.is_short for place in every))
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True)
class _Place:
    """A point on the plane, with the ends of its interval."""

    x: float
    y: float
    low: float
    high: float
    is_short: bool
    text: str


@dataclass(frozen=True)
class _Frame:
    """The part of the plane that is shown."""

    left: float
    right: float
    top: float

    @classmethod
    def around(cls, places: Sequence[_Place], target: float | None, most: float) -> _Frame:
        """What holds all `places` and the target, up to `most`."""
        across = [place.x for place in places] or [0.0, 1.0]
        spare = max(max(across) - min(across), 1e-3) * 0.04
        top = max([0.01, *(place.y for place in places), target or 0.0]) * 1.15
        return cls(min(across) - spare, max(across) + spare, min(top, most))

    def x(self, value: float) -> float:
        share = (value - self.left) / (self.right - self.left)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = min(max(value / self.top, 0.0), 1.0)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _places(points: Sequence[Point], found: Calibration) -> list[_Place]:
    return [place for point in points if (place := _place(point, found)) is not None]


def _place(point: Point, found: Calibration) -> _Place | None:
    if point.hardness is None or not point.picked:
        return None
    text, short = " ".join(point.flags), point.short / max(point.queries, 1)
    if found.evidence is None:
        return _Place(point.hardness, short, short, short, False, text)
    if (share := found.estimate(point)) is None:
        return None
    return _Place(point.hardness, share.rate, share.low, share.high, short > _SHORT, text)


def _title(found: Calibration) -> str:
    what = "False negatives left" if found.evidence else "Queries left short"
    many = found.picking.negatives
    return f"{what} at each threshold: {many} negative{'s' if many > 1 else ''} for each of {found.queries:,} queries"


def _upward(found: Calibration) -> str:
    if found.evidence is None:
        return "queries short of negatives"
    if found.is_relative:
        return "part of the false negatives picked without a rule, with 95% interval"
    return "false negatives among them, with 95% interval"


def _style(number: int) -> tuple[str, str]:
    return _COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)]


def _axes(frame: _Frame, across: str, upward: str) -> Iterator[str]:
    low, high, right = frame.y(0), frame.y(frame.top), _WIDTH - _RIGHT
    for value in _round_numbers(0.0, frame.top):
        at = frame.y(value)
        yield f'<line x1="{_LEFT}" y1="{at}" x2="{right}" y2="{at}" stroke="#e4e4e4"/>'
        yield f'<text x="{_LEFT - 8}" y="{at + 4}" text-anchor="end">{value * 100:.3g}%</text>'
    for value in _round_numbers(frame.left, frame.right):
        at = frame.x(value)
        yield f'<line x1="{at}" y1="{low}" x2="{at}" y2="{low + 5}" stroke="#555"/>'
        yield f'<text x="{at}" y="{low + 20}" text-anchor="middle">{value:.3g}</text>'
    yield f'<path d="M{_LEFT},{high}V{low}H{right}" fill="none" stroke="#555"/>'
    yield f'<text x="{(_LEFT + right) / 2}" y="{low + 44}" text-anchor="middle">{escape(across)}</text>'
    middle = (low + high) / 2
    yield f'<text transform="translate(18,{middle}) rotate(-90)" text-anchor="middle">{escape(upward)}</text>'


def _round_numbers(low: float, high: float) -> list[float]:
    """About `_TICKS` round numbers from `low` to `high`."""
    raw = (high - low) / _TICKS
    size = 10.0 ** np.floor(np.log10(raw))
    step = next(step for step in (size, 2 * size, 2.5 * size, 5 * size, 10 * size) if step >= raw)
    return [round(number * step, 10) + 0.0 for number in range(int(np.ceil(low / step)), int(high / step) + 1)]


def _band(frame: _Frame, places: Sequence[_Place], colour: str, dash: str) -> str:
    upper = [f"{frame.x(place.x)},{frame.y(place.high)}" for place in places]
    lower = [f"{frame.x(place.x)},{frame.y(place.low)}" for place in reversed(places)]
    return f'<polygon points="{" ".join([*upper, *lower])}" fill="{colour}" fill-opacity="0.08"/>'


def _line(frame: _Frame, places: Sequence[_Place], colour: str, dash: str) -> str:
    points = " ".join(f"{frame.x(place.x)},{frame.y(place.y)}" for place in places)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    dots = "".join(
        f'<circle cx="{frame.x(place.x)}" cy="{frame.y(place.y)}" r="3" stroke="{colour}" '
        f'fill="{"white" if place.is_short else colour}">'
        f"<title>{escape(_told(place))}</title></circle>"
        for place in places
    )
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"{dashed}/>{dots}'


def _told(place: _Place) -> str:
    return f"{place.text}: {place.y:.3f} ({place.low:.3f} to {place.high:.3f})"


def _across(frame: _Frame, target: float) -> str:
    at, right = frame.y(target), _WIDTH - _RIGHT
    return (
        f'<line x1="{_LEFT}" y1="{at}" x2="{right}" y2="{at}" stroke="#c00" stroke-dasharray="4 4"/>'
        f'<text x="{_LEFT + 6}" y="{at - 5}" fill="#c00">target {target * 100:.3g}%</text>'
    )


def _naive(frame: _Frame, place: _Place) -> str:
    x, y = frame.x(place.x), frame.y(place.y)
    return f'<path d="M{x},{y - 7}l6,7l-6,7l-6,-7z" fill="black"><title>{escape(_told(place))}</title></path>'


def _legend(curves: Sequence[Curve], naive: bool, short: bool) -> Iterator[str]:
    x, y = _WIDTH - _RIGHT + 20, _TOP + 10
    if naive:
        yield f'<path d="M{x + 11},{y - 11}l6,7l-6,7l-6,-7z" fill="black"/><text x="{x + 30}" y="{y}">no rule</text>'
    for number, curve in enumerate(curves, 1):
        colour, dash = _style(number - 1)
        at = y + number * 20
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        yield (
            f'<line x1="{x}" y1="{at - 4}" x2="{x + 22}" y2="{at - 4}" stroke="{colour}" stroke-width="2.5"{dashed}/>'
            f'<text x="{x + 30}" y="{at}">{escape(curve.rule.title)}</text>'
        )
    if short:
        at = y + (len(curves) + 1) * 20
        yield (
            f'<circle cx="{x + 11}" cy="{at - 4}" r="3" stroke="black" fill="white"/>'
            f'<text x="{x + 30}" y="{at}">more than {_SHORT:.0%} of queries short</text>'
        )
