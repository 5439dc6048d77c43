"""The file of ids that `export` writes beside a training file: its ids, origins and scores, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairmine.errors import PairmineError
from pairmine.files import lineage
from pairmine.files.forms.group import At, Group
from pairmine.files.locations import STDIN, find_shards, is_remote
from pairmine.files.raw import read_raw

ENDING = ".ids.parquet"
_NEEDED = {"row", "query_id", "positive_ids", "negative_ids", "origins"}
_NOT_LISTS = _NEEDED | {"batch"}


class Sidecar:
    """`rows` of what stands beside a training file; `columns` are those that a pair set has of it."""

    def __init__(self, path: str) -> None:
        self.path = path
        file = pq.ParquetFile(path)
        self.rows = file.metadata.num_rows
        self.entries = lineage.decode(file.metadata.metadata, path)
        found = file.schema_arrow
        self._lists = [name for name in found.names if name not in _NOT_LISTS]
        self.columns = {"origin": pa.field("origin", pa.string())}
        for name in self._lists:
            self.columns[name] = pa.field(name, pa.float32(), metadata=found.field(name).metadata)
        if "batch" in found.names:
            self.columns["batch"] = pa.field("batch", pa.int32())

    def read(self) -> Iterator[dict[str, Any]]:
        """Its rows, one for each training row."""
        try:
            for shard in find_shards(self.path):
                for raw in read_raw(shard):
                    yield from raw.table.to_pylist()
        except (PairmineError, UnicodeDecodeError, pa.ArrowException, OverflowError) as error:
            what = str(error).removeprefix(f"{self.path}: ")
            raise PairmineError(f"{self.path}: cannot be read ({what}); remove it, or export again") from None

    def join(self, group: Group, row: dict[str, Any], at: At) -> None:
        """Give `group` what `row` knows of it; a row of another number of documents is noted and left alone."""
        ids = [*(row["positive_ids"] or []), *(row["negative_ids"] or [])]
        is_other = group.ids is not None and group.ids != ids
        if len(ids) != len(group.texts) or is_other or row["query_id"] is None or None in ids:
            at.note("sidecar-differs", f"{len(group.texts)} documents here and {len(ids)} ids beside")
            return
        group.query_id, group.ids = row["query_id"], ids
        extra = {"origin": row["origins"]} | {name: row[name] for name in self._lists}
        if row.get("batch") is not None:
            extra["batch"] = [row["batch"]] * len(ids)
        whole = {name: values for name, values in extra.items() if values is not None and len(values) == len(ids)}
        group.extra = (group.extra or {}) | whole


def exported_as(entries: list[lineage.Entry]) -> str | None:
    """The format that an export was made in, by its lineage; None where that does not say it."""
    options = entries[-1].get("options") if entries else None
    return str(options["to"]) if isinstance(options, dict) and "to" in options else None


def find_sidecar(path: str) -> Sidecar | None:
    """The sidecar of the file at `path`, None where there is none that can be read."""
    beside = f"{path}{ENDING}"
    if path == STDIN or is_remote(path) or not Path(beside).is_file():
        return None
    try:
        found = pq.read_schema(beside)
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return None
    return Sidecar(beside) if _is_sidecar(found) else None


def _is_sidecar(found: pa.Schema) -> bool:
    """Whether these are the columns that `export` writes, each once and of its kind."""
    if len(set(found.names)) < len(found.names) or not set(found.names) >= _NEEDED:
        return False
    kinds = {field.name: field.type for field in found}
    lists = [kind for name, kind in kinds.items() if name not in ("row", "query_id", "batch")]
    return (
        _is_text(kinds["query_id"])
        and all(pa.types.is_list(kind) or pa.types.is_large_list(kind) for kind in lists)
        and all(_is_text(kinds[name].value_type) for name in ("positive_ids", "negative_ids", "origins"))
        and all(_is_number(kind.value_type) for name, kind in kinds.items() if name not in _NOT_LISTS)
        and pa.types.is_integer(kinds.get("batch", pa.int32()))
    )


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)
