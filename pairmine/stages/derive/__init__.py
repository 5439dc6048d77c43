"""`derive`: training pairs out of the texts themselves or their structure, without a model."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairmine.errors import PairmineError
from pairmine.identity import seed_of
from pairmine.outcome import Outcome, with_reason
from pairmine.recipes import Recipe, find_recipe, read_options
from pairmine.schema import as_pairs, free_name
from pairmine.stages.derive.draws import Draws
from pairmine.stages.derive.registry import (
    Derivation,
    Document,
    DrawsOf,
    Found,
    FoundInTable,
    FromDocument,
    FromDocuments,
    FromRow,
    Pair,
    derivations,
    is_text,
    together,
)

__all__ = ["check", "derive"]


def derive(
    recipe: str,
    rows: pa.Table,
    *,
    seed: int = 0,
    resources: Mapping[str, Any] | None = None,
    **options: Any,
) -> Outcome:
    """Pairs that the recipe makes out of `rows`; `recipes.find_recipe` shows its inputs, options and resources.

    `rows` is a corpus (`id`, `text`, perhaps `title`), a pair set, a tree of code (`id` a path, `text`
    its source) or a table with the recipe's own columns; `resources` are models and tables that the
    recipe names, as `recipes.RESOURCES` describes them. `kept` is a pair set with `source_id` and the
    other columns of `rows`, one that bears the name of a pair set's column as `other_<name>`; rows
    of one query are together, and an empty table gives the same columns without rows. `rejected`
    are the rows that gave no pair. Draws depend on `seed` and each row's id (or content, where rows
    have none) alone, so unless the recipe is `whole` any chunking gives the same pairs.

    Raises PairmineError for an unknown recipe, option or resource, an option out of its range, a
    missing resource or column, and an id that stands twice.
    """
    derivation = derivations()[find_recipe(recipe).name]
    values = read_options(derivation.recipe, options)
    values |= _resources(derivation.recipe, resources or {})
    rows = _checked(derivation.recipe, rows)
    with _rare_collection():
        found = _found(derivation, values, rows, partial(_draws, seed, f"derive:{derivation.recipe.name}"))
    extra = derivation.extra(**values) if callable(derivation.extra) else derivation.extra
    rejected = sorted(found.reasons)
    reasons = pa.array([found.reasons[number] for number in rejected], pa.string())
    return Outcome(
        kept=_pairs(derivation.recipe, extra, rows, found),
        rejected=with_reason(rows.take(pa.array(rejected, pa.int64())), reasons),
        rows_in=rows.num_rows,
        reshapes=True,
        notes=dict(sorted(found.notes.items())),
    )


@contextmanager
def _rare_collection() -> Iterator[None]:
    """Rows in the making are many objects without cycles: looking for some after every 700 takes up to a quarter of
    the time of a quick recipe."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], 100_000) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def check(recipe: str, *, resources: Mapping[str, Any] | None = None, **options: Any) -> None:
    """Raise the PairmineError that `derive` would raise for these options and resources, before any row is read."""
    derivation = derivations()[find_recipe(recipe).name]
    values = {**read_options(derivation.recipe, options), **_resources(derivation.recipe, resources or {})}
    functions = (derivation.from_document, derivation.from_documents, derivation.from_row, derivation.from_table)
    for prepare in filter(None, functions):
        prepare(**values)


def _draws(seed: int, salt: str, *parts: str) -> Draws:
    return Draws(seed_of(seed, salt, *parts))


