"""`derive`: training pairs out of the texts themselves or their structure, without a model."""

from __future__ import annotations

from collections import Counter
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
    Found,
    FoundInTable,
    FromDocument,
    Pair,
    derivations,
    is_text,
)

__all__ = ["derive"]


def derive(recipe: str, rows: pa.Table, *, seed: int = 0, **options: Any) -> Outcome:
    """Pairs that the recipe makes out of `rows`; `recipes.find_recipe` shows its inputs and options.

    `rows` is a corpus (`id`, `text`, perhaps `title`), a tree of code (`id` a path, `text` its
    source) or a table with the recipe's own columns. `kept` is a pair set with `source_id` and the
    other columns of `rows`, one that bears the name of a pair set's column as `other_<name>`; rows
    of one query are together, and an empty table gives the same columns without rows. `rejected`
    are the rows that gave no pair. Draws depend on `seed` and each row's id alone, so unless the
    recipe is `whole` any chunking gives the same pairs.

    Raises PairmineError for an unknown recipe or option, an option out of its range, a missing
    column, and an id that stands twice.
    """
    derivation = derivations()[find_recipe(recipe).name]
    values = read_options(derivation.recipe, options)
    rows = _checked(derivation.recipe, rows)
    skipped: Counter[str] = Counter()
    if derivation.from_document is not None:
        found = _row_by_row(derivation.recipe, derivation.from_document(**values), rows, seed, skipped)
    elif derivation.from_table is not None:
        found = derivation.from_table(**values)(rows)
    else:
        raise AssertionError(f"recipe {recipe} has no function")
    rejected = sorted(found.reasons)
    reasons = pa.array([found.reasons[number] for number in rejected], pa.string())
    return Outcome(
        kept=_pairs(derivation, rows, found),
        rejected=with_reason(rows.take(pa.array(rejected, pa.int64())), reasons),
        rows_in=rows.num_rows,
        reshapes=True,
        notes=dict(sorted(skipped.items())),
    )


def _row_by_row(recipe: Recipe, run: FromDocument, rows: pa.Table, seed: int, skipped: Counter[str]) -> FoundInTable:
    titles = rows["title"].to_pylist() if "title" in rows.column_names else [None] * rows.num_rows
    ids, texts = rows["id"].to_pylist(), rows["text"].to_pylist()
    salt = f"derive:{recipe.name}"
    pairs: list[tuple[int, Pair]] = []
    reasons: dict[int, str] = {}
    for number, document in enumerate(map(Document, ids, texts, titles)):
        if not document.text or document.text.isspace():
            found = Found((), _no_text(recipe, document.text))
        else:
            found = run(document, Draws(seed_of(seed, salt, document.id)))
        if found.skipped:
            skipped.update(found.skipped)
        if found.pairs:
            pairs += [(number, pair) for pair in found.pairs]
        else:
            reasons[number] = found.reason
    return FoundInTable(pairs, reasons)


def _no_text(recipe: Recipe, text: str | None) -> str:
    return "cannot be decoded" if text is None and recipe.reads == "code" else "no text"


def _pairs(derivation: Derivation, rows: pa.Table, found: FoundInTable) -> pa.Table:
    """The pair set: the recipe's columns, then those of `rows` that the recipe did not use up."""
    taken = pa.array([number for number, _ in found.pairs], pa.int64())
    pairs = [pair for _, pair in found.pairs]
    count = len(pairs)
    recipe = derivation.recipe
    columns: dict[str, Any] = {
        "query_id": pa.array([pair.query_id for pair in pairs], pa.string()),
        "query": pa.array([pair.query for pair in pairs], pa.string()),
        "doc_id": pa.array([pair.doc_id for pair in pairs], pa.string()),
        "document": pa.array([pair.document for pair in pairs], pa.string()),
        "label": pa.array([pair.label for pair in pairs], pa.int8()),
        "origin": pa.repeat(pa.scalar(f"derive:{recipe.name}"), count),
        "source_id": pa.nulls(count, pa.string()) if recipe.reads == "rows" else rows["id"].take(taken),
    }
    for at, extra in enumerate(derivation.extra):
        columns[extra.name] = pa.array([pair.extra[at] for pair in pairs], extra.type)
    used = {"id", "title", "text"} if recipe.reads != "rows" else {column.name for column in recipe.inputs}
    for name in rows.column_names:
        if name not in used:
            columns[free_name(name, columns, rows.column_names)] = rows[name].take(taken)
    return as_pairs(pa.table(columns))


def _checked(recipe: Recipe, rows: pa.Table) -> pa.Table:
    """`rows` with string ids, after a look at the columns that the recipe needs."""
    inputs = list(recipe.inputs)
    needed = [column.name for column in inputs if column.required]
    if recipe.reads != "rows" and "id" not in needed:
        needed.insert(0, "id")
    for name in needed:
        if name not in rows.column_names:
            found = ", ".join(rows.column_names) or "no columns"
            raise PairmineError(
                f'recipe {recipe.name} reads {_listed(needed)}, and there is no "{name}" (found: {found}); '
                "rename the column that holds it"
            )
    if recipe.reads == "rows":
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
