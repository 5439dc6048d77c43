"""How much a template may make: what would fill the memory out of a few characters is stopped before it is made."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any

from pairmine.llm.recipes.budget import room, take, weight
from pairmine.llm.recipes.costs import of_call, of_numbers, steps_for

LARGEST = 1_000_000
"""Characters, or entries of a list, that an operator, method or filter may make out of less."""
_GROWTH = 4
"""What is large already may get so many times as large."""

_MOST_BITS = 13_000
"""Python shows no number of more digits either."""
_CONVERSION = re.compile(r"%(?:\((?P<name>[^()%]*)\))?[#0\- +]*(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d+)?)?")
"""A name holds no bracket and no %: with them it would be looked for from every "%(" to the end of the text."""
_ENCODINGS = frozenset({"utf-8", "utf8", "ascii", "latin-1", "strict", "ignore", "replace"})


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Raise SecurityError where `left operator right` would be too large, or takes too much work."""
    is_number = isinstance(left, int | float) and isinstance(right, int | float)
    take(of_numbers(operator, left, right) if is_number else 0)
    if operator in ("-", "/", "//"):
        if not is_number:
            take(steps_for(left) + steps_for(right))
    elif operator == "+":
        if not isinstance(left, int | float):
            take(1, weight(left, room() + 1) + weight(right, room() + 1))
    elif operator == "%":
        if isinstance(left, str | bytes):
            _check("%", _formatted(left, right), (left, right))
    elif is_number:
        if operator == "*" and _bits(left) + _bits(right) > _MOST_BITS:
            raise _too_large("* makes a number of more than 4,000 digits")
        _check(operator, _power(left, right) if operator == "**" else 0, (left, right))
    else:
        _check(operator, _repeated(left, right), ())


def check_call(called: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise SecurityError where a method of a text or number would make too much, or cannot be bounded."""
    from jinja2.exceptions import SecurityError

    name = getattr(called, "__name__", "")
    owner = _owner(called)
    take(of_call(name, owner, args, kwargs))
    if not isinstance(owner, str | bytes | int):
        return
    if name in _REFUSED:
        raise SecurityError(f"a recipe cannot call {name} of a text or number; use ~ or the filter format")
    if name in ("encode", "decode") and not _ENCODINGS.issuperset((*args, *kwargs.values())):
        raise SecurityError(f"a recipe can {name} as {', '.join(sorted(_ENCODINGS))} alone")
    if name in _METHODS:
        _check(name, _METHODS[name](owner, *args, **kwargs), (owner, *args, *kwargs.values()))


def check_result(called: Any, result: Any) -> None:
    """Count what a method of a text, list or object has made."""
    if _owner(called) is not None and getattr(called, "__name__", "") not in _METHODS:
        take(0, len(result) if isinstance(result, str | bytes | list | tuple | dict) else 0)


def _owner(called: Any) -> Any:
    """What a method is one of; None for all else that can be called."""
    return getattr(getattr(called, "__wrapped__", called), "__self__", None)


def bounded_filters(filters: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Those of Jinja's filters that can make much out of little, each held to what it may make."""
    return {name: _bounded(name, filters[name], size) for name, size in _FILTERS.items()}


def at_hand(args: Sequence[Any]) -> list[Any]:
    """The arguments, with lists for what can be gone through only once: its size is asked for before it is used."""
    return [list(arg) if isinstance(arg, Iterator) else arg for arg in args]


def _check(name: str, size: float, given: Sequence[Any]) -> None:
    if size > LARGEST and size > _GROWTH * weight(list(given), int(min(size, 1 << 40))):
        raise _too_large(f"{name} makes a value of more than {LARGEST:,}")
    take(1, size)


def _too_large(what: str) -> Exception:
    from jinja2.exceptions import SecurityError

    return SecurityError(what)


def _bits(value: float) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _bounded(name: str, run: Callable[..., Any], size: Callable[..., float]) -> Callable[..., Any]:
    # Jinja hands its context or environment to filters that are marked so; the mark goes on with `wraps`.
    first = 1 if hasattr(run, "jinja_pass_arg") else 0

    @wraps(run)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        own = at_hand(args[first:])
        _check(name, size(*own, **kwargs), (*own, *kwargs.values()))
        return run(*args[:first], *own, **kwargs)

    return bounded


def _power(left: float, right: float) -> float:
    try:
        return abs(float(left)) ** abs(float(right))
    except OverflowError:
        return math.inf


def _repeated(left: Any, right: Any) -> float:
    """How large a text or list gets when it is repeated; 0 for what cannot be multiplied."""
    value, times = (right, left) if isinstance(left, int) else (left, right)
    return weight(value) * max(times, 0) if isinstance(times, int) else 0


def _formatted(text: str | bytes, values: Any) -> float:
    """How long `text % values` gets: the values as often as they are shown, and the widths."""
    pattern = text if isinstance(text, str) else text.decode("latin-1")
    total: float = len(pattern) + (0 if isinstance(values, dict) else weight(values))
    odd_names = pattern.count("%(")
    for found in _CONVERSION.finditer(pattern):
        odd_names -= found["name"] is not None
        for part in (found["width"], found["precision"]):
            total += math.inf if part == "*" else int(part or 0)
        if found["name"] is not None and isinstance(values, dict):
            total += weight(values.get(found["name"]))
    return math.inf if odd_names > 0 and isinstance(values, dict) else total


def _padded(text: Any, width: int = 80, *_: Any) -> float:
    return max(len(str(text)), width)


def _expanded(text: Any, tabsize: int = 8) -> float:
    return len(text) + text.count("\t" if isinstance(text, str) else b"\t") * max(tabsize, 0)


def _replaced(text: Any, old: Any, new: Any, count: int | None = None) -> float:
    text, old, new = (each if isinstance(each, str | bytes) else str(each) for each in (text, old, new))
    times = text.count(old)
    return len(text) + len(new) * (times if count is None or count < 0 else min(times, count))


def _joined(parts: Any, between: Any = "", attribute: Any = None) -> float:
    return weight(parts) + (len(parts) if hasattr(parts, "__len__") else 0) * len(str(between))


def _indented(text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> float:
    each = len(width) if isinstance(width, str) else width
    return len(str(text)) + (str(text).count("\n") + 1) * each


def _wrapped(
    text: Any, width: int = 79, long: bool = True, wrapstring: str | None = None, hyphens: bool = True
) -> float:
    lines = len(text) // max(width // 2, 1) + text.count("\n") + 1
    return len(text) + lines * len(wrapstring or "\n")


def _in_parts(value: Any, count: int, fill_with: Any = None) -> float:
    return count


def _as_json(value: Any, indent: int | None = None) -> float:
    return weight(value) * max(indent or 0, 1)


def _rounded(value: Any, precision: int = 0, method: str = "common") -> float:
    return 0 if abs(precision) <= 300 else math.inf


_REFUSED = frozenset({"format", "format_map", "translate", "to_bytes"})

_METHODS: Mapping[str, Callable[..., float]] = {
    **dict.fromkeys(("ljust", "rjust", "center", "zfill"), _padded),
    "expandtabs": _expanded,
    "replace": _replaced,
    "join": lambda text, parts: _joined(parts, text),
}

_FILTERS: Mapping[str, Callable[..., float]] = {
    "batch": _in_parts,
    "center": _padded,
    "format": lambda text, *args, **kwargs: _formatted(str(text), kwargs or args),
    "indent": _indented,
    "join": _joined,
    "replace": _replaced,
    "round": _rounded,
    "slice": _in_parts,
    "tojson": _as_json,
    "wordwrap": _wrapped,
}