def _resources(recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's resources by keyword, None for one that is not given."""
    names = [each.keyword for each in recipe.resources]
    if unknown := next((name for name in given if name not in names), None):
        raise PairmineError(f"recipe {recipe.name} works with no {unknown}; leave it out")
    for each in recipe.resources:
        if each.required and given.get(each.keyword) is None:
            raise PairmineError(f"recipe {recipe.name} needs --{each.name}: {each.meaning}")
    return {name: given.get(name) for name in names}


def _found(derivation: Derivation, values: Mapping[str, Any], rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
    if derivation.from_document is not None:
        return _of_documents(derivation.recipe, _singly(derivation.from_document(**values)), rows, draws_of)
    if derivation.from_documents is not None:
        return _of_documents(derivation.recipe, derivation.from_documents(**values), rows, draws_of)
    if derivation.from_row is not None:
        return _of_rows(derivation.recipe, derivation.from_row(**values), rows, draws_of)
    if derivation.from_table is not None:
        return derivation.from_table(**values)(rows, draws_of)
    raise AssertionError(f"recipe {derivation.recipe.name} has no function")


def _singly(run: FromDocument) -> FromDocuments:
    return lambda documents, draws: list(map(run, documents, draws))


def _of_documents(recipe: Recipe, run: FromDocuments, rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
    titles = rows["title"].to_pylist() if "title" in rows.column_names else [None] * rows.num_rows
    documents = list(map(Document, rows["id"].to_pylist(), rows["text"].to_pylist(), titles))
    full = [at for at, each in enumerate(documents) if each.text and not each.text.isspace()]
    results = run([documents[at] for at in full], [draws_of(documents[at].id) for at in full])
    gathered = _Gathered()
    gathered.reasons = {
        at: _no_text(recipe, each.text) for at, each in enumerate(documents) if not each.text or each.text.isspace()
    }
    for at, found in zip(full, results, strict=True):
        gathered.take(at, found)
    return gathered.all()


def _of_rows(recipe: Recipe, run: FromRow, rows: pa.Table, draws_of: DrawsOf) -> FoundInTable:
    names = [column.name for column in recipe.inputs]
    there = [name for name in names if name in rows.column_names]
    columns = rows.select(there).to_pydict()
    nothing = dict.fromkeys(names)
    gathered = _Gathered()
    for at, values in enumerate(zip(*columns.values(), strict=True)):
        row = {**nothing, **dict(zip(there, values, strict=True))}
        gathered.take(at, run(row, draws_of(*map(str, values))))
    return gathered.together() if recipe.whole else gathered.all()


class _Gathered:
    """What rows gave, one after the other."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, Pair]] = []
        self.reasons: dict[int, str] = {}
        self.notes: Counter[str] = Counter()

    def take(self, at: int, found: Found) -> None:
        if found.skipped:
            self.notes.update(found.skipped)
        if found.pairs:
            self.pairs += zip(repeat(at), found.pairs)
        else:
            self.reasons[at] = found.reason

    def all(self) -> FoundInTable:
        return FoundInTable(self.pairs, self.reasons, self.notes)

    def together(self) -> FoundInTable:
        pairs = together(self.pairs)
        if repeats := len(self.pairs) - len(pairs):
            self.notes["pairs that repeat another"] += repeats
        used = {at for at, _ in pairs}
        self.reasons.update({at: "duplicate" for at, _ in self.pairs if at not in used})
        return FoundInTable(pairs, self.reasons, self.notes)


def _no_text(recipe: Recipe, text: str | None) -> str:
    return "cannot be decoded" if text is None and recipe.reads == "code" else "no text"


def _pairs(recipe: Recipe, extra: Sequence[pa.Field], rows: pa.Table, found: FoundInTable) -> pa.Table:
    """The pair set: the recipe's columns, then those of `rows` that the recipe did not use up."""
    taken = pa.array(list(map(itemgetter(0), found.pairs)), pa.int64())
    pairs = list(map(itemgetter(1), found.pairs))
    # A table has millions of cells: itemgetter takes a third of the time of a comprehension.
    values = {name: list(map(itemgetter(at), pairs)) for at, name in enumerate(Pair._fields)}
    columns: dict[str, Any] = {
        "query_id": pa.array(values["query_id"], pa.string()),
        "query": pa.array(values["query"], pa.string()),
        "doc_id": pa.array(values["doc_id"], pa.string()),
        "document": pa.array(values["document"], pa.string()),
        "label": pa.array(values["label"], pa.int8()),
        "origin": _origins(recipe.name, values["role"]),
        "source_id": _source_ids(recipe, rows, taken),
    }
    fields = [pa.field(name, column.type) for name, column in columns.items()]
    nothing = (None,) * len(extra)
    extras = [each or nothing for each in values["extra"]] if extra else []
    for at, own in enumerate(extra):
        columns[own.name] = pa.array(list(map(itemgetter(at), extras)), own.type)
        fields.append(own)
    used = {"id", "title", "text"} if recipe.reads in ("documents", "code") else {each.name for each in recipe.inputs}
    given = dict.fromkeys(rows.column_names)  # asked of Arrow once: it makes all of them each time
    for name, column, field in zip(given, rows.columns, rows.schema, strict=True):
        if name not in used and not (recipe.reads == "pairs" and (name in _OF_PAIRS or name in columns)):
            free = free_name(name, columns, given)
            columns[free] = column.take(taken)
            fields.append(field.with_name(free))
    return as_pairs(pa.table(list(columns.values()), schema=pa.schema(fields)))


_OF_PAIRS = ("source_id", "origin")
"""Columns of a pair set that its successor fills anew."""


def _origins(name: str, roles: Sequence[str]) -> pa.Array:
    origins = {role: f"derive:{name}/{role}" if role else f"derive:{name}" for role in set(roles)}
    if len(origins) == 1:
        return pa.repeat(pa.scalar(*origins.values()), len(roles))
    return pa.array([origins[role] for role in roles], pa.string())


def _source_ids(recipe: Recipe, rows: pa.Table, taken: pa.Array) -> Any:
    """What a pair was cut from: the document, or what the given pair was cut from."""
    if recipe.reads in ("documents", "code"):
        return rows["id"].take(taken)
    if recipe.reads == "pairs" and "source_id" in rows.column_names:
        return rows["source_id"].take(taken)
    return pa.nulls(len(taken), pa.string())


def _checked(recipe: Recipe, rows: pa.Table) -> pa.Table:
    """`rows` with string ids, after a look at the columns that the recipe needs."""
    inputs = list(recipe.inputs)
    needed = [column.name for column in inputs if column.required]
    if recipe.reads in ("documents", "code") and "id" not in needed:
        needed.insert(0, "id")
    for name in needed:
        if name not in rows.column_names:
            found = ", ".join(rows.column_names) or "no columns"
            raise PairmineError(
                f'recipe {recipe.name} reads {_listed(needed)}, and there is no "{name}" (found: {found}); '
                "rename the column that holds it"
            )
    if recipe.reads in ("rows", "pairs"):
        return rows
    for name in ("text", "title"):
        if name in rows.column_names and not is_text(rows[name].type):
            raise PairmineError(f'"{name}" holds {rows[name].type}; recipe {recipe.name} needs text there')
    at = rows.column_names.index("id")
    rows = rows.set_column(at, rows.schema.field("id").with_type(pa.string()), rows["id"].cast(pa.string()))
    _check_ids(rows["id"])
    return rows


def _check_ids(ids: pa.ChunkedArray) -> None:
    if ids.null_count:
        raise PairmineError(f'"id" is null in {ids.null_count} of {len(ids)} rows; give every row an id')
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    first: dict[str, int] = {}
    for number, name in enumerate(ids.to_pylist(), start=1):
        if first.setdefault(name, number) != number:
            raise PairmineError(
                f'id "{name}" stands in rows {first[name]} and {number}; give each row an id of its own'
            )


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(f'"{name}"' for name in names[:-1]), f'"{names[-1]}"']))
