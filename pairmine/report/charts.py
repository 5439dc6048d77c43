"""Charts as inline SVG: distributions, curves and bars. Colours come from the page's style sheet, by class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pairmine.report.markup import Html, join, number, tag

WIDTH, HEIGHT = 440, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 10, 34
_HEAD = 24
_TAIL, _WORTH_CUTTING = 0.005, 0.6
_TICKS = 5
_NEEDLE = 0.001
"""A part of its size that values lie apart at most where they are drawn as one, with room on both sides."""


@dataclass(frozen=True)
class Line:
    """One series: `points` from left to right; `kind` is its style class, as "positive"."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]
    filled: bool = False


@dataclass(frozen=True)
class Mark:
    """A threshold drawn across a chart at `at`, with a word on it."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """What a chart says: its `title` is read out where it cannot be seen."""

    title: str
    across: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = field(default_factory=tuple)
    upward: str = ""
    percent: bool = False
    top: float | None = None


@dataclass(frozen=True)
class Frame:
    """The part of the plane that a chart shows; what lies beyond its sides is drawn on them."""

    left: float
    right: float
    top: float
    head: float = _TOP
    is_cut: bool = False

    @classmethod
    def around(cls, chart: Chart) -> Frame:
        """What holds all lines, or their bulk where a thin tail takes most of the room, and the marks nearby."""
        across = [x for line in chart.lines for x, _ in line.points] or [0.0, 1.0]
        low, high = min(across), max(across)
        bulk = max((_bulk(line) for line in chart.lines if line.filled and line.points), default=high)
        is_cut = bulk - low < _WORTH_CUTTING * (high - low)
        high = bulk if is_cut else high
        spare = (high - low) or abs(high) or 1.0
        near = [mark.at for mark in chart.marks if low - spare / 2 <= mark.at <= high + spare / 2]
        low, high = min([low, *near]), max([high, *near])
        if high - low <= _NEEDLE * max(abs(low), abs(high)):
            spare = max(abs(low), abs(high)) / 10 or 1.0
            low, high = low - spare, high + spare
        most = max((y for line in chart.lines for _, y in line.points), default=0.0)
        head = _TOP + (_HEAD if chart.marks or chart.upward else 0)
        return cls(low, high, chart.top or (most * 1.08) or 1.0, head, is_cut)

    def x(self, value: float) -> float:
        """Where `value` stands across."""
        inside = min(max(value, self.left), self.right)
        return round(_LEFT + (inside - self.left) / (self.right - self.left) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        """Where `value` stands up."""
        return round(HEIGHT - _BOTTOM - min(value / self.top, 1.0) * (HEIGHT - self.head - _BOTTOM), 1)


def _bulk(line: Line) -> float:
    """Up to where all but a thin tail of a histogram's outline lies."""
    area, far = 0.0, line.points[-1][0]
    for (left, height), (right, _) in pairwise(line.points):
        area += height * (right - left)
        if area >= 1 - _TAIL:
            return right
    return far


def steps(edges: Sequence[float], counts: Sequence[int]) -> list[tuple[float, float]]:
    """A histogram's outline; heights are shares of all per unit, so that the area under it is 1."""
    total = sum(counts)
    if not total:
        return []
    outline = [(edges[0], 0.0)]
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        height = count / total / ((right - left) or 1.0)
        outline += [(left, height), (right, height)]
    return [*outline, (edges[-1], 0.0)]


def drawn(chart: Chart) -> Html:
    """The chart as an SVG that is read out as its title."""
    frame = Frame.around(chart)
    return tag(
        "svg",
        tag("title", chart.title),
        *_axes(chart, frame),
        *(_area(frame, line) for line in chart.lines if line.filled and line.points),
        *(_path(frame, line) for line in chart.lines if line.points),
        *_marks(frame, chart.marks),
        class_="chart",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=chart.title,
    )


def legend(lines: Iterable[Line]) -> Html:
    """Which line is which: a swatch in the line's own style, and its name."""
    swatch = tag("path", d="M1 6H25")
    return tag(
        "ul",
        *(
            tag(
                "li",
                tag("svg", swatch, class_=f"swatch {line.kind}", viewBox="0 0 26 12", aria_hidden="true"),
                line.name,
            )
            for line in lines
        ),
        class_="legend",
    )


