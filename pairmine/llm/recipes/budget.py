"""What one use of a template may take: steps of work, and characters that it makes.

Jinja's own sandbox keeps a template from what it has no business with, and lets it loop for a year. Steps are counted
and not timed, so that a prompt never depends on how fast a machine is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

STEPS = 500_000
"""Turns of loops, calls and filters; a long text that is gone through counts as several."""
CHARACTERS = 2_000_000
_TIMES = 16
"""Of a long row so many times its characters may be made, and as many steps taken as a 16th of them."""
_PER_STEP = 16

COUNTED, SPENT, JOINED, HELD = " counted", " spent", " joined", " held"
"""Filters that `budgeted` puts in; no template can name them, for the blank."""


class _Budget:
    __slots__ = ("characters", "is_measured", "steps", "variables")

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self.variables = variables
        self.steps = STEPS
        self.characters: float = CHARACTERS
        self.is_measured = False

    def take(self, steps: int, characters: float) -> None:
        self.steps -= steps
        self.characters -= characters
        if self.steps >= 0 and self.characters >= 0:
            return
        if not self.is_measured:
            self.measure()
        if self.steps < 0:
            raise _refusal(f"takes more than {STEPS:,} steps")
        if self.characters < 0:
            raise _refusal(f"makes more than {CHARACTERS:,} characters")

    def measure(self) -> None:
        """Give a long row what it needs; rows are seldom so long that they are measured."""
        from pairmine.llm.recipes.bounds import weight

        self.is_measured = True
        size = weight(dict(self.variables), 1 << 40)
        self.steps += size * _TIMES // _PER_STEP
        self.characters += size * _TIMES


_now = threading.local()


def within_budget(use: Callable[[Mapping[str, Any]], Any]) -> Callable[[Mapping[str, Any]], Any]:
    """`use`, a function of variables, which raises SecurityError where it takes too much."""

    def used(variables: Mapping[str, Any]) -> Any:
        before = getattr(_now, "budget", None)
        _now.budget = _Budget(variables)
        try:
            return use(variables)
        finally:
            _now.budget = before

    return used


def take(steps: int = 0, characters: float = 0) -> None:
    """Count work of the template that is in use; raises SecurityError once it is too much."""
    budget = getattr(_now, "budget", None)
    if budget is not None:
        budget.take(steps, characters)


def room() -> int:
    """How many characters the template that is in use may still make."""
    budget = getattr(_now, "budget", None)
    if budget is None:
        return CHARACTERS
    if budget.characters < CHARACTERS and not budget.is_measured:
        budget.measure()
    return int(budget.characters)


def steps_for(value: Any) -> int:
    """What going through a value counts."""
    return 1 + (len(value) // _PER_STEP if isinstance(value, str | bytes | list | tuple | dict | range) else 0)


def shown(value: Any) -> Any:
    """A value as the template shows it: null is blank."""
    if value is None:
        return ""
    take(1, len(value) if isinstance(value, str) else _size(value))
    return value


def counted_filters(filters: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Filters whose uses count as steps, and those that `budgeted` needs."""
    from jinja2 import pass_context

    own: dict[str, Callable[..., Any]] = {COUNTED: _counted, SPENT: _spent, JOINED: _joined, HELD: _held}
    return {**{name: _counting(run) for name, run in filters.items()}, **{n: pass_context(f) for n, f in own.items()}}


def _counting(run: Callable[..., Any]) -> Callable[..., Any]:
    first = 1 if hasattr(run, "jinja_pass_arg") else 0

    @wraps(run)
    def counting(*args: Any, **kwargs: Any) -> Any:
        take(steps_for(args[first]) if len(args) > first else 1)
        return run(*args, **kwargs)

    return counting


def budgeted(tree: Any, environment: Any) -> Any:
    """A parsed template in which loops, macros, and all that grows are counted."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    def filtered(node: Any, name: str, *args: int) -> Any:
        line = node.lineno
        consts = [nodes.Const(each, lineno=line) for each in args]
        return nodes.Filter(node, name, consts, [], None, None, lineno=line)

    def text_in(node: Any) -> int:
        return sum(len(each.data) for each in node.find_all(nodes.TemplateData))

    class Budgeting(NodeTransformer):
        def visit_For(self, node: Any) -> Any:
            self.generic_visit(node)
            node.iter = filtered(node.iter, COUNTED, text_in(node))
            return node

        def visit_Macro(self, node: Any) -> Any:
            self.generic_visit(node)
            spent = filtered(nodes.Const(None, lineno=node.lineno), SPENT, text_in(node))
            node.body.insert(0, nodes.ExprStmt(spent, lineno=node.lineno))
            return node

        visit_CallBlock = visit_Macro

        def visit_Concat(self, node: Any) -> Any:
            self.generic_visit(node)
            return filtered(nodes.List(node.nodes, lineno=node.lineno), JOINED)

        def visit_List(self, node: Any) -> Any:
            self.generic_visit(node)
            is_constant = not any(True for _ in node.find_all((nodes.Name, nodes.Filter, nodes.Call)))
            return node if is_constant or getattr(node, "ctx", "load") != "load" else filtered(node, HELD)

        visit_Tuple = visit_Dict = visit_List

    found = Budgeting().visit(tree)
    found.set_environment(environment)
    return found


def _counted(_: Any, values: Any, text: int) -> Iterator[Any]:
    for value in values:
        take(1, text)
        yield value


def _spent(_: Any, value: Any, text: int) -> Any:
    take(1, text)
    return value


def _joined(_: Any, values: list[Any]) -> str:
    take(len(values), sum(map(_size, values)))
    return "".join(map(str, values))


def _held(_: Any, value: Any) -> Any:
    take(1, _size(value))
    return value


def _size(value: Any) -> int:
    from pairmine.llm.recipes.bounds import weight

    return weight(value, room() + 1)


def _refusal(what: str) -> Exception:
    from jinja2.exceptions import SecurityError

    return SecurityError(f"the template {what}")
