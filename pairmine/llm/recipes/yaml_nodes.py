"""A YAML file as nodes that know their line, so that every mistake in it can be told by line."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pairmine.errors import PairmineError

_MOST_BYTES = 1_000_000
_MOST_NODES = 50_000
_DEEPEST = 40

_TAG = "tag:yaml.org,2002:"
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")


class Node:
    """A value in the file, and the words for what is wrong with it.

    `what` is how messages call it: "steps: write: prompt". Readers raise PairmineError with file
    and line. Words that YAML takes for something else than text (`no`, `1:30`, a date) are
    refused everywhere, since nobody who writes them in a recipe means what YAML reads.
    """

    def __init__(self, file: str, node: Any, what: str = "") -> None:
        self.file = file
        self.what = what
        self._node = node

    @property
    def line(self) -> int:
        """The line on which it begins, from 1."""
        return int(self._node.start_mark.line) + 1

    @property
    def first_line(self) -> int:
        """The line of the file on which the first line of its text stands: a block begins below its `|`."""
        return self.line + (self._node.style in ("|", ">") if self.is_scalar else 0)

    @property
    def is_scalar(self) -> bool:
        return self._node.id == "scalar"

    @property
    def is_mapping(self) -> bool:
        return self._node.id == "mapping"

    @property
    def is_text(self) -> bool:
        """Whether it is read as text, and not as a number, a flag or a list."""
        return self.is_scalar and self._tag == "str"

    @property
    def is_null(self) -> bool:
        """Whether nothing stands there, or `null`."""
        return self._tag == "null"

    def error(self, message: str, line: int | None = None) -> PairmineError:
        """`message` with file, line and the name of this value in front."""
        what = f"{self.what}: " if self.what else ""
        return PairmineError(f"{self.file}:{line or self.line}: {what}{message}")

    def text(self) -> str:
        """The text; never blank."""
        if not self.is_scalar:
            hint = "a text that begins with { or [ needs quotes" if self._node.flow_style else "write a text"
            raise self.error(f"is {self._kind}; {hint}")
        if self._tag == "null":
            raise self.error("is empty; write a text")
        if self._tag != "str":
            raise self.error(f'{self._written} is read as {self._kind}; put it in quotes: "{self._written}"')
        if not self._node.value.strip():
            raise self.error("is blank; write a text")
        return str(self._node.value)

    def name(self) -> str:
        """A text that can name something: letters, digits, `_` and `-`."""
        name = self.text()
        if not re.fullmatch(r"\w[\w-]*", name):
            raise self.error(f"{name!r} cannot be a name; use letters, digits, - and _")
        return name

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """A number from `low` to `high`."""
        if not self.is_scalar or self._tag not in ("int", "float") or not _NUMBER.fullmatch(self._written):
            raise self.error(f"is {self._kind}; write a number")
        value = float(self._written)
        if not low <= value <= high or math.isinf(value):
            raise self.error(f"is {self._written}; give a number {_range(low, high)}")
        return value

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self.number(low, high)
        if not value.is_integer():
            raise self.error(f"is {self._written}; give a whole number")
        return int(value)

    def flag(self) -> bool:
        """`true` or `false`."""
        if self.is_scalar and self._tag == "bool" and self._written in ("true", "false"):
            return self._written == "true"
        raise self.error(f"is {self._kind}; write true or false")

    def one_of(self, allowed: Sequence[str]) -> str:
        """A text that is one of `allowed`."""
        value = self.text()
        if value not in allowed:
            raise self.error(f"is {value!r}; {nearest(value, allowed)}")
        return value

    def items(self) -> list[Node]:
        """The entries of a list, of which there is at least one."""
        if self._node.id != "sequence":
            raise self.error(f"is {self._kind}; write a list: [one, another]")
        if not self._node.value:
            raise self.error("is an empty list; fill it or leave it out")
        return [Node(self.file, node, f"{self.what}[{at}]") for at, node in enumerate(self._node.value, 1)]

    def entries(self) -> dict[str, Node]:
        """The entries of a mapping by key, of which there is at least one."""
        if not self.is_mapping:
            raise self.error(f"is {self._kind}; write keys with values under it, each on a line: key: value")
        if not self._node.value:
            raise self.error("has no entries; fill it or leave it out")
        found: dict[str, Node] = {}
        for key_node, value_node in self._node.value:
            key = Node(self.file, key_node, self.what).text()
            if key in found:
                line = key_node.start_mark.line + 1
                raise self.error(f"{key} stands here and on line {found[key].key_line}; keep one", line)
            found[key] = _Entry(self.file, value_node, f"{self.what}: {key}" if self.what else key, key_node)
        return found

    def named(self) -> dict[str, Node]:
        """`entries` whose keys are names."""
        entries = self.entries()
        for key, node in entries.items():
            if not re.fullmatch(r"\w[\w-]*", key):
                raise self.error(f"{key!r} cannot be a name; use letters, digits, - and _", node.key_line)
        return entries

    def fields(self, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Node]:
        """The entries of a mapping that has these keys and no others."""
        entries = self.entries()
        allowed = (*required, *optional)
        for key, node in entries.items():
            if key not in allowed:
                raise self.error(f"unknown key {key!r}; {nearest(key, allowed)}", node.key_line)
        if missing := [key for key in required if key not in entries]:
            raise self.error(f"has no {' and no '.join(missing)}; add {'it' if len(missing) == 1 else 'them'}")
        return entries

    def value(self) -> Any:
        """What JSON would hold there: text, number, true, false, null, list or mapping."""
        if self.is_mapping:
            return {key: node.value() for key, node in self.entries().items()} if self._node.value else {}
        if self._node.id == "sequence":
            return [Node(self.file, node, self.what).value() for node in self._node.value]
        if self._tag == "null" and self._written in ("null", "~"):
            return None
        if self._tag == "bool" and self._written in ("true", "false"):
            return self._written == "true"
        if self._tag in ("int", "float") and _NUMBER.fullmatch(self._written):
            return int(self._written) if self._tag == "int" else self.number()
        return self._node.value if self._tag == "str" else self.text()

    def line_of(self, line_of_text: int) -> int:
        """The line of the file for a line of the text, from 1; exact in a `|` block, near it elsewhere."""
        exact = self._node.style == "|" or "\n" not in self._node.value
        return self.first_line + line_of_text - 1 if exact else self.line

    @property
    def key_line(self) -> int:
        """The line of the key that it stands under, if any."""
        return self.line

    @property
    def _written(self) -> str:
        return str(self._node.value)

    @property
    def _tag(self) -> str:
        return str(self._node.tag).removeprefix(_TAG)

    @property
    def _kind(self) -> str:
        if self._node.id != "scalar":
            return {"sequence": "a list", "mapping": "a mapping"}[self._node.id]
        if self._tag == "bool":
            return "true" if self._written.lower() in ("true", "yes", "on") else "false"
        kinds = {"null": "empty", "str": f"the text {self._written[:40]!r}", "timestamp": "a date"}
        return kinds.get(self._tag, f"the number {self._written}" if self._tag in ("int", "float") else self._tag)


class _Entry(Node):
    """A value under a key."""

    def __init__(self, file: str, node: Any, what: str, key: Any) -> None:
        super().__init__(file, node, what)
        self._key = key

    @property
    def key_line(self) -> int:
        return int(self._key.start_mark.line) + 1


def read_nodes(data: bytes, file: str) -> Node:
    """The root of a YAML document, which is a mapping; `file` is how errors call it."""
    node = _compose(_decoded(data, file), file)
    if node is None:
        raise PairmineError(f"{file}: is empty; 'pairmine recipes queries' shows what a recipe holds")
    _check_size(node, file)
    root = Node(file, node)
    if not root.is_mapping:
        raise root.error(f"a recipe is a mapping with name, reads, steps and so on, this is {root._kind}")
    return root


def nearest(word: str, allowed: Iterable[str]) -> str:
    """What to write in place of `word`: the nearest of `allowed`, or all of them."""
    names = list(allowed)
    near = difflib.get_close_matches(word.casefold(), names, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"choose {', '.join(names)}"


def _decoded(data: bytes, file: str) -> str:
    if len(data) > _MOST_BYTES:
        raise PairmineError(f"{file}: has {len(data):,} bytes; a recipe may have up to {_MOST_BYTES:,}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PairmineError(f"{file}:{line}: is not UTF-8 text; save it as UTF-8") from None


def _compose(text: str, file: str) -> Any:
    import yaml

    # The C parser reads a recipe in a twentieth of the time; not every build of PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # The C composer calls itself for what is nested, and deep enough it takes the interpreter down with it.
        _check_events(yaml.parse(text, Loader=loader), file)
        return yaml.compose(text, Loader=loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, text.find(chr(error.character)) if isinstance(error.character, int) else 0) + 1
        raise PairmineError(f"{file}:{line}: a control character; take it out") from None
    except yaml.MarkedYAMLError as error:
        # What is never closed is told where it was opened, not at the end of the file.
        unclosed = error.context_mark is not None and "end of stream" in str(error.problem)
        mark = error.context_mark if unclosed else error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise PairmineError(f"{file}:{line}: not YAML: {_problem(error)}; {_remedy(error)}") from None


def _check_events(events: Iterable[Any], file: str) -> None:
    """Refuse what is too large or too deep before anything is made of it; aliases are for `_check_size`."""
    depth = 0
    for seen, event in enumerate(events):
        kind = type(event).__name__
        depth += kind in ("SequenceStartEvent", "MappingStartEvent")
        depth -= kind in ("SequenceEndEvent", "MappingEndEvent")
        if seen > _MOST_NODES or depth > _DEEPEST:
            line = event.start_mark.line + 1
            what = f"nested more than {_DEEPEST} deep" if depth > _DEEPEST else f"more than {_MOST_NODES:,} values"
            raise PairmineError(
                f"{file}:{line}: {what}; make it smaller, a recipe has a few levels and a few hundred values"
            )
        if kind == "DocumentEndEvent":
            return


def _problem(error: Any) -> str:
    return ", ".join(part for part in (error.context, error.problem) if part)


def _remedy(error: Any) -> str:
    problem = str(error.problem)
    if "\\t" in problem or "tab" in problem:
        return "indent with blanks, not tabs"
    if "mapping values are not allowed" in problem:
        return "a text with a colon in it needs quotes or a | block"
    if "alias" in problem or "anchor" in problem:
        return "a text that begins with * or & needs quotes"
    if "single document" in str(error.context) or "document" in problem:
        return "keep one recipe in a file"
    return "check quotes, brackets and how far the line is indented"


def _check_size(root: Any, file: str) -> None:
    """Refuse a small file that stands for a huge one: an alias counts as often as it is used."""
    waiting = [(root, 0)]
    seen = 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if seen > _MOST_NODES or depth > _DEEPEST:
            line = node.start_mark.line + 1
            raise PairmineError(
                f"{file}:{line}: too many or too deep values, with aliases (*name) written out; use none"
            )
        if node.id == "mapping":
            waiting += [(part, depth + 1) for pair in node.value for part in pair]
        elif node.id == "sequence":
            waiting += [(part, depth + 1) for part in node.value]


def _range(low: float, high: float) -> str:
    return span(None if low == -math.inf else low, None if high == math.inf else high)


def span(low: float | None, high: float | None) -> str:
    """The numbers from `low` to `high`, in words; None stands for no limit."""
    if high is None:
        return f"of at least {low:,.10g}" if low is not None else ""
    return f"of at most {high:,.10g}" if low is None else f"from {low:,.10g} to {high:,.10g}"