def bar(parts: Sequence[tuple[str, float]], whole: float, label: str) -> Html:
    """A bar of (style class, amount) parts in a track that stands for `whole`; a part is a pixel wide at least."""
    at, rects = 0.0, []
    for kind, amount in parts:
        if amount > 0:
            width = max(1000 * amount / whole, 3.0) if whole else 0.0
            rects.append(tag("rect", x=round(at, 1), y=0, width=round(width, 1), height=10, class_=kind))
            at += width
    return tag(
        "svg",
        *rects,
        class_="bar-of",
        viewBox=f"0 0 {max(1000, math.ceil(at))} 10",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def round_numbers(low: float, high: float, many: int = _TICKS) -> list[float]:
    """About `many` round numbers from `low` to `high`."""
    raw = (high - low) / many
    if not raw > 0 or not math.isfinite(raw):
        return [low]
    size = 10.0 ** math.floor(math.log10(raw))
    step = next((step for step in (size, 2 * size, 2.5 * size, 5 * size) if step >= raw), 10 * size)
    return [round(each * step, 12) + 0.0 for each in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _axes(chart: Chart, frame: Frame) -> Iterator[Html]:
    base, right = frame.y(0), WIDTH - _RIGHT
    for value in round_numbers(0.0, frame.top, 4) if chart.percent else ():
        at = frame.y(value)
        yield tag("line", x1=_LEFT, y1=at, x2=right, y2=at, class_="grid")
        yield tag("text", f"{100 * value:.3g}%", x=_LEFT - 6, y=at + 4, text_anchor="end")
    yield tag("line", x1=_LEFT, y1=base, x2=right, y2=base, class_="axis")
    for value in round_numbers(frame.left, frame.right):
        at = frame.x(value)
        yield tag("line", x1=at, y1=base, x2=at, y2=base + 4, class_="axis")
        yield tag("text", number(value, 6), x=at, y=base + 16, text_anchor="middle")
    named = f"{chart.across}; under {_TAIL:.1%} lie beyond" if frame.is_cut else chart.across
    yield tag("text", named, x=(_LEFT + right) / 2, y=HEIGHT - 4, text_anchor="middle", class_="named")
    if chart.upward:
        yield tag("text", chart.upward, x=2, y=10, class_="named")


def _points(frame: Frame, line: Line) -> str:
    return " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in line.points)


def _area(frame: Frame, line: Line) -> Html:
    (first, _), (last, _) = line.points[0], line.points[-1]
    ends = f"{frame.x(last)},{frame.y(0)} {frame.x(first)},{frame.y(0)}"
    return tag("polygon", points=f"{_points(frame, line)} {ends}", class_=f"area {line.kind}")


def _path(frame: Frame, line: Line) -> Html:
    return tag("polyline", tag("title", line.name), points=_points(frame, line), class_=f"line {line.kind}")


def _marks(frame: Frame, marks: Sequence[Mark]) -> Iterator[Html]:
    for place, mark in enumerate(marks):
        if not frame.left <= mark.at <= frame.right:
            continue
        at, top = frame.x(mark.at), 2 + 14 * (place % 2)
        side = {"x": at - 4, "text_anchor": "end"} if at > WIDTH / 2 else {"x": at + 4}
        yield tag("line", x1=at, y1=top, x2=at, y2=frame.y(0), class_="mark")
        yield tag("text", mark.text, y=top + 12, class_="marked", **side)


def table(
    heads: Sequence[str], rows: Sequence[Sequence[object]], caption: str, *, folded: bool = True, title: str = "Numbers"
) -> Html:
    """A table whose first column names its rows; `folded` ones stand behind a line that opens them."""
    head = tag("tr", *(tag("th", each, scope="col") for each in heads))
    body = join(tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows)
    whole = tag("div", tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body)), class_="wide")
    return tag("details", tag("summary", title), whole, class_="numbers") if folded else whole
