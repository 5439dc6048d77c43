"""Choices by name with options behind them: ``NAME[:key=value,...]``, as weights and picks are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pairmine.errors import PairmineError

Options = Mapping[str, float | str | None]
POSITIVE_NUMBERS = (math.ulp(0.0), math.inf)
_WHOLE = ("bins", "bands", "pool", "strata")


@dataclass(frozen=True)
class Named:
    """What there is under one name: what it does, where it is from, its options with their defaults.

    `ranges` bounds the options that are numbers; the others take text.
    """

    meaning: str
    source: str
    defaults: Options
    ranges: Mapping[str, tuple[float, float]]


def parse_named(what: str, text: str, kinds: Mapping[str, Named]) -> tuple[str, dict[str, float | str | None]]:
    """The name in `text` and the options that it was given, numbers within their ranges.

    `what` says in errors what is chosen, as "weight". Raises a PairmineError for a name, an option or a
    value that there is not.

    >>> parse_named("pick", "simans:a=20,b=-0.1", PICKS)
    ('simans', {'a': 20.0, 'b': -0.1})
    """
    name, colon, rest = text.partition(":")
    kind = kinds.get(name)
    if kind is None:
        raise PairmineError(f'{what} "{name}": choose {", ".join(kinds)}')
    if colon and not kind.defaults:
        raise PairmineError(f'{what} {name} has no options, and "{rest}" was given; leave it out')
    told: dict[str, float | str | None] = {}
    for item in rest.split(",") if colon else ():
        key, equals, value = item.partition("=")
        if key not in kind.defaults or not equals or not value:
            options = ", ".join(kind.defaults)
            raise PairmineError(f'{what} {name}: "{item}" is no option; write key=value with {options}')
        if key in told:
            raise PairmineError(f"{what} {name}: {key} is given twice; leave one of them out")
        told[key] = _in_range(f"{what} {name}", key, value, kind.ranges[key]) if key in kind.ranges else value
    return name, told


def _in_range(what: str, key: str, value: str, bounds: tuple[float, float]) -> float:
    try:
        number = float(value)
    except ValueError:
        raise PairmineError(f'{what}: {key}={value}: "{value}" is no number; it is {_range(key, bounds)}') from None
    is_odd = not math.isfinite(number) or (key in _WHOLE and number != int(number))
    if is_odd or not bounds[0] <= number <= bounds[1]:
        raise PairmineError(f"{what}: {key}={value} is out of range; {_range(key, bounds)}")
    return number


def _range(key: str, bounds: tuple[float, float]) -> str:
    return f"{'a whole number, ' * (key in _WHOLE)}{_spelt(bounds)}"


def _spelt(bounds: tuple[float, float]) -> str:
    low, high = bounds
    if bounds == POSITIVE_NUMBERS:
        return "above 0"
    if high < math.inf:
        return f"{low:g} to {high:g}"
    return f"{low:g} or more" if low > -math.inf else "a number"
