"""Any file as it stands: its first rows, its columns, its lineage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from pairmine import schema
from pairmine.errors import PairmineError
from pairmine.files.locations import is_remote
from pairmine.files.source import ANY, Say, Source


def first_rows(path: str, rows: int, say: Say) -> pa.Table:
    """The first rows of any file as they stand, without reading the rest."""
    found: list[pa.Table] = []
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


def _column(field: pa.Field) -> dict[str, str]:
    plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    scale = schema.scale_of(field)
    return {"name": field.name, "type": str(plain)} | ({"scale": scale} if scale else {})
