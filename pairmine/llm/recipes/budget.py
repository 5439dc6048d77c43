"""What one use of a template may take: steps of work, and characters that it makes.

Jinja's own sandbox keeps a template from what it has no business with, and lets it loop for a year. Steps are counted
and not timed, so that a prompt never depends on how fast a machine is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, MappingView
from typing import Any

STEPS = 500_000
"""Turns of loops, calls, filters and comparisons; a long text that is gone through counts as several."""
CHARACTERS = 2_000_000
_TIMES = 16
"""Of a long row so many times its characters may be made, and as many steps taken as a 16th of them."""
PER_STEP = 16
"""Characters, or entries of a list, that are gone through in a step."""


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
        self.is_measured = True
        size = weight(dict(self.variables), 1 << 40)
        self.steps += size * _TIMES // PER_STEP
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


def reach(value: Any) -> int:
    """The weight of a value, as far as the steps that are left go through it."""
    budget = getattr(_now, "budget", None)
    if budget is None:
        return weight(value, STEPS * PER_STEP)
    found = weight(value, most := max(budget.steps, 0) * PER_STEP + PER_STEP)
    if found > most and not budget.is_measured:
        budget.measure()
        found = weight(value, max(budget.steps, 0) * PER_STEP + PER_STEP)
    return found


def weight(value: Any, most: int = 4_000_000) -> int:
    """Characters and entries in a value, with those inside it counted as often as they occur, until it is `most`."""
    total = 0
    waiting = [value]
    while waiting and total <= most:
        each = waiting.pop()
        if isinstance(each, list | tuple | set | frozenset | MappingView):
            total += len(each)
            waiting.extend(each if isinstance(each, Iterable) else ())
        elif isinstance(each, dict):
            total += len(each)
            waiting.extend(each)
            waiting.extend(each.values())
        else:
            total += _own_weight(each)
    return total


def _own_weight(value: Any) -> int:
    if isinstance(value, str | bytes | range):
        return len(value)
    return value.bit_length() // 3 + 1 if isinstance(value, int) else 1


def _refusal(what: str) -> Exception:
    from jinja2.exceptions import SecurityError

    return SecurityError(f"the template {what}")
