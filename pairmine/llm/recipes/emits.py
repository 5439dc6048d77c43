"""The part of a recipe file that says which rows come out of the replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pairmine.llm.recipes.parts import NOT_FOR_DRAWS, read_label
from pairmine.llm.recipes.recipe import CANDIDATES, Emit, Step, When
from pairmine.llm.recipes.steps import Vocabulary, replies_of, reply_of, steps_in
from pairmine.llm.recipes.templates import Scope, Use
from pairmine.llm.recipes.yaml_nodes import Node
from pairmine.schema import SCORE_PREFIX

_TEMPLATES = ("query", "document", "query_id", "doc_id", "grade")
_OPTIONAL = ("query_id", "doc_id", "grade", "each", "candidate", "only")
_NUMBERS_OF_PAIRS = ("rank", "weight")
"""Columns of a pair set that a recipe may fill, as numbers."""


def read_emits(node: Node, words: Vocabulary, steps: Sequence[Step]) -> tuple[Emit, ...]:
    """The rows, in the order of the file."""
    kinds: dict[str, str] = {}
    return tuple(_Reader(role, entry, words, steps, kinds).emit() for role, entry in node.named().items())


class _Reader:
    """One row. `kinds` tells of each further column so far whether it holds texts or numbers."""

    def __init__(self, role: str, node: Node, words: Vocabulary, steps: Sequence[Step], kinds: dict[str, str]) -> None:
        optional = ("step", "query_id", "doc_id", "label", "grade", "each", "when", "only", "columns", "numbers")
        self._role = role
        self._node = node
        self._parts = node.fields(("query",), (*optional, "document", "candidate"))
        self._words = words
        self._check_document()
        self._step = _step_of(node, self._parts.get("step"), steps)
        self._scope: dict[str, Scope | None] = {
            **words.of_part,
            "reply": reply_of(self._step),
            "replies": replies_of(steps),
        }
        self._used: list[Use] = []
        self._kinds = kinds
        self._lines = {"emit": node.key_line, **{key: part.first_line for key, part in self._parts.items()}}

    def emit(self) -> Emit:
        parts = self._parts
        only_after = self._only_after()
        if "each" in parts:
            self._read(parts["each"], is_expression=True)
            self._scope |= {"each": None, "index": None}
        for key in _TEMPLATES:
            if key in parts:
                self._read(parts[key])
        if "candidate" in parts:
            self._read(parts["candidate"], is_expression=True)
        label = read_label(parts.get("label"))
        if isinstance(label, str):
            self._read(parts["label"])
        more: dict[str, Any] = {key: self._columns(key) for key in ("columns", "numbers")}
        texts: dict[str, Any] = {key: parts[key].text() for key in _OPTIONAL if key in parts}
        return Emit(
            role=self._role,
            step=self._step.name,
            query=parts["query"].text(),
            document=parts["document"].text() if "document" in parts else "",
            label=label,
            when=self._when(),
            needs=self._needs(),
            only_after=only_after,
            lines=self._lines,
            **texts,
            **more,
        )

    def _check_document(self) -> None:
        """A document is written, or is one of the row's candidates and has its id."""
        has = "candidate" in self._parts
        if has and not any(column.name == CANDIDATES for column in self._words.inputs):
            raise self._parts["candidate"].error("only groups have candidates; write reads: groups, or document")
        if has and (double := {"document", "doc_id"} & self._parts.keys()):
            node = self._parts[min(double)]
            raise node.error("the candidate tells text and id of the document; keep one of them", node.key_line)
        if not has and "document" not in self._parts:
            raise self._node.error("has no document; add it", self._node.line)

    def _only_after(self) -> tuple[str, ...]:
        """The steps whose replies tell whether there is such a row at all."""
        if "only" not in self._parts:
            return ()
        self._read(self._parts["only"], is_expression=True)
        own = [self._step.name] if any(use.path[0] == "reply" for use in self._used) else []
        return (*own, *steps_in(self._used))

    def _needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self._step.name, *steps_in(self._used))))

    def _read(self, node: Node, *, is_expression: bool = False) -> None:
        self._used += self._words.uses(node, self._scope, expression=is_expression)

    def _when(self) -> When | None:
        if "when" not in self._parts:
            return None
        parts = self._parts["when"].fields(("test", "reason"))
        self._read(parts["test"], is_expression=True)
        self._lines["when: test"] = parts["test"].first_line
        return When(parts["test"].text(), " ".join(parts["reason"].text().split()))

    def _columns(self, key: str) -> Mapping[str, str]:
        """Further columns, of texts or of numbers."""
        found: dict[str, str] = {}
        for name, node in self._parts[key].entries().items() if key in self._parts else ():
            self._check_name(name, node, key)
            self._read(node)
            self._lines[f"{key}: {name}"] = node.first_line
            found[name] = node.text()
        return found

    def _check_name(self, name: str, node: Node, key: str) -> None:
        if not name.isidentifier():
            raise node.error(f"{name!r} cannot name a column; use letters, digits and _", node.key_line)
        if name.startswith(SCORE_PREFIX) and key == "columns":
            raise node.error("a score is a number; move it to numbers", node.key_line)
        is_ours = name in NOT_FOR_DRAWS and not (key == "numbers" and name in _NUMBERS_OF_PAIRS)
        if is_ours or name in (draw.name for draw in self._words.draws):
            raise node.error(f"the rows have a column {name} anyway; give it another name", node.key_line)
        if self._kinds.setdefault(name, key) != key:
            raise node.error(f"another row has {name} among its {self._kinds[name]}; make it one or the other")


def _step_of(emit: Node, node: Node | None, steps: Sequence[Step]) -> Step:
    names = [step.name for step in steps]
    if node is not None:
        return steps[names.index(node.one_of(names))]
    if len(steps) > 1:
        raise emit.error(f"has no step, and there are several; add step: {' or '.join(names)}", emit.key_line)
    return steps[0]
