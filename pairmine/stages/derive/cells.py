"""The cells of a table as recipes take them: texts, labels, numbers, whatever type the file gave them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pairmine.errors import PairmineError
from pairmine.stages.derive.registry import is_text


def texts(rows: pa.Table, name: str) -> list[str]:
    """The column's texts without white space around them, "" for null; raises PairmineError where it holds none."""
    if not is_text(rows[name].type):
        raise PairmineError(f'"{name}" holds {rows[name].type}, where text belongs')
    return [(text or "").strip() for text in rows[name].to_pylist()]


def text_lists(rows: pa.Table, name: str) -> list[tuple[str, ...]]:
    """Each row's texts, of a column of texts or of lists of texts, without blank ones and repeats."""
    kind = rows[name].type
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    if not is_text(inner):
        raise PairmineError(f'"{name}" holds {kind}, where text or a list of texts belongs')
    return [_distinct(str(each) for each in _listed(value) if each is not None) for value in rows[name].to_pylist()]


def labels(rows: pa.Table, name: str, separator: str = "") -> list[tuple[str, ...]]:
    """Each row's labels as text: the column holds one, a list, or one text of several with `separator` between."""
    return [_labels(value, separator) for value in rows[name].to_pylist()]


def _labels(value: Any, separator: str) -> tuple[str, ...]:
    if isinstance(value, str) and separator:
        return _distinct(value.split(separator))
    return _distinct(_plain(each) for each in _listed(value) if not _is_nothing(each))


def ids(rows: pa.Table, name: str) -> list[str]:
    """The column's ids as text, "" for null and blank ones."""
    return ["" if _is_nothing(value) else _plain(value).strip() for value in rows[name].to_pylist()]


def numbers(rows: pa.Table, name: str) -> list[float | None]:
    """The column's numbers, None for null, blank and NaN; raises PairmineError with the row of anything else."""
    return [_number(value, name, row) for row, value in enumerate(rows[name].to_pylist(), start=1)]


def _number(value: Any, name: str, row: int) -> float | None:
    if _is_nothing(value) or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.inf
    if not math.isfinite(number) or isinstance(value, bool):
        raise PairmineError(f'row {row}: "{name}" is {str(value)[:40]!r}, where a number belongs')
    return number


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _plain(value: Any) -> str:
    """A label or an id as text; numbers that a reader made floats of because some were missing lose their ".0"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _distinct(found: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for each in found if (text := each.strip())))
