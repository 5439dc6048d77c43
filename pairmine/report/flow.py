"""The lineage as a picture: files, the stages that read them, and the file that came out, with arrows between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from unicodedata import east_asian_width

from pairmine.files.lineage import Entry
from pairmine.report.markup import Html, counted, tag

_BOX, _TALL, _GAP, _LANE = 150, 56, 34, 72
_FITS = 19
_LONG = 8
_MANY = 9
"""Inputs of one stage that are drawn; the smallest of more become one box. Ours."""


@dataclass(frozen=True)
class Node:
    """A box: `inputs` are the nodes that an arrow comes from, `step` the number of the stage, None for a file."""

    title: str
    below: str
    kind: str
    inputs: tuple[int, ...] = ()
    step: int | None = None
    rows: int = 0


def nodes_of(entries: Sequence[Entry], name: str, below: str) -> list[Node]:
    """The files and stages behind a file called `name`, each after what it reads; the file itself comes last."""
    nodes: list[Node] = []
    of_stage: dict[int, int] = {}
    of_file: dict[tuple[str, str], int] = {}
    for step, entry in enumerate(entries):
        inputs = []
        for item in entry.get("inputs", []):
            if item.get("stage") in of_stage:
                inputs.append(of_stage[item["stage"]])
                continue
            key = str(item.get("file", "?")), str(item.get("sha256", ""))
            if key not in of_file:
                of_file[key] = len(nodes)
                nodes.append(Node(key[0], counted(item.get("rows", 0), "row"), "file", rows=item.get("rows", 0)))
            inputs.append(of_file[key])
        of_stage[step] = len(nodes)
        rows = entry.get("counts", {}).get("rows_out", 0)
        nodes.append(Node(title_of(entry), _counts(entry), "stage", tuple(dict.fromkeys(inputs)), step, rows))
    last = (len(nodes) - 1,) if nodes else ()
    return [*nodes, Node(name, below, "result", last)]


def title_of(entry: Entry) -> str:
    """A stage's command, with the recipe where there is one: "generate syncse"."""
    recipe = entry.get("options", {}).get("recipe")
    command = str(entry.get("command", "?"))
    return f"{command} {recipe}" if isinstance(recipe, str) and recipe not in command else command


def _counts(entry: Entry) -> str:
    counts = entry.get("counts", {})
    return f"{counts.get('rows_in', 0):,} → {counts.get('rows_out', 0):,}"


def flow(nodes: Sequence[Node]) -> Html:
    """The picture twice, lying for wide windows and standing for narrow ones and long histories; one is shown."""
    nodes = _few(nodes)
    places = _places(nodes)
    title = "How this file came to be: " + ", then ".join(node.title for node in nodes if node.kind != "file")
    pictures = (_picture(nodes, places, title, lying=lying) for lying in (True, False))
    return tag("div", *pictures, class_="flow long" if max(places.layer) >= _LONG else "flow")


def _few(nodes: Sequence[Node]) -> list[Node]:
    """`nodes`, where a stage of many inputs keeps its largest, with what lies behind them, and a box for the others."""
    inputs = [sorted(sorted(node.inputs, key=lambda at: -nodes[at].rows)[: _MANY - 1]) for node in nodes]
    wanted = {len(nodes) - 1}
    for place in range(len(nodes) - 1, -1, -1):
        if place in wanted:
            wanted.update(inputs[place] if len(nodes[place].inputs) > _MANY else nodes[place].inputs)
    kept: list[Node] = []
    moved: dict[int, int] = {}
    for place in sorted(wanted):
        node, sources = nodes[place], [moved[at] for at in nodes[place].inputs if at in moved]
        if len(node.inputs) > _MANY:
            others = set(node.inputs) - set(inputs[place])
            sources = [moved[at] for at in inputs[place]] + [len(kept)]
            rows = sum(nodes[at].rows for at in others)
            kept.append(Node(f"{len(others):,} more inputs", counted(rows, "row"), "file", rows=rows))
        moved[place] = len(kept)
        kept.append(replace(node, inputs=tuple(sources)))
    return kept


@dataclass(frozen=True)
class _Places:
    """Of each node its layer and its lane in it; and for each arrow the lanes that it passes on its way."""

    layer: list[int]
    lane: list[float]
    ways: dict[tuple[int, int], list[tuple[int, float]]]
    lanes: int


def _places(nodes: Sequence[Node]) -> _Places:
    layer = _layers(nodes)
    slots: list[list[tuple[int, int]]] = [[] for _ in range(max(layer) + 1)]  # (node it leads to or is, from)
    for place, node in enumerate(nodes):
        slots[layer[place]].append((place, place))
        for source in node.inputs:
            for between in range(layer[source] + 1, layer[place]):
                slots[between].append((place, source))
    lanes = max(map(len, slots))
    lane = [0.0] * len(nodes)
    ways: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for number, slot in enumerate(slots):
        first = (lanes - len(slot)) / 2
        for at, (target, source) in enumerate(slot):
            if target == source:
                lane[target] = first + at
            else:
                ways.setdefault((source, target), []).append((number, first + at))
    return _Places(layer, lane, ways, lanes)


