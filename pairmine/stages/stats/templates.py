"""What an LLM's recipes yielded: the rows of each recipe, role, template and drawn value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairmine.schema import NEGATIVE, POSITIVE
from pairmine.stages.export.rows import one_array
from pairmine.stages.stats.labels import LABELS, UNDECIDED, named
from pairmine.stages.stats.tally import merge_named, rows_of

ORIGIN = "generate:"
_STAND_IN = "/fake"
_NO_VALUE = "(none)"
_REJECTED = 2
_ALL = (POSITIVE, NEGATIVE, UNDECIDED, _REJECTED)


class Templates:
    """Rows that 'generate' wrote, by recipe and by what was drawn for their prompts.

    `draws_of` names the columns of a recipe that say what was drawn; `template` is looked at in any case.
    """

    def __init__(self, draws_of: Callable[[str], Sequence[str]]) -> None:
        self.draws_of = draws_of
        self._recipes: dict[str, _Yield] = {}

    def add(self, pairs: pa.Table, label: np.ndarray, origin: np.ndarray, origins: Sequence[str]) -> None:
        """Count a chunk; `origin` (n,) says which of `origins` each row has."""
        written = np.array([name.startswith(ORIGIN) for name in origins], bool)
        if not written.any():
            return
        for code, rows in rows_of(origin):
            if written[code]:
                recipe, role = _parts(origins[code])
                self._of(recipe).add(pairs, rows, role, label[rows])

    def add_rejects(self, rejects: pa.Table, recipe: str | None) -> None:
        """Count rejected rows: by their origin, or, where 'generate' itself rejected them, for its `recipe`."""
        reasons = rejects["reason"].to_pylist()
        places: dict[tuple[str, str], list[int]] = {}
        for at, source in enumerate(_sources(rejects, recipe)):
            if source is not None:
                places.setdefault(source, []).append(at)
        for (name, role), rows in places.items():
            found = self._of(name)
            found.has_rejects = True
            found.rejected.update(reasons[row] or _NO_VALUE for row in rows)
            found.add(rejects, np.array(rows), role, np.full(len(rows), _REJECTED))

    def merge(self, other: Templates) -> None:
        """Count the rows of `other` too."""
        merge_named(self._recipes, other._recipes)

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which merges and counts no rows."""
        return {**vars(self), "draws_of": None}

    def _of(self, recipe: str) -> _Yield:
        if recipe not in self._recipes:
            self._recipes[recipe] = _Yield(("template", *self.draws_of(recipe)))
        return self._recipes[recipe]

    def to_dict(self) -> dict[str, Any]:
        """The recipes by name."""
        return {name: self._recipes[name].to_dict() for name in sorted(self._recipes)}


@dataclass
class _Yield:
    """The rows of one recipe: counts by label, or rejected."""

    by: Sequence[str]
    rows: Counter[int] = field(default_factory=Counter)
    roles: dict[str, Counter[int]] = field(default_factory=dict)
    values: dict[str, dict[str, Counter[int]]] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    has_rejects: bool = False

    def add(self, table: pa.Table, rows: np.ndarray, role: str, kind: np.ndarray) -> None:
        """Count the `rows` of a table; `kind` (len(rows),) is the label of each, or that it is rejected."""
        counts = {value: int((kind == value).sum()) for value in _ALL}
        self.rows.update(counts)
        self.roles.setdefault(role, Counter()).update(counts)
        for name in self.by:
            if name in table.column_names:
                self._add_values(name, table[name].take(pa.array(rows)), kind)

    def merge(self, other: _Yield) -> None:
        """Count the rows of `other`, one of the same recipe."""
        self.rows.update(other.rows)
        self.rejected.update(other.rejected)
        self.has_rejects |= other.has_rejects
        _add_up(self.roles, other.roles)
        for name, values in other.values.items():
            _add_up(self.values.setdefault(name, {}), values)

    def _add_values(self, name: str, column: pa.ChunkedArray, kind: np.ndarray) -> None:
        texts = pc.fill_null(column.cast(pa.string()), _NO_VALUE)
        encoded = one_array(texts).dictionary_encode()
        codes = encoded.indices.to_numpy()
        of_name = self.values.setdefault(name, {})
        size = len(encoded.dictionary)
        counts = np.stack([np.bincount(codes[kind == each], minlength=size) for each in _ALL], axis=1)
        for value, each in zip(encoded.dictionary.to_pylist(), counts.tolist(), strict=True):
            of_name.setdefault(value, Counter()).update(dict(zip(_ALL, each, strict=True)))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what only a lineage knows is null."""
        return {
            "planned": None,
            "written": None,
            "rejected": dict(sorted(self.rejected.items())),
            "rows": _labels(self.rows),
            "roles": {role: self._cell(self.roles[role]) for role in sorted(self.roles)},
            "by": {name: {value: self._cell(of[value]) for value in sorted(of)} for name, of in self.values.items()},
        }

    def _cell(self, counts: Counter[int]) -> dict[str, int | None]:
        return {**_labels(counts), "rejected": counts[_REJECTED] if self.has_rejects else None}


def _add_up(own: dict[str, Counter[int]], other: Mapping[str, Counter[int]]) -> None:
    for name, counts in other.items():
        own.setdefault(name, Counter()).update(counts)


def _sources(rejects: pa.Table, recipe: str | None) -> list[tuple[str, str] | None]:
    """Of each rejected row its recipe and role, None where no recipe was to write it."""
    if "origin" in rejects.column_names:
        origins = rejects["origin"].to_pylist()
        return [_parts(name) if name and name.startswith(ORIGIN) else None for name in origins]
    if recipe is None:
        return [None] * rejects.num_rows
    if "role" not in rejects.column_names:
        return [(recipe, _NO_VALUE)] * rejects.num_rows
    return [(recipe, role or _NO_VALUE) for role in rejects["role"].to_pylist()]


def _labels(counts: Counter[int]) -> dict[str, int]:
    return named({label: counts[label] for label in LABELS})


def _parts(origin: str) -> tuple[str, str]:
    """The recipe and the role that an origin names; what a stand-in wrote counts with the rest."""
    recipe, _, role = origin.removeprefix(ORIGIN).removesuffix(_STAND_IN).partition("/")
    return recipe, role
