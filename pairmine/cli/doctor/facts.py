"""What `pairmine doctor` finds: facts by section, each with the line that mends it where something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec

OK, NOTE, MISSING, BROKEN = "ok", "note", "missing", "broken"
"""How a fact is: as it should be, worth knowing, an extra that is not there, or something that the core needs."""


@dataclass(frozen=True)
class Fact:
    """One thing that was found; `remedy` is what to run or to set where its `state` asks for it."""

    name: str
    value: str
    state: str = OK
    remedy: str = ""


@dataclass
class Section:
    """Facts of one kind."""

    title: str
    facts: list[Fact] = field(default_factory=list)


def can_import(module: str) -> bool:
    """Whether a package seems to be here, without loading it."""
    try:
        return module in sys.modules or find_spec(module) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def section(title: str, find: Callable[[], Iterator[Fact]]) -> Section:
    """The facts that `find` finds until, on a machine in whatever state, it fails; that is a fact as well."""
    found = Section(title)
    try:
        for fact in find():
            found.facts.append(fact)
    except Exception as error:  # a doctor answers whatever is broken
        found.facts.append(Fact("cannot tell", f"{type(error).__name__}: {error}".splitlines()[0][:200], NOTE))
    return found