def _layers(nodes: Sequence[Node]) -> list[int]:
    """A stage stands behind all that it reads, and a file right before the first stage that reads it."""
    layer = [0] * len(nodes)
    for place, node in enumerate(nodes):
        layer[place] = max((layer[source] + 1 for source in node.inputs), default=0)
    for place, node in enumerate(nodes):
        readers = [layer[at] for at, other in enumerate(nodes) if place in other.inputs]
        if node.kind == "file" and readers:
            layer[place] = min(readers) - 1
    return layer


def _picture(nodes: Sequence[Node], places: _Places, title: str, *, lying: bool) -> Html:
    steps, lanes = max(places.layer) + 1, places.lanes
    box = _Boxes(lying)
    width, height = box.size(steps, lanes)
    return tag(
        "svg",
        tag("title", title),
        *_arrows(nodes, places, box),
        *(_box(node, *box.corner(places.layer[at], places.lane[at])) for at, node in enumerate(nodes)),
        class_="lying" if lying else "standing",
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        role="group",
        aria_label=title,
    )


@dataclass(frozen=True)
class _Boxes:
    """Where boxes stand: layers go to the right where the picture is `lying`, else down."""

    lying: bool

    def size(self, layers: int, lanes: int) -> tuple[float, float]:
        """Of the whole picture."""
        if self.lying:
            return layers * (_BOX + _GAP) - _GAP + 2, lanes * _LANE - (_LANE - _TALL) + 2
        return lanes * (_BOX + 12) - 12 + 2, layers * (_TALL + _GAP) - _GAP + 2

    def corner(self, layer: int, lane: float) -> tuple[float, float]:
        """The upper left one."""
        if self.lying:
            return layer * (_BOX + _GAP) + 1, lane * _LANE + 1
        return lane * (_BOX + 12) + 1, layer * (_TALL + _GAP) + 1

    def start(self, layer: int, lane: float) -> tuple[float, float]:
        """Where arrows come in."""
        x, y = self.corner(layer, lane)
        return (x, y + _TALL / 2) if self.lying else (x + _BOX / 2, y)

    def end(self, layer: int, lane: float) -> tuple[float, float]:
        """Where arrows go out."""
        x, y = self.corner(layer, lane)
        return (x + _BOX, y + _TALL / 2) if self.lying else (x + _BOX / 2, y + _TALL)

    def bend(self, source: tuple[float, float], target: tuple[float, float]) -> str:
        """A curve from one point to another."""
        (x1, y1), (x2, y2) = source, target
        half = (x1 + x2) / 2 if self.lying else (y1 + y2) / 2
        return (
            f"C{half:g} {y1:g} {half:g} {y2:g} {x2:g} {y2:g}"
            if self.lying
            else f"C{x1:g} {half:g} {x2:g} {half:g} {x2:g} {y2:g}"
        )


def _arrows(nodes: Sequence[Node], places: _Places, box: _Boxes) -> Iterator[Html]:
    for target, node in enumerate(nodes):
        for source in node.inputs:
            here = box.end(places.layer[source], places.lane[source])
            path = f"M{here[0]:g} {here[1]:g}"
            for layer, lane in places.ways.get((source, target), []):
                through = box.start(layer, lane), box.end(layer, lane)
                path += box.bend(here, through[0]) + f"L{through[1][0]:g} {through[1][1]:g}"
                here = through[1]
            x, y = box.start(places.layer[target], places.lane[target])
            tip = (x - 7, y) if box.lying else (x, y - 7)
            head = f"M{x:g} {y:g}l-8 -4v8z" if box.lying else f"M{x:g} {y:g}l-4 -8h8z"
            yield tag("path", d=path + box.bend(here, tip), class_="arrow")
            yield tag("path", d=head, class_="tip")


def _box(node: Node, x: float, y: float) -> Html:
    title = _short(node.title)
    drawn = tag(
        "g",
        tag("title", f"{node.title}: {node.below}"),
        tag("rect", x=x, y=y, width=_BOX, height=_TALL, rx=14 if node.kind == "file" else 8),
        tag("text", title, x=x + _BOX / 2, y=y + 24, text_anchor="middle", class_="what", **_fit(title)),
        tag("text", _short(node.below, _FITS + 4), x=x + _BOX / 2, y=y + 42, text_anchor="middle", class_="many"),
        class_=f"box {node.kind}",
    )
    return drawn if node.step is None else tag("a", drawn, href=f"#step-{node.step + 1}", data_step=node.step + 1)


def _fit(title: str) -> dict[str, object]:
    """Letters pressed together where they would stand out of their box."""
    wide = sum(14 if east_asian_width(letter) in "WF" else 12 if letter in "mwMW@%…" else 8.5 for letter in title)
    return {"textLength": _BOX - 14, "lengthAdjust": "spacingAndGlyphs"} if wide > _BOX else {}


def _short(text: str, most: int = _FITS) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most - most // 2 - 1) :]}"
