"""Any file as it stands: its first rows, its columns, its lineage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files.locations import STDIN, is_remote
from pairmine.files.source import ANY, Say, Source

if TYPE_CHECKING:
    from pairmine.files.forms import Form


def first_rows(path: str, rows: int, say: Say) -> pa.Table:
    """The first rows of any file as they stand, without reading the rest; of a trainer's folder its first pairs."""
    found: list[pa.Table] = []
    if (form := _form_of_folder(path)) is not None:
        return next(form.chunks()).slice(0, rows)
    source = Source(path, ANY, {}, say)
    count = 0
    for raw in source.raw(keep=False):
        found.append(raw.table.slice(0, rows - count))
        count += found[-1].num_rows
        if count >= rows:
            break
    if not found:
        raise PairmineError(f"{source.name}: no rows in it")
    kinds = schema.union_schema([table.schema.remove_metadata() for table in found])
    return pa.concat_tables([schema.cast_table(table, kinds) for table in found])


def describe(path: str, say: Say) -> dict[str, Any]:
    """The format, the columns (name, type, scale of a score), the number of rows and the lineage of any file.

    `beside` is the lineage of its sidecar FILE.ids.parquet, where one stands beside a file without its own.
    """
    if (form := _form_of_folder(path)) is not None:
        tables = form.chunks()
        first = next(tables)
        rows = first.num_rows + sum(table.num_rows for table in tables)
        columns = list(map(_column, first.schema))
        return {"format": form.name, "rows": rows, "columns": columns, "lineage": form.entries}
    source = Source(path, ANY, {}, say)
    rows = 0
    kinds: pa.Schema | None = None
    for raw in source.raw():
        rows += raw.table.num_rows
        kinds = schema.union_schema([raw.table.schema] if kinds is None else [kinds, raw.table.schema])
    if kinds is None:
        raise PairmineError(f"{source.name}: no rows in it")
    described = {"format": source.kind, "rows": rows, "columns": list(map(_column, kinds)), "lineage": source.entries}
    sidecar = f"{path}.ids.parquet"
    if not source.entries and not is_remote(path) and Path(sidecar).is_file():
        described["beside"] = {"file": sidecar, "lineage": describe(sidecar, say)["lineage"]}
    return described


def _form_of_folder(path: str) -> Form | None:
    """A trainer's folder, several files that are no table by themselves; None for anything else."""
    from pairmine.files.forms import find_folder, open_form

    is_one = path != STDIN and not is_remote(path) and find_folder(Path(path)) is not None
    return open_form(path, lambda line: None) if is_one else None


def _column(field: pa.Field) -> dict[str, str]:
    plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    scale = schema.scale_of(field)
    return {"name": field.name, "type": str(plain)} | ({"scale": scale} if scale else {})
