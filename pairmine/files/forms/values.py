"""Fields of one row: texts, lists of texts, numbers and ids, each noted where it is something else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pairmine.files.columns import listed
from pairmine.files.forms.group import At, Row

_TEXTS = {str}
_NUMBERS = {float}


def text(row: Row, name: str, at: At) -> str | None:
    """The text `name`; None where it is null or missing. A number is taken as it is written."""
    value = row.get(name)
    if type(value) is str:
        return value
    if value is None:
        if name not in row:
            at.note("missing-field", f'no "{name}" (found: {listed(list(row))})')
        return None
    return _as_text(value, name, at)


def _as_text(value: Any, name: str, at: At) -> str | None:
    if isinstance(value, list):
        at.note("list-for-string", f'"{name}" is a list of {len(value)}')
        return value[0] if value and isinstance(value[0], str) else None
    at.note("not-text", f'"{name}" is {kind(value)}')
    return None if isinstance(value, dict) else str(value)


def texts(row: Row, name: str, at: At) -> list[str | None]:
    """The list of texts `name`, empty where there is none; a string counts as a list of it alone."""
    value = row.get(name)
    if type(value) is list:
        if set(map(type, value)) <= _TEXTS:
            return value
        return [each if each is None or type(each) is str else _as_text(each, name, at) for each in value]
    if value is None:
        at.note("missing-field", f'"{name}" is null' if name in row else f'no "{name}"')
        return []
    if isinstance(value, str):
        at.note("string-for-list", f'"{name}" is the string "{value[:60]}"')
        return [value]
    at.note("not-text", f'"{name}" is {kind(value)}, where a list belongs')
    return []


def entries(row: Row, name: str, at: At, *, required: bool = True) -> list[Row]:
    """The list of objects `name`, as passages are; what is none of them is left out and noted."""
    value = row.get(name)
    if value is None:
        if required:
            at.note("missing-field", f'"{name}" is null' if name in row else f'no "{name}"')
        return []
    if isinstance(value, str):
        at.note("string-for-list", f'"{name}" is the string "{value[:60]}"')
        return []
    if not isinstance(value, list):
        at.note("not-text", f'"{name}" is {kind(value)}, where a list belongs')
        return []
    found = [each for each in value if isinstance(each, dict)]
    if len(found) < len(value):
        at.note("not-text", f'"{name}" holds {kind(next(e for e in value if not isinstance(e, dict)))}')
    return found


def numbers(row: Row, name: str, count: int, at: At) -> list[float | None] | None:
    """The `count` numbers of the list `name`; None where it has another length or is no list."""
    value = row.get(name)
    if type(value) is not list:
        if value is not None:
            at.note("uneven-lengths", f'"{name}" is {kind(value)}, where a list of {count} belongs')
        return None
    found: list[float | None] = value
    if not set(map(type, value)) <= _NUMBERS or not math.isfinite(sum(value)):
        found = [number(each, name, at) for each in value]
    if len(found) != count:
        at.note("uneven-lengths", f'"{name}" has {len(found)} for {count} documents')
        return None
    return found


def number(value: Any, name: str, at: At) -> float | None:
    """One number, None for null; a text that says one counts, and is noted, as is NaN."""
    if value is None:
        return None
    if type(value) is float:
        if math.isnan(value):
            at.note("scores-as-text", f'"{name}" holds NaN')
        return value
    if isinstance(value, bool | int):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    at.note(
        "scores-as-text", f'"{name}" holds {value!r:.60}' if isinstance(value, str) else f'"{name}" is {kind(value)}'
    )
    return parsed(value)


def parsed(value: Any) -> float | None:
    """What a text says as a number, None where it says none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def identity(row: Row, name: str, at: At) -> str | None:
    """The id `name` as text; None where there is none."""
    value = row.get(name)
    if value is not None and at.differs(name, type(value)):
        at.note("mixed-types", f'"{name}" is {kind(value)} here')
    if type(value) is str and value:
        return value
    if type(value) is int:
        return str(value)
    if value is None or value == "":
        at.note("missing-field", f'"{name}" is empty' if name in row else f'no "{name}"')
        return None
    at.note("not-text", f'"{name}" is {kind(value)}, where an id belongs')
    return None if isinstance(value, dict | list) else str(value)


def identities(values: Sequence[Any], name: str, at: At) -> list[str]:
    """A list of ids as texts; what is none is left out and noted."""
    if set(map(type, values)) <= _TEXTS:
        return list(values)
    found = []
    for value in values:
        if isinstance(value, str | int) and not isinstance(value, bool):
            found.append(str(value))
        else:
            at.note("not-text", f'"{name}" holds {kind(value)}, where an id belongs')
    return found


def with_title(title: Any, document: str | None) -> str | None:
    """A text with its title before it, as `pairmine.schema.document_text` joins them."""
    before = title.strip() if isinstance(title, str) else ""
    if not before or document is None:
        return document
    return f"{before} {document}" if document else before


def unread(row: Row, known: frozenset[str], at: At) -> None:
    """Note the fields that nobody reads."""
    if not row.keys() <= known:
        at.note("unread-field", ", ".join(f'"{name}"' for name in row if name not in known))


def kind(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, bool):
        return "a boolean"
    kinds = ((str, "a string"), (list, "a list"), (dict, "an object"), (int | float, "a number"))
    return next((name for each, name in kinds if isinstance(value, each)), "null")
